"""Keys, vectors and metadata in, an immutable folder on disk out, and the search over it.

``keys.i64``, ``vectors.f32`` and ``columns.arrow`` hold the same rows in the same order; beside them lie the files of an index
of these rows, where the planner chose one. ``segment.json`` says how many, for which fingerprint, what the index is worth, and
each file's SHA-256. All of it but the keys is mapped, not read: processes share it.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from model import Failure
from model.bundle import file_digest, sync

from ..catalog import Item
from . import approximate, columns, exact, planner
from .approximate import Approximate, Worth
from .columns import Described, Rows
from .exact import Found
from .planner import FLAT, Aim

MANIFEST = "segment.json"
VECTORS, COLUMNS = "vectors.f32", "columns.arrow"
EXACT = Aim(recall=1.0)
# In 2, the codes of a graph stood inside its links. In 1, which is read no more, there were no indexes, and lists and fields of
# several types were text that could not be told from other text.
FORMAT = 3
READ = (2, FORMAT)


class SegmentError(Failure):
    """A segment's files are missing, cut short or changed; the message says what to do."""


class Manifest(BaseModel):
    format: int = FORMAT
    fingerprint: str
    dim: int
    count: int
    index: Worth = Worth()
    files: dict[str, str]


@dataclass(frozen=True)
class Segment:
    """``keys`` int64 [N], ``vectors`` float32 [N, D] and ``metadata`` (a table of ``columns``) in one order.

    A live segment is the same over memory, and has no ``name``; its table is ``described`` when somebody first needs it, for
    it changes with every item that comes, and its keys are in no order. ``index``: None where all search is exact.
    """

    keys: np.ndarray
    vectors: np.ndarray
    described: Callable[[], pa.Table]
    name: str = ""
    index: Approximate | None = None

    @cached_property
    def metadata(self) -> pa.Table:
        return self.described()

    def holds(self, keys: Collection[int]) -> set[int]:
        """Those of ``keys`` that it has; its own are in order."""
        asked = np.fromiter(keys, np.int64, len(keys))
        places = np.minimum(np.searchsorted(self.keys, asked), len(self.keys) - 1)
        return set(asked[self.keys[places] == asked].tolist()) if len(self.keys) else set()

    def search(self, query: np.ndarray, k: int, rows: Rows | None = None, effort: int | None = None) -> Found:
        """Unit vector float32 [D] → the nearest ``k`` rows, or all there are, with their cosines; ``rows``: only of these.

        ``effort``: how hard to search, 0 for exactly; by default so hard that the recall is kept that was asked for.
        """
        count = len(self.keys)
        passing = count if rows is None else rows.count
        k = min(k, passing)
        if self.index is not None and effort != 0:
            effort = effort or self.index.effort
            if not planner.exactly(passing, count, max(effort, k)):
                found = self.index.nearest(query, k, effort, rows)
                if len(found[0]) == k:
                    return found
        return exact.nearest(self.vectors, query, k, None if rows is None else rows.numbers())


def write(folder: Path, fingerprint: str, dim: int, rows: Iterable[tuple[Item, np.ndarray]], aim: Aim = EXACT) -> int:
    """Write a segment in one piece and return its number of rows; memory grows with its index only."""
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        count = columns.write(draft / COLUMNS, _write_vectors(draft, rows))
        index = approximate.make(draft, _vectors(draft, count, dim), aim)
        files = {file.name: file_digest(file) for file in sorted(draft.iterdir())}
        manifest = Manifest(fingerprint=fingerprint, dim=dim, count=count, index=index, files=files)
        with (draft / MANIFEST).open("wb") as file:
            file.write(manifest.model_dump_json(indent=2).encode())
            _sync(file)
        draft.rename(folder)
        sync(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def open(folder: Path, fingerprint: str) -> Segment:
    """Map a segment. Raises ``SegmentError`` when it is of another fingerprint, or a file has another length than it had."""
    manifest = _manifest(folder)
    if manifest.fingerprint != fingerprint:
        raise SegmentError(f"The segment {folder} is of another bundle. Run `lookalike index` again to build it anew.")
    try:
        keys = np.fromfile(folder / "keys.i64", np.int64)
        size = (folder / VECTORS).stat().st_size
        if len(keys) != manifest.count or size != 4 * manifest.count * manifest.dim:
            raise _damaged(folder, "a file was cut short")
        metadata = columns.open(folder / COLUMNS)
        if metadata.num_rows != manifest.count:
            raise _damaged(folder, f"{COLUMNS} has another number of rows")
        vectors = _vectors(folder, manifest.count, manifest.dim)
        known = manifest.index
        index = None if known.factory == FLAT else approximate.open(folder, vectors, known.effort)
    except (OSError, RuntimeError, pa.ArrowException) as error:
        raise _damaged(folder, error) from error
    return Segment(keys, vectors, lambda: metadata, folder.name, index)


def keys(folder: Path) -> np.ndarray:
    """int64 [N], alone. Raises ``SegmentError``."""
    try:
        return np.fromfile(folder / "keys.i64", np.int64)
    except OSError as error:
        raise _damaged(folder, error) from error


def worth(folder: Path) -> Worth:
    """What the segment's index is worth. Raises ``SegmentError``."""
    return _manifest(folder).index


def serves(folder: Path, aim: Aim) -> bool:
    """Whether its index is good enough. Raises ``SegmentError``."""
    manifest = _manifest(folder)
    return manifest.index.serves(aim, manifest.count, manifest.dim)


def _vectors(folder: Path, count: int, dim: int) -> np.ndarray:
    """Mapped; nothing cannot be."""
    if count == 0:
        return np.empty((0, dim), np.float32)
    return np.asarray(np.memmap(folder / VECTORS, np.float32, "r", shape=(count, dim)))


def verify(folder: Path) -> None:
    """Read every file back. Raises ``SegmentError`` when one is not what was written."""
    for name, digest in _manifest(folder).files.items():
        try:
            found = file_digest(folder / name)
        except OSError as error:
            raise _damaged(folder, error) from error
        if found != digest:
            raise _damaged(folder, f"{name} holds something else than was written")


def _manifest(folder: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError as error:
        raise _damaged(folder, error) from error
    except ValueError as error:
        raise _damaged(folder, f"{MANIFEST} cannot be understood") from error
    if manifest.format not in READ:
        raise SegmentError(f"The segment {folder} is of another version of Lookalike. Run `lookalike index` again.")
    return manifest


def _damaged(folder: Path, reason: object) -> SegmentError:
    return SegmentError(f"The segment {folder} is damaged ({reason}). Run `lookalike index` again to build it anew.")


def _write_vectors(draft: Path, rows: Iterable[tuple[Item, np.ndarray]]) -> Iterator[Described]:
    """Hands on what is to be written of each item beside its key and vector; these are on disk when it ends."""
    with (draft / "keys.i64").open("wb") as keys, (draft / VECTORS).open("wb") as vectors:
        for item, vector in rows:
            keys.write(np.int64(item.key).tobytes())
            vectors.write(vector.tobytes())
            yield item.id, item.metadata
        _sync(keys)
        _sync(vectors)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
