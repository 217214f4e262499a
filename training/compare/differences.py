"""Runs in, what can be said of their differences out: means over seeds, and paired differences with 95 % intervals.

Runs of one seed started alike and saw their pictures in the same order, so differences are taken seed by seed. Two things
could have been others: the seeds, and the classes that were tested. The interval is of both: a bootstrap that draws seeds and
classes, each with replacement. Owen, "The pigeonhole bootstrap", 2007: rather too wide than too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000


@dataclass(frozen=True)
class Sums:
    """One run's figures ``names``, summed within each class: ``sums`` float64 [C, M], and ``counts`` [C] of queries."""

    names: tuple[str, ...]
    sums: np.ndarray
    counts: np.ndarray

    def means(self) -> dict[str, float]:
        return dict(zip(self.names, (self.sums.sum(axis=0) / self.counts.sum()).tolist(), strict=True))


def over_seeds(runs: Sequence[Sums]) -> dict[str, dict[str, float]]:
    """Of every figure the ``mean`` and the standard ``deviation`` over seeds, 0 for a single one."""
    values = np.array([list(run.means().values()) for run in runs])
    deviations = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(values.shape[1])
    return {
        name: {"mean": float(mean), "deviation": float(deviation)}
        for name, mean, deviation in zip(runs[0].names, values.mean(axis=0), deviations, strict=True)
    }


def paired(ours: Sequence[Sums], theirs: Sequence[Sums]) -> dict[str, dict[str, Any]]:
    """``ours`` less ``theirs``, run by run of the same seeds and on the same queries: ``mean`` and ``interval`` by figure.

    Raises ``ValueError`` when the runs are not of the same queries.
    """
    runs = [*ours, *theirs]
    if len(ours) != len(theirs) or any(not np.array_equal(run.counts, runs[0].counts) for run in runs):
        raise ValueError("Only runs of the same seeds and queries can be compared.")
    gained = np.stack([one.sums - other.sums for one, other in zip(ours, theirs, strict=True)])  # [S, C, M]
    low, high = np.percentile(_resampled(gained, runs[0].counts), [2.5, 97.5], axis=0)
    means = gained.sum(axis=(0, 1)) / (len(ours) * runs[0].counts.sum())
    return {
        name: {"mean": float(mean), "interval": (float(least), float(most))}
        for name, mean, least, most in zip(runs[0].names, means, low, high, strict=True)
    }


def _resampled(gained: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """float64 [RESAMPLES, M]: means over as many seeds and classes, drawn with replacement; always the same draws."""
    seeds, classes, figures = gained.shape
    random = np.random.default_rng(0)
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=RESAMPLES)
    of_classes = random.multinomial(classes, np.full(classes, 1 / classes), size=RESAMPLES)
    sums = of_classes @ gained.transpose(1, 0, 2).reshape(classes, -1)  # [RESAMPLES, S · M]
    drawn = np.einsum("rs,rsm->rm", of_seeds, sums.reshape(RESAMPLES, seeds, figures))
    return drawn / (seeds * (of_classes @ counts))[:, None]
