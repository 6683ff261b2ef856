"""The registry API as clients see it: one request, its route, manifests, listings, and what passes through."""
