"""A count in, a collection of real vectors out, under names of pictures that nobody has.

Everything goes the way of a job and of a server but for the pictures: a job's items are staged and published, the live ones
are put. Every item has a field ``draw``, a number between 0 and 1 by chance, and ``kind``, emoji or icon.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
from rich.progress import track

from bench.search.vectors import Vectors
from bench.training.cells import BUILD
from index.catalog import Catalog, NewItem, batched
from index.job.keeping import keep_bundle, lay_out
from index.lifecycle.publish import publish
from index.search.planner import Aim
from model.bundle import Bundle, file_digest
from model.encoder import Encoder

_BATCH = 5_000  # items a commit
_ORIGIN = "bench"


def collection(count: int, live: int, vectors: Vectors, bundle: Bundle, encoder: Encoder) -> Path:
    """The first ``count`` vectors published and the next ``live`` put; kept for the next time."""
    place = BUILD / f"collection-{encoder.fingerprint[:8]}-{count}-{live}"
    if not place.exists():
        draft = place.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        lay_out(draft)
        keep_bundle(bundle, draft)
        add(draft, vectors, range(count), bundle, encoder)
        with closing(Catalog(draft)) as catalog:
            for row in track(range(count, count + live), "Live items"):
                catalog.put(_item(vectors, row), encoder.fingerprint, vectors.items[row])
        draft.rename(place)
    return place


def add(place: Path, vectors: Vectors, rows: range, bundle: Bundle, encoder: Encoder) -> None:
    """As a job does: stage and publish."""
    with closing(Catalog(place, create=True)) as catalog:
        job = catalog.begin(_ORIGIN, place.absolute(), encoder.fingerprint)
        for some in track(list(batched(rows, _BATCH)), "Catalog"):
            items = [_item(vectors, row) for row in some]
            known = {item.content: vectors.items[row] for item, row in zip(items, some, strict=True)}
            catalog.stage(job, catalog.look_up([]), items=items, vectors=known)
        publish(catalog, place, job, encoder, file_digest(bundle.path / "bundle.json"), Aim())


def _item(vectors: Vectors, row: int) -> NewItem:
    metadata = {"draw": draw(row), "kind": "emoji" if vectors.pictures[row] < vectors.emoji else "icon"}
    return NewItem(f"{row % 1000:03d}/{row}.jpg", f"{row:064x}", metadata, 40_000, 0)


def draw(row: int) -> float:
    """By chance, and the same each time."""
    return float(np.random.default_rng(row).random())


def row_of(id: str) -> int:
    return int(Path(id).stem)


def sizes(place: Path) -> Iterator[tuple[str, int]]:
    """Bytes of the catalog and of the segments' files."""
    for file in sorted([*place.glob("catalog*"), *place.glob("segments/*/*")]):
        yield file.name, file.stat().st_size
