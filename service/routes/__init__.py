"""One module a group of addresses; each turns HTTP into calls of the engine and back, and nothing else."""
