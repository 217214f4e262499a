"""The catalog for those who look after a collection: what nobody needs, what is damaged, copies of it."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from . import queries
from .catalog import Catalog
from .database import read_only
from .queries import LOOKUP, RUNNING, batched
from .records import BARE, Numbers, is_whole, is_whole_vector
from .schema import API, API_ORIGIN, CatalogError
from .schema import changes as _changes
from .schema import current as _current
from .schema import items as _items
from .schema import jobs as _jobs
from .schema import vectors as _vectors

_PAGES = 4_096  # pages that are copied, or rows that are read, at a time


class Upkeep(Catalog):
    """All of the catalog, and what only upkeep asks of it."""

    # --- what nobody needs any more; the caller holds the job lock ---

    def unfinished(self) -> set[str]:
        """Fingerprints of jobs that died: the next one takes up their vectors."""
        with self.reading() as rows:
            return set(rows.scalars(sa.select(_jobs.c.fingerprint).where(_jobs.c.state == RUNNING)))

    def unneeded(self, oldest: int, since: int) -> np.ndarray:
        """int64, sorted: versions that are live neither in generation ``oldest`` nor in one after it, and no job needs.

        A version that is named by a change after ``since`` may be in a server's memory, and is needed: that it is dead is
        said by its row. So is a grave, as long as no later version of its id can be relied on.
        """
        later = _items.alias("later")
        buried = (later.c.id == _items.c.id) & (later.c.key > _items.c.key) & (later.c.origin != API_ORIGIN)
        is_grave = (_items.c.origin != API_ORIGIN) & (_items.c.removed_by == API)
        is_grave &= ~sa.exists(sa.select(later.c.key).where(buried & (later.c.added_by <= oldest)))
        in_memory = sa.select(_changes.c.key).where((_changes.c.number > since) & _changes.c.key.is_not(None))
        dead = (_items.c.removed_by <= oldest) & ~is_grave & _items.c.key.not_in(in_memory)
        with self.reading() as rows:
            return queries.keys(rows, sa.select(_items.c.key).where(dead).order_by(_items.c.key))

    def forget(self, keys: Sequence[int]) -> None:
        """Versions that are ``unneeded``. In the order of keys, or a version that is no grave would look like one."""
        with self.writing() as rows:
            for some in batched(keys, LOOKUP):
                rows.execute(sa.delete(_items).where(_items.c.key.in_(some)))

    def named(self, contents: Sequence[str], without: Collection[int] = ()) -> set[str]:
        """Those of ``contents`` that a version has which is not among the keys ``without``."""
        found: set[str] = set()
        with self.reading() as rows:
            for some in batched(contents, LOOKUP):
                query = sa.select(_items.c.key, _items.c.content).where(_items.c.content.in_(some))
                found |= {row.content for row in rows.execute(query) if row.key not in without}
        return found

    def count_unneeded_vectors(self, fingerprints: Collection[str], without: Collection[int]) -> int:
        """What ``forget_vectors`` would forget if the versions with the keys ``without`` were forgotten before."""
        count, doomed = 0, set(without)
        for contents in self._contents():
            named = self.named(contents, doomed)
            with self.reading() as rows:
                query = sa.select(_vectors.c.content, _vectors.c.fingerprint).where(_vectors.c.content.in_(contents))
                found = rows.execute(query).all()
            for content, fingerprint in found:
                again = fingerprint in fingerprints or content.startswith(BARE)
                count += content not in named or not again
        return count

    def forget_vectors(self, fingerprints: Collection[str]) -> int:
        """Of contents that no version has, and of other ``fingerprints`` where they can be made again. Returns how many."""
        count = 0
        version = sa.select(_items.c.key).where(_items.c.content == _vectors.c.content)
        other = _vectors.c.fingerprint.not_in(fingerprints) & ~_vectors.c.content.startswith(BARE)
        unneeded = other | ~sa.exists(version)
        for contents in self._contents():
            within = (_vectors.c.content >= contents[0]) & (_vectors.c.content <= contents[-1])
            with self.writing() as rows:
                count += rows.execute(sa.delete(_vectors).where(within & unneeded)).rowcount
        return count

    def _contents(self) -> Iterator[list[str]]:
        """All that have vectors, in order; no snapshot lasts from one list to the next."""
        last = ""
        while True:
            query = sa.select(_vectors.c.content).distinct().where(_vectors.c.content > last)
            with self.reading() as rows:
                contents = list(rows.scalars(query.order_by(_vectors.c.content).limit(LOOKUP)))
            if not contents:
                return
            yield contents
            last = contents[-1]

    def count_changes(self, before: int) -> int:
        with self.reading() as rows:
            return rows.scalar(sa.select(sa.func.count()).select_from(_changes).where(_changes.c.number < before)) or 0

    def forget_changes(self, before: int) -> int:
        """Changes under the number ``before``; returns how many. The last one stays: its number is the catalog's."""
        count, old = 0, sa.select(_changes.c.number).where(_changes.c.number < before).order_by(_changes.c.number)
        while True:
            with self.writing() as rows:
                some = sa.delete(_changes).where(_changes.c.number.in_(old.limit(LOOKUP)))
                gone = rows.execute(some).rowcount
            count += gone
            if gone < LOOKUP:
                return count

    # --- copies, and what is wrong ---

    def copy(self, to: Path) -> None:
        """The catalog of this moment as a file of its own; others go on to write meanwhile. Raises ``sqlite3.Error``."""
        with closing(sqlite3.connect(read_only(self.path), uri=True, isolation_level=None)) as source:
            # Without a snapshot of its own, SQLite begins anew whenever somebody writes.
            source.execute("BEGIN")
            source.execute("SELECT format FROM about").fetchall()
            with closing(sqlite3.connect(to)) as target:
                source.backup(target, pages=_PAGES)

    def damage(self, *, quick: bool = False) -> list[str]:
        """What SQLite finds wrong with its own pages; ``quick`` does not compare indexes with their tables."""
        try:
            with self.reading() as rows:
                found = rows.exec_driver_sql("PRAGMA quick_check" if quick else "PRAGMA integrity_check").scalars().all()
        except CatalogError as error:
            return [str(error)]
        return [line for line in found if line != "ok"]

    def damaged_items(self) -> Iterator[str | None]:
        """For every version of an item, None, or its id where its row is not what was written."""
        for row in self._pages_of(sa.select(_items), _items.c.key):
            yield None if is_whole(row) else str(row.id)

    def damaged_vectors(self) -> Iterator[str | None]:
        """For every vector, None, or its content where it is not what was written."""
        row = sa.literal_column("vectors.rowid", sa.Integer).label("row")
        for found in self._pages_of(sa.select(_vectors, row).select_from(_vectors), row):
            yield None if is_whole_vector(found.vector, found.checksum) else str(found.content)

    def counted(self) -> tuple[int, int]:
        """How many items are live, as the catalog has noted and as it is counted anew, at one moment."""
        with self.reading() as rows:
            return rows.scalar(sa.select(_current.c.live)) or 0, queries.amount(rows, queries.live())

    def uploaded(self) -> list[str]:
        """Contents of pictures that came through the service and are live, or would be again after a rollback."""
        wanted = (_items.c.origin == API_ORIGIN) & (_items.c.removed_by.is_(None) | (_items.c.removed_by != API))
        query = sa.select(_items.c.content).where(wanted & ~_items.c.content.startswith(BARE)).distinct()
        with self.reading() as rows:
            return sorted(rows.scalars(query))

    def origins(self) -> set[str]:
        """Where the live items came from."""
        with self.reading() as rows:
            return set(rows.scalars(queries.live().with_only_columns(_items.c.origin).distinct()))

    def born(self) -> float:
        """When the catalog was made (seconds since 1970): tells it from another one that came to its place, not from a copy."""
        with self.reading() as rows:
            return float(rows.scalar(sa.select(_jobs.c.started).where(_jobs.c.number == API)) or 0)

    def numbers(self) -> Numbers:
        with self.reading() as rows:
            given: dict[str, int] = dict(rows.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all())
        return Numbers(given.get("jobs", 0), given.get("items", 0), given.get("changes", 0))

    def go_on_above(self, numbers: Numbers) -> None:
        """Give out higher numbers only from now on."""
        with self.writing() as rows:
            for table, number in (("jobs", numbers.job), ("items", numbers.key), ("changes", numbers.change)):
                given = rows.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar()
                rows.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                rows.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, max(given or 0, number)))

    def came_after(self, numbers: Numbers) -> dict[str, Any]:
        """What this catalog has that one which ended at ``numbers`` has not; of ids only the first thousand."""
        new = queries.live().where(_items.c.key > numbers.key).with_only_columns(_items.c.id)
        changed = sa.select(_changes.c.id).where(_changes.c.number > numbers.change).distinct()
        with self.reading() as rows:
            jobs = sa.select(_jobs).where(_jobs.c.number > numbers.job)
            return {
                "jobs": [{"number": job.number, "origin": job.origin, "state": job.state} for job in rows.execute(jobs)],
                "changes": queries.amount(rows, sa.select(_changes).where(_changes.c.number > numbers.change)),
                "changed_ids": rows.scalars(changed.order_by(_changes.c.id).limit(1_000)).all(),
                "items": queries.amount(rows, new),
                "item_ids": rows.scalars(new.order_by(_items.c.id).limit(1_000)).all(),
            }

    def _pages_of(self, query: sa.Select[Any], order: Any) -> Iterator[Any]:
        """All rows, some at a time: a long snapshot would keep the log growing."""
        last = 0
        while True:
            with self.reading() as rows:
                found = rows.execute(query.where(order > last).order_by(order).limit(_PAGES)).all()
            if not found:
                return
            yield from found
            last = found[-1].key if order is _items.c.key else found[-1].row
