"""A folder in, its picture files out, with an id and metadata each.

The id of a picture is its path below the gallery, with ``/`` between the parts. A ``labels.csv`` in the folder gives
metadata: its other columns, for the picture that its column ``path`` names; a column of numbers becomes numbers.
"""

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

from model.image import SUFFIXES

from . import files
from .entry import Entry, GalleryError, Metadata, ReadError, Unreadable, printable

LABELS = "labels.csv"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")  # what 64 bits hold


class Folder:
    """A folder of this machine; ``name`` and ``root`` are its canonical path."""

    far = False

    def __init__(self, path: Path) -> None:
        self.name = self.root = str(path.resolve())

    def scan(self, skip: Path | None = None) -> Iterator[Entry | Unreadable]:
        """Every picture file below, always in the same order; nothing in the folder ``skip``.

        Hidden files and folders are passed over, links to folders are not followed. Raises ``GalleryError`` when the folder
        itself or its labels.csv cannot be read.
        """
        metadata = _read_metadata(Path(self.root) / LABELS)
        for found in _walk(Path(self.root), skip):
            yield found if isinstance(found, Unreadable) else _entry(self.root, found, metadata)

    def count(self, skip: Path | None = None) -> int:
        """How many entries ``scan`` will find, from the names alone. Raises ``GalleryError``."""
        return sum(1 for _ in _walk(Path(self.root), skip))


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
            yield Unreadable(printable(below), f"The folder cannot be read ({error.strerror}). What was in it is kept.")
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


def _entry(root: str, id: str, metadata: dict[str, Metadata]) -> Entry | Unreadable:
    if printable(id) != id:
        return Unreadable(printable(id), "The file's name is not UTF-8. Rename it.")
    try:
        return Entry(id, *files.look(root, id), metadata.get(id, {}))
    except ReadError as error:
        return Unreadable(id, str(error))


def _read_metadata(path: Path) -> dict[str, Metadata]:
    try:
        return labels(path.read_bytes().decode("utf-8-sig"), str(path)) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise GalleryError(f"{path} cannot be read as UTF-8 CSV ({error}). Save it again, or take it away.") from error


def labels(text: str, name: str) -> dict[str, Metadata]:
    """The metadata of each path in the ``text`` of a labels.csv. Raises ``GalleryError`` with the file's ``name``."""
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
        rows, columns = list(reader), reader.fieldnames or []
    except csv.Error as error:
        raise GalleryError(f"{name} cannot be read as UTF-8 CSV ({wrong(error)}). Save it again, or take it away.") from error
    if "path" not in columns:
        raise GalleryError(f"{name} has no column named path. Name it in the first line, or take the file away.")
    names = [column for column in columns if column and column != "path"]
    numbers = {column for column in names if all(is_number(row[column]) for row in rows if row[column])}
    return {row["path"]: {name: value(row[name], name in numbers) for name in names if row[name]} for row in rows}


def wrong(error: csv.Error) -> str:
    """What is wrong with a CSV file, for who has to mend it."""
    told = str(error)
    if "field limit" in told:
        return f"a value has more than {csv.field_size_limit():,} characters, or a quote is missing that would end it"
    if "unexpected end" in told:
        return "a quote is missing that would end a value"
    if "expected after" in told:
        return 'a value goes on after the quote that ends it; a quote in a value is written ""'
    return told


def is_number(text: str) -> bool:
    """007, +3 and 1e5 are names of something."""
    return _NUMBER.fullmatch(text) is not None


def value(text: str, number: bool) -> str | int | float:
    """``text`` of a CSV file; a ``number`` where its whole column holds nothing else."""
    if not number or not is_number(text):
        return text
    return float(text) if "." in text else int(text)
