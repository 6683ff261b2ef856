"""Records: the OCI manifests that say how a blob is rebuilt; their format, store, locks and protection."""
