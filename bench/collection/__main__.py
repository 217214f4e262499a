"""Does a large collection keep what it promises: with filters, for many callers, when it is opened, while a job publishes?

Real vectors (bench.search.vectors), queries of another data set. Keeps build/bench/collection-COUNT.json.
Run: python -m bench.collection [opening depths filters callers merge] [--count 1000000] [--live 10000] [--seconds 20]
"""

import argparse
import json
import multiprocessing
import resource
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.search.vectors import Vectors, real
from bench.training.cells import BUILD
from index.search import filters
from index.search.approximate import K, least_right
from index.search.filters import Filter
from index.search.searcher import Hit, Searcher
from model.bundle import load
from model.encoder import open_encoder
from service.engine import Engine

from .made import collection, draw, row_of, sizes
from .processes import BUNDLE, PRECISION, grow, opened, private
from .processes import engine as engine_of

QUERIES = 500
GROWTH = 0.12  # more than a tenth, so that a job merges
SHARES = (0.5, 0.05, 0.001, 0.0)  # of the items, that filters hold for
DEPTHS = (10, 20, 50, 100, 1000)  # hits that are asked for
CALLERS = (1, 2, 8)
TURNS = 3
_SLOW = 0.05  # seconds


@dataclass(frozen=True)
class Large:
    """``asked``: queries float32 [Q, D], of another data set than the items."""

    place: Path
    count: int
    vectors: Vectors
    asked: np.ndarray

    def least(self, rows: np.ndarray | slice, k: int = K) -> np.ndarray:
        """float32 [Q]: the score of the k-th nearest of some rows to each query, of the last where there are fewer."""
        return least_right(np.ascontiguousarray(self.vectors.items[rows]), self.asked, k)


MEASURES: dict[str, Callable[[Large, float], dict[str, Any]]] = {
    "opening": lambda large, _: opening(large),
    "depths": lambda large, _: _served(large, deep),
    "filters": lambda large, _: _served(large, filtered),
    "callers": lambda large, seconds: _served(large, partial(callers, seconds=seconds)),
    "merge": lambda large, seconds: merged(large, large.vectors.items.shape[0] - large.count, seconds),
}


def main(measures: list[str], count: int, live: int, seconds: float) -> None:
    bundle = load(BUNDLE)
    encoder = open_encoder(bundle, "openvino", PRECISION)
    vectors = real(count + live + round(GROWTH * count))
    place = collection(count, live, vectors, bundle, encoder)
    large = Large(place, count + live, vectors, vectors.unlike[:QUERIES])
    kept = BUILD / f"collection-{count}.json"
    figures: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    figures |= {"count": count, "live": live, "bytes": dict(sizes(place))}
    for name in measures or MEASURES:
        figures[name] = MEASURES[name](large, seconds)
        print(json.dumps({name: figures[name]}, indent=1), flush=True)
        kept.write_text(json.dumps(figures, indent=1))


def _served(large: Large, measure: Callable[[Large, Searcher], dict[str, Any]]) -> dict[str, Any]:
    engine = engine_of(large.place)
    try:
        return measure(large, engine.serving.searcher)
    finally:
        engine.close()


# --- opening ---


def opening(large: Large) -> dict[str, Any]:
    """Three processes at once; what the last one has for itself is what any further one costs."""
    spawn = multiprocessing.get_context("spawn")
    running = []
    for _ in range(3):
        here, there = spawn.Pipe()
        process = spawn.Process(target=opened, args=(large.place, large.asked, there))
        process.start()
        running.append((process, here, here.recv()))
    found = [told | {"private_mb": round(private(process.pid or 0) - told["before_mb"], 1)} for process, _, told in running]
    for process, here, _ in running:
        here.send("end")
        process.join()
    return {"processes": found}


# --- more hits than ten ---


def deep(large: Large, searcher: Searcher) -> dict[str, Any]:
    """Recall of so many hits with the collection's own effort, which was measured for ten."""
    found = {}
    for k in DEPTHS:
        least = large.least(slice(0, large.count), k)
        asked = [_timed(lambda: searcher.search(query, k)) for query in large.asked]  # noqa: B023
        right = sum(hit.score >= enough for (_, hits), enough in zip(asked, least, strict=True) for hit in hits)
        p50 = 1000 * float(np.median([took for took, _ in asked]))
        found[f"{k} hits"] = {"recall": round(right / (k * len(asked)), 4), "p50_ms": round(p50, 3)}
    return found


# --- filters ---


def filtered(large: Large, searcher: Searcher) -> dict[str, Any]:
    """Beside each search with a filter one without; what is found, against an exact search by numpy's own rows."""
    draws = np.array([draw(row) for row in range(large.count)])
    emoji = large.vectors.pictures[: large.count] < large.vectors.emoji
    asked: dict[str, tuple[dict[str, Any], np.ndarray]]
    asked = {f"{share:.1%} by chance": ({"draw": {"<": share}}, draws < share) for share in SHARES}
    asked["emoji only"] = {"kind": "emoji"}, emoji
    return {name: _filtered(large, searcher, filters.parse(given), mask) for name, (given, mask) in asked.items()}


def _filtered(large: Large, searcher: Searcher, filter: Filter, mask: np.ndarray) -> dict[str, Any]:
    passing = np.flatnonzero(mask)
    least = large.least(passing)
    began = time.perf_counter()
    searcher.search(large.asked[0], K, filter=filter)
    first = time.perf_counter() - began
    times: list[tuple[float, float]] = []
    right, few = 0, 0
    for query, enough in zip(large.asked, least, strict=True):
        plain, _ = _timed(lambda: searcher.search(query, K))  # noqa: B023
        took, hits = _timed(lambda: searcher.search(query, K, filter=filter))  # noqa: B023
        times.append((plain, took))
        right += sum(hit.score >= enough and mask[row_of(hit.item.id)] for hit in hits)
        few += len(hits) < min(K, len(passing))
    plain, took = np.median(times, axis=0)
    return {
        "share": round(len(passing) / large.count, 5),
        "recall": round(right / max(1, min(K, len(passing)) * len(least)), 4) if len(passing) else None,
        "too_few": few,
        "first_use_ms": round(1000 * first, 2),
        "p50_ms": round(1000 * took, 3),
        "p50_ms_without": round(1000 * plain, 3),
    }


def _timed(search: Callable[[], list[Hit]]) -> tuple[float, list[Hit]]:
    began = time.perf_counter()
    hits = search()
    return time.perf_counter() - began, hits


# --- callers ---


def callers(large: Large, searcher: Searcher, seconds: float) -> dict[str, Any]:
    """Searches a second of so many threads together, in turns; approximate ones and exact ones."""
    rates: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for effort in (None, 0):
            for threads in CALLERS:
                log = Log()
                _search_for(seconds / TURNS, large, lambda: searcher, log, threads, effort)
                name = f"{threads} callers, {'exact' if effort == 0 else 'approximate'}"
                rates.setdefault(name, []).append(len(log.done) / (seconds / TURNS))
    return {name: {"per_second": [round(rate) for rate in sorted(found)]} for name, found in rates.items()}


@dataclass
class Log:
    """``done``: when a search ended, how long it took, the generation, the query, and its scores. ``slow``: of the slowest,
    what its thread did meanwhile."""

    done: list[tuple[float, float, int, int, np.ndarray]] = field(default_factory=list)
    slow: list[dict[str, float]] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)


def _search_for(
    seconds: float,
    large: Large,
    searcher: Callable[[], Searcher],
    log: Log,
    threads: int = 1,
    effort: int | None = None,
    goes_on: Callable[[], bool] = lambda: False,
) -> None:
    ends = time.perf_counter() + seconds

    def search(first: int) -> None:
        number = first
        try:
            while time.perf_counter() < ends or goes_on():
                number = (number + 1) % len(large.asked)
                current, before = searcher(), resource.getrusage(resource.RUSAGE_THREAD)
                took, hits = _timed(lambda: current.search(large.asked[number], K, effort=effort))  # noqa: B023
                # An array: a million lists are a second's work for Python's collector.
                scores = np.array([hit.score for hit in hits], np.float32)
                log.done.append((time.perf_counter(), took, current.generation.number, number, scores))
                if took > _SLOW:
                    log.slow.append(_used(took, before, resource.getrusage(resource.RUSAGE_THREAD)))
        except BaseException as error:
            log.failed.append(error)

    running = [threading.Thread(target=search, args=(37 * each,)) for each in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _used(took: float, before: resource.struct_rusage, after: resource.struct_rusage) -> dict[str, float]:
    """Of a thread: wall and processor time, pages that came from the disk, and how often it waited or had to make way."""
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "ms": round(1000 * took, 1),
        "processor_ms": round(1000 * processor, 1),
        "pages_read": after.ru_majflt - before.ru_majflt,
        "waited": after.ru_nvcsw - before.ru_nvcsw,
        "made_way": after.ru_nivcsw - before.ru_nivcsw,
    }


# --- merge and publish ---


def merged(large: Large, grown: int, seconds: float) -> dict[str, Any]:
    """A server's engine searches and follows while a job in another process adds ``grown`` items, merges and publishes."""
    copied = large.place.with_suffix(".merging")
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(large.place, copied)
    engine = engine_of(copied)
    before = engine.serving.searcher.generation.number
    rows = range(large.count, large.count + grown)
    least = {before: large.least(slice(0, large.count)), before + 1: large.least(slice(0, rows.stop))}
    quiet, beside = Log(), Log()
    ended = threading.Event()
    following = threading.Thread(target=_follow, args=(engine, ended))
    following.start()
    _search_for(seconds, large, lambda: engine.serving.searcher, quiet)
    job = multiprocessing.get_context("spawn").Process(target=grow, args=(copied, rows))
    job.start()
    # Until the server serves what was published, and for a while after.
    _search_for(0, large, lambda: engine.serving.searcher, beside, goes_on=job.is_alive)
    _search_for(seconds, large, lambda: engine.serving.searcher, beside)
    ended.set()
    following.join()
    served = engine.serving.searcher.generation.number
    engine.close()
    shutil.rmtree(copied)
    assert job.exitcode == 0 and served == before + 1, (job.exitcode, served)
    swapped = next(at for at, _, generation, _, _ in beside.done if generation != before)
    return {
        "errors": len(quiet.failed) + len(beside.failed),
        "quiet": _told(quiet.done, least) | {"slow": quiet.slow},
        "slow beside the job": sorted(beside.slow, key=lambda each: -each["ms"])[:20],
        "while the job works": _told([each for each in beside.done if each[0] < swapped], least),
        "around the swap, 2 s": _told([each for each in beside.done if abs(each[0] - swapped) < 1], least),
        "after": _told([each for each in beside.done if each[0] >= swapped], least),
    }


def _follow(engine: Engine, ended: threading.Event) -> None:
    while not ended.wait(0.5):
        assert engine.follow()


def _told(done: list[tuple[float, float, int, int, np.ndarray]], least: dict[int, np.ndarray]) -> dict[str, Any]:
    times = 1000 * np.array([took for _, took, _, _, _ in done])
    right = sum(np.count_nonzero(scores >= least[generation][number]) for _, _, generation, number, scores in done)
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {
        "searches": len(done),
        "recall": round(right / (K * len(done)), 4),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
        "slowest_ms": round(float(times.max()), 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []])
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--live", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20, help="of each load")
    main(**vars(parser.parse_args()))
