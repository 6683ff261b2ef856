"""The control port: health, readiness and metrics."""
