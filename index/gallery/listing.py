"""A list of pictures in, a CSV, JSONL or Parquet file here or at a URL; its rows out as a gallery's entries.

Column ``path``: where a picture lies, below the list's folder, absolute, or a URL. ``id``: a stable name, by default the path.
With ``size`` and one of ``mtime`` and ``etag``, these are believed and no file is touched before it is read. Every other
column is metadata. A list is read row by row, twice: once to see that all of it can be read and no id stands in it twice. One
that changes meanwhile is none to go by.
"""

from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import numpy as np

from . import files, rows
from .entry import Entry, GalleryError, Metadata, ReadError, Unreachable, Unreadable, stamp
from .folder import value
from .rows import Row

SUFFIXES = (".csv", ".jsonl", ".parquet")
READERS = 8  # files that are looked at together: most of the time goes by in waiting for answers
_PORTION = 128  # rows


@dataclass(frozen=True)
class _Line:
    """A row that names an item. ``told``: size and what stands for its time, None where the file has to be asked."""

    number: int
    id: str
    path: str
    metadata: Metadata
    told: tuple[int, int] | None


class Listing:
    """``name`` is the list's own canonical path or URL, ``root`` its folder; ``far``: some of its pictures lie at URLs."""

    def __init__(self, place: str) -> None:
        if files.is_url(place):
            system, path, self.name = files.named(place)
            self._draft = TemporaryDirectory(prefix="lookalike-")  # lives as long as this object
            self._file = Path(self._draft.name) / "list"
            _fetch(system, path, self._file, self.name)
        else:
            # A link to tonight's list keeps its own name: it stays the same gallery.
            self._file = Path(place).parent.resolve() / Path(place).name
            self.name = str(self._file)
        self.root = self.name.rpartition("/")[0] or "/"
        self.far = files.is_url(self.name)
        self._was = self._state()
        self._read = rows.reader(self._file, self.name)
        self._count, self._suspects = self._check()

    def count(self, skip: Path | None = None) -> int:
        return self._count

    def scan(self, skip: Path | None = None) -> Iterator[Entry | Unreadable]:
        """In the order of the list. Raises ``GalleryError`` when the place of the files does not answer at all."""
        lines, silent, over = self._lines(), 0, Event()
        with ThreadPoolExecutor(READERS) as pool:
            try:
                while portion := list(islice(lines, _PORTION)):
                    for line, found in zip(portion, pool.map(partial(self._entry, rest=over.wait), portion), strict=True):
                        if isinstance(line, _Line) and line.told is None:
                            silent = silent + 1 if isinstance(found, Unreachable) else 0
                        if silent == files.SILENT:
                            told = f"{silent} files of {self.name} in a row cannot be had ({found})"
                            raise GalleryError(f"{told} Run again when their place answers.")
                        yield Unreadable(line.id, str(found)) if isinstance(found, ReadError) else found
            finally:
                over.set()
                pool.shutdown(wait=False, cancel_futures=True)
        if self._state() != self._was:
            raise GalleryError(f"{self.name} changed while it was read, so its rows cannot be relied on. Run again.")

    def _state(self) -> tuple[int, int, int]:
        try:
            found = self._file.stat()
        except OSError as error:
            raise GalleryError(f"{self.name} cannot be read ({error.strerror}).") from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _check(self) -> tuple[int, set[int]]:
        """Every row once: how many there are, and the hashes of ids that may stand there twice (8 bytes an id are kept)."""
        hashes = array("Q")
        for number, row in self._read():
            hashes.append(stamp(self._id(number, row)))
            self.far = self.far or files.is_url(str(row.get("path")))
        ordered = np.sort(np.frombuffer(hashes, np.uint64)) if hashes else np.empty(0, np.uint64)
        return len(ordered), set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())

    def _id(self, number: int, row: Row) -> str:
        """Raises ``GalleryError``: without its id nobody could say which item to keep."""
        found = row.get("id")
        if found in (None, "") or found != found:  # NaN is a table's way to say that there is none
            found = row.get("path")
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if not isinstance(found, str) or not found:
            raise GalleryError(f"{self.name}, line {number}: it has neither a path nor an id that is text. Correct the line.")
        try:
            found.encode()
        except UnicodeEncodeError as error:
            raise GalleryError(f"{self.name}, line {number}: its id is not Unicode text. Correct the line.") from error
        return found

    def _lines(self) -> Iterator[_Line | Unreadable]:
        first: dict[str, int] = {}
        for number, row in self._read():
            id = self._id(number, row)
            if self._suspects and stamp(id) in self._suspects and first.setdefault(id, number) != number:
                told = f"The id {id!r} stands on line {first[id]} already, which counts. Give each row an id of its own."
                yield Unreadable(f"{id} (line {number})", told)
                continue
            try:
                yield _line(number, id, row)
            except ValueError as error:
                yield Unreadable(id, f"Line {number} of the list cannot be used: {error}.")

    def _entry(self, line: _Line | Unreadable, rest: files.Rest) -> Entry | Unreadable | ReadError:
        if isinstance(line, Unreadable):
            return line
        try:
            size, mtime_ns = line.told or files.look(self.root, line.path, rest)
        except ReadError as error:
            return error
        return Entry(line.id, size, mtime_ns, line.metadata, "" if line.path == line.id else line.path)


def _line(number: int, id: str, row: Row) -> _Line:
    """Raises ``ValueError`` with what is wrong."""
    row = {name: kept for name, each in row.items() if (kept := _plain(name, each)) is not None}
    row.pop("id", None)
    path = row.pop("path", None)
    if not isinstance(path, str) or not path:
        raise ValueError("it has no path" if path in (None, "") else "its path is no text")
    told = _told(row)
    return _Line(number, id, path, row, told)


def _plain(name: str, each: Any) -> Any:
    try:
        rows.plain(name)
        return rows.plain(each)
    except ValueError as error:
        raise ValueError(f"its {name!r} cannot be kept ({error})") from error


def _told(row: Row) -> tuple[int, int] | None:
    """Takes what is believed out of the row."""
    if "size" not in row or not ("mtime" in row or "etag" in row):
        return None
    size = row.pop("size")
    if isinstance(size, str):  # in a column of which some are no numbers
        size = value(size, number=True)
    if isinstance(size, float) and size.is_integer():  # in a column that lacks some
        size = int(size)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ValueError("beside mtime or etag, its size is to be the file's number of bytes")
    return size, stamp(row.pop("mtime", None), row.pop("etag", None))


def _fetch(system: Any, path: str, to: Path, name: str) -> None:
    try:
        system.get_file(path, str(to))
    except FileNotFoundError as error:
        raise GalleryError(f"{name} is not there. Give the URL of a list of pictures.") from error
    except Exception as error:  # network libraries have errors of their own
        raise GalleryError(f"{name} cannot be read ({error}). Run again when its place answers.") from error
