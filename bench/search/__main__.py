"""Which search is quickest at the same recall? Ours beside hnswlib, usearch and faiss as it is, one query at a time.

All graphs are built with the same construction effort. Recall: of the ten nearest, counted by scores. Times, on one
thread: the median of turns in which all contenders take part one after the other, in ratios to exact search in the same turn.
``like``: queries drawn like the items, ``unlike``: another data set's. Needs the extra ``bench``. Keeps
build/bench/search-NAME-COUNT.json.
Run: python -m bench.search [real|synthetic] [--count 1000000] [--queries 500] [--turns 3]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.training.cells import BUILD
from index import approximate, columns, planner
from index.approximate import CONSTRUCTION, Approximate, K
from index.planner import Aim
from index.segment import Segment

from .vectors import Vectors, real, synthetic

TARGETS = (0.9, 0.95, 0.99, 0.999)
WIDTHS = (10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024)
CELLS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)

Search = Callable[..., np.ndarray]  # query and effort → rows
Built = tuple[Search, int]  # and bytes beside the vectors


@dataclass
class Contender:
    name: str
    build: Callable[[np.ndarray], Built]
    efforts: tuple[int, ...] = WIDTHS
    seconds: float = 0.0
    bytes: int = 0
    recall: dict[str, list[float]] = field(default_factory=dict)  # by kind of query, an effort each
    times: dict[str, list[list[float]]] = field(default_factory=dict)  # ratios to exact search: turns, efforts

    def at(self, kind: str, target: float) -> tuple[int, float] | None:
        """The least effort that has the recall, and how many times as quick as exact search it is."""
        places = [place for place, recall in enumerate(self.recall[kind]) if recall >= target]
        if not places:
            return None
        speeds = np.median(self.times[kind], axis=0)
        return self.efforts[places[0]], float(speeds[places[0]])


def contenders(count: int, dim: int) -> Iterator[Contender]:
    for aim in (Aim(0.95), Aim(0.99), Aim(0.95, 60 * count)):
        plan = planner.plan(count, dim, aim)
        efforts = WIDTHS if plan.factory.startswith("HNSW") else CELLS
        yield Contender(f"ours, {plan.factory}", _ours(plan), efforts)
    yield Contender("faiss HNSW32", _faiss("HNSW32,Flat"))
    yield Contender("faiss IVF, re-ranked", _faiss(f"{planner.plan(count, dim, Aim(0.95, 60 * count)).factory},RFlat"), CELLS)
    for links in (16, 32):
        yield Contender(f"hnswlib, M = {links}", _hnswlib(links))
    for kind in ("f32", "i8"):
        yield Contender(f"usearch, {kind}", _usearch(kind))


def _ours(plan: planner.Plan) -> Callable[[np.ndarray], Built]:
    def build(vectors: np.ndarray) -> Built:
        index = approximate.build(vectors, plan)
        segment = Segment(
            np.arange(len(vectors)), vectors, lambda: columns.from_metadata([]), "", Approximate(index, vectors, 1)
        )
        return lambda query, effort: segment.search(query, K, effort=effort)[0], _written(index)

    return build


def _faiss(factory: str) -> Callable[[np.ndarray], Built]:
    def build(vectors: np.ndarray) -> Built:
        index: Any = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        refined = isinstance(index, faiss.IndexRefine)
        if not refined:
            index.hnsw.efConstruction = CONSTRUCTION
        index.train(vectors[:: max(1, len(vectors) // 262_144)])
        index.add(vectors)

        def search(query: np.ndarray, effort: int) -> np.ndarray:
            inner = _parameters("IVF", nprobe=effort) if refined else None
            chosen = (
                _parameters("IndexRefine", k_factor=max(8, effort / 5), base_index_params=inner)
                if refined
                else _parameters("HNSW", efSearch=effort)
            )
            return index.search(query[None], K, params=chosen)[1][0]

        return search, _written(index) - vectors.nbytes

    return build


def _parameters(kind: str, **values: Any) -> Any:
    prefix = "" if kind == "IndexRefine" else "SearchParameters"
    return getattr(faiss, f"{prefix}{kind}{'SearchParameters' if kind == 'IndexRefine' else ''}")(**values)


def _hnswlib(links: int) -> Callable[[np.ndarray], Built]:
    def build(vectors: np.ndarray) -> Built:
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), ef_construction=CONSTRUCTION, M=links)
        index.set_num_threads(1)
        index.add_items(vectors, num_threads=1)

        def search(query: np.ndarray, effort: int) -> np.ndarray:
            index.set_ef(effort)
            return index.knn_query(query, k=K, num_threads=1)[0][0].astype(np.int64)

        with tempfile.NamedTemporaryFile() as file:
            index.save_index(file.name)
            return search, Path(file.name).stat().st_size - vectors.nbytes

    return build


def _usearch(kind: str) -> Callable[[np.ndarray], Built]:
    def build(vectors: np.ndarray) -> Built:
        from usearch.index import Index

        index: Any = Index(ndim=vectors.shape[1], metric="ip", dtype=kind, connectivity=16, expansion_add=CONSTRUCTION)
        index.add(np.arange(len(vectors)), vectors, threads=1)

        def search(query: np.ndarray, effort: int) -> np.ndarray:
            index.expansion_search = effort
            return index.search(query, K, threads=1).keys.astype(np.int64)

        return search, index.serialized_length - (vectors.nbytes if kind == "f32" else 0)

    return build


def _written(index: Any) -> int:
    with tempfile.NamedTemporaryFile() as file:
        faiss.write_index(index, file.name)
        return Path(file.name).stat().st_size


def main(name: str, count: int, queries: int, turns: int) -> None:
    faiss.omp_set_num_threads(1)
    vectors = real(count) if name == "real" else synthetic(count)
    asked = {"like": vectors.like[:queries], "unlike": vectors.unlike[:queries]}
    known = list(contenders(*vectors.items.shape))
    searches = {}
    for contender in known:
        began = time.perf_counter()
        searches[contender.name], contender.bytes = contender.build(vectors.items)
        contender.seconds = round(time.perf_counter() - began, 1)
        _look(contender, searches[contender.name], vectors, asked)
        console.print(f"{contender.name}: built in {contender.seconds} s, {contender.bytes / 1e6:,.0f} MB", highlight=False)
    exact = [_turn(known, searches, vectors, asked) for _ in range(turns)]
    record = {"name": name, "count": count, "queries": queries, "turns": turns, "exact_ms": exact}
    record["contenders"] = [{key: value for key, value in vars(each).items() if key != "build"} for each in known]
    file = BUILD / f"search-{name}-{count}.json"
    file.write_text(json.dumps(record, indent=1))
    console.print(f"Exact search: {np.median(exact):.2f} ms a query. All of it: {file}")
    _show(known)


def _look(contender: Contender, search: Search, vectors: Vectors, asked: dict[str, np.ndarray]) -> None:
    for kind, queries in asked.items():
        tenth = faiss.knn(queries, vectors.items, K, metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1] - 1e-6
        contender.times[kind] = []
        contender.recall[kind] = [
            float(
                np.mean(
                    [
                        (vectors.items[search(query, effort)] @ query >= least).sum() / K
                        for query, least in zip(queries, tenth, strict=True)
                    ]
                )
            )
            for effort in contender.efforts
        ]


def _turn(known: list[Contender], searches: dict[str, Search], vectors: Vectors, asked: dict[str, np.ndarray]) -> float:
    """Everybody once; milliseconds of exact search, which is asked before and after each contender."""
    began = [_exact(vectors)]
    for contender in known:
        took = {
            kind: [_seconds(partial(searches[contender.name], effort=effort), queries) for effort in contender.efforts]
            for kind, queries in asked.items()
        }
        began.append(_exact(vectors))
        for kind, seconds in took.items():
            contender.times[kind].append([float(np.mean(began[-2:])) / each for each in seconds])
    return 1000 * float(np.median(began))


def _exact(vectors: Vectors) -> float:
    return _seconds(
        lambda query: faiss.knn(query[None], vectors.items, K, metric=faiss.METRIC_INNER_PRODUCT), vectors.like[:20]
    )


def _seconds(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> float:
    began = time.perf_counter()
    for query in queries:
        search(query)
    return (time.perf_counter() - began) / len(queries)


def _show(known: list[Contender]) -> None:
    table = Table("", "build s", "MB", *(f"{kind} {target}" for kind in ("like", "unlike") for target in TARGETS))
    for each in known:
        cells = [each.at(kind, target) for kind in ("like", "unlike") for target in TARGETS]
        told = [f"{cell[1]:,.0f} × ({cell[0]})" if cell else "–" for cell in cells]
        table.add_row(each.name, f"{each.seconds:,.0f}", f"{each.bytes / 1e6:,.0f}", *told)
    console.print(table)


console = Console(width=160)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=["real", "synthetic"], default="real")
    parser.add_argument("--count", type=int, default=1_000_000, help="40,000 at least: fewer are searched exactly")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--turns", type=int, default=3)
    main(**vars(parser.parse_args()))
