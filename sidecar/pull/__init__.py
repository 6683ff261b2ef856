"""Pulls: finds a layer's record, makes its decoder, rebuilds the blob and sends it."""
