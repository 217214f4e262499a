"""Millions of rows: what a night costs in time, memory and disk, and whether search notices.

Every job is a process of its own; this one serves meanwhile, and reads from the kernel what the job holds.
"""

import multiprocessing
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from index.catalog import Catalog
from index.job import job
from index.lifecycle.history import roll_back
from index.search.cores import give_way
from index.search.planner import Aim
from index.search.searcher import Searcher
from index.upkeep.backup import backup
from model.bundle import Bundle, load

from . import made
from .live import K
from .standin import StandIn

MERGED = 0.12  # share of the items: more than a tenth, so that a job merges
_EVERY = 0.05  # seconds between two looks at a job's memory


def night(place: Path, bundle: Bundle, encoder: StandIn, count: int, changed: int, aim: Aim) -> dict[str, Any]:
    """A collection of ``count`` items is made. Then jobs: nothing changed, ``changed`` items, so many that they merge; then the
    way back, forward again, and two backups."""
    collection, folder = place / "rows", place / "gallery"
    began = time.perf_counter()
    gallery = made.listing(folder, count, range(0))
    made.collection(collection, gallery, count, bundle, encoder, aim)
    figures: dict[str, Any] = {"rows": count, "dim": encoder.dim, "made_seconds": round(time.perf_counter() - began, 1)}
    figures["bytes"] = dict(made.sizes(collection))
    more = round(MERGED * count)
    for name, rows in {"nothing": range(0), f"{changed:,}": range(changed), f"{more:,} more": range(changed + more)}.items():
        made.listing(folder, count, rows)
        job = _Work(index, (gallery, bundle.path, encoder.dim, collection, aim))
        figures[f"a job, {name} changed"] = _beside_searches(collection, job, encoder.dim)
    for name in ("rollback", "forward again"):
        figures[name] = _beside_searches(collection, _Work(go, (collection, name == "rollback")), encoder.dim)
    for name in ("backup", "second backup"):
        figures[name] = _beside_searches(collection, _Work(back_up, (collection, place / "backup")), encoder.dim)
    return figures


@dataclass(frozen=True)
class _Work:
    """What a process of its own does; it returns figures."""

    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]


def _beside_searches(collection: Path, work: _Work, dim: int) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=run, args=(work, there))
    queries = made.vectors(range(10**9, 10**9 + 1_000), dim)
    times, peak, looked, number = list[float](), 0.0, 0.0, 0
    with closing(Catalog(collection)) as catalog:
        generation = catalog.state().generation
        assert generation is not None
        searcher = Searcher(collection, catalog, generation, dim)
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
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return here.recv() | {
        "seconds": round(seconds, 1),
        "peak_mb": round(peak, 1),
        "searches": len(times),
        "search_p50_ms": round(float(p50), 3),
        "search_p99_ms": round(float(p99), 3),
        "disk_mb": round(sum(size for _, size in made.sizes(collection)) / 1e6, 1),
    }


def run(work: _Work, pipe: Connection) -> None:
    began = time.perf_counter()
    found = work.function(*work.arguments)
    pipe.send(found | {"of it at work": round(time.perf_counter() - began, 1)})


def index(gallery: Path, bundle: Path, dim: int, collection: Path, aim: Aim) -> dict[str, Any]:
    give_way()  # as the command does
    opened = load(bundle)
    report = job.run(gallery, opened, StandIn(opened, dim), collection, aim=aim)
    return {"unchanged": report.unchanged, "encoded": report.encoded}


def go(collection: Path, back: bool) -> dict[str, Any]:
    with closing(Catalog(collection)) as catalog:
        numbers = sorted(catalog.done())
        return {"generation": roll_back(catalog, collection, numbers[-2] if back else numbers[-1]).number}


def back_up(collection: Path, to: Path) -> dict[str, Any]:
    made_by = backup(collection, to)
    return {"copied_mb": round(made_by.copied / 1e6, 1), "linked_mb": round(made_by.linked / 1e6, 1)}


def _own_memory(pid: int | None) -> float:
    """Megabytes of a process beside the files that it maps; 0 where it has ended."""
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
