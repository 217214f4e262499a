"""Millions of rows: what a night costs in time, memory and disk, and whether search notices.

Every job is a process of its own; this one serves meanwhile, and reads from the kernel what the job holds.
"""

import multiprocessing
import re
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from index import job
from index.catalog import Catalog
from index.planner import Aim
from index.searcher import Searcher
from model.bundle import Bundle, load

from . import made
from .live import K
from .standin import StandIn

MERGED = 0.12  # share of the items: more than a tenth, so that a job merges
_EVERY = 0.05  # seconds between two looks at a job's memory


def night(place: Path, bundle: Bundle, encoder: StandIn, count: int, changed: int, aim: Aim) -> dict[str, Any]:
    """A collection of ``count`` items is made; then jobs: nothing changed, ``changed`` items, so many that they merge."""
    collection, gallery = place / "rows", place / "gallery"
    began = time.perf_counter()
    made.gallery(gallery, count)
    made.collection(collection, gallery, count, bundle, encoder, aim)
    figures: dict[str, Any] = {"rows": count, "dim": encoder.dim, "made_seconds": round(time.perf_counter() - began, 1)}
    figures["bytes"] = dict(made.sizes(collection))
    more = range(changed, changed + max(1, round(MERGED * count)))
    nights = {"nothing changed": range(0), f"{changed:,} changed": range(changed), f"{len(more):,} more changed": more}
    for name, rows in nights.items():
        made.change(gallery, rows)
        figures[name] = _beside_searches(collection, gallery, bundle, encoder, aim)
    return figures


def _beside_searches(collection: Path, gallery: Path, bundle: Bundle, encoder: StandIn, aim: Aim) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=work, args=(gallery, bundle.path, encoder.dim, collection, aim, there))
    queries = made.vectors(range(10**9, 10**9 + 1_000), encoder.dim)
    times, peak, looked, number = list[float](), 0.0, 0.0, 0
    with closing(Catalog(collection)) as catalog:
        generation = catalog.state().generation
        assert generation is not None
        searcher = Searcher(collection, catalog, generation, encoder.dim)
        began = time.perf_counter()
        process.start()
        while process.is_alive():
            before = time.perf_counter()
            searcher.search(queries[number % len(queries)], K)
            after = time.perf_counter()
            number += 1
            times.append(1000 * (after - before))
            if after - looked > _EVERY:
                peak, looked = max(peak, _own_memory(process.pid)), after
                searcher.follow()
        seconds = time.perf_counter() - began
    assert process.exitcode == 0, process.exitcode
    report: job.Report = here.recv()
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {
        "unchanged": report.unchanged,
        "encoded": report.encoded,
        "seconds": round(seconds, 1),
        "peak_mb": round(peak, 1),
        "searches": len(times),
        "search_p50_ms": round(float(p50), 3),
        "search_p99_ms": round(float(p99), 3),
        "disk_mb": round(sum(size for _, size in made.sizes(collection)) / 1e6, 1),
    }


def work(gallery: Path, bundle: Path, dim: int, collection: Path, aim: Aim, pipe: Connection) -> None:
    opened = load(bundle)
    pipe.send(job.run(gallery, opened, StandIn(opened, dim), collection, aim=aim))


def _own_memory(pid: int | None) -> float:
    """Megabytes of a process beside the files that it maps; 0 where it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
