"""A gallery and a bundle in, a searchable collection out: scan → diff → decode ∥ encode → commit → segment → publish.

Only what changed is read, only content that was never seen is encoded. Killed at any moment, the next run takes up what
was committed; search sees either the state before or the state after, never one between.
"""

import fcntl
import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from os import cpu_count
from pathlib import Path
from typing import TypeVar

import numpy as np

from model import Failure
from model import bundle as bundles
from model.bundle import Bundle
from model.encoder import Encoder
from model.image import ImageError

from . import blobs
from . import generation as generations
from . import segment as segments
from .catalog import API_ORIGIN, Catalog, Fault, Item, Job, NewItem
from .gallery import Entry, Unreadable, scan
from .generation import Generation

T = TypeVar("T")

BATCH = 128  # files a commit
MERGE_ABOVE = 0.1  # share of rows that are new or dead
MAX_FILE = 256 * 2**20  # bytes
SHRINK_LIMIT = 0.2  # share of a gallery's items that may vanish at once, unless told so
SHRINK_FROM = 20  # items: below, nobody mistakes an unmounted disk for a small clean-up


class JobError(Failure):
    """The job cannot run; the message says what to do. Search goes on as it was."""


@dataclass
class Report:
    """What a job did. ``unreadable`` maps a file's id to the reason."""

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


@dataclass(frozen=True)
class _Reading:
    """A file that was read: its content's hash, and its pixels where no vector of that content exists yet."""

    entry: Entry
    content: str
    pixels: np.ndarray | None


@dataclass
class _Batch:
    """Files that are taken up together, with what the catalog knows of their ids."""

    files: int
    known: dict[str, Item]
    graves: dict[str, str]
    faults: list[Fault]
    reading: list[Future[_Reading | Fault]]


def run(
    gallery: Path,
    bundle: Bundle,
    encoder: Encoder,
    collection: Path,
    *,
    origin: str | None = None,
    allow_shrink: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Report:
    """Bring ``collection`` in line with ``gallery`` and publish. ``advance`` hears of every file that is done.

    Raises ``JobError``, ``GalleryError`` or ``CatalogError``; search then goes on as it was.
    """
    root = gallery.resolve()
    if not root.is_dir():
        raise JobError(f"{gallery} is not a folder. Give the folder that holds the pictures.")
    collection.mkdir(parents=True, exist_ok=True)
    with _only_job(collection):
        catalog = Catalog(collection, create=True)
        try:
            keep_bundle(bundle, collection)
            job = catalog.begin(origin or str(root), root, bundle.fingerprint)
            return _Run(catalog, collection, job, root, encoder, allow_shrink, advance).run()
        finally:
            catalog.close()


def keep_bundle(bundle: Bundle, collection: Path) -> Bundle:
    """The collection's own copy of a bundle: whoever searches needs nothing but the collection."""
    place = collection / "bundles" / bundle.fingerprint
    if not (place / "bundle.json").is_file():
        with bundles.writing(place) as draft:
            shutil.copytree(bundle.path, draft, dirs_exist_ok=True)
            for file in draft.rglob("*"):
                bundles.sync(file)
    return bundles.load(place)


class _Run:
    def __init__(
        self,
        catalog: Catalog,
        collection: Path,
        job: Job,
        root: Path,
        encoder: Encoder,
        allow_shrink: bool,
        advance: Callable[[int], None],
    ) -> None:
        self.catalog, self.collection, self.job, self.root = catalog, collection, job, root
        self.encoder, self.allow_shrink, self.advance = encoder, allow_shrink, advance
        self.report = Report()
        self.quarantine = catalog.quarantined(job.origin)
        self.seen: list[int] = []  # keys whose files are still there

    def run(self) -> Report:
        _sweep(self.collection)
        with ThreadPoolExecutor(cpu_count()) as pool:
            for batch in _one_ahead(self._take_up(files, pool) for files in _batched(scan(self.root), BATCH)):
                self._commit(batch)
        self._remove_unseen()
        self._encode_pending(published=False)
        self._publish()
        self._encode_pending(published=True)
        return self.report

    # --- scan and diff ---

    def _take_up(self, files: list[Entry | Unreadable], pool: ThreadPoolExecutor) -> _Batch:
        """Look the files up and start to read those that changed."""
        self.report.found += len(files)
        entries = [file for file in files if isinstance(file, Entry)]
        ids = [entry.id for entry in entries]
        batch = _Batch(len(files), self.catalog.find(ids), self.catalog.tombstones(ids), [], [])
        batch.faults += [Fault(file.id, file.reason) for file in files if isinstance(file, Unreadable)]
        contents = [item.content for item in batch.known.values()]
        lacking = self.catalog.without_vector(contents, self.job.fingerprint)
        for entry in entries:
            fault = self._known_fault(entry, batch.known.get(entry.id))
            if fault is not None:
                batch.faults.append(fault)
            elif self._must_be_read(entry, batch.known.get(entry.id), lacking):
                batch.reading.append(pool.submit(self._read, entry))
        return batch

    def _known_fault(self, entry: Entry, item: Item | None) -> Fault | None:
        if item is not None and item.origin not in (self.job.origin, API_ORIGIN):
            reason = f"The id belongs to the gallery {item.origin} already. Rename one of the two files."
            return Fault(entry.id, reason, entry.size, entry.mtime_ns)
        if entry.size > MAX_FILE:
            return Fault(entry.id, f"The file has {entry.size:,} bytes; the limit is {MAX_FILE:,}.", entry.size, entry.mtime_ns)
        fault = self.quarantine.get(entry.id)
        unchanged = fault is not None and (fault.size, fault.mtime_ns) == (entry.size, entry.mtime_ns)
        return fault if unchanged and item is None else None

    def _must_be_read(self, entry: Entry, item: Item | None, lacking: set[str]) -> bool:
        if item is None:
            return True
        if item.origin == API_ORIGIN:
            self.report.owned_by_api += 1
            return False
        same_file = (item.size, item.mtime_ns, item.metadata) == (entry.size, entry.mtime_ns, entry.metadata)
        if same_file and item.content not in lacking:
            self.report.unchanged += 1
            self.seen.append(item.key)
            return False
        return True

    def _read(self, entry: Entry) -> _Reading | Fault:
        """Runs in a thread of the pool."""
        try:
            data = entry.path.read_bytes()
            content = hashlib.sha256(data).hexdigest()
            if self.catalog.without_vector([content], self.job.fingerprint):
                return _Reading(entry, content, self.encoder.transform(data))
            return _Reading(entry, content, None)
        except ImageError as error:
            return Fault(entry.id, str(error), entry.size, entry.mtime_ns)
        except OSError as error:
            return Fault(entry.id, f"The file cannot be read ({error.strerror}).")

    # --- commit ---

    def _commit(self, batch: _Batch) -> None:
        results = [future.result() for future in batch.reading]
        readings = [result for result in results if isinstance(result, _Reading)]
        faults = batch.faults + [result for result in results if isinstance(result, Fault)]
        # A file that broke keeps its last good version: a job never loses what cannot be read again.
        self.seen += [batch.known[fault.id].key for fault in faults if fault.id in batch.known]
        self.report.unreadable |= {fault.id: fault.reason for fault in faults}

        items, touched = [], []
        for reading in readings:
            entry, item = reading.entry, batch.known.get(reading.entry.id)
            if item is not None:
                self.seen.append(item.key)
            if item is None and batch.graves.get(entry.id) == reading.content:
                self.report.kept_deleted += 1
            elif item is not None and (item.content, item.metadata) == (reading.content, entry.metadata):
                self.report.unchanged += 1
                touched.append((item.key, entry.size, entry.mtime_ns))
            else:
                replaces = None if item is None else item.key
                items.append(NewItem(entry.id, reading.content, entry.metadata, entry.size, entry.mtime_ns, replaces))
        vectors = self._encode({reading.content: reading.pixels for reading in readings if reading.pixels is not None})
        self.catalog.stage(self.job, items=items, vectors=vectors, touched=touched, faults=faults)
        self.advance(batch.files)

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
        gone = np.setdiff1d(live, np.array(self.seen, np.int64)).tolist()
        if not self.allow_shrink and len(live) >= SHRINK_FROM and len(gone) > SHRINK_LIMIT * len(live):
            raise JobError(
                f"{len(gone):,} of the {len(live):,} items of {self.root} are gone. Is its disk mounted? "
                "If they are meant to go, run again with --allow-shrink."
            )
        healed = [id for id in self.quarantine if id not in self.report.unreadable]
        self.catalog.stage(self.job, removed=gone, healed=healed)
        self.report.added, self.report.removed = self.catalog.staged(self.job)

    def _encode_pending(self, *, published: bool) -> None:
        """Encode live items that the scan did not reach: uploads, other galleries, what the service added meanwhile."""
        pending = self.catalog.pending(self.job.fingerprint, self.job)
        self.report.pending = len(pending)
        for items in _batched(pending, BATCH):
            pixels = {item.content: self._pixels(item) for item in items}
            vectors = self._encode({content: found for content, found in pixels.items() if found is not None})
            done = [item for item in items if item.content in vectors]
            self.report.pending -= len(done)
            if published:
                self.catalog.add_pending(self.job.fingerprint, done, vectors)
            else:
                self.catalog.stage(self.job, vectors=vectors)

    def _pixels(self, item: Item) -> np.ndarray | None:
        """None when the item's bytes are not there any more, or not the same."""
        data = blobs.read(self.collection, self.catalog, item)
        return None if data is None or hashlib.sha256(data).hexdigest() != item.content else self.encoder.transform(data)

    # --- publish ---

    def _publish(self) -> None:
        state = self.catalog.state()  # before the keys are read: a change in between is then followed once more, not lost
        keys = self.catalog.live_keys(job=self.job)
        previous = None if state.generation is None else generations.read(self.collection, state.generation)
        kept, new = self._plan(previous, keys)
        if previous is not None and kept == previous.segments and not len(new) and not self.report.removed:
            self.catalog.publish(self.job, None)
            self.report.generation = state.generation
        else:
            self.report.generation = self._write_generation(kept, new, state.change)
            self.catalog.publish(self.job, self.report.generation)
        self.report.count = self.catalog.count()

    def _plan(self, previous: Generation | None, keys: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Which segments stay, and the keys of a new one: those that came, or all of them where too much changed."""
        if previous is None or (previous.fingerprint, previous.precision) != (
            self.job.fingerprint,
            self.encoder.precision,
        ):
            return [], keys
        stored = [segments.open(self.collection / "segments" / name).keys for name in previous.segments]
        all_stored = np.concatenate([np.empty(0, np.int64), *stored])
        new, dead = np.setdiff1d(keys, all_stored), np.setdiff1d(all_stored, keys)
        added_since = sum(len(part) for part in stored[1:])
        if len(new) + len(dead) + added_since > MERGE_ABOVE * len(keys):
            return [], keys
        return previous.segments, new

    def _write_generation(self, kept: list[str], new: np.ndarray, change: int) -> int:
        number = self.job.number
        if len(new):
            folder = self.collection / "segments" / f"{number:08d}"
            rows = self.catalog.vectors(new.tolist(), self.job.fingerprint, self.encoder.dim)
            segments.write(folder, self.job.fingerprint, self.encoder.dim, rows)
            segments.verify(folder)
            kept = [*kept, folder.name]
        generation = Generation(
            number=number,
            fingerprint=self.job.fingerprint,
            runtime=self.encoder.runtime,
            precision=self.encoder.precision,
            segments=kept,
            change=change,
        )
        generations.write(self.collection, generation)
        return number


@contextmanager
def _only_job(collection: Path) -> Iterator[None]:
    """One job at a time; the lock falls with its process, however that ends."""
    with (collection / "job.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JobError(f"Another job is working on {collection}. Wait for it to end, then run again.") from error
        yield


def _sweep(collection: Path) -> None:
    """Remove what jobs that died left behind: segments that no generation names."""
    named = {name for file in (collection / "generations").glob("*.json") for name in _segments_of(file)}
    for folder in (collection / "segments").glob("*"):
        if folder.name not in named:
            shutil.rmtree(folder, ignore_errors=True)


def _segments_of(file: Path) -> list[str]:
    return Generation.model_validate_json(file.read_bytes()).segments


def _one_ahead(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Hand out each batch after the next one was begun: files are read while the one before is encoded."""
    ahead: deque[_Batch] = deque()
    for batch in batches:
        ahead.append(batch)
        if len(ahead) > 1:
            yield ahead.popleft()
    yield from ahead


def _batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
