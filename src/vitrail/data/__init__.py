"""Bytes to samples to batches."""
