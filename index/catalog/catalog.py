"""The catalog: the durable record of items, keys, vectors and changes, in ``catalog.sqlite`` on a local disk.

Everything else in a collection can be rebuilt from it and a bundle. Vectors are kept by (content, fingerprint). An item's
row is one version of it and its key is never used again. Which job added and which removed a version is written beside it,
so a job's changes all become visible by one mark on the job's own row, and undone by taking that mark away; the service's
own changes are those of job 0, which is always published. A job that dies needs no care: the next one undoes it.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from . import queries
from .database import Database
from .queries import AT_ONCE, FAILED, LOOKUP, PUBLISHED, ROLLED_BACK, RUNNING, batched
from .records import (
    BARE,
    Change,
    Delete,
    Done,
    Edit,
    Fault,
    Item,
    Job,
    Known,
    NewItem,
    Put,
    Refused,
    State,
    is_whole_vector,
    item_of,
    row_of,
)
from .schema import API, CatalogError
from .schema import changes as _changes
from .schema import current as _current
from .schema import items as _items
from .schema import jobs as _jobs
from .schema import quarantine as _quarantine
from .schema import vectors as _vectors

FOLLOWED = 10.0  # seconds after which every server has followed: what it searched before may be forgotten


class Catalog(Database):
    """What is there, what the service changes, and what jobs change. Safe to use from several threads and processes."""

    # --- what is there ---

    def state(self) -> State:
        with self.reading() as rows:
            current = rows.execute(sa.select(_current)).one()
            return State(current.generation, queries.last_change(rows), current.live)

    def count(self) -> int:
        return self.state().count

    def live(self, keys: Sequence[int], generation: int | None = None) -> dict[int, Item]:
        """Those of ``keys`` that are a live version of an item: the check that every hit has to pass.

        What the service changed counts at once; what jobs changed, with ``generation``, only up to that one: its searchers
        see all that a job did or nothing of it.
        """
        found: dict[int, Item] = {}
        for some in batched(keys, LOOKUP):
            rows = map(queries.item_row, self.select(queries.live_text(len(some), generation), some))
            found |= {row.key: item_of(row) for row in rows}
        return found

    def alive(self, keys: Sequence[int], generation: int | None = None) -> set[int]:
        """Those of ``keys`` that ``live`` gives, without their items."""
        found: set[int] = set()
        with self.reading() as rows:
            for some in batched(keys, LOOKUP):
                query = queries.live(generation=generation).with_only_columns(_items.c.key).where(_items.c.key.in_(some))
                found.update(rows.scalars(query))
        return found

    def find(self, ids: Sequence[str]) -> dict[str, Item]:
        """The live items of these ids."""
        with self.reading() as rows:
            return queries.find(rows, ids)

    def look_up(self, ids: Sequence[str]) -> Known:
        """What a job has to know of the files that it found, all of one moment."""
        with self.reading() as rows:
            items = queries.find(rows, ids)
            return Known(items, queries.graves(rows, [id for id in ids if id not in items]), queries.last_change(rows))

    def live_keys(self, *, origin: str | None = None, below: str = "", job: Job | None = None) -> np.ndarray:
        """int64, sorted: keys that are live, of one origin or of all, of ids in the folder ``below`` (it ends with "/").

        With ``job``, as if it were published already.
        """
        query = queries.live(job).with_only_columns(_items.c.key).order_by(_items.c.key)
        if origin is not None:
            query = query.where(_items.c.origin == origin)
        if below:
            query = query.where((_items.c.id >= below) & (_items.c.id < below[:-1] + chr(ord("/") + 1)))
        with self.reading() as rows:
            return queries.keys(rows, query)

    def removed_keys(self, generation: int) -> np.ndarray:
        """int64, sorted: keys of versions that are live no more, as far as the service and jobs up to ``generation`` go."""
        query = sa.select(_items.c.key).where(_items.c.removed_by.in_(queries.counted(generation=generation)))
        with self.reading() as rows:
            return queries.keys(rows, query.order_by(_items.c.key))

    def vectors(self, keys: Iterable[int], fingerprint: str, dim: int) -> Iterator[tuple[Item, np.ndarray]]:
        """Item and float32 vector [dim] of those ``keys`` that have one. Raises ``CatalogError`` on a damaged vector."""
        match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
        found = sa.select(_items, _vectors.c.vector, _vectors.c.checksum.label("vector_checksum")).join(_vectors, match)
        for some in batched(map(int, keys), LOOKUP):  # an array's numbers are none that SQLite takes
            # A snapshot a batch: versions and vectors never change, and a long one would keep the log growing.
            with self.reading() as rows:
                batch = rows.execute(found.where(_items.c.key.in_(some)).order_by(_items.c.key)).all()
            for row in batch:
                if not is_whole_vector(row.vector, row.vector_checksum) or len(row.vector) != 4 * dim:
                    raise CatalogError(
                        f"{self.path}: the vector of {row.id!r} is damaged. Restore the collection or index anew."
                    )
                yield item_of(row), np.frombuffer(row.vector, np.float32)

    def without_vector(self, contents: Iterable[str], fingerprint: str) -> set[str]:
        """Those of ``contents`` that were never encoded with this fingerprint."""
        wanted = set(contents)
        for some in batched(sorted(wanted), LOOKUP):  # asked for every file that is read, so the quick way
            places = ", ".join("?" * len(some))
            known = f"SELECT content FROM vectors WHERE fingerprint = ? AND content IN ({places})"
            wanted -= {content for (content,) in self.select(known, (fingerprint, *some))}
        return wanted

    def pending(self, fingerprint: str, job: Job | None = None, *, bare: bool = False) -> list[Item]:
        """Live items that have no vector of this fingerprint; with ``job``, as if it were published already; ``bare``: only
        those that came as vectors."""
        match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
        query = queries.live(job).outerjoin(_vectors, match).where(_vectors.c.content.is_(None))
        if bare:
            query = query.where(_items.c.content.startswith(BARE))
        with self.reading() as rows:
            return [item_of(row) for row in rows.execute(query)]

    def changes(self, after: int) -> list[Change]:
        query = sa.select(_changes).where(_changes.c.number > after).order_by(_changes.c.number)
        with self.reading() as rows:
            return [Change(row.number, row.id, row.key) for row in rows.execute(query)]

    def quarantined(self, origin: str) -> dict[str, Fault]:
        query = sa.select(_quarantine).where(_quarantine.c.origin == origin).order_by(_quarantine.c.id)
        with self.reading() as rows:
            return {row.id: Fault(row.id, row.reason, row.size, row.mtime_ns) for row in rows.execute(query)}

    def done(self) -> dict[int, Done]:
        """The jobs that were published, and are or are not rolled back, by their numbers."""
        query = sa.select(_jobs).where(_jobs.c.state.in_((PUBLISHED, ROLLED_BACK)) & (_jobs.c.number != API))
        with self.reading() as rows:
            return {
                row.number: Done(row.origin, row.state == ROLLED_BACK, row.finished, row.added, row.removed, row.live)
                for row in rows.execute(query.order_by(_jobs.c.number))
            }

    def root(self, origin: str) -> str | None:
        """The folder, or its URL, where an origin's files lay when a job last published it."""
        published = sa.select(_jobs.c.root).where((_jobs.c.origin == origin) & (_jobs.c.state == PUBLISHED))
        with self.reading() as rows:
            return rows.scalar(published.order_by(_jobs.c.number.desc()).limit(1))

    # --- what the service changes ---

    def apply(self, edits: Sequence[Edit], fingerprint: str) -> list[Item | Refused | None]:
        """Make edits in their order, as one: all that were not refused are visible and durable on return.

        Returns for each the item that is there now, None where it was deleted, or why it was refused. ``fingerprint``: that of
        the vectors.
        """
        with self.writing() as rows:
            live = queries.find(rows, list({edit.id for edit in edits}))
            before = len(live)
            key = queries.last_key(rows)
            results: list[Item | Refused | None] = []
            came: dict[int, Item] = {}
            for edit in edits:
                there = live.pop(edit.id, None)
                result = queries.edited(edit, there, key + 1)
                results.append(result)
                if isinstance(result, Item):
                    key += 1
                    came[key] = result
                if (stays := there if isinstance(result, Refused) else result) is not None:
                    live[edit.id] = stays
            queries.write_edits(rows, results, edits, came, live)
            made = zip(edits, results, strict=True)
            vectors = {e.item.content: e.vector for e, result in made if isinstance(e, Put) and isinstance(result, Item)}
            queries.add_vectors(rows, fingerprint, vectors)
            queries.add_to_count(rows, len(live) - before)
        return results

    def put(self, new: NewItem, fingerprint: str, vector: np.ndarray) -> Item:
        """``apply`` with one ``Put``."""
        (item,) = self.apply([Put(new, vector)], fingerprint)
        assert isinstance(item, Item)
        return item

    def delete(self, id: str) -> bool:
        """``apply`` with one ``Delete``. False when there is no such item."""
        return self.apply([Delete(id)], "") == [None]

    def add_pending(self, fingerprint: str, items: Sequence[Item], vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors; the change log tells followers to take up ``items``, live ones that had none."""
        with self.writing() as rows:
            queries.add_vectors(rows, fingerprint, vectors)
            if items:
                rows.execute(sa.insert(_changes), [{"id": item.id, "key": item.key} for item in items])

    # --- what a job changes ---

    def begin(self, origin: str, root: str | Path, fingerprint: str) -> Job:
        """Start a job; the caller holds the collection's job lock, so any other that still runs is dead and is undone.

        So are those that were rolled back: there is no way forward to them any more. Servers have time to follow before, and
        may write meanwhile.
        """
        if any(job.rolled_back for job in self.done().values()):
            self.until_followed()
        with self.writing() as rows:
            rows.execute(sa.update(_jobs).where(_jobs.c.state == ROLLED_BACK).values(state=RUNNING))
            dead = rows.scalars(sa.select(_jobs.c.number).where(_jobs.c.state == RUNNING)).all()
        for number in dead:
            while self._undo(number):
                pass
        with self.writing() as rows:
            failed = {"state": FAILED, "finished": time.time()}
            rows.execute(sa.update(_jobs).where(_jobs.c.state == RUNNING).values(failed))
            row = {"origin": origin, "root": str(root), "fingerprint": fingerprint, "state": RUNNING, "started": time.time()}
            return Job(queries.inserted(rows, sa.insert(_jobs).values(row)), origin, fingerprint)

    def until_followed(self, since: float | None = None) -> None:
        """Wait until every server has taken up what became current at ``since`` (seconds since 1970; None: just now): what it
        searched before may be forgotten then."""
        passed = 0.0 if since is None else max(0.0, time.time() - since)
        time.sleep(max(0.0, FOLLOWED - passed))

    def _undo(self, number: int) -> int:
        with self.writing() as rows:
            return queries.undo(rows, number)

    def stage(
        self,
        job: Job,
        known: Known,
        *,
        items: Sequence[NewItem] = (),
        vectors: Mapping[str, np.ndarray] | None = None,
        touched: Sequence[tuple[int, int, int]] = (),
        faults: Sequence[Fault] = (),
    ) -> None:
        """Keep a part of a job's work. Vectors last from now on; the items show when the job is published.

        An item that the service changed since it was ``known`` keeps that change: the job's is dropped here, and one that
        was staged before is dropped by the change itself. ``touched`` is (key, size, mtime_ns) of files whose bytes stayed
        the same.
        """
        with self.writing() as rows:
            changed = set(rows.scalars(sa.select(_changes.c.id).where(_changes.c.number > known.change)))
            new = [row_of(item, job.origin, job.number) for item in items if item.id not in changed]
            if new:
                rows.execute(sa.insert(_items), new)
            queries.mark_removed(rows, job, [item.replaces for item in items if item.replaces is not None])
            queries.add_vectors(rows, job.fingerprint, vectors or {})
            for key, size, mtime_ns in touched:
                rows.execute(sa.update(_items).where(_items.c.key == key).values(size=size, mtime_ns=mtime_ns))
            for fault in faults:
                values = {"reason": fault.reason, "size": fault.size, "mtime_ns": fault.mtime_ns}
                row = insert(_quarantine).values(origin=job.origin, id=fault.id, **values)
                rows.execute(row.on_conflict_do_update(index_elements=["origin", "id"], set_=values))

    def remove(self, job: Job, keys: Sequence[int], healed: Sequence[str]) -> None:
        """Stage that items go, and take ids out of the quarantine."""
        for some in batched(keys, AT_ONCE):
            with self.writing() as rows:
                queries.mark_removed(rows, job, some)
        with self.writing() as rows:
            for ids in batched(healed, LOOKUP):
                rows.execute(sa.delete(_quarantine).where((_quarantine.c.origin == job.origin) & _quarantine.c.id.in_(ids)))

    def staged(self, job: Job) -> tuple[int, int]:
        """How many items the job adds and removes, replacements counted in both."""
        with self.reading() as rows:
            return queries.staged(rows, job)

    def lost(self, job: Job) -> int:
        """How many items the job removes whose id and whose content it does not add: neither changed nor renamed."""
        ids = sa.select(_items.c.id).where(_items.c.added_by == job.number)
        contents = sa.select(_items.c.content).where(_items.c.added_by == job.number)
        gone = (_items.c.removed_by == job.number) & _items.c.id.not_in(ids) & _items.c.content.not_in(contents)
        with self.reading() as rows:
            return rows.scalar(sa.select(sa.func.count()).select_from(_items).where(gone)) or 0

    def publish(self, job: Job, generation: int | None) -> tuple[int, int]:
        """Make a job's changes visible and, unless None, ``generation`` the current one: one short transaction.

        Returns how many items it added and removed.
        """
        with self.writing() as rows:
            added, removed = queries.staged(rows, job)
            queries.add_to_count(rows, added - removed)
            live = sa.select(_current.c.live).scalar_subquery()
            finished = {"state": PUBLISHED, "finished": time.time(), "added": added, "removed": removed, "live": live}
            rows.execute(sa.update(_jobs).where(_jobs.c.number == job.number).values(finished))
            if generation is not None:
                rows.execute(sa.update(_current).values(generation=generation))
        return added, removed

    def roll_back(self, number: int) -> State:
        """Make ``number`` the current generation, back or forward again: what jobs after it did counts no more, what jobs up to
        it did does, and what the service changed since stays as it is.

        The caller holds the job lock and has verified the generation. Raises ``CatalogError`` where no job published it.
        """
        with self.writing() as rows:
            state = rows.scalar(sa.select(_jobs.c.state).where((_jobs.c.number == number) & (_jobs.c.number != API)))
            if state not in (PUBLISHED, ROLLED_BACK):
                raise CatalogError(f"No job published a generation {number}. `lookalike generations` lists those there are.")
            for found, becomes, which in (
                (PUBLISHED, ROLLED_BACK, _jobs.c.number > number),
                (ROLLED_BACK, PUBLISHED, _jobs.c.number <= number),
            ):
                rows.execute(sa.update(_jobs).where((_jobs.c.state == found) & which).values(state=becomes))
            live = rows.scalar(sa.select(sa.func.count()).select_from(queries.live().subquery()))
            rows.execute(sa.update(_current).values(generation=number, live=live))
        return self.state()
