"""Vectors and a plan in, a faiss index and what it is worth out; a query in, what is near it out, with exact scores.

How a graph lies on disk is said in ``graph``; of cells, ``index.faiss`` is all.

What it is worth is measured: recall of the first ten hits against exact search, for two kinds of queries. ``like``: vectors of
the collection itself; ``unlike``: directions between two of them, where little lies, which are as hard as pictures of another
sort. The effort is the least at which both keep the recall that was asked for, beyond the error of the measurement.
"""

import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from pydantic import BaseModel

from model.bundle import sync

from . import exact, graph
from .columns import Rows
from .cores import CORES
from .planner import FLAT, Aim, Plan, plan

K = 10  # hits that recall is measured on
_QUERIES = 1_000  # of each kind
_LEARNT = 64  # vectors a cell that it is learnt from
_TOWARDS = 0.7  # of another vector: found on emoji and icons, to be as hard as stamps (docs/benchmarks.md)
_PORTION = 2**22  # bytes
_KEPT = 1_000  # efforts whose parameters are kept
_SAME_EFFORT = 2 * K  # hits that are found with the effort that ten need: bench.collection; for more it grows with them
_ROUNDED = 1e-6
_SURE = 1.645  # deviations: recall is kept with 95 % certainty


class Tried(BaseModel):
    """``recall`` of both kinds of queries at an effort, and milliseconds of one query on one core."""

    effort: int
    like: float
    unlike: float
    ms: float


class Worth(BaseModel):
    """What stands in a segment's manifest. ``asked``: the recall that was asked for; ``recall``: the lower one of what was
    measured at ``effort``; ``seconds`` that building took, ``bytes`` beside the vectors. ``failed``: an index that did not
    keep the recall and was thrown away, so that search is exact; ``tried`` shows how far it came."""

    factory: str = FLAT
    failed: str = ""
    asked: float = 1.0
    effort: int = 0
    recall: float = 1.0
    tried: list[Tried] = []
    seconds: float = 0.0
    bytes: int = 0

    def serves(self, aim: Aim, count: int, dim: int) -> bool:
        """Whether what was made for another aim, of ``count`` vectors, is good enough for this one."""
        chosen = plan(count, dim, aim)
        if self.factory == FLAT:  # and would be again
            return chosen.flat or (self.failed == chosen.factory and self.asked <= aim.recall)
        return not chosen.flat and self.asked >= aim.recall and (aim.memory is None or self.bytes <= aim.memory)


class Approximate:
    """``index`` over ``vectors`` (float32 [N, D], C order), which what it finds is scored by. Safe to use from several threads.

    ``effort``: that of a search which asks for no other.
    """

    def __init__(self, index: Any, vectors: np.ndarray, effort: int) -> None:
        self.index, self.effort = index, effort
        self._graph = not isinstance(index, faiss.IndexIVF)
        self._vectors, whole = vectors, exact.view(vectors)
        # Candidates and their scores in one call: the way through Python would take a third of the time.
        self._scored: Any = faiss.IndexRefine(index, whole)
        self._parameters: dict[tuple[int, int, int], Any] = {}

    def nearest(self, query: np.ndarray, k: int, effort: int, rows: Rows | None = None) -> exact.Found:
        """The ``k`` nearest to a unit vector float32 [D], with ``rows`` only of these.

        Fewer where too few of all that is near pass: then it cannot be told where the nearest of them are.
        """
        effort = round(effort * max(1, k / _SAME_EFFORT))
        if self._graph:
            near = effort = max(effort, k if k <= K else k + k // 2)
            # More of them would be scored exactly for nothing; of a long walk, codes of a byte confuse some.
            wanted = min(effort, max(k + 6, k + k // 2, effort // 2))
        else:
            near = wanted = max(8 * k, 2 * effort)
        if rows is None:
            return self._search(query, k, wanted, effort)
        # As many that pass are seen as without a filter. faiss's own selectors return those that pass of whatever they came
        # by, which where few pass nearby are any, and nothing tells so.
        share = rows.count / rows.size
        near = round(near / share)
        found, scores = self._search(query, near, near, round(effort / share))
        passing = rows.has(found)
        return found[passing][:k], scores[passing][:k]

    def _search(self, query: np.ndarray, k: int, wanted: int, effort: int) -> exact.Found:
        """The nearest ``k`` of ``wanted`` that the index finds."""
        k, wanted = min(k, len(self._vectors)), min(wanted, len(self._vectors))
        scores, rows = np.empty(k, np.float32), np.empty(k, np.int64)
        scale = self._scale(query)
        asked = query * scale
        pointers = faiss.swig_ptr(asked), faiss.swig_ptr(scores), faiss.swig_ptr(rows)
        parameters = self._of(k, wanted, effort)
        with CORES.some():
            faiss.omp_set_num_threads(1)
            # What ``index.search`` calls in the end; its way there takes as long as the search.
            self._scored.search_c(1, pointers[0], k, pointers[1], pointers[2], parameters)
        scores /= scale
        found = k if rows[-1] >= 0 else np.count_nonzero(rows >= 0)
        return rows[:found], scores[:found]

    def _scale(self, query: np.ndarray) -> float:
        """Of a query whose numbers a graph rounds to bytes; what is nearest is the same for any length of it."""
        # faiss has a quicker function, but lets other threads go first: eight callers would wait for each other.
        greatest = float(np.abs(query).max())
        return graph.GREATEST / greatest if greatest else 1.0

    def _of(self, k: int, wanted: int, effort: int) -> Any:
        """Made once: that takes a tenth of a search."""
        known = self._parameters.get((k, wanted, effort))
        if known is None:
            named = {"efSearch": effort} if self._graph else {"nprobe": min(effort, self.index.nlist)}
            parameters: Any = faiss  # its types know nothing of these
            of_index = (parameters.SearchParametersHNSW if self._graph else parameters.SearchParametersIVF)(**named)
            # The factor is a float32, and k times it is rounded down.
            known = parameters.IndexRefineSearchParameters(k_factor=(wanted + 0.5) / k, base_index_params=of_index)
            if len(self._parameters) < _KEPT:
                self._parameters[k, wanted, effort] = known
        return known


def make(folder: Path, vectors: np.ndarray, aim: Aim) -> Worth:
    """Write the index that the planner chooses for ``vectors`` (float32 [N, D]), where it keeps the recall; none for exact
    search."""
    chosen = plan(len(vectors), vectors.shape[1], aim)
    if chosen.flat:
        return Worth(asked=aim.recall)
    began = time.monotonic()
    index = build(vectors, chosen)
    took = round(time.monotonic() - began, 1)
    tried, kept = measured(index, vectors, chosen, aim.recall)
    if not kept:
        return Worth(failed=chosen.factory, asked=aim.recall, tried=tried, seconds=took)
    found = {"effort": tried[-1].effort, "recall": min(tried[-1].like, tried[-1].unlike), "bytes": write(folder, index)}
    return Worth(factory=chosen.factory, asked=aim.recall, tried=tried, seconds=took, **found)


def build(vectors: np.ndarray, chosen: Plan) -> Any:
    """An index of the rows of ``vectors`` (float32 [N, D]), on all cores."""
    faiss.omp_set_num_threads(CORES.count)
    index: Any = faiss.index_factory(vectors.shape[1], chosen.factory, faiss.METRIC_INNER_PRODUCT)
    if not isinstance(index, faiss.IndexIVF):
        return graph.build(index, vectors)
    index.cp.niter = 10
    some = np.random.default_rng(0).choice(len(vectors), min(len(vectors), _LEARNT * index.nlist), replace=False)
    index.train(vectors[np.sort(some)])
    for block in graph.blocks(vectors):
        index.add(block)
    return index


def write(folder: Path, index: Any) -> int:
    """What ``build`` made into an existing folder, on disk when it returns → bytes."""
    if isinstance(index, faiss.IndexIVF):
        faiss.write_index(index, str(folder / graph.INDEX))
        files = [folder / graph.INDEX]
    else:
        files = graph.write(folder, index)
    for file in files:
        sync(file)
    return sum(file.stat().st_size for file in files)


def open(folder: Path, vectors: np.ndarray, effort: int) -> Approximate:
    """Map an index of ``vectors``: processes share it. Raises ``OSError`` or ``RuntimeError`` where there is none or it is
    damaged."""
    _warm(folder)
    index: Any = faiss.read_index(str(folder / graph.INDEX), faiss.IO_FLAG_MMAP_IFC)
    return Approximate(index if isinstance(index, faiss.IndexIVF) else graph.open(folder, index), vectors, effort)


def _warm(folder: Path) -> None:
    """Read what searches walk through once from the front. faiss checks every link, and a walk needs any code: page by page, in
    the order in which they are asked for, a disk gives a fifteenth of what it can."""
    portion = bytearray(_PORTION)
    for name in (graph.INDEX, graph.CODES):
        if (folder / name).exists():
            with (folder / name).open("rb", buffering=0) as file:
                while file.readinto(portion):
                    pass


def measured(index: Any, vectors: np.ndarray, chosen: Plan, recall: float) -> tuple[list[Tried], bool]:
    """Raise the effort until ``recall`` is kept → what was measured, and whether it is kept."""
    random = np.random.default_rng(1)
    queries = {"like": _like(vectors, random), "unlike": _between(vectors, random)}
    least = {kind: least_right(vectors, asked) for kind, asked in queries.items()}
    search, tried = Approximate(index, vectors, 0), []
    for effort in chosen.efforts:
        shares, took = {}, []
        for kind, asked in queries.items():
            began = time.perf_counter()
            found = [search.nearest(query, K, effort)[1] for query in asked]
            took.append((time.perf_counter() - began) / len(asked))
            # By scores, not by rows: of equal pictures any will do.
            shares[kind] = np.array([(scores >= enough).sum() for scores, enough in zip(found, least[kind], strict=True)]) / K
        lower = [share.mean() - _SURE * share.std() / np.sqrt(len(share)) for share in shares.values()]
        means = {kind: round(float(share.mean()), 4) for kind, share in shares.items()}
        tried.append(Tried(effort=effort, ms=round(1000 * float(np.mean(took)), 4), **means))
        if min(lower) >= recall:
            return tried, True
    return tried, False


def _like(vectors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.ascontiguousarray(vectors[_some(vectors, _QUERIES, random)])


def _between(vectors: np.ndarray, random: np.random.Generator) -> np.ndarray:
    ends = vectors[_some(vectors, 2 * _QUERIES, random)].reshape(2, -1, vectors.shape[1])
    between = ends[0] + _TOWARDS * ends[1]
    return between / np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-12)


def _some(vectors: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    return random.choice(len(vectors), min(count, len(vectors) // 2 * 2), replace=False)


def least_right(vectors: np.ndarray, queries: np.ndarray, k: int = K) -> np.ndarray:
    """Vectors [N, D], queries [Q, D] → float32 [Q]: the score of each query's last right hit, less what products of matrices
    round. Right are the ``k`` nearest, or all where there are fewer; infinite where there are none."""
    if len(vectors) == 0:
        return np.full(len(queries), np.inf, np.float32)
    faiss.omp_set_num_threads(CORES.count)
    return faiss.knn(queries, vectors, min(k, len(vectors)), metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1] - _ROUNDED
