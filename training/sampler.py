"""Labels in, the order of an epoch out: a function of (seed, epoch) only, the same in every process."""

import numpy as np


def order(labels: np.ndarray, seed: int, epoch: int, balance: float = 0.0) -> np.ndarray:
    """int64 [N] of rows. With ``balance`` 0 a shuffle; above, an image is drawn in proportion to n^−balance, n being the size
    of its class: at 1 all classes come equally often.

    Draws are systematic, not independent: an image comes as often as expected, rounded up or down.
    """
    random = np.random.default_rng([seed, epoch])
    shuffled = random.permutation(len(labels))
    if not balance:
        return shuffled
    sizes = np.bincount(labels)[labels]
    shares = sizes[shuffled] ** -float(balance)
    edges = np.cumsum(shares)
    points = (np.arange(len(labels)) + random.random()) * (edges[-1] / len(labels))
    return random.permutation(shuffled[np.searchsorted(edges, points, side="right").clip(max=len(labels) - 1)])


def batches(rows: np.ndarray, batch: int, at_least: int = 1) -> list[np.ndarray]:
    """Parts of ``batch`` rows. A last one of fewer than ``at_least``, which could not be shared out, is left out."""
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return [part for part in parts if len(part) >= at_least]
