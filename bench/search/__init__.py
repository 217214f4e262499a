"""Search over a million vectors: how quick, how exact, how large, beside others."""
