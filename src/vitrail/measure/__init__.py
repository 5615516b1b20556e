"""Answers and targets to numbers with intervals."""
