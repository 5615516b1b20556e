"""Recipe to weights to answers."""
