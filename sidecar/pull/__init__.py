"""Pulls: finding a record, making its decoder, rebuilding the blob and sending it."""
