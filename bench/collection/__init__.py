"""How a large collection behaves: filters, callers, opening, memory, and search while a job merges and publishes."""
