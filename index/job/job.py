"""A gallery and a bundle in, a searchable collection out: scan → diff → decode ∥ encode → commit → segment → verify → publish.

Only what changed is read, only content that was never seen is encoded. Killed at any moment, the next run takes up what
was committed; search sees either the state before or the state after, never one between.
"""

import errno
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from model import Failure
from model import bundle as bundles
from model.bundle import Bundle
from model.encoder import Encoder

from .. import gallery as galleries
from ..catalog import Catalog, Fault, Item, Job, Known, NewItem, batched
from ..gallery import Entry, Gallery, Unreadable
from ..generation import Generation
from ..lifecycle.garbage import KEPT, sweep
from ..lifecycle.publish import current, leave_behind, publish
from ..lock import only_job
from ..search import segment as segments
from ..search.planner import Aim
from . import diff, pace, room
from .diff import Fate
from .judge import LABEL, judge
from .keeping import keep_bundle, lay_out, place_of
from .reading import Reader, Reading
from .report import JobError, Report

T = TypeVar("T")

BATCH = 128  # files that are read for one commit
_NAMED = 3  # unreadable files that an error names


@dataclass(frozen=True)
class Options:
    """``total``: files of the gallery where somebody counted them, so that a full disk is foreseen. ``max_failures``:
    unreadable files that are put up with, None for any number. ``label``: the metadata field that a new bundle is judged by.
    ``keep``: generations that stay. ``aim``: what approximate search is to keep."""

    allow_shrink: bool = False
    allow_worse: bool = False
    drop_vector_only: bool = False
    max_failures: int | None = None
    label: str = LABEL
    keep: int = KEPT
    aim: Aim = field(default_factory=Aim)
    total: int | None = None


@dataclass
class _Batch:
    """Files that are taken up together, with what the catalog knew of their ids before they were read."""

    known: Known
    files: int = 0
    faults: list[Fault] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)
    renewed: list[Reading] = field(default_factory=list)  # not read: the file is the same, its metadata is not
    reading: list[Future[list[Reading | Fault]]] = field(default_factory=list)  # of those that changed

    @property
    def work(self) -> int:
        return len(self.faults) + len(self.changed) + len(self.renewed)


@dataclass(frozen=True)
class _Encoding:
    """A batch that was read: what becomes of its files, and the vectors of ``contents``, float32 [N, D], on their way."""

    batch: _Batch
    items: list[NewItem]
    touched: list[tuple[int, int, int]]
    faults: list[Fault]
    contents: list[str]
    vectors: Future[np.ndarray] | None


def run(
    gallery: Gallery | Path | str,
    bundle: Bundle,
    encoder: Encoder,
    collection: Path,
    *,
    origin: str | None = None,
    advance: Callable[[int], None] = lambda _: None,
    begin: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> Report:
    """Bring ``collection`` in line with ``gallery`` and publish. ``options`` are those of ``Options``; ``advance`` hears of
    every file that is done, ``begin`` of what comes after them.

    Raises ``JobError``, ``PublishError``, ``Busy``, ``GalleryError``, ``BundleError`` or ``CatalogError``; search then goes on
    as it was, and the next run takes up what this one encoded.
    """
    asked = Options(**options)
    source = galleries.open(gallery) if isinstance(gallery, str | Path) else gallery
    if encoder.fingerprint != bundle.fingerprint:
        raise JobError("The encoder is of another bundle than the one given. Open it from that bundle.")
    place = place_of(collection, source, origin)
    try:
        lay_out(place)
        with only_job(place), closing(Catalog(place, create=True)) as catalog:
            keep_bundle(bundle, place)
            job = catalog.begin(origin or source.name, source.root, bundle.fingerprint)
            return _Run(catalog, place, job, source, encoder, asked, advance, begin).run()
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise JobError(f"The disk of {collection} is full. Make room, then run again: what was encoded is kept.") from error


class _Run:
    def __init__(
        self,
        catalog: Catalog,
        collection: Path,
        job: Job,
        gallery: Gallery,
        encoder: Encoder,
        asked: Options,
        advance: Callable[[int], None],
        begin: Callable[[str], None],
    ) -> None:
        self.catalog, self.collection, self.job, self.gallery = catalog, collection, job, gallery
        self.encoder, self.asked, self.advance, self.begin = encoder, asked, advance, begin
        self.report = Report()
        self.quarantine = catalog.quarantined(job.origin)
        self.seen = array("q")  # keys whose files are still there
        self.lacking: set[int] = set()  # keys of items that got no vector, and are not asked for twice
        self.failures = 0  # files, and items of folders, that could not be read
        self.versions = self.replacing = self.staged = 0  # versions of items; how many take others' places, and are staged
        self.working = 0.0  # seconds that went by with reading and encoding
        self.reader = Reader(catalog, collection, gallery, encoder)
        self.encoding = ThreadPoolExecutor(1)  # while a batch is encoded, the one before it is committed
        self.on_the_way: set[str] = set()  # contents that are encoded, and not committed yet

    def run(self) -> Report:
        began = time.perf_counter()
        try:
            self._bring_in_line()
        except JobError as error:
            error.report = self.report
            raise
        finally:
            self.report.seconds = round(time.perf_counter() - began, 3)
            self.reader.close()
            self.encoding.shutdown(cancel_futures=True)
        return self.report

    def _bring_in_line(self) -> None:
        sweep(self.catalog, self.collection, self.asked.keep)
        before = current(self.catalog, self.collection)
        if before is None or before.fingerprint != self.job.fingerprint:
            leave_behind(self.catalog, self.job, self.asked.drop_vector_only)
        self._look_for_room(before)
        for encoding in _one_ahead(map(self._encode, _one_ahead(map(self._read, self._batches())))):
            self._commit(encoding)
        self._remove_unseen()
        self._encode_pending(published=False)
        self._check_pending(before)
        self._publish()
        self._encode_pending(published=True)  # what a server took in meanwhile, with the bundle before
        fingerprint, precision = self.job.fingerprint, self.encoder.precision
        pace.keep(self.collection, fingerprint, precision, self.report.encoded, self.working)
        self._tell()

    def _look_for_room(self, before: Generation | None) -> None:
        """Before anything is encoded; where the gallery was not counted, for what waits alone."""
        live, given = self.catalog.count(), (self.encoder.fingerprint, self.encoder.precision, self.encoder.dim)
        self.room = room.look(self.collection, live, before, *given, self.asked.aim)
        total = self.asked.total
        new = max(0, total - len(self.catalog.live_keys(origin=self.job.origin))) if total else 0
        again = 0 if before is not None and before.fingerprint == self.job.fingerprint else live
        self.room.check(self.room.needed(new + again, new))

    # --- scan and diff ---

    def _batches(self) -> Iterator[_Batch]:
        """Look files up, so many at a time that the pixels of those that changed fit into memory."""
        for some in diff.looked_up(self.catalog, self.gallery.scan(self.collection), self.job.fingerprint):
            batch = _Batch(some.known)
            for file in some.files:
                batch.files += 1
                self._sort(file, batch, diff.fate(file, some.known, some.lacking, self.job.origin, self.quarantine))
                if batch.work == BATCH:
                    yield batch
                    batch = _Batch(some.known)
            yield batch

    def _sort(self, file: Entry | Unreadable, batch: _Batch, fate: Fate | Fault) -> None:
        if isinstance(fate, Fault) or isinstance(file, Unreadable):
            assert isinstance(fate, Fault)
            batch.faults.append(fate)
            return
        match fate:
            case Fate.READ:
                batch.changed.append(file)
            case Fate.RENEWED:
                batch.renewed.append(Reading(file, batch.known.items[file.id].content))
            case Fate.UNCHANGED:
                self.report.unchanged += 1
                self.seen.append(batch.known.items[file.id].key)
            case Fate.OF_SERVICE:
                self.report.owned_by_api += 1
            case Fate.DELETED:
                self.report.kept_deleted += 1

    # --- commit ---

    def _read(self, batch: _Batch) -> _Batch:
        """Begin to read what changed."""
        batch.reading = self.reader.submit(batch.changed)
        return batch

    def _encode(self, batch: _Batch) -> _Encoding:
        """Begin to encode what was read."""
        if not batch.work:
            return _Encoding(batch, [], [], [], [], None)
        began = time.perf_counter()
        results = [each for future in batch.reading for each in future.result()]
        readings = batch.renewed + [result for result in results if isinstance(result, Reading)]
        faults = batch.faults + [result for result in results if isinstance(result, Fault)]
        for fault in faults:
            self._keep_last_good(fault, batch.known)
        self._check_failures()
        items, touched = self._diff(readings, batch.known)
        pixels = {reading.content: reading.pixels for reading in readings if reading.pixels is not None}
        self.versions += len(items)
        self.replacing += sum(item.replaces is not None for item in items)
        coming = len(pixels) + len(self.on_the_way), self.versions - self.staged
        self.room.check(self.room.needed(*coming, staged=self.staged, replacing=self.replacing))
        lacking = self._lacking(pixels)
        self.on_the_way.update(lacking)
        images = list(lacking.values())
        vectors = self.encoding.submit(lambda: self.encoder.encode(np.stack(images))) if images else None
        self.working += time.perf_counter() - began
        return _Encoding(batch, items, touched, faults, list(lacking), vectors)

    def _commit(self, encoding: _Encoding) -> None:
        self.report.found += encoding.batch.files
        if encoding.batch.work:
            began = time.perf_counter()
            vectors: Iterable[np.ndarray] = () if encoding.vectors is None else encoding.vectors.result()
            self._stage(encoding, dict(zip(encoding.contents, vectors, strict=True)))
            self.working += time.perf_counter() - began
        self.advance(encoding.batch.files)

    def _stage(self, encoding: _Encoding, vectors: dict[str, np.ndarray]) -> None:
        self.report.encoded += len(vectors)
        items, known = encoding.items, encoding.batch.known
        self.catalog.stage(self.job, known, items=items, vectors=vectors, touched=encoding.touched, faults=encoding.faults)
        self.staged += len(items)
        self.on_the_way.difference_update(vectors)

    def _diff(self, readings: list[Reading], known: Known) -> tuple[list[NewItem], list[tuple[int, int, int]]]:
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
        self.report.unreadable[fault.id] = fault.reason
        kept = diff.last_good(self.catalog, fault, known, self.gallery, self.job.origin)
        self.seen.extend(kept)
        self.failures += max(1, len(kept))

    def _check_failures(self) -> None:
        most = self.asked.max_failures
        if most is not None and self.failures > most:
            named = "; ".join(f"{id}: {reason.rstrip('.')}" for id, reason in islice(self.report.unreadable.items(), _NAMED))
            raise JobError(
                f"{self.failures:,} files cannot be read, more than --max-failures {most}, e.g. {named}. "
                "Mend them, or allow more. Nothing was published; what was encoded is kept."
            )

    def _lacking(self, pixels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Those of the contents that still have no vector, in order: a twin in an earlier batch may have been quicker."""
        contents = self.catalog.without_vector(pixels, self.job.fingerprint) - self.on_the_way
        return {content: pixels[content] for content in sorted(contents)}

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
        return not self.asked.allow_shrink and diff.too_many(gone, live)

    # --- items that the scan did not reach ---

    def _encode_pending(self, *, published: bool) -> None:
        """Encode live items of the service and of other galleries; once they are published, followers have to be told."""
        pending = self.catalog.pending(self.job.fingerprint, self.job)
        self.report.pending = len(pending)
        for items in batched((item for item in pending if item.key not in self.lacking), BATCH):
            began = time.perf_counter()
            found = zip(items, self.reader.pixels(items), strict=True)
            pixels = self._lacking({item.content: each for item, each in found if each is not None})
            vectors = dict(zip(pixels, self.encoder.encode(np.stack(list(pixels.values()))), strict=True)) if pixels else {}
            self.report.encoded += len(vectors)
            lacking = self.catalog.without_vector({item.content for item in items}, self.job.fingerprint) - set(vectors)
            done = [item for item in items if item.content not in lacking]
            self.catalog.add_pending(self.job.fingerprint, done if published else [], vectors)
            self.report.pending -= len(done)
            self.lacking.update(item.key for item in items if item.content in lacking)
            self.working += time.perf_counter() - began

    def _check_pending(self, before: Generation | None) -> None:
        """A new bundle must not make a gallery vanish whose disk happens to be away."""
        live = self.catalog.count()
        new_bundle = before is not None and before.fingerprint != self.job.fingerprint
        if new_bundle and self._too_many(self.report.pending, live):
            raise JobError(
                f"{self.report.pending:,} of the {live:,} items cannot be encoded with this bundle: their files are not there. "
                "Are the disks of all galleries mounted? If they may go from the search, run again with --allow-shrink."
            )

    # --- publish ---

    def _publish(self) -> None:
        bundle = bundles.file_digest(self.collection / "bundles" / self.job.fingerprint / "bundle.json")
        given = self.catalog, self.collection, self.job, self.encoder, bundle, self.asked.aim, self.asked.drop_vector_only
        self.report.added, self.report.removed = publish(*given, self._writing, self._approve)

    def _writing(self, rows: int) -> None:
        self.begin("Building")
        self.room.check(self.room.of_segment(rows))

    def _approve(self, old: Generation, new: Generation) -> None:
        self.begin("Judging")
        verdict = judge(self.catalog, self.collection, old, new, self.encoder, self.asked.label)
        if verdict is None:
            return
        self.report.verdict = verdict.figures()
        if verdict.worse and not self.asked.allow_worse:
            raise JobError(
                f"The new bundle is worse, and is not published. {' '.join(verdict.worse)} Search goes on with the one before; "
                "what was encoded is kept. If it is to take over all the same, run again with --allow-worse."
            )

    def _tell(self) -> None:
        state = self.catalog.state()
        self.report.generation, self.report.count = state.generation, state.count
        if (generation := current(self.catalog, self.collection)) is not None:
            folders = (self.collection / "segments" / name for name in generation.segments)
            self.report.indexes = [segments.worth(folder).model_dump() for folder in folders]


def _as_read(item: Item, reading: Reading) -> bool:
    entry = reading.entry
    return (item.content, item.metadata, item.path) == (reading.content, entry.metadata, entry.path)


def _one_ahead(begun: Iterable[T]) -> Iterator[T]:
    """Hand out each after the next one was begun: files are read while those before are encoded, and these while those before
    them are committed. Where no further one can be begun, what was is handed out first: what was encoded is kept."""
    ahead: deque[T] = deque()
    try:
        for each in begun:
            ahead.append(each)
            if len(ahead) > 1:
                yield ahead.popleft()
    except Failure:
        yield from ahead
        raise
    yield from ahead
