"""Vectors and a query in, the nearest rows and their exact scores out; ``view``: vectors as faiss scores candidates by."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import faiss
import numpy as np

from .cores import CORES

Found = tuple[np.ndarray, np.ndarray]  # rows int64 [K], and scores float32 [K], best first, then by row

_WORTH = 2**22  # numbers that are worth a thread of their own: about a millisecond
_SORTED = 1024  # hits up to which a heap is quicker than all scores
_POOL = ThreadPoolExecutor(max(1, CORES.count - 1), thread_name_prefix="exact")


def nearest(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray | None = None) -> Found:
    """The ``k`` of ``vectors`` (float32 [N, D]) with the greatest dot product with ``query`` (float32 [D]), or all of them.

    ``rows`` (int64 [R]): only these. One query uses all cores that are free, where there is enough to do.
    """
    count = len(vectors) if rows is None else len(rows)
    if min(k, count) == 0:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    with CORES.some(1 + count * len(query) // _WORTH) as threads:
        if threads == 1:
            return _of_part(vectors, query, k, rows, 0, count)
        first, *others = pairwise(np.linspace(0, count, threads + 1).astype(int).tolist())
        waiting = [_POOL.submit(_of_part, vectors, query, k, rows, *part) for part in others]
        parts = [_of_part(vectors, query, k, rows, *first), *(each.result() for each in waiting)]
    return best(np.concatenate([found for found, _ in parts]), np.concatenate([scores for _, scores in parts]), k)


def view(vectors: np.ndarray) -> Any:
    """float32 [N, D] in C order → a flat faiss index of the same memory, which has to outlive it."""
    flat, codes = faiss.IndexFlatIP(vectors.shape[1]), faiss.MaybeOwnedVectorUInt8
    flat.codes = codes.create_view(  # type: ignore[attr-defined]
        faiss.swig_ptr(vectors), vectors.nbytes, flat.codes.owner
    )
    flat.ntotal = len(vectors)
    return flat


def best(rows: np.ndarray, scores: np.ndarray, k: int) -> Found:
    """The ``k`` greatest scores, or all, in order; of equal ones the lower row first."""
    if k < len(rows):
        # Those that are equal to the last: the lowest rows of them, not any.
        least = np.partition(scores, -k)[-k]
        kept = np.flatnonzero(scores >= least)
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _of_part(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray | None, start: int, end: int) -> Found:
    if rows is None and k <= _SORTED:
        scores, found = faiss.knn(query[None], vectors[start:end], min(k, end - start), metric=faiss.METRIC_INNER_PRODUCT)
        return found[0] + start, scores[0]
    return _among(vectors, query, k, np.arange(start, end) if rows is None else rows[start:end])


def _among(vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray) -> Found:
    """Scores where the vectors lie: to gather them first would take twice as long."""
    rows, scores = np.ascontiguousarray(rows), np.empty(len(rows), np.float32)
    pointers = map(faiss.swig_ptr, (scores, query, vectors, rows))
    faiss.fvec_inner_products_by_idx(*pointers, vectors.shape[1], 1, len(rows))  # type: ignore[attr-defined]
    return best(rows, scores, k)
