"""The generation being served: an encoder and a searcher that belong together. Picture bytes in, hits out.

It follows the catalog: a new generation takes the old one's place between two requests, changes are taken up within
``follow_seconds``. Nothing here knows HTTP.
"""

import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from index import blobs
from index import generation as generations
from index.catalog import FILE, Catalog, Item, NewItem, State
from index.searcher import Hit, Searcher
from model import Failure
from model import bundle as bundles
from model.bundle import Bundle
from model.encoder import Encoder, Precision, Runtime, open_encoder

log = logging.getLogger("lookalike.service")


class NotReady(Failure):
    """There is nothing to search yet; the message says what to do."""


@dataclass(frozen=True)
class Serving:
    """What answers together: every answer comes from one of these."""

    bundle: Bundle
    encoder: Encoder
    searcher: Searcher


@dataclass(frozen=True)
class Answer:
    hits: list[Hit]
    serving: Serving
    count: int  # items that could have been found
    seconds: dict[str, float]  # by phase


class Engine:
    def __init__(self, collection: Path, runtime: Runtime, precision: Precision | None, max_pixels: int) -> None:
        self.collection = collection
        self._runtime, self._precision, self._max_pixels = runtime, precision, max_pixels
        self._catalog: Catalog | None = None
        self._serving: Serving | None = None
        self._fault = (
            f"The collection is empty. Fill it with `lookalike index GALLERY --bundle BUNDLE --to {collection}`; "
            "this server takes it up by itself."
        )
        self._following = threading.Lock()
        self._seen: State | None = None  # what was taken up last
        self.count = 0

    # --- the generation being served ---

    @property
    def serving(self) -> Serving:
        """Raises ``NotReady``."""
        if self._serving is None:
            raise NotReady(self._fault)
        return self._serving

    @property
    def catalog(self) -> Catalog:
        """Raises ``NotReady``."""
        if self._catalog is None:
            raise NotReady(self._fault)
        return self._catalog

    def follow(self) -> None:
        """Take up what changed on disk. A generation that does not load leaves the old one serving, and is logged."""
        with self._following:
            try:
                self._follow()
            except Failure as error:
                if str(error) != self._fault:
                    log.error("%s", error)
                self._fault = str(error)

    def _follow(self) -> None:
        if self._catalog is None:
            if not (self.collection / FILE).is_file():
                return
            self._catalog = Catalog(self.collection)
        state = self._catalog.state()
        if state.generation is None or state == self._seen:
            return
        if self._serving is None or self._serving.searcher.generation.number != state.generation:
            self._serving = self._load(self._catalog, state.generation)
            log.info("serving generation %d", state.generation)
        else:
            self._serving.searcher.follow()
        self.count = self._catalog.count()
        self._seen = state

    def _load(self, catalog: Catalog, number: int) -> Serving:
        generation = generations.read(self.collection, number)
        old = self._serving
        if (
            old is not None
            and old.bundle.fingerprint == generation.fingerprint
            and old.encoder.precision == self._wanted(generation)
        ):
            bundle, encoder = old.bundle, old.encoder
        else:
            bundle = bundles.load(self.collection / "bundles" / generation.fingerprint)
            encoder = open_encoder(bundle, self._runtime, self._wanted(generation))
            size = encoder.transform.size
            encoder.encode(np.zeros((1, size, size, 3), np.uint8))  # warm before it answers
        return Serving(bundle, encoder, Searcher(self.collection, catalog, number, encoder.dim))

    def _wanted(self, generation: generations.Generation) -> Precision:
        return self._precision or generation.precision

    # --- questions ---

    def search(self, data: bytes, k: int) -> Answer:
        """Picture bytes → the nearest k items. Raises ``NotReady`` or an ``ImageError``."""
        serving = self.serving
        clock = [time.perf_counter()]
        pixels = serving.encoder.transform(data, self._max_pixels)
        clock.append(time.perf_counter())
        vector = serving.encoder.encode(pixels[None])[0]
        clock.append(time.perf_counter())
        hits = serving.searcher.search(vector, k)
        clock.append(time.perf_counter())
        phases = ("decode", "encode", "search")
        seconds = {phase: end - start for phase, start, end in zip(phases, clock[:-1], clock[1:], strict=True)}
        return Answer(hits, serving, self.count, seconds | {"total": clock[-1] - clock[0]})

    def embed(self, pictures: list[bytes]) -> tuple[np.ndarray, Serving]:
        """Picture bytes → unit vectors float32 [N, D]. Raises ``NotReady`` or an ``ImageError``."""
        serving = self.serving
        pixels = np.stack([serving.encoder.transform(data, self._max_pixels) for data in pictures])
        return serving.encoder.encode(pixels), serving

    def item(self, id: str) -> Item | None:
        return self.catalog.find([id]).get(id)

    def picture(self, item: Item) -> bytes | None:
        return blobs.read(self.collection, self.catalog, item)

    # --- changes ---

    def put(self, id: str, data: bytes, metadata: dict[str, Any]) -> Item:
        """Add or replace an item; it is found by every search that begins after this returns."""
        vectors, serving = self.embed([data])
        content = hashlib.sha256(data).hexdigest()
        blobs.write(self.collection, content, data)
        new = NewItem(id, content, metadata, size=len(data), mtime_ns=time.time_ns())
        item = self.catalog.put(new, serving.bundle.fingerprint, vectors[0])
        self.follow()
        return item

    def delete(self, id: str) -> bool:
        """False when there is no such item; no search that begins after this returns finds it."""
        deleted = self.catalog.delete(id)
        self.follow()
        return deleted


def parse_metadata(text: str) -> dict[str, Any]:
    """A JSON object whose values are strings, numbers, booleans or lists of these. Raises ValueError."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("metadata must be a JSON object")
    return value
