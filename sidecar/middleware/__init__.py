"""What every request passes before its handler: TLS, limits, API keys, the audit log, and the line in the log."""
