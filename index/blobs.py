"""An item in, the bytes of its picture out; and the store of pictures that came through the service.

A path on disk is made from a content hash, or from an id that a scan of the gallery found there: never from an id that a
request brought.
"""

import os
from pathlib import Path

from .catalog import API_ORIGIN, Catalog, Item
from .segment import sync_folder


def write(collection: Path, content: str, data: bytes) -> None:
    """Keep ``data`` under its SHA-256; on disk when this returns."""
    final = _path(collection, content)
    if final.exists():
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_name(f".{content}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(final)
        sync_folder(final.parent)
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
        return path.read_bytes()
    except OSError:
        return None


def _path(collection: Path, content: str) -> Path:
    return collection / "blobs" / content
