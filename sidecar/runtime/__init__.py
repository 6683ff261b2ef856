"""What the process runs on: threads, tasks, files that are whole, logs, metrics, traces."""
