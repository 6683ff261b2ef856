"""The OCI registry API: names, digests, manifests, ranges, routes and errors, without any server or store."""
