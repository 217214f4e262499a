"""A collection's current generation in memory, and what the service changed since: vectors in, hits out."""

import threading
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from .. import generation as generations
from ..catalog import Catalog, Item, batched
from . import columns, filters
from . import segment as segments
from .columns import Rows, Value
from .cores import CORES
from .filters import Filter
from .live import Live
from .segment import Segment

_SPARE = 4  # more candidates are fetched than hits wanted: a few may turn out to be dead
_OF_A_GROUP = 4  # candidates that are kept of each group, for the same reason
_REMEMBERED = 64 * 2**20  # bytes of filters' rows


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
        stored = [segments.open(folder, self.generation.fingerprint) for folder in folders]
        self._live = Live(dim)
        self._parts = _Parts(stored, self._live.segment)
        self._applied = self.generation.change
        self._waiting = set(self.generation.pending)
        self._filtered = filters.Cache(_REMEMBERED)
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
            came = self._live.lacks({change.key for change in changes if change.key is not None})
            for part in self._parts.stored:  # a job took it up while it wrote the segment
                came -= part.holds(came)
            held = self._live.of(change.id for change in changes)
            alive = self._catalog.alive(sorted(self._waiting | came | held), self.generation.number)
            found = list(self._catalog.vectors(sorted(came & alive), self.generation.fingerprint, self._dim))
            self._waiting = ((self._waiting | came) & alive) - {item.key for item, _ in found}
            self._live.change(found, held - alive)
            # One new object takes the old one's place: a search that runs meanwhile keeps the one it has.
            self._parts = _Parts(self._parts.stored, self._live.segment)
            self._applied = changes[-1].number

    def check(self, filter: Filter | None = None, group_by: str | None = None) -> None:
        """Raises ``FilterError`` where a field fits no item: this needs no vector, so nothing has to be encoded for it."""
        parts = self._parts
        if filter is not None:
            filter.check(parts.fields)
        if group_by is not None:
            filters.known(group_by, parts.fields)

    def search(
        self,
        vector: np.ndarray,
        k: int,
        *,
        filter: Filter | None = None,
        group_by: str | None = None,
        effort: int | None = None,
    ) -> list[Hit]:
        """Unit float32 vector [D] → the nearest k live items, or all there are, best first; equal scores by age.

        ``filter``: only items for which it holds. ``group_by``: a field; of items that have the same in it only the nearest
        comes, and those that have nothing in it stand alone. ``effort``: how hard to search, 0 for exactly; by default so hard
        that the recall is kept which the collection was indexed for. Raises ``FilterError`` where a field fits no item.
        """
        # One core for all of it: threads that are in Python at once only wait for each other.
        with CORES.some():
            return self._search(vector, k, filter, group_by, effort)

    def _search(self, vector: np.ndarray, k: int, filter: Filter | None, group_by: str | None, effort: int | None) -> list[Hit]:
        parts = self._parts
        field = None if group_by is None else filters.known(group_by, parts.fields)
        chosen = self._chosen(parts, filter)
        possible = sum(len(part.keys) if rows is None else rows.count for part, rows in chosen)
        ask, of_a_group = min(possible, k + _SPARE), _OF_A_GROUP
        while True:
            found = _nearest(chosen, vector, ask, effort, field, of_a_group)
            hits = self._live_hits(found, k)
            # Enough are alive, and what was not asked for is worse than all of them, not equal to the last.
            if (ask == possible and not found.cut) or (len(hits) == k and hits[-1].score > found.least):
                return hits
            ask, of_a_group = min(possible, 4 * ask), 4 * of_a_group

    def facets(self, field: str, limit: int, filter: Filter | None = None) -> list[tuple[Value, int]]:
        """How many live items, of those for which the filter holds, have each value of a field; the most frequent first.

        Raises ``FilterError``.
        """
        parts = self._parts
        name = filters.known(field, parts.fields)
        dead = self._catalog.removed_keys(self.generation.number)
        counted = []
        for part, rows in self._chosen(parts, filter):
            alive = Rows.where(np.isin(part.keys, dead, assume_unique=True, invert=True))
            counted.append((part.metadata, alive if rows is None else rows & alive))
        return columns.facets(counted, name, limit)

    def _chosen(self, parts: "_Parts", filter: Filter | None) -> list[tuple[Segment, Rows | None]]:
        if filter is None:
            return [(part, None) for part in parts.all]
        filter.check(parts.fields)
        stored = [(part, self._filtered.rows(filter, part.name, part.metadata)) for part in parts.stored]
        return [*stored, (parts.live, filter.rows(parts.live.metadata))]

    def _live_hits(self, found: "_Candidates", k: int) -> list[Hit]:
        """The first ``k`` that are alive, of each group one."""
        hits: list[Hit] = []
        grouped: set[str] = set()
        for some in batched(found.ranked, k + _SPARE):
            live = self._catalog.live([key for key, _, _ in some], self.generation.number)
            for key, score, group in some:
                if key in live and group not in grouped:
                    hits.append(Hit(live[key], score))
                    if group is not None:
                        grouped.add(group)
            if len(hits) >= k:
                break
        return hits[:k]


@dataclass(frozen=True)
class _Parts:
    """What is searched together: segments that never change, and what came since."""

    stored: list[Segment]
    live: Segment

    @property
    def all(self) -> list[Segment]:
        return [*self.stored, self.live]

    @cached_property
    def fields(self) -> filters.Fields:
        return columns.fields(*(part.metadata for part in self.all))


@dataclass(frozen=True)
class _Candidates:
    """Candidates as (key, score, group), best first, then by age. ``least``: the score of the last one that was asked for;
    ``cut``: a group had more."""

    ranked: list[tuple[int, float, str | None]]
    least: float
    cut: bool = False


def _nearest(
    chosen: list[tuple[Segment, Rows | None]],
    vector: np.ndarray,
    k: int,
    effort: int | None,
    group_by: str | None,
    of_a_group: int,
) -> _Candidates:
    """The nearest ``k`` rows of all parts together, without those that are beyond the first ``of_a_group`` of their group."""
    parts = [(part, *part.search(vector, k, rows, effort)) for part, rows in chosen]
    keys = np.concatenate([part.keys[rows] for part, rows, _ in parts])
    scores = np.concatenate([scores for _, _, scores in parts])
    order = np.lexsort((keys, -scores))[:k]
    least = float(scores[order[-1]]) if len(order) else -np.inf
    if group_by is None:
        return _Candidates(list(zip(keys[order].tolist(), scores[order].tolist(), [None] * len(order), strict=True)), least)
    groups = [group for part, rows, _ in parts for group in _groups(part, rows, group_by)]
    ranked, kept = [], Counter[str]()
    for row in order.tolist():
        if (group := groups[row]) is not None:
            kept[group] += 1
        if group is None or kept[group] <= of_a_group:
            ranked.append((int(keys[row]), float(scores[row]), group))
    return _Candidates(ranked, least, len(ranked) < len(order))


def _groups(part: Segment, rows: np.ndarray, field: str) -> list[str | None]:
    codes, names = columns.groups_of(part.metadata, field, rows)
    return [None if code < 0 else names[code] for code in codes.tolist()]
