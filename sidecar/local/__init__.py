"""What lies on this disk to save time, and may be lost: corpora, rebuilt blobs, files that grow."""
