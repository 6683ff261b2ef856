"""Maintenance of repositories: fsck, gc, rehydrate, adopt, rewrap, and the work for idle hours.

Each command uses the parts of `sidecar.app` without opening ports. It speaks to the same upstream as the sidecar, with
the service's credentials (`upstream.credentials_file`). It may run while a sidecar serves the same repositories.
"""
