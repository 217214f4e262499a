"""Items that come and go in, a segment over memory out: what changed since a generation.

Each state is a ``Segment`` that never changes, so a search that runs keeps the one it has. States share memory: the next one
is the same rows of the same arrays, and some more. Rows that died are left out when the arrays are made anew.
"""

import threading
from collections.abc import Collection, Iterable, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from ..catalog import Item
from . import columns
from .columns import Described
from .segment import Segment

_FIRST = 256  # rows that there is room for at first
_DEAD = 0.2  # share of the rows that may be dead: each of them costs every search


class Live:
    """``dim`` numbers a vector. ``segment``: what is there now. One thread at a time may change it."""

    def __init__(self, dim: int) -> None:
        self._keys, self._vectors = np.empty(_FIRST, np.int64), np.empty((_FIRST, dim), np.float32)
        self._table = _Table([], [])
        self._count = 0  # rows, dead ones too
        self._rows: dict[int, int] = {}  # of keys that did not go
        self._key_of: dict[str, int] = {}  # by id
        self.segment = self._state()

    def lacks(self, keys: Collection[int]) -> set[int]:
        return {key for key in keys if key not in self._rows}

    def of(self, ids: Iterable[str]) -> set[int]:
        """The keys that it has of some ids."""
        return {self._key_of[id] for id in ids if id in self._key_of}

    def change(self, came: Sequence[tuple[Item, np.ndarray]], gone: Collection[int]) -> None:
        """Items come, with their vectors float32 [dim]; keys that it has go."""
        for key in gone:
            del self._key_of[self._table.described[self._rows.pop(key)][0]]
        if self._count + len(came) > len(self._keys) or len(self._rows) < (1 - _DEAD) * self._count:
            self._renew(2 * (len(self._rows) + len(came)))
        for item, vector in came:
            self._keys[self._count], self._vectors[self._count] = item.key, vector
            self._rows[item.key], self._key_of[item.id] = self._count, item.key
            self._table.described.append((item.id, item.metadata))
            self._count += 1
        self.segment = self._state()

    def _renew(self, room: int) -> None:
        """Arrays of their own for the rows that are not dead, with room for so many: states before keep theirs."""
        rows = np.sort(np.fromiter(self._rows.values(), np.int64, len(self._rows)))
        keys, vectors = self._keys[rows], np.empty((max(room, _FIRST), self._vectors.shape[1]), np.float32)
        np.take(self._vectors, rows, axis=0, out=vectors[: len(rows)])
        self._keys, self._vectors = np.empty(len(vectors), np.int64), vectors
        self._keys[: len(rows)] = keys
        self._table = self._table.only(rows)
        self._count, self._rows = len(rows), {key: row for row, key in enumerate(keys.tolist())}

    def _state(self) -> Segment:
        keys, vectors = self._keys[: self._count], self._vectors[: self._count]
        return Segment(keys, vectors, partial(self._table.first, self._count))


class _Table:
    """Metadata of rows. Its columns are made when somebody asks for them, and then only of the rows that came since.

    ``parts``: tables of the first rows, each at least twice as long as the next one, so that a row is copied a few times only.
    """

    def __init__(self, described: list[Described], parts: list[pa.Table]) -> None:
        self.described, self._parts = described, parts
        self._making = threading.Lock()

    def first(self, count: int) -> pa.Table:
        """Of so many rows. Safe to call from several threads, for any state."""
        with self._making:
            made = self._made
            if made < count or not self._parts:
                self._parts.append(columns.from_metadata(self.described[made:count]))
            while len(self._parts) > 1 and self._parts[-2].num_rows < 2 * self._parts[-1].num_rows:
                self._parts[-2:] = [columns.joined(self._parts[-2:]).combine_chunks()]
            return columns.joined(self._parts).slice(0, count)

    def only(self, rows: np.ndarray) -> "_Table":
        """Of these rows, int64 [R], ascending."""
        with self._making:
            described = [self.described[row] for row in rows.tolist()]
            known = rows[rows < self._made]
            parts = [columns.joined(self._parts).take(pa.array(known)).combine_chunks()] if len(known) else []
            return _Table(described, parts)

    @property
    def _made(self) -> int:
        return sum(part.num_rows for part in self._parts)
