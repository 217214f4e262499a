"""A label in, the name of its split out: by hash, so that new labels never move old ones and no seed can choose the test."""

import hashlib
from collections.abc import Mapping


def hash_split(label: str, proportions: Mapping[str, float], seed: int = 0) -> str:
    """The split whose share of [0, 1) holds the hash of (``seed``, ``label``). ``proportions`` sum to 1."""
    point = int.from_bytes(hashlib.sha256(f"{seed}:{label}".encode()).digest()[:8], "big") / 2**64
    edge = 0.0
    for split, share in proportions.items():
        edge += share
        if point < edge:
            return split
    return split
