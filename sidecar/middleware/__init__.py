"""What surrounds both ports: connection limits, rate limits, API keys, the audit log, TLS."""
