"""Generations come (``publish``), are kept and gone back to (``history``), and go (``garbage``)."""
