"""Work on what the sidecar stored: checking, cleaning up, going back, and taking in what was there before.

Every command uses the parts of `sidecar.app` without its ports, and speaks to the same upstream with credentials of its
own (`upstream.credentials_file`). It may run beside a serving sidecar.
"""
