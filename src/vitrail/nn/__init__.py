"""The one Transformer: knows tensors, no files."""
