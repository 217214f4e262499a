"""Data sets that only the benches use: each module writes one, as a folder with a ``labels.csv``."""
