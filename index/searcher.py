"""A collection's current generation in memory, and what the service changed since: vectors in, hits out."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import generation as generations
from . import segment as segments
from .catalog import Catalog, Item
from .segment import Segment

_SPARE = 16  # more hits are asked for than wanted: a few may turn out to be dead


@dataclass(frozen=True)
class Hit:
    item: Item
    score: float  # cosine


class Searcher:
    """One generation for its whole life. Safe for many searching threads; ``follow`` may run beside them.

    Raises ``GenerationError`` or ``SegmentError`` when the files are not whole.
    """

    def __init__(self, collection: Path, catalog: Catalog, number: int, dim: int) -> None:
        self.generation = generations.read(collection, number)
        self._catalog = catalog
        self._dim = dim
        self._stored = [segments.open(collection / "segments" / name) for name in self.generation.segments]
        self._live = Segment(np.empty(0, np.int64), np.empty((0, dim), np.float32))
        self._applied = self.generation.change
        self._waiting: set[int] = set()
        self._following = threading.Lock()
        self.follow()

    @property
    def pending(self) -> int:
        """Items that cannot be found yet, because no vector of this generation's fingerprint exists."""
        return len(self._waiting)

    def follow(self) -> None:
        """Take up what the catalog's change log holds beyond what was applied."""
        with self._following:
            changes = self._catalog.changes(self._applied)
            if not changes:
                return
            wanted = [change.key for change in changes if change.key is not None]
            found = list(self._catalog.vectors(wanted, self.generation.fingerprint, self._dim))
            self._waiting = (self._waiting | set(wanted)) - {item.key for item, _ in found}
            if found:
                keys = np.array([item.key for item, _ in found], np.int64)
                vectors = np.stack([vector for _, vector in found])
                # One new object takes the old one's place: a search that runs meanwhile keeps the one it has.
                self._live = Segment(np.concatenate([self._live.keys, keys]), np.concatenate([self._live.vectors, vectors]))
            self._applied = changes[-1].number

    def search(self, vector: np.ndarray, k: int) -> list[Hit]:
        """Unit float32 vector [D] → the nearest k live items, or all there are, best first; equal scores by age."""
        parts = [*self._stored, self._live]
        rows = sum(len(part.keys) for part in parts)
        ask = min(rows, k + _SPARE)
        while True:
            hits = self._hits(parts, vector, ask)
            if len(hits) >= k or ask >= rows:
                return hits[:k]
            ask = min(rows, 4 * ask)

    def _hits(self, parts: list[Segment], vector: np.ndarray, ask: int) -> list[Hit]:
        scores: dict[int, float] = {}
        for part in parts:
            keys, found = part.search(vector, ask)
            scores |= zip(keys.tolist(), found.tolist(), strict=True)
        best = sorted(scores, key=lambda key: (-scores[key], key))[:ask]
        live = self._catalog.live(best)
        return [Hit(live[key], scores[key]) for key in best if key in live]
