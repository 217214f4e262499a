"""How much of a bare loop's speed does a job keep? And what does it cost where nothing, or little, changed?"""

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from index import gallery as galleries
from index.catalog import batched
from index.gallery import Entry
from index.job import job
from model.bundle import Bundle
from model.encoder import Encoder

from .standin import StandIn

PICTURES = Path("build/emoji")
TURNS = 3
CHANGED = 0.01
DIM = 128


def beside_a_bare_loop(place: Path, bundle: Bundle, encoder: Encoder, count: int) -> dict[str, Any]:
    """Images a second of a first job and of the same decoder and encoder without it, in turns."""
    gallery = place / "pictures"
    gallery.mkdir()
    files = [(gallery / f"{number:06d}{path.suffix}", path) for number, path in enumerate(distinct(count))]
    for link, path in files:
        link.symlink_to(path.absolute())
    paths, ratios, rates = [link for link, _ in files], [], []
    for turn in range(TURNS):
        bare = _timed(lambda: _bare(paths, encoder))
        took = _timed(lambda: job.run(gallery, bundle, encoder, place / f"turn{turn}"))  # noqa: B023
        ratios.append(bare / took)
        rates.append((len(paths) / bare, len(paths) / took))
    bare_rate, rate = np.median(rates, axis=0)
    return {
        "pictures": len(paths),
        "bare_per_second": round(float(bare_rate), 1),
        "job_per_second": round(float(rate), 1),
        "job_to_bare": [round(ratio, 3) for ratio in sorted(ratios)],
        "median": round(median(ratios), 3),
    }


def again(place: Path, bundle: Bundle, seconds: float, count: int) -> dict[str, Any]:
    """A first job over ``count`` files, one over the same files, and one where a hundredth of them changed; ``seconds`` that
    encoding takes an image."""
    gallery, collection = place / "files", place / "again"
    encoder = StandIn(bundle, DIM, seconds)
    names = [gallery / f"{number % 100:02d}" / f"{number:07d}.png" for number in range(count)]
    for folder in range(min(count, 100)):
        (gallery / f"{folder:02d}").mkdir(parents=True)
    for number, name in enumerate(names):
        name.write_bytes(b"file %d" % number)
    first, unchanged = (_timed(lambda: job.run(gallery, bundle, encoder, collection)) for _ in range(2))
    for name in names[:: round(1 / CHANGED)]:
        name.write_bytes(b"other " + name.name.encode())
    changed = _timed(lambda: job.run(gallery, bundle, encoder, collection))
    return {
        "files": count,
        "ms_an_image": round(1000 * seconds, 3),
        "first_seconds": round(first, 2),
        "unchanged_seconds": round(unchanged, 2),
        "unchanged_share": round(unchanged / first, 4),
        "changed_seconds": round(changed, 2),
        "changed_share": round(changed / first, 4),
    }


def seconds_an_image(encoder: Encoder, paths: list[Path]) -> float:
    """Of the bare loop."""
    return _timed(lambda: _bare(paths, encoder)) / len(paths)


def _bare(paths: list[Path], encoder: Encoder) -> None:
    """Threads read one batch while the one before is encoded, as a job does."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        ahead = None
        for some in batched(paths, job.BATCH):
            reading = [pool.submit(lambda path: encoder.transform(path.read_bytes()), path) for path in some]
            if ahead is not None:
                encoder.encode(np.stack([each.result() for each in ahead]))
            ahead = reading
        if ahead is not None:
            encoder.encode(np.stack([each.result() for each in ahead]))


def distinct(count: int) -> Iterator[Path]:
    """Pictures of different bytes: a job encodes equal ones once."""
    seen: set[str] = set()
    for entry in galleries.open(PICTURES).scan():
        if len(seen) == count:
            return
        if isinstance(entry, Entry):
            file = PICTURES / entry.id
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest not in seen:
                seen.add(digest)
                yield file


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
