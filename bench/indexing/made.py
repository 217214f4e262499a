"""A number in, a collection of so many made items out, and the list that it is of.

Vectors, metadata of four fields and ids are a function of the row. The collection goes the way of a job, by staging and
publishing, but nothing is encoded: the list has the sizes and times that the catalog knows, so a job takes them for unchanged.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from index import gallery as galleries
from index.catalog import Catalog, NewItem
from index.gallery.entry import stamp
from index.job.keeping import keep_bundle, lay_out
from index.lifecycle.publish import publish
from index.search.planner import Aim
from model.bundle import Bundle, file_digest
from model.encoder import Encoder

LIST = "list.parquet"
SIZE = 1  # byte, as the list says
MTIME = 10**18  # ns
_BATCH = 5_000  # items a commit
_FREE, _NOISE = 16, 0.4  # numbers that a vector is made of; a tenth of their length
_FIELDS = (("name", pa.string()), ("colour", pa.string()), ("price", pa.int64()), ("shop", pa.int64()))
_COLOURS = ("red", "green", "blue", "white", "black", "yellow", "grey", "brown", "pink", "orange")


def vectors(rows: range, dim: int) -> np.ndarray:
    """Unit float32 [N, dim], by the row that a block begins with."""
    return drawn(np.random.default_rng([rows.start, dim]), len(rows), dim)


def drawn(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Unit float32 [count, dim]: of ``_FREE`` numbers each and a little noise, for embeddings have few dimensions of their own.
    Where they have all, nobody has an index worth having (docs/search.md)."""
    found = random.standard_normal((count, _FREE), np.float32) @ _mixing(dim)
    found += _NOISE * random.standard_normal((count, dim), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@lru_cache
def _mixing(dim: int) -> np.ndarray:
    return np.random.default_rng(dim).standard_normal((_FREE, dim), np.float32)


def name(row: int) -> str:
    return f"{row % 1000:03d}/{row:07d}.png"


def metadata(row: int) -> dict[str, Any]:
    return {"name": f"article {row}", "colour": _COLOURS[row % 10], "price": row % 5_000, "shop": row % 97}


def collection(place: Path, gallery: Path, count: int, bundle: Bundle, encoder: Encoder, aim: Aim) -> None:
    """``count`` items, published."""
    shutil.rmtree(place, ignore_errors=True)
    lay_out(place)
    keep_bundle(bundle, place)
    with closing(Catalog(place, create=True)) as catalog:
        source = galleries.open(gallery)
        job = catalog.begin(source.name, source.root, encoder.fingerprint)
        for rows in track(_blocks(count), "Catalog"):
            items = [NewItem(name(row), f"{row:064x}", metadata(row), SIZE, stamp(MTIME, None)) for row in rows]
            known = zip((item.content for item in items), vectors(rows, encoder.dim), strict=True)
            catalog.stage(job, catalog.look_up([]), items=items, vectors=dict(known))
        publish(catalog, place, job, encoder, file_digest(bundle.path / "bundle.json"), aim)


def listing(folder: Path, count: int, changed: range) -> Path:
    """A Parquet list of ``count`` rows, whose sizes and times are believed; only the ``changed`` ones have files."""
    folder.mkdir(exist_ok=True)
    for row in changed:
        file = folder / name(row)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"changed %d" % row)
    schema = pa.schema([("path", pa.string()), ("size", pa.int64()), ("mtime", pa.int64()), *_FIELDS])
    with pq.ParquetWriter(folder / LIST, schema) as writer:
        for rows in _blocks(count):
            told = [{"path": name(row), "size": SIZE, "mtime": MTIME + (row in changed), **metadata(row)} for row in rows]
            writer.write_table(pa.Table.from_pylist(told, schema))
    return folder / LIST


def _blocks(count: int) -> list[range]:
    return [range(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH)]


def sizes(place: Path) -> Iterator[tuple[str, int]]:
    """Bytes of the catalog's files and of each segment's."""
    for file in sorted([*place.glob("catalog*"), *place.glob("segments/*/*")]):
        yield str(file.relative_to(place)), file.stat().st_size
