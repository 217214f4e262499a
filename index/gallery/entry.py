"""What a gallery hands out, and what it says where it cannot: the words that all kinds of gallery share."""

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

from model import Failure

Metadata = dict[str, Any]


class GalleryError(Failure):
    """The gallery cannot be read; the message says what to do."""


class ReadError(Failure):
    """One file of a gallery cannot be read; the message says why."""


class Unreachable(ReadError):
    """The place where the file lies does not answer, which says nothing about the file."""


@dataclass(frozen=True)
class Entry:
    """A picture of a gallery. ``size`` in bytes and ``mtime_ns`` tell cheaply that it did not change; where its place has no
    times, ``mtime_ns`` stands for an etag or a version. ``path``: where it lies for ``files.read``, "" where that is its id.
    """

    id: str
    size: int
    mtime_ns: int
    metadata: Metadata = field(default_factory=dict)
    path: str = ""


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot become an item, or a folder (its id ends with ``/``) that cannot be listed, and why."""

    id: str
    reason: str


def stamp(*told: object) -> int:
    """63 bits for an etag, a version, or any other word that changes with a file."""
    digest = hashlib.sha256("\0".join(map(str, told)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8]) >> 1


def printable(name: str) -> str:
    """Bytes that are not UTF-8 as ``\\xNN``."""
    try:
        return os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name.encode(errors="backslashreplace").decode()
