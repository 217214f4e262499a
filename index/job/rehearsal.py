"""A gallery and a collection in, what a job would do out: from names, sizes and times alone, and nothing is written."""

import shutil
import time
from array import array
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from model.bundle import Bundle
from model.encoder import Precision

from ..catalog import FILE, Catalog, Fault, Known
from ..gallery import Gallery
from ..lifecycle.publish import current
from ..search.planner import Aim
from . import diff, pace, room
from .diff import Fate
from .keeping import place_of


@dataclass
class Rehearsal:
    """What a job would find and do.

    ``read``: files that it would open: ``new`` ids, and ``changed`` ones at most, for a file of another time may have the same
    bytes. ``renewed``: only their metadata changed. ``waiting``: items of the service and other galleries that a new bundle has
    to encode too, at most. ``gone``: items whose files are not there; ``shrink``: whether the job would refuse for that, which
    with files to read depends on what is in them: gone ones may have been renamed. ``unreadable``: as in a job's report, with
    what earlier jobs could not read and did not change; ``too_many_failures``: whether these alone would stop it.
    ``needs``, ``free``: bytes on the disk. ``seconds``: None where no job before tells the pace.
    """

    found: int = 0
    read: int = 0
    new: int = 0
    changed: int = 0
    renewed: int = 0
    unchanged: int = 0
    waiting: int = 0
    gone: int = 0
    owned_by_api: int = 0
    kept_deleted: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    shrink: Literal["goes", "depends", "refused"] = "goes"
    too_many_failures: bool = False
    needs: int = 0
    free: int = 0
    images_per_second: float | None = None
    seconds: float | None = None


def rehearse(
    gallery: Gallery,
    bundle: Bundle,
    collection: Path,
    *,
    origin: str | None = None,
    precision: Precision = "f32",
    allow_shrink: bool = False,
    max_failures: int | None = None,
    aim: Aim = Aim(),
    advance: Callable[[int], None] = lambda _: None,
) -> Rehearsal:
    """The options are those of ``job.run``. Raises ``JobError``, ``GalleryError`` or ``CatalogError``."""
    place, began = place_of(collection, gallery, origin), time.perf_counter()
    if not (place / FILE).is_file():
        scanned = _Rehearsed(None, place, gallery, origin or gallery.name, bundle.fingerprint)
        scanned.scan(advance)
        generation, live = None, 0
    else:
        with closing(Catalog(place)) as catalog:
            scanned = _Rehearsed(catalog, place, gallery, origin or gallery.name, bundle.fingerprint)
            scanned.scan(advance)
            generation, live = current(catalog, place), catalog.count()
            scanned.compare(live, generation is not None and generation.fingerprint != bundle.fingerprint, allow_shrink)
    found = scanned.found
    found.too_many_failures = max_failures is not None and scanned.failures > max_failures
    dim = bundle.manifest.architecture.dim
    ahead = room.look(place, live, generation, bundle.fingerprint, precision, dim, aim)
    found.needs = ahead.needed(found.read + found.waiting, found.read + found.renewed, replacing=found.changed + found.renewed)
    found.free = shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free
    found.images_per_second = pace.known(place, bundle.fingerprint, precision)
    if found.images_per_second is not None:
        scanning = time.perf_counter() - began
        found.seconds = scanning + (found.read + found.waiting) / found.images_per_second
    return found


class _Rehearsed:
    def __init__(self, catalog: Catalog | None, collection: Path, gallery: Gallery, origin: str, fingerprint: str) -> None:
        self.catalog, self.collection, self.gallery = catalog, collection, gallery
        self.origin, self.fingerprint = origin, fingerprint
        self.quarantine = {} if catalog is None else catalog.quarantined(origin)
        self.found = Rehearsal()
        self.failures = 0  # files, and items of folders, that could not be read
        self.seen = array("q")  # keys whose files are still there, or whose folders cannot be looked into

    def scan(self, advance: Callable[[int], None]) -> None:
        for some in diff.looked_up(self.catalog, self.gallery.scan(self.collection), self.fingerprint):
            for file in some.files:
                item = some.known.items.get(file.id)
                if item is not None:
                    self.seen.append(item.key)
                fate = diff.fate(file, some.known, some.lacking, self.origin, self.quarantine)
                if isinstance(fate, Fault):
                    self._keep_last_good(fate, some.known)
                else:
                    self._count(fate, item is None)
            self.found.found += len(some.files)
            advance(len(some.files))

    def _keep_last_good(self, fault: Fault, known: Known) -> None:
        self.found.unreadable[fault.id] = fault.reason
        kept = diff.last_good(self.catalog, fault, known, self.gallery, self.origin)
        self.seen.extend(kept)
        self.failures += max(1, len(kept))

    def _count(self, fate: Fate, new: bool) -> None:
        match fate:
            case Fate.READ:
                self.found.read += 1
                self.found.new += new
                self.found.changed += not new
            case Fate.RENEWED:
                self.found.renewed += 1
            case Fate.UNCHANGED:
                self.found.unchanged += 1
            case Fate.OF_SERVICE:
                self.found.owned_by_api += 1
            case Fate.DELETED:
                self.found.kept_deleted += 1

    def compare(self, live: int, new_bundle: bool, allow_shrink: bool) -> None:
        """Count what the scan did not come by."""
        assert self.catalog is not None
        own = self.catalog.live_keys(origin=self.origin)
        self.found.gone = len(np.setdiff1d(own, np.frombuffer(self.seen, np.int64)))
        self.found.waiting = live - len(own) if new_bundle else 0
        if diff.too_many(self.found.gone, len(own)) and not allow_shrink:
            self.found.shrink = "depends" if self.found.read else "refused"
