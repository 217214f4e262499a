"""Vectors and labels in, retrieval figures out. One immutable kNN result feeds every figure.

Definitions: R@k (is one of the first k hits right?) as in the SoftTriple paper; MAP@R after Musgrave et al., "A Metric
Learning Reality Check" (2020), section 4.2: the mean over queries of 1/R · Σ_{i ≤ R, hit i right} precision@i, where R is
how many right answers the query has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RECALL_AT = (1, 2, 4, 8)
_BLOCK = 256  # queries at a time: the similarity matrix is never whole in memory


@dataclass(frozen=True)
class Neighbours:
    """The first k hits of each query, best first.

    ``rows`` int64 [Q, k] into the gallery (−1 where a query has fewer hits), ``scores`` float32 [Q, k],
    ``right`` bool [Q, k], ``possible`` int64 [Q]: how many right answers the gallery holds for the query.
    """

    rows: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    possible: np.ndarray

    def recall_at(self, k: int) -> float:
        return float(self.right[self._answerable, :k].any(axis=1).mean())

    def map_at_r(self) -> float:
        right, possible = self.right[self._answerable], self.possible[self._answerable]
        rank = np.arange(1, right.shape[1] + 1)
        counted = right & (rank <= possible[:, None])
        precision = np.cumsum(counted, axis=1) / rank
        return float(((precision * counted).sum(axis=1) / possible).mean())

    def figures(self) -> dict[str, float]:
        """The figures by their names; all NaN-free, or a ValueError when no query has a right answer."""
        if not self._answerable.any():
            raise ValueError("No query has a right answer in the gallery, so there is nothing to measure.")
        recalls = {f"recall@{k}": self.recall_at(k) for k in RECALL_AT}
        return recalls | {"map@r": self.map_at_r(), "queries": int(self._answerable.sum())}

    @property
    def _answerable(self) -> np.ndarray:
        return self.possible > 0


def leave_one_out(vectors: np.ndarray, labels: Sequence[str], masks: Sequence[str] | None = None) -> Neighbours:
    """Every row queries all the others. Itself is masked by its row, never by its place among the hits.

    ``vectors`` float32 [N, D], rows of length 1. ``masks``: rows that share the query's mask are left out as well
    (drawings by the same hand, photos of the same session).
    """
    classes, hidden = _numbered(labels), _hidden(labels, masks)
    possible = right_answers(labels, masks)
    depth = min(len(classes), max(int(possible.max(initial=0)), *RECALL_AT))
    blocks = []
    for start in range(0, len(vectors), _BLOCK):
        query = slice(start, start + _BLOCK)
        scores = vectors[query] @ vectors.T
        scores[hidden[query, None] == hidden[None, :]] = -np.inf
        blocks.append(_best(scores, depth))
    rows, scores = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    right = (classes[rows] == classes[:, None]) & (rows >= 0)
    return Neighbours(rows, scores, right, possible)


def right_answers(labels: Sequence[str], masks: Sequence[str] | None = None) -> np.ndarray:
    """int64 [N]: how many of the other rows ``leave_one_out`` should find for each row."""
    classes, hidden = _numbered(labels), _hidden(labels, masks)
    return _frequency(classes) - _frequency(classes * (hidden.max(initial=0) + 1) + hidden)


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.argpartition(scores, -k, axis=1)[:, -k:]
    found = np.take_along_axis(scores, rows, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    rows, found = np.take_along_axis(rows, order, axis=1), np.take_along_axis(found, order, axis=1)
    return np.where(np.isneginf(found), -1, rows), found


def _numbered(values: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(values), return_inverse=True)[1]


def _hidden(labels: Sequence[str], masks: Sequence[str] | None) -> np.ndarray:
    """Rows that share a number do not see each other."""
    return np.arange(len(labels)) if masks is None else _numbered(masks)


def _frequency(values: np.ndarray) -> np.ndarray:
    """For each row, how many rows have its value."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[inverse]
