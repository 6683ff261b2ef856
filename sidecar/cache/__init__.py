"""What lies on this disk and may be lost at any moment: corpora, rebuilt blobs, lists of hints."""
