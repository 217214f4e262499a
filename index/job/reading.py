"""Files in, their contents and pixels out, by threads: while a batch is encoded, the next one is read and decoded."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from threading import Event, Lock

import numpy as np

from model.encoder import Encoder
from model.image import ImageError

from .. import blobs
from ..catalog import Catalog, Fault, Item
from ..gallery import Entry, Gallery, ReadError, Unreachable, files
from ..gallery.files import SILENT
from . import diff
from .report import JobError

READERS = 8  # files of a network that are read at once, for most of the time goes by in waiting; on a disk, one a core
# Files of a disk that a thread reads in one go, and their bytes: to be given each by itself, and to ask the catalog for each,
# takes a third as long as to decode a small picture.
TOGETHER, _TOGETHER_BYTES = 8, 8 * 2**20


@dataclass(frozen=True)
class Reading:
    """A file's content hash, and its pixels where no vector of that content exists yet."""

    entry: Entry
    content: str
    pixels: np.ndarray | None = None


class Reader:
    """Reads the files of one gallery, and pictures of items from wherever they lie. To be closed."""

    def __init__(self, catalog: Catalog, collection: Path, gallery: Gallery, encoder: Encoder) -> None:
        self.catalog, self.collection, self.gallery, self.encoder = catalog, collection, gallery, encoder
        cores = cpu_count() or 1  # with eight threads on two cores a job takes a tenth longer: they take the encoder's turns
        self._pool = ThreadPoolExecutor(max(READERS, cores) if gallery.far else cores)
        self._together = 1 if gallery.far else TOGETHER
        self._silent, self._counting = Counter[str](), Lock()  # by gallery: files in a row that could not be had
        self._closed = Event()

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, entries: list[Entry]) -> list[Future[list[Reading | Fault]]]:
        """In their order. A result raises ``JobError`` where ``SILENT`` files in a row could not be had."""
        return [self._pool.submit(self._read, some) for some in self._in_goes(entries)]

    def pixels(self, items: Iterable[Item]) -> Iterator[np.ndarray | None]:
        """In the order of ``items``; None where the bytes cannot be had any more, or are not the same.

        A gallery of which ``SILENT`` files in a row could not be had is not asked again.
        """
        return self._pool.map(self._pixels, items)

    def _in_goes(self, entries: list[Entry]) -> Iterator[list[Entry]]:
        some, size = list[Entry](), 0
        for entry in entries:
            if some and (len(some) == self._together or size + entry.size > _TOGETHER_BYTES):
                yield some
                some, size = [], 0
            some.append(entry)
            size += entry.size
        if some:
            yield some

    def _read(self, entries: list[Entry]) -> list[Reading | Fault]:
        """Whatever happens to a file after its entry was taken, the next run reads it again."""
        found = [self._hashed(entry) for entry in entries]
        contents = [each[1] for each in found if not isinstance(each, Fault)]
        lacking = self.catalog.without_vector(contents, self.encoder.fingerprint)
        return [
            each if isinstance(each, Fault) else self._decoded(entry, *each, lacking)
            for entry, each in zip(entries, found, strict=True)
        ]

    def _hashed(self, entry: Entry) -> tuple[bytes, str] | Fault:
        try:
            data = self._bytes(entry)
        except ReadError as error:
            return Fault(entry.id, str(error))
        if len(data) > files.MAX_FILE:  # a list said otherwise, or nothing
            return Fault(entry.id, diff.too_large(), entry.size, entry.mtime_ns)
        return data, hashlib.sha256(data).hexdigest()

    def _decoded(self, entry: Entry, data: bytes, content: str, lacking: set[str]) -> Reading | Fault:
        try:
            return Reading(entry, content, self.encoder.transform(data) if content in lacking else None)
        except ImageError as error:
            return Fault(entry.id, str(error), entry.size, entry.mtime_ns)

    def _bytes(self, entry: Entry) -> bytes:
        name = self.gallery.name
        if self._silent[name] >= SILENT:  # those that wait in the queue need not wait for the network too
            raise self._away(".")
        try:
            data = files.read(self.gallery.root, entry.path or entry.id, rest=self._closed.wait)
        except Unreachable as error:
            if self._count(name, silent=True) >= SILENT:
                raise self._away(f": {error}") from error
            raise
        except ReadError:
            self._count(name, silent=False)
            raise
        if self._silent[name]:
            self._count(name, silent=False)
        return data

    def _count(self, name: str, *, silent: bool) -> int:
        with self._counting:
            if self._silent[name] < SILENT:  # else it was said already
                self._silent[name] = self._silent[name] + 1 if silent else 0
            return self._silent[name]

    def _away(self, why: str) -> JobError:
        return JobError(
            f"{SILENT} files of {self.gallery.name} in a row could not be had{why} Run again when their place answers: "
            "what was encoded is kept."
        )

    def _pixels(self, item: Item) -> np.ndarray | None:
        if self._silent[item.origin] >= SILENT:
            return None
        try:
            data = blobs.fetch(self.collection, self.catalog, item)
        except Unreachable:
            self._count(item.origin, silent=True)
            return None
        self._count(item.origin, silent=False)
        try:
            return self.encoder.transform(data) if data is not None and blobs.is_of(item, data) else None
        except ImageError:
            return None
