"""A folder in, its picture files out, with an id and metadata each.

The id of a picture is its path below the gallery, with ``/`` between the parts. A ``labels.csv`` in the folder gives
metadata: its other columns, for the picture that its column ``path`` names; a column of numbers becomes numbers.
"""

import csv
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model import Failure
from model.image import SUFFIXES

Metadata = dict[str, str | int | float]

LABELS = "labels.csv"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")  # what 64 bits hold


class GalleryError(Failure):
    """The gallery cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """A picture file of a gallery: ``size`` in bytes and ``mtime_ns`` tell cheaply that it did not change."""

    id: str
    path: Path
    size: int
    mtime_ns: int
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot become an item, or a folder (its id ends with ``/``) that cannot be listed, and why."""

    id: str
    reason: str


def scan(root: Path, skip: Path | None = None) -> Iterator[Entry | Unreadable]:
    """Every picture file below ``root``, always in the same order; nothing in the folder ``skip``.

    Hidden files and folders are passed over, links to folders are not followed. Raises ``GalleryError`` when the folder
    itself or its labels.csv cannot be read.
    """
    metadata = _read_metadata(root / LABELS)
    for found in _walk(root, skip):
        yield found if isinstance(found, Unreadable) else _entry(root, found, metadata)


def count(root: Path, skip: Path | None = None) -> int:
    """How many entries ``scan`` will find, from the names alone. Raises ``GalleryError``."""
    return sum(1 for _ in _walk(root, skip))


def _walk(root: Path, skip: Path | None) -> Iterator[str | Unreadable]:
    """Ids of the files that are called like pictures. Every folder is listed once: links to folders are not followed."""
    waiting = [""]
    while waiting:
        below = waiting.pop()
        if skip is not None and root / below == skip:
            continue
        try:
            folders, names = _list(root / below)
        except OSError as error:
            if not below:
                raise GalleryError(
                    f"{root} cannot be read ({error.strerror}). Give the folder that holds the pictures."
                ) from error
            yield Unreadable(_printable(below), f"The folder cannot be read ({error.strerror}). What was in it is kept.")
            continue
        yield from (below + name for name in names)
        waiting += (f"{below}{name}/" for name in reversed(folders))


def _list(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a folder's folders and picture files, sorted."""
    folders, names = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif entry.name.lower().endswith(SUFFIXES):
                names.append(entry.name)
    return sorted(folders), sorted(names)


def _entry(root: Path, id: str, metadata: dict[str, Metadata]) -> Entry | Unreadable:
    if _printable(id) != id:
        return Unreadable(_printable(id), "The file's name is not UTF-8. Rename it.")
    path = root / id
    try:
        found = path.stat()
    except OSError as error:
        return Unreadable(id, f"The file cannot be read ({error.strerror}).")
    if not stat.S_ISREG(found.st_mode):
        return Unreadable(id, "This is no file but something that is called like one. Rename it.")
    return Entry(id, path, found.st_size, found.st_mtime_ns, metadata.get(id, {}))


def _printable(name: str) -> str:
    """Bytes that are not UTF-8 as ``\\xNN``."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _read_metadata(path: Path) -> dict[str, Metadata]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GalleryError(f"{path} cannot be read as UTF-8 CSV ({error}). Save it again, or take it away.") from error
    if "path" not in columns:
        raise GalleryError(f"{path} has no column named path. Name it in the first line, or take the file away.")
    values = {name: _values([row[name] for row in rows]) for name in columns if name and name != "path"}
    return {
        row["path"]: {name: column[number] for name, column in values.items() if row[name]} for number, row in enumerate(rows)
    }


def _values(texts: list[str]) -> Sequence[str | int | float]:
    """Numbers, where a column holds nothing else: 007, +3 and 1e5 are names of something."""
    if not all(_NUMBER.fullmatch(text) for text in texts if text):
        return texts
    return [float(text) if "." in text else int(text or 0) for text in texts]
