"""What is left of a collection after a kill at every write, a power cut, and kills under load: ``python -m bench.crashes``."""
