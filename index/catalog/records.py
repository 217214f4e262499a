"""What the catalog tells of and takes: items, edits, jobs, changes; and an item's row with its checksum."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .schema import CatalogError

BARE = "vector:"  # begins the content of an item that has no picture


@dataclass(frozen=True)
class Item:
    """One version of an item. ``content`` is the SHA-256 of the file's bytes; that of an item without a picture is
    ``content_of`` its vector. ``path``: where the bytes lie for the item's source, "" where that is its id.
    """

    key: int
    id: str
    origin: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int
    path: str = ""


@dataclass(frozen=True)
class NewItem:
    id: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int
    path: str = ""
    replaces: int | None = None  # the key of the version that it takes the place of


@dataclass(frozen=True)
class Fault:
    """A file that a job could not use. One with its size and mtime is not tried again before these change."""

    id: str
    reason: str
    size: int = -1
    mtime_ns: int = 0


@dataclass(frozen=True)
class Job:
    number: int
    origin: str
    fingerprint: str


@dataclass(frozen=True)
class Put:
    """Add an item or replace it, whoever owned it. ``vector``: float32 [dim]. ``expected``, here and below: the key of the
    version that has to be there, None for whatever is."""

    item: NewItem
    vector: np.ndarray
    expected: int | None = None

    @property
    def id(self) -> str:
        return self.item.id


@dataclass(frozen=True)
class Patch:
    """Give an item other metadata. The service takes it over: it keeps the picture's bytes from then on."""

    id: str
    metadata: dict[str, Any]
    expected: int | None = None


@dataclass(frozen=True)
class Delete:
    """Its file's next version in a gallery comes back, the same one does not."""

    id: str
    expected: int | None = None


Edit = Put | Patch | Delete


@dataclass(frozen=True)
class Refused:
    """An edit that was not made: ``there`` is the version that was found instead of the expected one, None where none was."""

    id: str
    there: Item | None


@dataclass(frozen=True)
class Done:
    """A job that was published, and when (seconds since 1970). ``live``: the items that there were then; None, like what it
    added and removed, where the catalog was of format 1."""

    origin: str
    rolled_back: bool
    finished: float
    added: int | None
    removed: int | None
    live: int | None


@dataclass(frozen=True)
class Known:
    """What is known of some ids at one moment, that of the ``change``."""

    items: dict[str, Item]  # live
    graves: dict[str, Item]  # of ids without a live item: last seen in a gallery and deleted through the service
    change: int


@dataclass(frozen=True)
class Change:
    """``key`` is the version that came, or None where the item went."""

    number: int
    id: str
    key: int | None


@dataclass(frozen=True)
class State:
    """What a follower asks for: the current generation (None before the first), the last change, and the live items."""

    generation: int | None
    change: int
    count: int


@dataclass(frozen=True)
class Numbers:
    """The last ones that were given out; none is given out again."""

    job: int
    key: int
    change: int

    def far_above(self) -> "Numbers":
        return Numbers(self.job + 1_000, self.key + 1_000_000, self.change + 1_000_000)


def row_of(item: NewItem | Item, origin: str, job: int) -> dict[str, Any]:
    metadata = json.dumps(item.metadata, ensure_ascii=False)
    return {
        "id": item.id,
        "origin": origin,
        "content": item.content,
        "metadata": metadata,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "path": item.path,
        "added_by": job,
        "checksum": _checksum(item.id, origin, item.content, metadata, item.path),
    }


def item_of(row: Any) -> Item:
    if not is_whole(row):
        raise CatalogError(f"The catalog's row of {row.id!r} is damaged. Restore the collection, or index anew.")
    return Item(row.key, row.id, row.origin, row.content, json.loads(row.metadata), row.size, row.mtime_ns, row.path)


def is_whole(row: Any) -> bool:
    """Whether an item's row is what was written."""
    try:
        return _checksum(row.id, row.origin, row.content, row.metadata, row.path) == row.checksum
    except (TypeError, UnicodeError):  # one bit of a row's header makes bytes of a text
        return False


def is_whole_vector(vector: Any, checksum: int) -> bool:
    return isinstance(vector, bytes) and zlib.crc32(vector) == checksum


def _checksum(id: str, origin: str, content: str, metadata: str, path: str) -> int:
    parts = [id, origin, content, metadata, *([path] if path else [])]  # without one as in format 1, which had none
    return zlib.crc32("\0".join(parts).encode())


def content_of(vector: np.ndarray) -> str:
    """The content of an item that came as a bare vector [dim]."""
    return BARE + hashlib.sha256(np.ascontiguousarray(vector, np.float32).tobytes()).hexdigest()
