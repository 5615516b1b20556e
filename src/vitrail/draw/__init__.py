"""Answers to pictures to pages."""
