"""Pushes: upload sessions, encoding while bytes arrive, and the commit of the result to the upstream."""
