"""The generation being served: an encoder and a searcher that belong together. Picture bytes in, hits out.

It follows the catalog: a new generation takes the old one's place between two requests, changes are taken up within
``follow_seconds``. Nothing here knows HTTP.
"""

import contextlib
import hashlib
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index import blobs
from index import generation as generations
from index.catalog import API_ORIGIN, FILE, Catalog, CatalogError, Item, NewItem, State
from index.search.columns import Value
from index.search.filters import Filter
from index.search.searcher import Hit, Searcher
from model import Failure, confidence
from model import bundle as bundles
from model.bundle import Bundle
from model.confidence import Calibration
from model.encoder import Encoder, Precision, Runtime, open_encoder
from model.image import ImageError

_AT_ONCE = 0.5  # seconds that pending items are encoded at a time

log = logging.getLogger("lookalike.service")


class NotReady(Failure):
    """There is nothing to search yet; the message says what to do."""


@dataclass(frozen=True)
class Serving:
    """What answers together: every answer comes from one of these."""

    bundle: Bundle
    encoder: Encoder
    calibration: Calibration | None  # None: scores cannot be turned into confidences
    searcher: Searcher


@dataclass(frozen=True)
class Answer:
    hits: list[Hit]
    serving: Serving
    count: int  # items that could have been found
    confidences: list[float] | None  # of the hits, where they have a meaning
    seconds: dict[str, float]  # by phase

    @property
    def similar(self) -> bool | None:
        """False: even the best hit is unlikely to show the same kind of thing. None: that cannot be told."""
        if self.confidences is None:
            return None
        return max(self.confidences, default=0.0) >= confidence.UNLIKELY


@dataclass
class _Known:
    """What was taken up of one catalog file, and is forgotten with it."""

    file: tuple[int, int] | None = None  # device and inode
    catalog: Catalog | None = None
    serving: Serving | None = None
    seen: State | None = None
    pending: int = 0  # items that lacked a vector when that was looked into
    count: int = 0

    @property
    def generation(self) -> int | None:
        return None if self.serving is None else self.serving.searcher.generation.number


class Engine:
    def __init__(self, collection: Path, runtime: Runtime, precision: Precision | None, max_pixels: int) -> None:
        self.collection = collection
        self._runtime, self._precision, self._max_pixels = runtime, precision, max_pixels
        self._empty = (
            f"The collection is empty. Fill it with `lookalike index GALLERY --bundle BUNDLE --to {collection}`; "
            "this server takes it up by itself."
        )
        self._fault = self._empty
        self._keeps_up = False
        self._following = threading.Lock()
        self._swapping = threading.Lock()
        self._known = _Known()

    # --- the generation being served ---

    @property
    def serving(self) -> Serving:
        """Raises ``NotReady``."""
        serving = self._known.serving
        if serving is None:
            raise NotReady(self._fault)
        return serving

    @property
    def catalog(self) -> Catalog:
        """Raises ``NotReady``."""
        catalog = self._known.catalog
        if catalog is None:
            raise NotReady(self._fault)
        return catalog

    @property
    def count(self) -> int:
        """Items that can be found, as last followed."""
        return self._known.count

    @property
    def lags(self) -> str | None:
        """A sentence where what is served does not follow the collection, None where it does. Raises ``NotReady``."""
        _ = self.serving
        if not self.catalog.writable:
            return f"{self.collection} cannot be written: what it held when the server took it up is served, and nothing newer."
        return None if self._keeps_up else self._fault

    def follow(self) -> bool:
        """Take up what changed on disk. False when that failed: what is served goes on, and the reason is logged once."""
        with self._following:
            try:
                self._follow()
            except Exception as error:  # a follower that died of a broken disk would never see it mended
                known = isinstance(error, Failure)
                fault = str(error) if known else "The collection cannot be read; the server's log says why."
                if fault != self._fault:
                    log.error("%s", fault, exc_info=not known)
                self._fault, self._keeps_up = fault, False
                return False
            self._fault, self._keeps_up = self._empty, True
            return True

    def close(self) -> None:
        with self._following:
            self._forget()

    def _follow(self) -> None:
        catalog = self._opened()
        if catalog is None:
            return
        state, known = catalog.state(), self._known
        if state != known.seen:
            known.count = state.count
            if known.serving is not None:
                self._take_up()  # also where the new generation does not load
            if state.generation is not None and state.generation != known.generation:
                new = self._loaded(catalog, state.generation)
                if (catalog.state().generation or 0) < state.generation:
                    return  # rolled back while it was loaded: the next time takes that up
                self._swap(new)
            known.seen = state
        if known.serving is not None and catalog.writable:
            self._encode_pending(catalog, known.serving)

    def _opened(self) -> Catalog | None:
        """The catalog, anew where another file took its place; None while there is none."""
        place = self.collection / FILE
        if place.is_dir():
            raise CatalogError(f"{place} is a folder. Put the file back, or restore the collection from a backup.")
        file = _identity(place)
        if file != self._known.file:
            if self._known.file is not None:
                log.warning("%s was taken away or replaced", place)
            self._forget()
            if file is not None:
                self._known.catalog = Catalog(self.collection)
            self._known.file = file
        return self._known.catalog

    def _forget(self) -> None:
        if self._known.catalog is not None:
            self._known.catalog.close()
        self._known = _Known()

    def _loaded(self, catalog: Catalog, number: int) -> Serving:
        """Raises what keeps it from being loaded; a server that has nothing to serve takes up one before it first."""
        try:
            return self._load(catalog, number)
        except Exception:
            older = None if self._known.serving else self._before(catalog, number)
            if older is not None:
                self._swap(older)
            raise

    def _before(self, catalog: Catalog, number: int) -> Serving | None:
        """The newest older generation that is whole."""
        done = catalog.done()
        for older in reversed(generations.readable(self.collection)):
            if older.number < number and older.number in done and not done[older.number].rolled_back:
                with contextlib.suppress(Failure):
                    return self._load(catalog, older.number)
        return None

    def _load(self, catalog: Catalog, number: int) -> Serving:
        generation = generations.read(self.collection, number)
        precision = self._precision or generation.precision
        bundle = bundles.load(self.collection / "bundles" / generation.fingerprint)
        old = self._known.serving
        if old is not None and (old.bundle.fingerprint, old.encoder.precision) == (generation.fingerprint, precision):
            encoder = old.encoder
        else:
            encoder = open_encoder(bundle, self._runtime, precision)
            size = encoder.transform.size
            encoder.encode(np.zeros((1, size, size, 3), np.uint8))  # warm before it answers
        return Serving(bundle, encoder, confidence.load(bundle), Searcher(self.collection, catalog, number, encoder.dim))

    def _swap(self, new: Serving) -> None:
        with self._swapping:
            new.searcher.follow()  # what was put while it was loaded
            self._known.serving, self._known.pending = new, 0
        log.info("serving generation %d", new.searcher.generation.number)

    def _take_up(self) -> None:
        """What the catalog holds now is found by every search that begins after this returns, whatever is loaded meanwhile."""
        with self._swapping:
            self.serving.searcher.follow()

    def _encode_pending(self, catalog: Catalog, serving: Serving) -> None:
        """A server that has not swapped yet encodes what is put with the bundle before: those items are caught up here."""
        if serving.searcher.pending > self._known.pending:
            until = time.monotonic() + _AT_ONCE
            for item in catalog.pending(serving.bundle.fingerprint):
                data = self.picture(item) if item.origin == API_ORIGIN else None
                if data is not None:
                    with contextlib.suppress(ImageError):
                        vectors = {item.content: self._encode(serving, [data])[0]}
                        catalog.add_pending(serving.bundle.fingerprint, [item], vectors)
                if time.monotonic() > until:  # the next time goes on: changes and a new generation must not wait for these
                    self._take_up()
                    return
            self._take_up()
        self._known.pending = serving.searcher.pending

    # --- questions ---

    def search(
        self,
        data: bytes,
        k: int,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        effort: int | None = None,
    ) -> Answer:
        """Picture bytes → the nearest k items; options as of ``Searcher.search``.

        Raises ``NotReady``, an ``ImageError`` or a ``FilterError``.
        """
        serving = self.serving
        serving.searcher.check(filter, group_by)
        clock = [time.perf_counter()]
        pixels = serving.encoder.transform(data, self._max_pixels)
        clock.append(time.perf_counter())
        vector = serving.encoder.encode(pixels[None])[0]
        clock.append(time.perf_counter())
        hits = serving.searcher.search(vector, k, filter=filter, group_by=group_by, effort=effort)
        clock.append(time.perf_counter())
        phases = ("decode", "encode", "search")
        seconds = {phase: end - start for phase, start, end in zip(phases, clock[:-1], clock[1:], strict=True)}
        count = self.count
        scores = np.array([hit.score for hit in hits])
        # Of all items, filtered or not: a filter is taken to thin out look-alikes and true matches alike.
        confidences = None if serving.calibration is None else serving.calibration.confidence(scores, count).tolist()
        return Answer(hits, serving, count, confidences, seconds | {"total": clock[-1] - clock[0]})

    def facets(self, field: str, limit: int, filter: Filter | None = None) -> tuple[list[tuple[Value, int]], Serving]:
        """The values of a field and how many items have each: ``Searcher.facets``. Raises ``NotReady`` or a ``FilterError``."""
        serving = self.serving
        return serving.searcher.facets(field, limit, filter), serving

    def embed(self, pictures: list[bytes]) -> tuple[np.ndarray, Serving]:
        """Picture bytes → unit vectors float32 [N, D]. Raises ``NotReady`` or an ``ImageError``."""
        serving = self.serving
        return self._encode(serving, pictures), serving

    def item(self, id: str) -> Item | None:
        return self.catalog.find([id]).get(id)

    def picture(self, item: Item) -> bytes | None:
        """The picture's bytes as they were indexed; None where they are gone or have changed."""
        return blobs.indexed(self.collection, self.catalog, item)

    def _encode(self, serving: Serving, pictures: list[bytes]) -> np.ndarray:
        return serving.encoder.encode(np.stack([serving.encoder.transform(data, self._max_pixels) for data in pictures]))

    # --- changes ---

    def put(self, id: str, data: bytes, metadata: dict[str, Any]) -> Item:
        """Add or replace an item; it is found by every search that begins after this returns."""
        self._check_writable()
        vectors, serving = self.embed([data])
        content = hashlib.sha256(data).hexdigest()
        blobs.write(self.collection, content, data)
        new = NewItem(id, content, metadata, size=len(data), mtime_ns=time.time_ns())
        item = self.catalog.put(new, serving.bundle.fingerprint, vectors[0])
        self._take_up()
        return item

    def delete(self, id: str) -> bool:
        """False when there is no such item. No search finds it from now on: each asks the catalog whether its hits live."""
        self._check_writable()
        return self.catalog.delete(id)

    def _check_writable(self) -> None:
        """Raises ``CatalogError``: what is written to a file that was taken away would be lost with it."""
        self.catalog.check_writable()
        if _identity(self.collection / FILE) != self._known.file:
            raise CatalogError(f"{self.collection / FILE} was taken away or replaced.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
