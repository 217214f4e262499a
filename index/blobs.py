"""An item in, the bytes of its picture out; and the store of pictures that came through the service.

A path on disk is made from a content hash, or from an id that a scan of the gallery found there: never from an id that a
request brought.
"""

import os
import time
from pathlib import Path
from uuid import uuid4

from model.bundle import sync

from .catalog import API_ORIGIN, Catalog, Item

_DRAFT_LIVES = 24 * 3600  # seconds: an older draft is of a process that died


def write(collection: Path, content: str, data: bytes) -> None:
    """Keep ``data`` under its SHA-256; on disk when this returns."""
    final = _path(collection, content)
    if not final.parent.is_dir():  # a job makes it, since a power cut took a new one with its first picture
        final.parent.mkdir(parents=True, exist_ok=True)
        sync(collection)
    draft = final.with_name(f".{uuid4().hex}.tmp")  # two requests may bring one picture at once
    try:
        if not final.exists():
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.rename(final)
        sync(final.parent)  # also for one that exists: whoever is writing it may not have come to this yet
    finally:
        draft.unlink(missing_ok=True)


def read(collection: Path, catalog: Catalog, item: Item) -> bytes | None:
    """The picture's bytes as they are now, or None where the file is not to be had."""
    if item.origin == API_ORIGIN:
        path = _path(collection, item.content)
    else:
        root = catalog.root(item.origin)
        if root is None:
            return None
        path = root / item.id
    try:
        return path.read_bytes() if path.is_file() else None  # reading a pipe would wait for ever
    except OSError:
        return None


def sweep(collection: Path) -> None:
    """Remove drafts of processes that died."""
    for draft in (collection / "blobs").glob(".*.tmp"):
        if draft.stat().st_mtime < time.time() - _DRAFT_LIVES:
            draft.unlink(missing_ok=True)


def _path(collection: Path, content: str) -> Path:
    return collection / "blobs" / content
