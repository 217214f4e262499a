"""A gallery in, a searchable collection on disk out, and the search over it. Importing this room never imports torch."""
