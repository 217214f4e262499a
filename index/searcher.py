"""A collection's current generation in memory, and what the service changed since: vectors in, hits out."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import generation as generations
from . import segment as segments
from .catalog import Catalog, Item, batched
from .segment import Segment

_SPARE = 16  # more candidates are fetched than hits wanted: a few may turn out to be dead


@dataclass(frozen=True)
class Hit:
    item: Item
    score: float  # cosine


class Searcher:
    """One generation for its whole life. Safe for many searching threads; ``follow`` may run beside them.

    What the service deletes is never found again, even before ``follow``; what jobs published after this generation is not
    seen at all. Raises ``GenerationError`` or ``SegmentError`` when the files are not whole.
    """

    def __init__(self, collection: Path, catalog: Catalog, number: int, dim: int) -> None:
        self.generation = generations.read(collection, number)
        self._catalog = catalog
        self._dim = dim
        folders = [collection / "segments" / name for name in self.generation.segments]
        self._stored = [segments.open(folder, self.generation.fingerprint) for folder in folders]
        self._live = Segment(np.empty(0, np.int64), np.empty((0, dim), np.float32))
        self._applied = self.generation.change
        self._waiting = set(self.generation.pending)
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
            came = {change.key for change in changes if change.key is not None} - set(self._live.keys.tolist())
            found = list(self._catalog.vectors(sorted(came), self.generation.fingerprint, self._dim))
            waiting = (self._waiting | came) - {item.key for item, _ in found}
            self._waiting = set(self._catalog.live(sorted(waiting), self.generation.number))
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
            scores = _nearest(parts, vector, ask)
            hits = self._live_hits(scores, k)
            # Enough are alive, and what was not asked for is worse than all of them, not equal to the last.
            if ask == rows or (len(hits) == k and hits[-1].score > min(scores.values())):
                return hits
            ask = min(rows, 4 * ask)

    def _live_hits(self, scores: dict[int, float], k: int) -> list[Hit]:
        hits: list[Hit] = []
        for keys in batched(scores, k + _SPARE):
            live = self._catalog.live(keys, self.generation.number)
            hits += [Hit(live[key], scores[key]) for key in keys if key in live]
            if len(hits) >= k:
                break
        return hits[:k]


def _nearest(parts: list[Segment], vector: np.ndarray, k: int) -> dict[int, float]:
    """Key → score of the nearest k rows, best first, then by age."""
    scores: dict[int, float] = {}
    for part in parts:
        keys, found = part.search(vector, k)
        scores |= zip(keys.tolist(), found.tolist(), strict=True)
    best = sorted(scores, key=lambda key: (-scores[key], key))[:k]
    return {key: scores[key] for key in best}
