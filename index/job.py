"""A gallery and a bundle in, a searchable collection out: scan → diff → decode ∥ encode → commit → segment → publish.

Only what changed is read, only content that was never seen is encoded. Killed at any moment, the next run takes up what
was committed; search sees either the state before or the state after, never one between.
"""

import errno
import hashlib
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from shutil import copy2, rmtree
from typing import Any

import numpy as np

from model import Failure
from model import bundle as bundles
from model.bundle import Bundle, BundleError, Manifest
from model.encoder import Encoder
from model.image import ImageError

from . import blobs
from . import gallery as galleries
from . import segment as segments
from .catalog import API_ORIGIN, Catalog, Fault, Item, Job, Known, NewItem, batched
from .gallery import Entry, Gallery, ReadError, Unreadable, files
from .garbage import sweep
from .lock import only_job
from .planner import Aim
from .publish import current, publish

BATCH = 128  # files that are read for one commit
READERS = 8  # files that are read together: from a network, most of the time goes by in waiting
LOOKED_UP = 1_000  # files that the catalog is asked for at once
MAX_FILE = 256 * 2**20  # bytes
SHRINK_LIMIT = 0.2  # share of the items that may vanish at once, unless told so
SHRINK_FROM = 20  # items: below, only the loss of all of them is taken for an unmounted disk


class JobError(Failure):
    """The job cannot run; the message says what to do. Search goes on as it was."""


@dataclass
class Report:
    """What a job did. ``unreadable`` maps the id of a file, or of a folder with its last slash, to the reason;
    ``indexes``: what those of the segments are worth, as ``approximate.Worth``."""

    found: int = 0
    added: int = 0
    removed: int = 0
    unchanged: int = 0
    encoded: int = 0
    owned_by_api: int = 0
    kept_deleted: int = 0
    pending: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    generation: int | None = None
    count: int = 0
    indexes: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Reading:
    """A file's content hash, and its pixels where no vector of that content exists yet."""

    entry: Entry
    content: str
    pixels: np.ndarray | None = None


@dataclass
class _Batch:
    """Files that are taken up together, with what the catalog knew of their ids before they were read."""

    known: Known
    files: int = 0
    faults: list[Fault] = field(default_factory=list)
    reading: list[Future[_Reading | Fault]] = field(default_factory=list)
    renewed: list[_Reading] = field(default_factory=list)  # not read: the file is the same, its metadata is not

    @property
    def work(self) -> int:
        return len(self.faults) + len(self.reading) + len(self.renewed)


def run(
    gallery: Gallery | Path | str,
    bundle: Bundle,
    encoder: Encoder,
    collection: Path,
    *,
    origin: str | None = None,
    allow_shrink: bool = False,
    aim: Aim = Aim(),
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """Bring ``collection`` in line with ``gallery`` and publish. ``aim``: what approximate search is to keep; ``advance`` hears
    of every file that is done.

    Raises ``JobError``, ``Busy``, ``GalleryError``, ``BundleError`` or ``CatalogError``; search then goes on as it was, and the
    next run takes up what this one encoded.
    """
    source = galleries.open(gallery) if isinstance(gallery, str | Path) else gallery
    place = collection.resolve()
    _check(source, place, origin, bundle, encoder)
    try:
        new = [folder for folder in (place, *place.parents) if not folder.exists()]
        for name in ("blobs", "bundles", "generations", "segments"):
            (place / name).mkdir(parents=True, exist_ok=True)
        for folder in (place, *(folder.parent for folder in new)):
            bundles.sync(folder)
        with only_job(place):
            catalog = Catalog(place, create=True)
            try:
                keep_bundle(bundle, place)
                job = catalog.begin(origin or source.name, source.root, bundle.fingerprint)
                return _Run(catalog, place, job, source, encoder, allow_shrink, aim, advance).run()
            finally:
                catalog.close()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise JobError(f"The disk of {collection} is full. Make room, then run again: what was encoded is kept.") from error


def keep_bundle(bundle: Bundle, collection: Path) -> None:
    """The collection's own copy of a bundle: whoever searches needs nothing but the collection.

    One of the same fingerprint makes room for it too: the vectors are the same, figures and calibration may not be.
    """
    place = collection / "bundles" / bundle.fingerprint
    if _held(place) == bundle.manifest:
        return
    with bundles.writing(place) as draft:
        for source in sorted(bundle.path.rglob("*")):  # not copytree: its error hides that a disk is full
            copy = draft / source.relative_to(bundle.path)
            if source.is_dir():
                copy.mkdir(exist_ok=True)
            else:
                copy2(source, copy)
        for copy in (*draft.rglob("*"), draft):
            bundles.sync(copy)
        if _held(draft) != bundle.manifest:
            raise JobError(f"{bundle.path} changed while it was copied. Run again.")


def _held(place: Path) -> Manifest | None:
    """None where there is no whole bundle; what is left of one makes room for another."""
    try:
        return bundles.load(place).manifest
    except BundleError:
        if not (place / "bundle.json").exists():
            rmtree(place, ignore_errors=True)
        return None


def _check(gallery: Gallery, collection: Path, origin: str | None, bundle: Bundle, encoder: Encoder) -> None:
    if encoder.fingerprint != bundle.fingerprint:
        raise JobError("The encoder is of another bundle than the one given. Open it from that bundle.")
    if origin == API_ORIGIN:
        raise JobError(f"The origin {API_ORIGIN!r} stands for what comes through the service. Choose another name.")
    if Path(gallery.name).is_relative_to(collection):
        raise JobError(f"{gallery.name} lies in the collection itself. Keep the pictures outside of it.")
    try:
        gallery.name.encode()
    except UnicodeEncodeError as error:
        raise JobError("The path of the gallery is not UTF-8. Rename the folder.") from error


class _Run:
    def __init__(
        self,
        catalog: Catalog,
        collection: Path,
        job: Job,
        gallery: Gallery,
        encoder: Encoder,
        allow_shrink: bool,
        aim: Aim,
        advance: Callable[[int], None],
    ) -> None:
        self.catalog, self.collection, self.job, self.gallery = catalog, collection, job, gallery
        self.encoder, self.allow_shrink, self.aim, self.advance = encoder, allow_shrink, aim, advance
        self.report = Report()
        self.quarantine = catalog.quarantined(job.origin)
        self.seen = array("q")  # keys whose files are still there
        self.pool = ThreadPoolExecutor(max(READERS, cpu_count() or 1))

    def run(self) -> Report:
        try:
            sweep(self.catalog, self.collection)
            for batch in _one_ahead(self._batches()):
                self._commit(batch)
            self._remove_unseen()
            self._encode_pending(published=False)
            self._check_pending()
            bundle = bundles.file_digest(self.collection / "bundles" / self.job.fingerprint / "bundle.json")
            self.report.added, self.report.removed = publish(
                self.catalog, self.collection, self.job, self.encoder, bundle, self.aim
            )
            self._encode_pending(published=True)  # what a server took in meanwhile, with the bundle before
        finally:
            self.pool.shutdown(cancel_futures=True)
        state = self.catalog.state()
        self.report.generation, self.report.count = state.generation, state.count
        if (generation := current(self.catalog, self.collection)) is not None:
            folders = (self.collection / "segments" / name for name in generation.segments)
            self.report.indexes = [segments.worth(folder).model_dump() for folder in folders]
        return self.report

    # --- scan and diff ---

    def _batches(self) -> Iterator[_Batch]:
        """Look files up and start to read those that changed, so many at a time that their pixels fit into memory."""
        for found in batched(self.gallery.scan(self.collection), LOOKED_UP):
            known = self.catalog.look_up([file.id for file in found])
            lacking = self.catalog.without_vector({item.content for item in known.items.values()}, self.job.fingerprint)
            batch = _Batch(known)
            for file in found:
                batch.files += 1
                if isinstance(file, Unreadable):
                    batch.faults.append(Fault(file.id, file.reason))
                else:
                    self._sort(file, batch, lacking)
                if batch.work == BATCH:
                    yield batch
                    batch = _Batch(known)
            yield batch

    def _sort(self, entry: Entry, batch: _Batch, lacking: set[str]) -> None:
        """Decide from names, sizes and times alone what becomes of a file; only what may have changed is read."""
        item, grave = batch.known.items.get(entry.id), batch.known.graves.get(entry.id)
        fault = self.quarantine.get(entry.id)
        if item is not None and item.origin == API_ORIGIN:
            self.report.owned_by_api += 1
        elif item is not None and item.origin != self.job.origin:
            batch.faults.append(Fault(entry.id, _CLAIMED.format(item.origin)))
        elif entry.size > MAX_FILE:
            batch.faults.append(Fault(entry.id, f"The file has {entry.size:,} bytes; the limit is {MAX_FILE:,}."))
        elif fault is not None and _same_file(fault, entry):
            batch.faults.append(fault)
        elif item is None and grave is not None and _same_file(grave, entry):
            self.report.kept_deleted += 1
        elif item is None or not _same_file(item, entry) or item.content in lacking:
            batch.reading.append(self.pool.submit(self._read, entry))
        elif item.metadata != entry.metadata:
            batch.renewed.append(_Reading(entry, item.content))
        else:
            self.report.unchanged += 1
            self.seen.append(item.key)

    def _read(self, entry: Entry) -> _Reading | Fault:
        """Runs in a thread of the pool. Whatever happens to the file after ``entry`` was taken, the next run reads it again."""
        try:
            data = files.read(self.gallery.root, entry.path or entry.id)
            content = hashlib.sha256(data).hexdigest()
            lacks = self.catalog.without_vector([content], self.job.fingerprint)
            return _Reading(entry, content, self.encoder.transform(data) if lacks else None)
        except ImageError as error:
            return Fault(entry.id, str(error), entry.size, entry.mtime_ns)
        except ReadError as error:
            return Fault(entry.id, str(error))

    # --- commit ---

    def _commit(self, batch: _Batch) -> None:
        self.report.found += batch.files
        if batch.work:
            self._stage(batch)
        self.advance(batch.files)

    def _stage(self, batch: _Batch) -> None:
        results = [future.result() for future in batch.reading]
        readings = batch.renewed + [result for result in results if isinstance(result, _Reading)]
        faults = batch.faults + [result for result in results if isinstance(result, Fault)]
        items, touched = self._diff(readings, batch.known)
        vectors = self._encode({reading.content: reading.pixels for reading in readings if reading.pixels is not None})
        self.catalog.stage(self.job, batch.known, items=items, vectors=vectors, touched=touched, faults=faults)
        for fault in faults:
            self._keep_last_good(fault, batch.known)

    def _diff(self, readings: list[_Reading], known: Known) -> tuple[list[NewItem], list[tuple[int, int, int]]]:
        """Versions to add; and key, size and mtime of files that only look different."""
        items, touched = [], []
        for reading in readings:
            entry, item, grave = reading.entry, known.items.get(reading.entry.id), known.graves.get(reading.entry.id)
            if item is not None:
                self.seen.append(item.key)
            if item is None and grave is not None and grave.content == reading.content:
                self.report.kept_deleted += 1
                touched.append((grave.key, entry.size, entry.mtime_ns))
            elif item is not None and _as_read(item, reading):
                self.report.unchanged += 1
                touched.append((item.key, entry.size, entry.mtime_ns))
            else:
                replaces = None if item is None else item.key
                told = entry.metadata, entry.size, entry.mtime_ns, entry.path
                items.append(NewItem(entry.id, reading.content, *told, replaces))
        return items, touched

    def _keep_last_good(self, fault: Fault, known: Known) -> None:
        """A job never loses what cannot be read again: a broken file's last version stays, and all of a closed folder."""
        self.report.unreadable[fault.id] = fault.reason
        if fault.id in known.items:
            self.seen.append(known.items[fault.id].key)
        elif fault.id.endswith("/"):
            self.seen.extend(self.catalog.live_keys(origin=self.job.origin, below=fault.id).tolist())

    def _encode(self, pixels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Vectors of those contents that still have none: a twin in an earlier batch may have been quicker."""
        contents = sorted(self.catalog.without_vector(pixels, self.job.fingerprint))
        if not contents:
            return {}
        vectors = self.encoder.encode(np.stack([pixels[content] for content in contents]))
        self.report.encoded += len(contents)
        return dict(zip(contents, vectors, strict=True))

    def _remove_unseen(self) -> None:
        live = self.catalog.live_keys(origin=self.job.origin)
        gone = np.setdiff1d(live, np.frombuffer(self.seen, np.int64)).tolist()
        healed = [id for id in self.quarantine if id not in self.report.unreadable]
        self.catalog.remove(self.job, gone, healed)
        if self._too_many(len(gone), len(live)) and self._too_many(lost := self.catalog.lost(self.job), len(live)):
            raise JobError(
                f"{lost:,} of the {len(live):,} items of {self.gallery.name} are gone. Is its disk mounted? "
                "If they are meant to go, run again with --allow-shrink."
            )

    def _too_many(self, gone: int, live: int) -> bool:
        return not self.allow_shrink and gone > (SHRINK_LIMIT * live if live >= SHRINK_FROM else max(live - 1, 0))

    # --- items that the scan did not reach ---

    def _encode_pending(self, *, published: bool) -> None:
        """Encode live items of the service and of other galleries; once they are published, followers have to be told."""
        pending = self.catalog.pending(self.job.fingerprint, self.job)
        self.report.pending = len(pending)
        for items in batched(pending, BATCH):
            found = zip(items, self.pool.map(self._pixels, items), strict=True)
            vectors = self._encode({item.content: pixels for item, pixels in found if pixels is not None})
            lacking = self.catalog.without_vector({item.content for item in items}, self.job.fingerprint) - set(vectors)
            done = [item for item in items if item.content not in lacking]
            self.catalog.add_pending(self.job.fingerprint, done if published else [], vectors)
            self.report.pending -= len(done)

    def _pixels(self, item: Item) -> np.ndarray | None:
        """None when the item's bytes are not there any more, or not the same."""
        data = blobs.read(self.collection, self.catalog, item)
        if data is None or hashlib.sha256(data).hexdigest() != item.content:
            return None
        try:
            return self.encoder.transform(data)
        except ImageError:
            return None

    def _check_pending(self) -> None:
        """A new bundle must not make a gallery vanish whose disk happens to be away."""
        before, live = current(self.catalog, self.collection), self.catalog.count()
        new_bundle = before is not None and before.fingerprint != self.job.fingerprint
        if new_bundle and self._too_many(self.report.pending, live):
            raise JobError(
                f"{self.report.pending:,} of the {live:,} items cannot be encoded with this bundle: their files are not there. "
                "Are the disks of all galleries mounted? If they may go from the search, run again with --allow-shrink."
            )


_CLAIMED = (
    "The id belongs to the gallery {0} already. Rename one of the two files; or, if it is the same gallery at another place, "
    "run with --origin {0}"
)


def _same_file(known: Item | Fault, entry: Entry) -> bool:
    moved = isinstance(known, Item) and known.path != entry.path
    return not moved and (known.size, known.mtime_ns) == (entry.size, entry.mtime_ns)


def _as_read(item: Item, reading: _Reading) -> bool:
    entry = reading.entry
    return (item.content, item.metadata, item.path) == (reading.content, entry.metadata, entry.path)


def _one_ahead(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Hand out each batch after the next one was begun: files are read while the one before is encoded."""
    ahead: deque[_Batch] = deque()
    for batch in batches:
        ahead.append(batch)
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead
