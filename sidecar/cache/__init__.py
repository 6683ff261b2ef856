"""Caches on the local disk: corpora, rebuilt blobs and lists of hints. Any of their files may be lost at any moment."""
