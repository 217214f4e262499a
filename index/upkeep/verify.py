"""A collection in, everything that is wrong with it out, each with what to do. Nothing is ever changed.

Every byte is read back and compared with its checksum, the catalog with itself and with the segments; and a sample of pictures
is encoded again. Memory grows with the keys of items and the names of uploaded pictures.
"""

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from model import Failure
from model import bundle as bundles
from model.bundle import Agreement, BundleError, file_digest
from model.encoder import Encoder
from model.image import ImageError

from .. import blobs
from .. import generation as generations
from ..catalog import FILE, CatalogError, Item, Upkeep
from ..catalog.database import read_only
from ..catalog.schema import FORMAT
from ..generation import Generation, GenerationError
from ..search import segment as segments

_RESTORE = "Restore the last backup with `lookalike restore`."
_INDEX = "Run `lookalike index` again to build it anew."
_PAST = "No search needs it: it is of generation {}, and goes when that one does. Do not go back to that one."
_LISTED = 20  # ids that a finding names
_BATCH = 64  # pictures that are encoded at a time

Advance = Callable[[str], None]  # hears what is looked at now
Open = Callable[[Generation, bundles.Bundle], Encoder]


@dataclass(frozen=True)
class Finding:
    """``what``: a sentence; ``todo``: another; ``where``: ids or files, the first of them."""

    what: str
    todo: str
    where: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """What was looked at, and what was found. ``agreement``: of the sample's stored vectors and those that are made now;
    ``changed`` and ``away``: of its pictures, that are not any more what was indexed, or not to be had."""

    items: int = 0  # versions
    vectors: int = 0
    live: int = 0
    generations: list[int] = field(default_factory=list)
    segments: int = 0
    bundles: int = 0
    blobs: int = 0
    agreement: Agreement | None = None
    changed: int = 0
    away: int = 0
    findings: list[Finding] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        agreement = None if self.agreement is None else self.agreement.model_dump()
        return {"whole": not self.findings} | asdict(self) | {"agreement": agreement}


def verify(
    collection: Path, sample: int = 0, open_encoder: Open | None = None, advance: Advance = lambda what: None
) -> Verdict:
    """Look at everything, and at ``sample`` pictures with the encoder that ``open_encoder`` opens.

    Raises ``CatalogError`` where there is no collection at all.
    """
    verdict = Verdict()
    advance("the catalog")
    verdict.findings += _outline(collection)
    if not verdict.findings:
        with closing(Upkeep(collection)) as catalog:
            _Look(collection, catalog, verdict, advance).run(sample, open_encoder)
    return verdict


def _outline(collection: Path) -> Iterator[Finding]:
    """Whether the catalog can be opened as it is: opening one of an earlier format would change it."""
    path = collection.absolute() / FILE
    if not path.is_file():
        raise CatalogError(f"{collection} holds no collection: it has no {FILE}. Is its disk mounted?")
    try:
        with closing(sqlite3.connect(read_only(path), uri=True)) as connection:
            ((found,),) = connection.execute("SELECT format FROM about").fetchall()
    except (sqlite3.Error, ValueError) as error:
        yield Finding(f"The catalog cannot be read ({error}).", _RESTORE, [str(path)])
        return
    if found != FORMAT:
        todo = "Any `lookalike index` brings it up to date." if found < FORMAT else "Use the version that wrote it."
        yield Finding(f"The catalog has format {found}, and this version of Lookalike checks format {FORMAT}.", todo)


class _Look:
    def __init__(self, collection: Path, catalog: Upkeep, verdict: Verdict, advance: Advance) -> None:
        self.collection, self.catalog, self.verdict, self.advance = collection, catalog, verdict, advance
        self.kept: list[Generation] = []  # that can be read, the current one first

    def run(self, sample: int, open_encoder: Open | None) -> None:
        catalog = (self._pages, self._rows, self._vectors, self._count)
        for look in (*catalog, self._generations, self._segments, self._bundles, self._keys, self._blobs):
            self._add(look())
        if sample and open_encoder is not None:
            self._add(self._sample(sample, open_encoder))

    def _add(self, findings: Iterator[Finding]) -> None:
        try:
            self.verdict.findings += findings
        except Failure as error:  # a damaged page was found before; here it is only in the way
            self.verdict.findings += [Finding(str(error), _RESTORE)] if not self.verdict.findings else []

    # --- the catalog ---

    def _pages(self) -> Iterator[Finding]:
        if found := self.catalog.damage():
            yield Finding("Pages of the catalog are damaged.", _RESTORE, found[:_LISTED])

    def _rows(self) -> Iterator[Finding]:
        self.advance("rows of items")
        wrong = []
        for id in self.catalog.damaged_items():
            self.verdict.items += 1
            if id is not None:
                wrong.append(id)
        if wrong:
            yield Finding(f"{len(wrong):,} rows of items are not what was written.", _RESTORE, wrong[:_LISTED])

    def _vectors(self) -> Iterator[Finding]:
        self.advance("vectors")
        wrong = []
        for content in self.catalog.damaged_vectors():
            self.verdict.vectors += 1
            if content is not None:
                wrong.append(content)
        if wrong:
            yield Finding(f"{len(wrong):,} vectors in the catalog are not what was written.", _RESTORE, wrong[:_LISTED])

    def _count(self) -> Iterator[Finding]:
        noted, self.verdict.live = self.catalog.counted()
        if noted != self.verdict.live:
            yield Finding(f"The catalog says that {noted:,} items are live, and {self.verdict.live:,} are.", _RESTORE)

    # --- files ---

    def _generations(self) -> Iterator[Finding]:
        current = self.catalog.state().generation
        for number in sorted(self.catalog.done(), key=lambda number: (number != current, number)):
            if number == current or generations.path(self.collection, number).exists():
                try:
                    self.kept.append(generations.read(self.collection, number))
                    self.verdict.generations.append(number)
                except GenerationError as error:
                    if not self._was_swept(number):
                        yield _of(error)

    def _was_swept(self, number: int) -> bool:
        """Jobs may go on meanwhile: they remove generations that are past."""
        return number != self.catalog.state().generation and not generations.path(self.collection, number).exists()

    def _segments(self) -> Iterator[Finding]:
        named = {name: generation.number for generation in reversed(self.kept) for name in generation.segments}
        for name, number in named.items():
            self.advance(f"segment {name}")
            self.verdict.segments += 1
            try:
                segments.verify(self.collection / "segments" / name)
            except Failure as error:
                if self._was_swept(number):
                    continue
                needed = number == self.catalog.state().generation
                yield _of(error) if needed else Finding(_of(error).what, _PAST.format(number))

    def _bundles(self) -> Iterator[Finding]:
        for fingerprint in dict.fromkeys(generation.fingerprint for generation in self.kept):
            self.advance(f"bundle {fingerprint[:8]}")
            self.verdict.bundles += 1
            try:
                bundles.load(self.collection / "bundles" / fingerprint)
            except BundleError as error:
                if all(self._was_swept(each.number) for each in self.kept if each.fingerprint == fingerprint):
                    continue
                todo = "Run `lookalike index` again with the bundle that it was copied from, or restore the last backup."
                yield Finding(str(error), todo)

    def _keys(self) -> Iterator[Finding]:
        """Every live item is in a segment of the current generation, came after it, or waits for a vector."""
        self.advance("keys of segments")
        while True:  # until nobody published in between
            before = self.catalog.state()
            if before.generation is None:
                return
            try:
                generation = generations.read(self.collection, before.generation)
                folders = [self.collection / "segments" / name for name in generation.segments]
                stored = [segments.open(folder, generation.fingerprint).keys for folder in folders]
            except Failure:
                return  # that was found before
            live = self.catalog.live_keys()
            later = [change.key for change in self.catalog.changes(generation.change) if change.key is not None]
            if self.catalog.state().generation == before.generation:
                break
        held = np.concatenate([*stored, np.array([*later, *generation.pending], np.int64)])
        if len(lost := np.setdiff1d(live, held)):
            ids = [item.id for item in self.catalog.live(lost[:_LISTED].tolist()).values()]
            yield Finding(f"{len(lost):,} live items are in no segment, so no search finds them.", _INDEX, ids)

    def _blobs(self) -> Iterator[Finding]:
        self.advance("uploaded pictures")
        gone, wrong = [], []
        for content in self.catalog.uploaded():
            self.verdict.blobs += 1
            path = self.collection / "blobs" / content
            if not path.is_file():
                gone.append(str(path))
            elif file_digest(path) != content:
                wrong.append(str(path))
        todo = (
            "Copy these files from a backup's folder blobs, or from that of the collection whose export was imported; or "
            "upload the pictures again."
        )
        for what, paths in (("missing", gone), ("damaged", wrong)):
            if paths:
                yield Finding(f"{len(paths):,} uploaded pictures are {what}.", todo, paths[:_LISTED])

    # --- a sample, encoded again ---

    def _sample(self, sample: int, open_encoder: Open) -> Iterator[Finding]:
        self.advance("a sample of pictures")
        if not self.kept or self.kept[0].number != self.catalog.state().generation:
            return
        generation = self.kept[0]
        try:
            encoder = open_encoder(generation, bundles.load(self.collection / "bundles" / generation.fingerprint))
        except BundleError:
            return  # that was found before
        except Failure as error:
            yield Finding(f"No picture was encoded again. {error}", "Run again with another --runtime, or with --sample 0.")
            return
        live = self.catalog.live_keys().tolist()
        chosen = sorted(random.sample(live, min(sample, len(live))))
        items = list(self.catalog.vectors(chosen, generation.fingerprint, encoder.dim))
        cosines: list[float] = []
        broken: list[str] = []
        for start in range(0, len(items), _BATCH):
            cosines += self._again(items[start : start + _BATCH], encoder, broken)
        if broken:
            yield Finding(f"{len(broken):,} pictures cannot be decoded any more, though they are the same.", _INDEX, broken)
        if not cosines:
            return
        found = Agreement(images=len(cosines), median=float(np.median(cosines)), minimum=min(cosines))
        self.verdict.agreement = found
        if not found.holds:
            yield Finding(
                f"Of {found.images:,} pictures that were encoded again, the vectors agree by {found.median:.4f} in the median "
                f"and {found.minimum:.4f} at least.",
                "Make a bundle again and index with it: this machine, or another version of the libraries, computes otherwise.",
            )

    def _again(self, items: list[tuple[Item, np.ndarray]], encoder: Encoder, broken: list[str]) -> list[float]:
        pixels, stored = [], []
        for item, vector in items:
            data = blobs.read(self.collection, self.catalog, item)
            if data is None:
                self.verdict.away += 1
            elif hashlib.sha256(data).hexdigest() != item.content:
                self.verdict.changed += 1
            else:
                try:
                    pixels.append(encoder.transform(data))
                    stored.append(vector)
                except ImageError:
                    broken.append(item.id)
        if not pixels:
            return []
        return (encoder.encode(np.stack(pixels)) * np.stack(stored)).sum(axis=1).tolist()


def _of(error: Failure) -> Finding:
    """These sentences say what to do themselves: it is the last one."""
    what, _, todo = str(error).partition(". ")
    return Finding(f"{what}.", todo)
