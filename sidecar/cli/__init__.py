"""The sidecar's commands for `reducto.cli`: serve, demo, and the maintenance of what was stored."""
