"""The neighbours of every query in, retrieval figures out: over all queries, by class, and with intervals over classes.

R@k (is one of the first k hits right?) as in the SoftTriple paper; R-precision and MAP@R as in Musgrave et al., "A Metric
Learning Reality Check" (2020); MRR, the mean of 1 / rank of the first right hit. All are expectations over the orders of
equal scores, so that vectors that are all the same score as chance does. Queries without a right answer count nowhere.
"""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from .neighbours import Labels, Neighbours, numbered

RECALL_AT = (1, 2, 4, 8)
NAMES = (*(f"recall@{k}" for k in RECALL_AT), "precision@1", "r_precision", "map@r", "mrr")
RESAMPLES = 1000


@dataclass(frozen=True)
class Scores:
    """The figures of single queries: ``values`` float64 [Q, len(names)], ``classes`` the label of each query."""

    names: tuple[str, ...]
    values: np.ndarray
    classes: np.ndarray

    def means(self) -> dict[str, float]:
        return dict(zip(self.names, self.values.mean(axis=0).tolist(), strict=True))

    def by_class(self) -> dict[str, dict[str, float]]:
        """The means of each class, and its number of ``queries``."""
        labels, sums, counts = self.sums()
        means = (sums / counts[:, None]).tolist()
        return {
            str(label): dict(zip(self.names, mean, strict=True)) | {"queries": int(count)}
            for label, mean, count in zip(labels, means, counts, strict=True)
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of the means over other classes like these: a bootstrap whose unit is the class."""
        low, high = np.percentile(self._resampled(), [2.5, 97.5], axis=0).tolist()
        return dict(zip(self.names, zip(low, high, strict=True), strict=True))

    def gains(self, before: "Scores") -> dict[str, dict[str, Any]]:
        """How much more than ``before``, of the same queries: the difference of the means, with its paired interval."""
        if not np.array_equal(self.classes, before.classes):
            raise ValueError("Only figures of the same queries can be compared.")
        difference = Scores(self.names, self.values - before.values, self.classes)
        return {name: {"mean": mean, "interval": difference.intervals()[name]} for name, mean in difference.means().items()}

    def sums(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The classes [C], and of each the sums of its figures float64 [C, len(names)] and its number of queries [C]."""
        labels, inverse, counts = np.unique(self.classes, return_inverse=True, return_counts=True)
        sums = np.zeros((len(labels), len(self.names)))
        np.add.at(sums, inverse, self.values)
        return labels, sums, counts

    def _resampled(self) -> np.ndarray:
        """float64 [RESAMPLES, len(names)]: the means over as many classes, drawn with replacement; always the same draws."""
        _, sums, counts = self.sums()
        random = np.random.default_rng(0)
        taken = random.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=RESAMPLES)
        return (taken @ sums) / (taken @ counts)[:, None]


def scores(found: Neighbours, labels: Labels) -> Scores:
    """The figures of every query that has a right answer. ``labels`` are those of all rows, as given to ``nearest``.

    Raises ``ValueError`` when no query has one.
    """
    rows = found.answerable
    if not rows.any():
        raise ValueError("No query has a right answer in the gallery, so there is nothing to measure.")
    first = found.first[rows]
    recalls = [recall_at(first, k) for k in RECALL_AT]
    columns = [*recalls, recalls[0], found.precision[rows], found.average_precision[rows], reciprocal_rank(first)]
    return Scores(NAMES, np.stack(columns, axis=1), np.asarray(labels)[found.queries[rows]])


def recall_at(first: np.ndarray, k: int) -> np.ndarray:
    """float64 [Q]: the probability that one of the first k hits is right; ``first`` as in ``Neighbours``."""
    start, size, right = first.T
    places = np.clip(k - start, 0, size)
    missed = np.where(size > 0, 1.0, np.nan)
    for taken in range(int(places.max(initial=0))):
        wrong = np.maximum(size - right - taken, 0)
        missed = np.where(taken < places, missed * wrong / np.maximum(size - taken, 1), missed)
    return np.where(size > 0, 1 - missed, 0.0)


def reciprocal_rank(first: np.ndarray) -> np.ndarray:
    """float64 [Q]: the expected 1 / rank of the first right hit, 0 where there is none."""
    ties, inverse = np.unique(first, axis=0, return_inverse=True)
    start, size, right = ties.T
    expected, waiting = np.zeros(len(ties)), (size > 0).astype(float)  # waiting: probability that no right one came yet
    for place in range(int((size - right).max(initial=-1)) + 1):
        comes = np.where(place < size, np.minimum(1, right / np.maximum(size - place, 1)), 0)
        expected += waiting * comes / (start + place + 1)
        waiting = waiting * (1 - comes)
    return expected[inverse.reshape(-1)]


def clustering_nmi(vectors: np.ndarray, labels: Labels) -> float:
    """Agreement of the labels with as many k-means clusters of unit ``vectors`` [N, D]; the start is pinned."""
    classes = numbered(labels)
    count = int(classes.max()) + 1
    kmeans = faiss.Kmeans(
        vectors.shape[1], count, niter=25, seed=0, min_points_per_centroid=1, max_points_per_centroid=len(vectors)
    )
    kmeans.train(np.ascontiguousarray(vectors, np.float32))
    return nmi(classes, kmeans.index.search(np.ascontiguousarray(vectors, np.float32), 1)[1][:, 0])


def nmi(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised mutual information of two labellings int64 [N]: 2 · I(one; other) / (H(one) + H(other))."""
    pairs, joint = np.unique(np.stack([one, other]), axis=1, return_counts=True)
    by_one, by_other = np.bincount(one), np.bincount(other)
    if len(joint) == 1:
        return 1.0  # one class, one cluster
    total = len(one)
    expected = by_one[pairs[0]] * by_other[pairs[1]] / total
    information = float((joint / total * np.log(joint / expected)).sum())
    entropies = sum(
        float(-(count / total * np.log(count / total)).sum()) for count in (by_one[by_one > 0], by_other[by_other > 0])
    )
    return 2 * max(information, 0.0) / entropies if information > 0 else 0.0
