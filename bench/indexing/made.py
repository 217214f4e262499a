"""A number in, a collection of so many made items out, and the gallery that it is of.

Vectors, metadata of four fields and ids are a function of the row. The collection goes the way of a job, by staging and
publishing, but nothing is encoded: the gallery's files have the sizes and times that the catalog knows, so a job takes them
for unchanged.
"""

import csv
import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from index.catalog import Catalog, NewItem, batched
from index.job import keep_bundle
from index.planner import Aim
from index.publish import publish
from model.bundle import Bundle, file_digest
from model.encoder import Encoder

SIZE = 1  # byte of every file
MTIME = 10**18  # ns
_BATCH = 5_000  # items a commit
_LINKS = 60_000  # names of one file; ext4 allows 65,000
_COLOURS = ("red", "green", "blue", "white", "black", "yellow", "grey", "brown", "pink", "orange")


def vectors(rows: range, dim: int) -> np.ndarray:
    """Unit float32 [N, dim], by the row that a block begins with."""
    found = np.random.default_rng([rows.start, dim]).standard_normal((len(rows), dim), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def name(row: int) -> str:
    return f"{row % 1000:03d}/{row:07d}.png"


def metadata(row: int) -> dict[str, Any]:
    return {"name": f"article {row}", "colour": _COLOURS[row % 10], "price": row % 5_000, "shop": row % 97}


def collection(place: Path, gallery: Path, count: int, bundle: Bundle, encoder: Encoder, aim: Aim) -> None:
    """``count`` items, published."""
    shutil.rmtree(place, ignore_errors=True)
    for folder in ("bundles", "generations", "segments"):
        (place / folder).mkdir(parents=True)
    keep_bundle(bundle, place)
    with closing(Catalog(place, create=True)) as catalog:
        job = catalog.begin(str(gallery.resolve()), gallery.resolve(), encoder.fingerprint)
        for rows in track(_blocks(count), "Catalog"):
            items = [NewItem(name(row), f"{row:064x}", metadata(row), SIZE, MTIME) for row in rows]
            known = zip((item.content for item in items), vectors(rows, encoder.dim), strict=True)
            catalog.stage(job, catalog.look_up([]), items=items, vectors=dict(known))
        publish(catalog, place, job, encoder, file_digest(bundle.path / "bundle.json"), aim)


def gallery(place: Path, count: int) -> None:
    """The files of ``count`` items, many names for a few files, and their labels.csv."""
    shutil.rmtree(place, ignore_errors=True)
    for folder in range(min(count, 1000)):
        (place / f"{folder:03d}").mkdir(parents=True)
    for rows in track(list(batched(range(count), _LINKS)), "Gallery"):
        first, *others = (place / name(row) for row in rows)
        first.write_bytes(b"x" * SIZE)
        os.utime(first, ns=(MTIME, MTIME))
        for other in others:
            other.hardlink_to(first)
    with (place / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", *metadata(0)])
        writer.writeheader()
        writer.writerows({"path": name(row)} | metadata(row) for row in range(count))


def change(place: Path, rows: range) -> None:
    """Give these rows' files other bytes, each its own."""
    for row in rows:
        (place / name(row)).unlink()  # not through a name that others share
        (place / name(row)).write_bytes(b"changed %d" % row)


def _blocks(count: int) -> list[range]:
    return [range(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]


def sizes(place: Path) -> Iterator[tuple[str, int]]:
    """Bytes of the catalog's files and of each segment's."""
    for file in sorted([*place.glob("catalog*"), *place.glob("segments/*/*")]):
        yield str(file.relative_to(place)), file.stat().st_size
