"""The hook index: which earlier corpora resemble the bytes of a new layer."""
