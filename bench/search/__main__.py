"""Which search is quickest at the same recall? Ours beside hnswlib, usearch and faiss as it is, one query at a time.

Recall: of the ten nearest, counted by scores. Times, on one thread: the median of turns in which all contenders take part one
after the other, in ratios to exact search in the same turn. ``like``: queries drawn like the items, ``unlike``: another data
set's. Needs the extra ``bench``. Keeps the indexes and what it found in build/bench/search-NAME-COUNT.
Run: python -m bench.search [real|synthetic] [--count 1000000] [--queries 500] [--turns 3] [--build 0,1,2: build only these]
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.training.cells import BUILD
from index.search.approximate import K, least_right

from .contenders import Contender, Search, contenders
from .vectors import Vectors, real, synthetic

TARGETS = (0.9, 0.95, 0.99, 0.999)


def main(name: str, count: int, queries: int, turns: int, build: list[int]) -> None:
    faiss.omp_set_num_threads(1)
    vectors = real(count) if name == "real" else synthetic(count)
    folder = BUILD / f"search-{name}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    known = list(contenders(*vectors.items.shape))
    for number in build:
        known[number].built(vectors.items, folder)
    if build:
        return
    asked = {"like": vectors.like[:queries], "unlike": vectors.unlike[:queries]}
    least = {kind: least_right(vectors.items, some) for kind, some in asked.items()}
    faiss.omp_set_num_threads(1)
    searches = {}
    for each in known:
        searches[each.name] = each.open(vectors.items, each.built(vectors.items, folder))
        for kind, some in asked.items():
            recall = partial(_recall, searches[each.name], vectors.items, some, least[kind])
            each.recall[kind], each.times[kind] = [recall(effort) for effort in each.efforts], []
        console.print(f"{each.name}: built in {each.seconds} s, {each.bytes / 1e6:,.0f} MB", highlight=False)
    exact = [_turn(known, searches, vectors, asked) for _ in range(turns)]
    record: dict[str, Any] = {"name": name, "count": count, "queries": queries, "turns": turns, "exact_ms": exact}
    record["contenders"] = [{key: value for key, value in vars(each).items() if not callable(value)} for each in known]
    (folder / "found.json").write_text(json.dumps(record, indent=1))
    console.print(f"Exact search: {np.median(exact):.2f} ms a query. All of it: {folder / 'found.json'}")
    _show(known)


def _recall(search: Search, items: np.ndarray, queries: np.ndarray, least: np.ndarray, effort: int) -> float:
    right = [(items[search(query, effort)] @ query >= enough).sum() for query, enough in zip(queries, least, strict=True)]
    return float(np.mean(right)) / K


def _turn(known: list[Contender], searches: dict[str, Search], vectors: Vectors, asked: dict[str, np.ndarray]) -> float:
    """Everybody once; milliseconds of exact search, which is asked before and after each contender. Nobody begins with memory
    that others have just used."""
    began = [_exact(vectors)]
    for contender in known:
        took = {}
        for kind, queries in asked.items():
            searching = [partial(searches[contender.name], effort=effort) for effort in contender.efforts]
            _seconds(searching[len(searching) // 2], queries)
            took[kind] = [_seconds(search, queries) for search in searching]
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
    parser.add_argument("--build", type=lambda text: [int(part) for part in text.split(",")], default=[])
    main(**vars(parser.parse_args()))
