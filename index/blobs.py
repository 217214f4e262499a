"""An item in, the bytes of its picture out; and the store of pictures that came through the service.

A path on disk is made from a content hash, or from what a job found in its gallery: never from an id that a request brought.
"""

import hashlib
import os
import time
from pathlib import Path
from uuid import uuid4

from model.bundle import sync

from .catalog import API_ORIGIN, BARE, Catalog, Item
from .gallery import ReadError, Unreachable, files

_DRAFT_LIVES = 24 * 3600  # seconds: an older draft is of a process that died


def write(collection: Path, content: str, data: bytes) -> None:
    """Keep ``data`` under its SHA-256; on disk when this returns."""
    final = _path(collection, content)
    if not final.parent.is_dir():  # a job makes it, since a power cut took a new one with its first picture
        final.parent.mkdir(parents=True, exist_ok=True)
        sync(collection)
    draft = final.with_name(f".{uuid4().hex}.tmp")  # two requests may bring one picture at once
    try:
        try:
            os.utime(final)  # young again: whoever collects garbage leaves it to the row that is to come
        except FileNotFoundError:
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
    try:
        return fetch(collection, catalog, item)
    except Unreachable:
        return None


def fetch(collection: Path, catalog: Catalog, item: Item) -> bytes | None:
    """As ``read``; raises ``Unreachable`` where the file's place does not answer."""
    if item.content.startswith(BARE):
        return None
    root = str(collection / "blobs") if item.origin == API_ORIGIN else catalog.root(item.origin)
    if root is None:
        return None
    path = item.content if item.origin == API_ORIGIN else item.path or item.id
    try:
        return files.read(root, path, pauses=())  # who asks is waiting
    except Unreachable:
        raise
    except ReadError:
        return None


def indexed(collection: Path, catalog: Catalog, item: Item) -> bytes | None:
    """The picture's bytes as they were indexed; None where they are gone or have changed."""
    data = read(collection, catalog, item)
    return data if data is not None and is_of(item, data) else None


def is_of(item: Item, data: bytes) -> bool:
    """Whether these are the bytes that were indexed."""
    return hashlib.sha256(data).hexdigest() == item.content


def sweep(collection: Path) -> None:
    """Remove drafts of processes that died."""
    for draft in (collection / "blobs").glob(".*.tmp"):
        if draft.stat().st_mtime < time.time() - _DRAFT_LIVES:
            draft.unlink(missing_ok=True)


def _path(collection: Path, content: str) -> Path:
    return collection / "blobs" / content
