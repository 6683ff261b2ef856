"""What the process runs on: threads, tasks, growing files, logs, metrics and traces. Imports nothing of the sidecar."""
