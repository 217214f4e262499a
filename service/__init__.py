"""The HTTP service over one collection. Importing this room never imports torch."""
