"""The registry API as clients see it: requests and answers, manifests, listings, and requests that are forwarded."""
