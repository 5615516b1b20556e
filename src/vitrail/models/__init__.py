"""Whole systems."""
