"""Measurements side by side: one module a question, run from the repository's root, each prints its table."""
