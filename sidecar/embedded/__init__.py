"""The embedded store: a registry on a local directory, with the same interface as a remote registry."""
