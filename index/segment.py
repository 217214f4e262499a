"""Keys, vectors and metadata in, an immutable folder on disk out, and exact search over it.

``keys.i64``, ``vectors.f32`` and ``columns.arrow`` hold the same rows in the same order; ``segment.json`` says how many,
for which fingerprint, and each file's SHA-256. Vectors are mapped, not read: processes share them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import faiss
import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from model import Failure

from .catalog import Item

MANIFEST = "segment.json"


class SegmentError(Failure):
    """A segment's files are missing, cut short or changed; the message says what to do."""


class Manifest(BaseModel):
    format: Literal[1] = 1
    fingerprint: str
    dim: int
    count: int
    index: Literal["Flat"] = "Flat"
    files: dict[str, str]


@dataclass(frozen=True)
class Segment:
    """``keys`` int64 [N] and ``vectors`` float32 [N, D] in one order. A live segment is the same over memory."""

    keys: np.ndarray
    vectors: np.ndarray

    def search(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Unit vector [D] → keys and scores (cosines) of the nearest k rows at most, best first."""
        k = min(k, len(self.keys))
        if k == 0:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        scores, rows = faiss.knn(query[None], self.vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
        return self.keys[rows[0]], scores[0]


def write(folder: Path, fingerprint: str, dim: int, rows: Iterable[tuple[Item, np.ndarray]]) -> int:
    """Write a segment in one piece and return its number of rows; memory does not grow with it but for the metadata."""
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        items = _write_vectors(draft, rows)
        _write_columns(draft / "columns.arrow", items)
        files = {file.name: _digest(file) for file in sorted(draft.iterdir())}
        manifest = Manifest(fingerprint=fingerprint, dim=dim, count=len(items), files=files)
        with (draft / MANIFEST).open("wb") as file:
            file.write(manifest.model_dump_json(indent=2).encode())
            _sync(file)
        draft.rename(folder)
        sync_folder(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(items)


def open(folder: Path) -> Segment:
    """Map a segment. Raises ``SegmentError`` when a file is missing or has another length than the manifest says."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        keys = np.fromfile(folder / "keys.i64", np.int64)
        shape = (manifest.count, manifest.dim)
        size = (folder / "vectors.f32").stat().st_size
        if len(keys) != manifest.count or size != 4 * manifest.count * manifest.dim:
            raise ValueError("a file was cut short")
        vectors = (
            np.memmap(folder / "vectors.f32", np.float32, "r", shape=shape) if manifest.count else np.empty(shape, np.float32)
        )
    except (OSError, ValueError) as error:
        raise SegmentError(
            f"The segment {folder} is damaged ({error}). Run `lookalike index` again to build it anew."
        ) from error
    return Segment(keys, np.asarray(vectors))


def verify(folder: Path) -> None:
    """Read every file back. Raises ``SegmentError`` when one is not what was written."""
    manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    for name, digest in manifest.files.items():
        if _digest(folder / name) != digest:
            raise SegmentError(f"The disk gave back something else than was written to {folder / name}. Check the disk.")


def sync_folder(folder: Path) -> None:
    """Force a folder's entries to disk: only then does a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_vectors(draft: Path, rows: Iterable[tuple[Item, np.ndarray]]) -> list[Item]:
    items = []
    with (draft / "keys.i64").open("wb") as keys, (draft / "vectors.f32").open("wb") as vectors:
        for item, vector in rows:
            keys.write(np.int64(item.key).tobytes())
            vectors.write(vector.tobytes())
            items.append(item)
        _sync(keys)
        _sync(vectors)
    return items


def _write_columns(path: Path, items: Sequence[Item]) -> None:
    """One column for the id, one for each metadata field: filters read these and never the catalog."""
    fields = sorted({name for item in items for name in item.metadata})
    columns = {"id": pa.array([item.id for item in items], pa.string())}
    columns |= {f"metadata.{name}": _column([item.metadata.get(name) for item in items]) for name in fields}
    table = pa.table(columns)
    with path.open("wb") as file:
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        _sync(file)


def _column(values: list[Any]) -> pa.Array:
    """Typed where a field always has one type, else each value as JSON."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) == 1 and kinds <= {str, int, float, bool}:
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value, sort_keys=True) for value in values], pa.string())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
