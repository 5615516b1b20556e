"""Explaining answers: which method, for which pictures, how far it can be trusted, and what is kept of it."""
