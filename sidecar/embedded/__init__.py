"""A registry of our own: an OCI image layout in a directory, behind the same interface as a remote registry."""
