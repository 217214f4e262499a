"""A thousand changes a second while other processes search: is anything found that was taken away, is anything new missed?

Also what a follower pays for a few changes when it holds very many, and what a search pays for these.
"""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from index.catalog import Catalog, Delete, Edit, Item, NewItem, Patch, Put, Refused
from index.lifecycle.publish import publish
from index.search.planner import Aim
from index.search.searcher import Searcher
from model.bundle import Bundle, file_digest
from model.encoder import Encoder

from . import made

K = 10
SEARCHERS = 4
BATCH = 100  # changes that are sent together
FOLLOW = 0.25  # seconds
FOUND_WITHIN = 1.0  # seconds
_PROBED = 20  # each so many additions one is looked for


# --- a follower that holds much ---


def followed(place: Path, bundle: Bundle, encoder: Encoder, held: int, turns: int) -> dict[str, Any]:
    """Milliseconds of ``follow`` after 100 changes, and of a search, before there are live items and with ``held`` of them."""
    with closing(Catalog(place)) as catalog:
        searcher = _searcher(catalog, place, encoder.dim)
        queries = made.vectors(range(10**9, 10**9 + 500), encoder.dim)
        empty = _searches(searcher, queries)
        _announce(catalog, place, bundle, encoder, held)
        searcher = _searcher(catalog, place, encoder.dim)
        full = _searches(searcher, queries)
        follows, vectors = [], made.vectors(range(2 * 10**9, 2 * 10**9 + BATCH), encoder.dim)
        for turn in range(turns):
            for number, vector in enumerate(vectors):
                name = f"live/{(turn * BATCH + number) % held:07d}.png"
                catalog.put(NewItem(name, f"{turn}-{number}", {"turn": turn}, 1, 1), encoder.fingerprint, vector)
            began = time.perf_counter()
            searcher.follow()
            follows.append(1000 * (time.perf_counter() - began))
    return {
        "live": held,
        "follow_100_ms": _quantiles(follows),
        "search_ms_without": _quantiles(empty),
        "search_ms_with": _quantiles(full),
        "search_ratio": round(float(np.median(full) / np.median(empty)), 2),
    }


def _announce(catalog: Catalog, place: Path, bundle: Bundle, encoder: Encoder, count: int) -> None:
    """Items whose vectors come after they were published: the quickest way to many live ones."""
    job = catalog.begin("live", place, encoder.fingerprint)
    names = [f"live/{number:07d}.png" for number in range(count)]
    items = [NewItem(name, name, made.metadata(number), 1, 1) for number, name in enumerate(names)]
    catalog.stage(job, catalog.look_up([]), items=items)
    publish(catalog, place, job, encoder, file_digest(bundle.path / "bundle.json"), Aim())
    found = catalog.pending(encoder.fingerprint)
    vectors = made.vectors(range(3 * 10**9, 3 * 10**9 + count), encoder.dim)
    catalog.add_pending(encoder.fingerprint, found, dict(zip(names, vectors, strict=True)))


def _searches(searcher: Searcher, queries: np.ndarray) -> list[float]:
    times = []
    for query in queries:
        began = time.perf_counter()
        searcher.search(query, K)
        times.append(1000 * (time.perf_counter() - began))
    return times


def _searcher(catalog: Catalog, place: Path, dim: int) -> Searcher:
    number = catalog.state().generation
    assert number is not None
    return Searcher(place, catalog, number, dim)


# --- changes and searches at once ---


@dataclass
class Told:
    """What a searching process saw. ``hits``: when each search began and the keys that it found; ``missed``: when a search for
    an addition ended, and its key, where it was not found."""

    hits: list[tuple[float, list[int]]] = field(default_factory=list)
    missed: list[tuple[float, int]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # ms
    probed: int = 0
    error: str = ""


@dataclass
class Written:
    """``retired``: when the answer came that a key is no more."""

    retired: dict[int, float] = field(default_factory=dict)
    changes: int = 0
    seconds: float = 0.0
    late: float = 0.0  # seconds that the writer fell behind the rate at the most


def changing(place: Path, encoder: Encoder, count: int, rate: int, seconds: float) -> dict[str, Any]:
    """``rate`` changes a second of a collection of ``count`` items while processes search."""
    spawn = multiprocessing.get_context("spawn")
    running = []
    for number in range(SEARCHERS):
        here, there = spawn.Pipe()
        process = spawn.Process(target=search, args=(place, encoder.dim, number, there))
        process.start()
        running.append((process, here))
    pipes = [here for _, here in running]
    for here in pipes:
        here.recv()  # it is open
    with closing(Catalog(place)) as catalog:
        written = _write(catalog, encoder, count, rate, seconds, pipes)
    for here in pipes:
        here.send(None)
    told = [here.recv() for here in pipes]
    for process, _ in running:
        process.join()
    never = np.inf
    return {
        "changes": written.changes,
        "per_second": round(written.changes / written.seconds),
        "behind_seconds": round(written.late, 2),
        "searches": sum(len(each.hits) for each in told),
        "errors": [each.error for each in told if each.error],
        "found_after_they_went": sum(
            written.retired.get(key, never) < began for each in told for began, keys in each.hits for key in keys
        ),
        "additions_looked_for": sum(each.probed for each in told),
        "additions_missed": sum(written.retired.get(key, never) > ended for each in told for ended, key in each.missed),
        "search_ms": _quantiles([ms for each in told for ms in each.times]),
    }


def _write(catalog: Catalog, encoder: Encoder, count: int, rate: int, seconds: float, pipes: list[Connection]) -> Written:
    """Of twenty changes eight are of metadata, six of pictures, three additions, three deletions, so the number stays."""
    written, random = Written(), np.random.default_rng(0)
    items = {item.id: item for item in catalog.live(catalog.live_keys()[:count].tolist()).values()}
    ids, began = list(items), time.perf_counter()
    while (now := time.perf_counter() - began) < seconds:
        written.late = max(written.late, now - written.changes / rate)
        vectors = made.vectors(range(10**10 + written.changes, 10**10 + written.changes + BATCH), encoder.dim)
        edits, old = list[Edit](), dict[str, Item]()
        for number, vector in enumerate(vectors, written.changes):
            place, kind = int(random.integers(len(ids))), number % 20
            while ids[place] in old or ids[place] not in items:  # each id once a batch
                place = int(random.integers(len(ids)))
            if kind < 3:
                edits.append(_put(f"new/{number:07d}.png", f"new {number}", number, vector))
                ids.append(f"new/{number:07d}.png")
                continue
            item = old[ids[place]] = items[ids[place]]
            if kind < 6:
                edits.append(Delete(item.id))
                ids[place] = ids[-1]
                ids.pop()
            elif kind < 14:
                edits.append(Patch(item.id, item.metadata | {"price": number}))
            else:
                edits.append(_put(item.id, f"other {number}", number, vector))
        results = catalog.apply(edits, encoder.fingerprint)
        answered = time.perf_counter()
        written.retired |= {item.key: answered for item in old.values()}
        for number, (edit, result, vector) in enumerate(zip(edits, results, vectors, strict=True), written.changes):
            assert not isinstance(result, Refused)
            if result is None:
                del items[edit.id]
            else:
                items[edit.id] = result
                if number % (20 * _PROBED) < 3:
                    pipes[number % len(pipes)].send((answered, result.key, vector))
        written.changes += BATCH
        time.sleep(max(0.0, began + written.changes / rate - time.perf_counter()))
    written.seconds = time.perf_counter() - began
    return written


def _put(id: str, content: str, number: int, vector: np.ndarray) -> Put:
    return Put(NewItem(id, content, {"price": number}, 1, 1), vector)


def search(place: Path, dim: int, number: int, pipe: Connection) -> None:
    """Search and follow until told to end; look for every addition that is told, once it has to be found."""
    told, awaited = Told(), list[tuple[float, int, np.ndarray]]()
    queries = made.vectors(range(10**9 + number, 10**9 + number + 1_000), dim)
    try:
        with closing(Catalog(place)) as catalog:
            searcher = _searcher(catalog, place, dim)
            pipe.send("open")
            for query in _until_told(pipe, awaited, queries, searcher):
                due = awaited and awaited[0][0] + FOUND_WITHIN < time.perf_counter()
                _, wanted, vector = awaited.pop(0) if due else (0.0, None, query)
                began = time.perf_counter()
                keys = [hit.item.key for hit in searcher.search(vector, K)]
                ended = time.perf_counter()
                told.hits.append((began, keys))
                told.times.append(1000 * (ended - began))
                if wanted is not None:
                    told.probed += 1
                    if wanted not in keys:
                        told.missed.append((ended, wanted))
    except Exception as error:
        told.error = repr(error)
    pipe.send(told)


def _until_told(
    pipe: Connection, awaited: list[tuple[float, int, np.ndarray]], queries: np.ndarray, searcher: Searcher
) -> Iterator[np.ndarray]:
    followed, number = time.perf_counter(), 0
    while True:
        while pipe.poll():
            if (given := pipe.recv()) is None:
                return
            awaited.append(given)
        if time.perf_counter() - followed > FOLLOW:
            searcher.follow()
            followed = time.perf_counter()
        number += 1
        yield queries[number % len(queries)]


def _quantiles(times: list[float]) -> dict[str, float]:
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return {"p50": round(float(p50), 3), "p99": round(float(p99), 3), "most": round(max(times), 3)}
