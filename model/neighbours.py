"""Vectors and labels in, the nearest gallery rows of every query out: one immutable result that every figure is made of.

The similarity matrix is never whole in memory. A query never finds itself: it is left out by its row, never by its place
among the hits. Equal scores are ties, and a tie has no order: whatever is counted is the mean over all orders of it. So that
equal vectors have equal scores, whatever the matrix product makes of them, scores that lie close together are computed again
in double precision.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Labels = Sequence[str] | np.ndarray  # [N], of text or numbers
KEPT = 100  # hits of a query that are kept, for plots and pages; figures look as deep as they need
NEAR = 4e-6  # scores of a single precision product that differ by less may be equal
_BLOCK = 2**24  # scores at a time
_LOWEST = -2.0  # below every cosine, above the −∞ of what is hidden
_GROUP = 16


@dataclass(frozen=True)
class Neighbours:
    """What Q queries found.

    ``queries`` int64 [Q]: their rows among all vectors. ``rows`` int64 [Q, k]: the first hits, best first, −1 where there
    are no more; ``scores`` float32 and ``right`` bool, [Q, k] too. ``possible`` int64 [Q]: right answers in the gallery.
    ``first`` int64 [Q, 3]: of the tie that holds the first right answer, the hits before it, its size, and the right ones
    in it (zeros where nothing is right). ``precision`` and ``average_precision`` float64 [Q]: over the first R hits, where R
    is ``possible``; NaN where that is 0.
    """

    queries: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    possible: np.ndarray
    first: np.ndarray
    precision: np.ndarray
    average_precision: np.ndarray

    @property
    def answerable(self) -> np.ndarray:
        """bool [Q]: the gallery holds a right answer. The others count in no figure."""
        return self.possible > 0


@dataclass(frozen=True)
class _Space:
    """What is searched: classes and masks as numbers by row, and one row that stands for all with the same vector."""

    vectors: np.ndarray
    classes: np.ndarray
    masks: np.ndarray | None
    same: np.ndarray
    gallery: np.ndarray
    searched: np.ndarray  # the vectors of the gallery
    column: np.ndarray  # of each row in the gallery, −1 where it is not in it

    def hide(self, scores: np.ndarray, queries: np.ndarray) -> None:
        if self.masks is not None:
            scores[self.masks[queries, None] == self.masks[None, self.gallery]] = -np.inf
        asked = self.column[queries]
        scores[asked >= 0, asked[asked >= 0]] = -np.inf

    def exact(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """float32 [P]: the cosines of P pairs, computed in double precision and rounded once."""
        pairs, inverse = np.unique(queries * len(self.vectors) + self.same[rows], return_inverse=True)
        found = np.empty(len(pairs), np.float32)
        step = max(1, _BLOCK // self.vectors.shape[1] // 8)
        for start in range(0, len(pairs), step):
            one, other = np.divmod(pairs[start : start + step], len(self.vectors))
            product = self.vectors[one].astype(np.float64) * self.vectors[other]
            found[start : start + step] = product.sum(axis=1)
        return found[inverse]


def nearest(
    vectors: np.ndarray,
    labels: Labels,
    *,
    queries: np.ndarray | None = None,
    gallery: np.ndarray | None = None,
    masks: Labels | None = None,
    kept: int = KEPT,
) -> Neighbours:
    """Search the rows ``gallery`` with the rows ``queries`` (both by default all) of unit ``vectors`` float32 [N, D].

    ``masks``: gallery rows that share the query's mask are hidden from it (drawings by the same hand, photos of the same
    session). Time and memory as in faiss's exact search: all products, a block of queries at a time. Raises ``ValueError``
    when the gallery is empty.
    """
    everything = np.arange(len(vectors))
    queries = everything if queries is None else np.asarray(queries)
    gallery = everything if gallery is None else np.asarray(gallery)
    if not len(gallery):
        raise ValueError("The gallery is empty, so there is nothing to search.")
    space = _space(np.ascontiguousarray(vectors, np.float32), labels, masks, gallery)
    possible = right_answers(labels, queries=queries, gallery=gallery, masks=masks)
    kept = min(kept, len(gallery))
    order = np.argsort(possible, kind="stable")  # queries of like depth together: one large class must not slow down all
    size = max(1, _BLOCK // max(1, len(gallery)))
    blocks = [order[start : start + size] for start in range(0, len(order), size)]
    found = [_search(space, queries[block], possible[block], kept) for block in blocks]
    back = np.argsort(order)
    columns = [np.concatenate(parts)[back] for parts in zip(*found, strict=True)] if found else _nothing(kept)
    return Neighbours(queries, columns[0], columns[1], columns[2], possible, *columns[3:])


def right_answers(
    labels: Labels,
    *,
    queries: np.ndarray | None = None,
    gallery: np.ndarray | None = None,
    masks: Labels | None = None,
) -> np.ndarray:
    """int64 [Q]: how many gallery rows ``nearest`` should find for each query."""
    everything = np.arange(len(labels))
    queries = everything if queries is None else np.asarray(queries)
    gallery = everything if gallery is None else np.asarray(gallery)
    classes = numbered(labels)
    hidden = everything if masks is None else numbered(masks)
    both = classes * (hidden.max(initial=0) + 1) + hidden
    return _count(classes[gallery], classes[queries]) - _count(both[gallery], both[queries])


def judged(
    scores: np.ndarray, right: np.ndarray, possible: np.ndarray, edge: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """``first``, ``precision`` and ``average_precision`` of hits that are sorted, best first.

    ``scores`` float32 [Q, L], −∞ where there are no more; ``edge`` int64 [Q, 2]: size and right ones of the tie that the
    last hit belongs to, where that goes on beyond it. ``first`` is zeros where nothing among the hits is right.
    MAP@R after Musgrave et al., "A Metric Learning Reality Check" (2020), section 4.2: 1/R · Σ_{i ≤ R, hit i right}
    precision@i.
    """
    rank = np.arange(scores.shape[1])
    start, size, count, before = _ties(scores, right, edge)
    share = count / np.maximum(size, 1)
    others = (rank - start) * (count - 1) / np.maximum(size - 1, 1)  # right ones before, within the tie, of a right one
    counted = (rank < possible[:, None]) & np.isfinite(scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = (share * counted).sum(axis=1) / possible
        average = (share * (before + 1 + others) / (rank + 1) * counted).sum(axis=1) / possible
    some = (count > 0) & np.isfinite(scores)
    place = some.argmax(axis=1)
    first = np.stack([np.take_along_axis(each, place[:, None], axis=1)[:, 0] for each in (start, size, count)], axis=1)
    first[~some.any(axis=1)] = 0
    return first, precision, average


def numbered(values: Labels) -> np.ndarray:
    """int64: the place of each value among the sorted different ones."""
    return np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)


def _space(vectors: np.ndarray, labels: Labels, masks: Labels | None, gallery: np.ndarray) -> _Space:
    column = np.full(len(vectors), -1)
    column[gallery] = np.arange(len(gallery))
    raw = vectors.view(np.dtype((np.void, vectors.itemsize * max(1, vectors.shape[1])))).reshape(-1)
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    hidden = None if masks is None else numbered(masks)
    searched = vectors if len(gallery) == len(vectors) and (np.diff(gallery) == 1).all() else vectors[gallery]
    return _Space(vectors, numbered(labels), hidden, first[inverse.reshape(-1)], gallery, searched, column)


def _search(space: _Space, queries: np.ndarray, possible: np.ndarray, kept: int) -> tuple[np.ndarray, ...]:
    """Rows, scores, right, first, precision, average precision of a block of queries."""
    scores = space.vectors[queries] @ space.searched.T
    space.hide(scores, queries)
    depth = max(kept, min(len(space.gallery), int(possible.max(initial=0))))
    asked, columns = _candidates(scores, depth)
    rows, found = space.gallery[columns], scores[asked, columns]
    _settle(space, queries, asked, rows, found)
    order = np.lexsort((-found, asked))
    asked, rows, found = asked[order], rows[order], found[order]
    right = space.classes[rows] == space.classes[queries[asked]]
    hits, edge = _table(asked, rows, found, right, len(queries), depth)
    first, precision, average = judged(hits[1], hits[2], possible, edge)
    late = np.flatnonzero((possible > 0) & (first[:, 1] == 0))
    if len(late):
        first[late] = _first_beyond(space, queries[late], scores[late])
    return (*(part[:, :kept] for part in hits), first, precision, average)


def _candidates(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of all scores that may be among the best ``depth`` of their row, or equal to the last of these."""
    # The depth-th best of the maxima of groups of columns is no better than the depth-th best of all.
    group = max(1, min(_GROUP, scores.shape[1] // (4 * depth))) if depth else 1
    whole = scores.shape[1] // group
    maxima = scores[:, : whole * group].reshape(len(scores), group, whole).max(axis=1)
    maxima = np.concatenate([maxima, scores[:, whole * group :]], axis=1)
    place = maxima.shape[1] - depth
    least = np.partition(maxima, place, axis=1)[:, place] if 0 < depth < maxima.shape[1] else np.full(len(scores), _LOWEST)
    taken = scores >= np.maximum(least, np.float32(_LOWEST))[:, None] - np.float32(NEAR)
    row, column = np.divmod(np.flatnonzero(taken), scores.shape[1])  # several times as fast as nonzero in two dimensions
    return row, column


def _settle(space: _Space, queries: np.ndarray, asked: np.ndarray, rows: np.ndarray, found: np.ndarray) -> None:
    """Replace, in ``found``, the scores that lie close to another one of the same query by exact ones."""
    order = np.lexsort((-found, asked))
    close = (np.diff(asked[order]) == 0) & (-np.diff(found[order]) <= NEAR)
    near = order[np.append(close, False) | np.insert(close, 0, False)] if len(order) else order
    found[near] = space.exact(queries[asked[near]], rows[near])


def _table(
    asked: np.ndarray, rows: np.ndarray, found: np.ndarray, right: np.ndarray, count: int, depth: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """Sorted hits as arrays [count, depth]; and the size and right ones of the tie that reaches the last column."""
    start = np.searchsorted(asked, np.arange(count))
    place = np.arange(len(asked)) - start[asked]
    shown = place < depth
    hits = (np.full((count, depth), -1), np.full((count, depth), -np.inf, np.float32), np.zeros((count, depth), bool))
    for table, values in zip(hits, (rows, found, right), strict=True):
        table[asked[shown], place[shown]] = values[shown]
    last = hits[1][:, -1] if depth else np.full(count, -np.inf, np.float32)
    tied = found == last[asked]
    edge = np.stack([np.bincount(asked[tied & among], minlength=count) for among in (True, right)], axis=1)
    return hits, edge


def _ties(scores: np.ndarray, right: np.ndarray, edge: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """int64 [Q, L] each, by hit: first place of its tie, size of the tie, right ones in it, right ones before it."""
    count, depth = scores.shape
    new = np.ones((count, depth), bool)
    new[:, 1:] = scores[:, 1:] != scores[:, :-1]
    place = np.arange(depth)
    start = np.maximum.accumulate(np.where(new, place, 0), axis=1)
    ends = np.concatenate([new[:, 1:], np.ones((count, min(1, depth)), bool)], axis=1)
    end = np.minimum.accumulate(np.where(ends, place + 1, depth)[:, ::-1], axis=1)[:, ::-1]
    so_far = np.concatenate([np.zeros((count, 1), np.int64), np.cumsum(right, axis=1)], axis=1)
    before = np.take_along_axis(so_far, start, axis=1)
    size, inside = end - start, np.take_along_axis(so_far, end, axis=1) - before
    if edge is not None:
        reaches = end == depth
        size, inside = np.where(reaches, edge[:, :1], size), np.where(reaches, edge[:, 1:], inside)
    return start, size, inside, before


def _first_beyond(space: _Space, queries: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """``first`` of queries whose right answers all lie deeper than was looked."""
    same = space.classes[queries, None] == space.classes[None, space.gallery]
    best = np.where(same, scores, -np.inf).max(axis=1)
    asked, columns = np.nonzero(np.abs(scores - best[:, None]) <= NEAR)
    exact, right = space.exact(queries[asked], space.gallery[columns]), same[asked, columns]
    best_exact = np.full(len(queries), -np.inf, np.float32)
    np.maximum.at(best_exact, asked[right], exact[right])
    among = [exact > best_exact[asked], exact == best_exact[asked], right & (exact == best_exact[asked])]
    above, size, count = (np.bincount(asked[each], minlength=len(queries)) for each in among)
    return np.stack([above + (scores > best[:, None] + NEAR).sum(axis=1), size, count], axis=1)


def _count(values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """How often each of ``asked`` is among ``values``."""
    values = np.sort(values)
    return np.searchsorted(values, asked, side="right") - np.searchsorted(values, asked, side="left")


def _nothing(kept: int) -> list[np.ndarray]:
    tables = [np.empty((0, kept), kind) for kind in (np.int64, np.float32, bool)]
    return [*tables, np.empty((0, 3), np.int64), np.empty(0), np.empty(0)]
