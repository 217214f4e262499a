"""The catalog: the durable record of items, keys, vectors and changes, in ``catalog.sqlite`` on a local disk.

Everything else in a collection can be rebuilt from it and a bundle. Vectors are kept by (content, fingerprint). An item's
row is one version of it and its key is never used again. Which job added and which removed a version is written beside it,
so a job's changes all become visible by one mark on the job's own row, and undone by taking that mark away; the service's
own changes are those of job 0, which is always published. A job that dies needs no care: the next one undoes it.
"""

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from . import schema
from .schema import API as API  # as: for those who import it from here
from .schema import API_ORIGIN as API_ORIGIN
from .schema import CatalogError as CatalogError
from .schema import changes as _changes
from .schema import current as _current
from .schema import items as _items
from .schema import jobs as _jobs
from .schema import quarantine as _quarantine
from .schema import vectors as _vectors

T = TypeVar("T")

FILE = "catalog.sqlite"
RUNNING, PUBLISHED, ROLLED_BACK, FAILED = "running", "published", "rolled back", "failed"  # states of a job

BARE = "vector:"  # begins the content of an item that has no picture
_LOOKUP = 500  # bound values a statement
_PAGES = 4_096  # pages that are copied, or rows that are read, at a time
_EMPTY = "{} holds no collection yet. Fill it with `lookalike index` first."


class ReadOnly(CatalogError):
    """The collection's folder cannot be written."""


class DiskFull(CatalogError):
    """Nothing was changed."""


@dataclass(frozen=True)
class Item:
    """One version of an item. ``content`` is the SHA-256 of the file's bytes; that of an item without a picture is
    ``content_of`` its vector. ``path``: where the bytes lie for the item's source, "" where that is its id.
    """

    key: int
    id: str
    origin: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int
    path: str = ""


@dataclass(frozen=True)
class NewItem:
    id: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int
    path: str = ""
    replaces: int | None = None  # the key of the version that it takes the place of


@dataclass(frozen=True)
class Fault:
    """A file that a job could not use. One with its size and mtime is not tried again before these change."""

    id: str
    reason: str
    size: int = -1
    mtime_ns: int = 0


@dataclass(frozen=True)
class Job:
    number: int
    origin: str
    fingerprint: str


@dataclass(frozen=True)
class Put:
    """Add an item or replace it, whoever owned it. ``vector``: float32 [dim]. ``expected``, here and below: the key of the
    version that has to be there, None for whatever is."""

    item: NewItem
    vector: np.ndarray
    expected: int | None = None

    @property
    def id(self) -> str:
        return self.item.id


@dataclass(frozen=True)
class Patch:
    """Give an item other metadata. The service takes it over: it keeps the picture's bytes from then on."""

    id: str
    metadata: dict[str, Any]
    expected: int | None = None


@dataclass(frozen=True)
class Delete:
    """Its file's next version in a gallery comes back, the same one does not."""

    id: str
    expected: int | None = None


Edit = Put | Patch | Delete


@dataclass(frozen=True)
class Refused:
    """An edit that was not made: ``there`` is the version that was found instead of the expected one, None where none was."""

    id: str
    there: Item | None


@dataclass(frozen=True)
class Done:
    """A job that was published, and when (seconds since 1970). ``live``: the items that there were then; None, like what it
    added and removed, where the catalog was of format 1."""

    origin: str
    rolled_back: bool
    finished: float
    added: int | None
    removed: int | None
    live: int | None


@dataclass(frozen=True)
class Known:
    """What is known of some ids at one moment, that of the ``change``."""

    items: dict[str, Item]  # live
    graves: dict[str, Item]  # last seen in a gallery and deleted through the service
    change: int


@dataclass(frozen=True)
class Change:
    """``key`` is the version that came, or None where the item went."""

    number: int
    id: str
    key: int | None


@dataclass(frozen=True)
class State:
    """What a follower asks for: the current generation (None before the first), the last change, and the live items."""

    generation: int | None
    change: int
    count: int


@dataclass(frozen=True)
class Numbers:
    """The last ones that were given out; none is given out again."""

    job: int
    key: int
    change: int

    def far_above(self) -> "Numbers":
        return Numbers(self.job + 1_000, self.key + 1_000_000, self.change + 1_000_000)


class Catalog:
    """Safe to use from several threads and processes. Raises ``CatalogError`` when it cannot be opened.

    In a folder that cannot be written it is a snapshot: read as it lies there, never changed.
    """

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        self.path = directory.absolute() / FILE
        if not create and not self.path.is_file():
            raise CatalogError(_EMPTY.format(directory))
        directory.mkdir(parents=True, exist_ok=True)
        self.writable = os.access(directory, os.W_OK)
        url = _url(self.path) if self.writable else _snapshot(self.path)
        self._engine = sa.create_engine(url, pool_size=16, max_overflow=48)
        sa.event.listen(self._engine, "connect", _configure if self.writable else _manually)
        try:
            self._prepare(create)
        except CatalogError:
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def check_writable(self) -> None:
        """Raises ``ReadOnly``."""
        if not self.writable:
            raise ReadOnly(f"{self.path.parent} cannot be written, so nothing in it is changed. Mount it writable.")

    # --- what is there ---

    def state(self) -> State:
        with self._reading() as rows:
            current = rows.execute(sa.select(_current)).one()
            return State(current.generation, _last_change(rows), current.live)

    def count(self) -> int:
        return self.state().count

    def live(self, keys: Sequence[int], generation: int | None = None) -> dict[int, Item]:
        """Those of ``keys`` that are a live version of an item: the check that every hit has to pass.

        What the service changed counts at once; what jobs changed, with ``generation``, only up to that one: its searchers
        see all that a job did or nothing of it.
        """
        found: dict[int, Item] = {}
        with self._reading() as rows:
            for some in batched(keys, _LOOKUP):
                query = _live(generation=generation).where(_items.c.key.in_(some))
                found |= {row.key: _item(row) for row in rows.execute(query)}
        return found

    def alive(self, keys: Sequence[int], generation: int | None = None) -> set[int]:
        """Those of ``keys`` that ``live`` gives, without their items."""
        found: set[int] = set()
        with self._reading() as rows:
            for some in batched(keys, _LOOKUP):
                query = _live(generation=generation).with_only_columns(_items.c.key).where(_items.c.key.in_(some))
                found.update(rows.scalars(query))
        return found

    def find(self, ids: Sequence[str]) -> dict[str, Item]:
        """The live items of these ids."""
        with self._reading() as rows:
            return _find(rows, ids)

    def look_up(self, ids: Sequence[str]) -> Known:
        """What a job has to know of the files that it found, all of one moment."""
        with self._reading() as rows:
            return Known(_find(rows, ids), _graves(rows, ids), _last_change(rows))

    def live_keys(self, *, origin: str | None = None, below: str = "", job: Job | None = None) -> np.ndarray:
        """int64, sorted: keys that are live, of one origin or of all, of ids in the folder ``below`` (it ends with "/").

        With ``job``, as if it were published already.
        """
        query = _live(job).with_only_columns(_items.c.key).order_by(_items.c.key)
        if origin is not None:
            query = query.where(_items.c.origin == origin)
        if below:
            query = query.where((_items.c.id >= below) & (_items.c.id < below[:-1] + chr(ord("/") + 1)))
        with self._reading() as rows:
            return np.fromiter(rows.scalars(query), np.int64)

    def removed_keys(self, generation: int) -> np.ndarray:
        """int64, sorted: keys of versions that are live no more, as far as the service and jobs up to ``generation`` go."""
        query = sa.select(_items.c.key).where(_items.c.removed_by.in_(_counted(generation=generation)))
        query = query.order_by(_items.c.key)
        with self._reading() as rows:
            return np.fromiter(rows.scalars(query), np.int64)

    def vectors(self, keys: Iterable[int], fingerprint: str, dim: int) -> Iterator[tuple[Item, np.ndarray]]:
        """Item and float32 vector [dim] of those ``keys`` that have one. Raises ``CatalogError`` on a damaged vector."""
        match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
        found = sa.select(_items, _vectors.c.vector, _vectors.c.checksum.label("vector_checksum")).join(_vectors, match)
        for some in batched(map(int, keys), _LOOKUP):  # an array's numbers are none that SQLite takes
            # A snapshot a batch: versions and vectors never change, and a long one would keep the log growing.
            with self._reading() as rows:
                batch = rows.execute(found.where(_items.c.key.in_(some)).order_by(_items.c.key)).all()
            for row in batch:
                if zlib.crc32(row.vector) != row.vector_checksum or len(row.vector) != 4 * dim:
                    raise CatalogError(
                        f"{self.path}: the vector of {row.id!r} is damaged. Restore the collection or index anew."
                    )
                yield _item(row), np.frombuffer(row.vector, np.float32)

    def without_vector(self, contents: Iterable[str], fingerprint: str) -> set[str]:
        """Those of ``contents`` that were never encoded with this fingerprint."""
        wanted = set(contents)
        with self._reading() as rows:
            for some in batched(sorted(wanted), _LOOKUP):
                known = (_vectors.c.fingerprint == fingerprint) & _vectors.c.content.in_(some)
                wanted -= set(rows.scalars(sa.select(_vectors.c.content).where(known)))
        return wanted

    def pending(self, fingerprint: str, job: Job | None = None) -> list[Item]:
        """Live items that have no vector of this fingerprint; with ``job``, as if it were published already."""
        match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
        query = _live(job).outerjoin(_vectors, match).where(_vectors.c.content.is_(None))
        with self._reading() as rows:
            return [_item(row) for row in rows.execute(query)]

    def changes(self, after: int) -> list[Change]:
        query = sa.select(_changes).where(_changes.c.number > after).order_by(_changes.c.number)
        with self._reading() as rows:
            return [Change(row.number, row.id, row.key) for row in rows.execute(query)]

    def quarantined(self, origin: str) -> dict[str, Fault]:
        query = sa.select(_quarantine).where(_quarantine.c.origin == origin).order_by(_quarantine.c.id)
        with self._reading() as rows:
            return {row.id: Fault(row.id, row.reason, row.size, row.mtime_ns) for row in rows.execute(query)}

    def done(self) -> dict[int, Done]:
        """The jobs that were published, and are or are not rolled back, by their numbers."""
        query = sa.select(_jobs).where(_jobs.c.state.in_((PUBLISHED, ROLLED_BACK)) & (_jobs.c.number != API))
        with self._reading() as rows:
            return {
                row.number: Done(row.origin, row.state == ROLLED_BACK, row.finished, row.added, row.removed, row.live)
                for row in rows.execute(query.order_by(_jobs.c.number))
            }

    def root(self, origin: str) -> str | None:
        """The folder, or its URL, where an origin's files lay when a job last published it."""
        published = sa.select(_jobs.c.root).where((_jobs.c.origin == origin) & (_jobs.c.state == PUBLISHED))
        with self._reading() as rows:
            return rows.scalar(published.order_by(_jobs.c.number.desc()).limit(1))

    # --- what the service changes ---

    def apply(self, edits: Sequence[Edit], fingerprint: str) -> list[Item | Refused | None]:
        """Make edits in their order, as one: all that were not refused are visible and durable on return.

        Returns for each the item that is there now, None where it was deleted, or why it was refused. ``fingerprint``: that of
        the vectors.
        """
        with self._writing() as rows:
            live = _find(rows, list({edit.id for edit in edits}))
            before = len(live)
            key = _last_key(rows)
            results: list[Item | Refused | None] = []
            came: dict[int, Item] = {}
            for edit in edits:
                there = live.pop(edit.id, None)
                result = _edited(edit, there, key + 1)
                results.append(result)
                if isinstance(result, Item):
                    key += 1
                    came[key] = result
                if (stays := there if isinstance(result, Refused) else result) is not None:
                    live[edit.id] = stays
            _write_edits(rows, results, edits, came, live)
            made = zip(edits, results, strict=True)
            vectors = {e.item.content: e.vector for e, result in made if isinstance(e, Put) and isinstance(result, Item)}
            _add_vectors(rows, fingerprint, vectors)
            _add_to_count(rows, len(live) - before)
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
        with self._writing() as rows:
            _add_vectors(rows, fingerprint, vectors)
            if items:
                rows.execute(sa.insert(_changes), [{"id": item.id, "key": item.key} for item in items])

    # --- what a job changes ---

    def begin(self, origin: str, root: str | Path, fingerprint: str) -> Job:
        """Start a job; the caller holds the collection's job lock, so any other that still runs is dead and is undone.

        So are those that were rolled back: there is no way forward to them any more.
        """
        with self._writing() as rows:
            undone = _jobs.c.state.in_((RUNNING, ROLLED_BACK))
            for number in rows.scalars(sa.select(_jobs.c.number).where(undone)).all():
                _undo(rows, number)
            row = {"origin": origin, "root": str(root), "fingerprint": fingerprint, "state": RUNNING, "started": time.time()}
            return Job(_inserted(rows, sa.insert(_jobs).values(row)), origin, fingerprint)

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
        with self._writing() as rows:
            changed = set(rows.scalars(sa.select(_changes.c.id).where(_changes.c.number > known.change)))
            new = [_row(item, job.origin, job.number) for item in items if item.id not in changed]
            if new:
                rows.execute(sa.insert(_items), new)
            _mark_removed(rows, job, [item.replaces for item in items if item.replaces is not None])
            _add_vectors(rows, job.fingerprint, vectors or {})
            for key, size, mtime_ns in touched:
                rows.execute(sa.update(_items).where(_items.c.key == key).values(size=size, mtime_ns=mtime_ns))
            for fault in faults:
                values = {"reason": fault.reason, "size": fault.size, "mtime_ns": fault.mtime_ns}
                row = insert(_quarantine).values(origin=job.origin, id=fault.id, **values)
                rows.execute(row.on_conflict_do_update(index_elements=["origin", "id"], set_=values))

    def remove(self, job: Job, keys: Sequence[int], healed: Sequence[str]) -> None:
        """Stage that items go, and take ids out of the quarantine."""
        with self._writing() as rows:
            _mark_removed(rows, job, keys)
            for some in batched(healed, _LOOKUP):
                rows.execute(sa.delete(_quarantine).where((_quarantine.c.origin == job.origin) & _quarantine.c.id.in_(some)))

    def staged(self, job: Job) -> tuple[int, int]:
        """How many items the job adds and removes, replacements counted in both."""
        with self._reading() as rows:
            return _staged(rows, job)

    def lost(self, job: Job) -> int:
        """How many items the job removes whose id and whose content it does not add: neither changed nor renamed."""
        ids = sa.select(_items.c.id).where(_items.c.added_by == job.number)
        contents = sa.select(_items.c.content).where(_items.c.added_by == job.number)
        gone = (_items.c.removed_by == job.number) & _items.c.id.not_in(ids) & _items.c.content.not_in(contents)
        with self._reading() as rows:
            return rows.scalar(sa.select(sa.func.count()).select_from(_items).where(gone)) or 0

    def publish(self, job: Job, generation: int | None) -> tuple[int, int]:
        """Make a job's changes visible and, unless None, ``generation`` the current one: one short transaction.

        Returns how many items it added and removed.
        """
        with self._writing() as rows:
            added, removed = _staged(rows, job)
            _add_to_count(rows, added - removed)
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
        with self._writing() as rows:
            state = rows.scalar(sa.select(_jobs.c.state).where((_jobs.c.number == number) & (_jobs.c.number != API)))
            if state not in (PUBLISHED, ROLLED_BACK):
                raise CatalogError(f"No job published a generation {number}. `lookalike generations` lists those there are.")
            for found, becomes, which in (
                (PUBLISHED, ROLLED_BACK, _jobs.c.number > number),
                (ROLLED_BACK, PUBLISHED, _jobs.c.number <= number),
            ):
                rows.execute(sa.update(_jobs).where((_jobs.c.state == found) & which).values(state=becomes))
            live = rows.scalar(sa.select(sa.func.count()).select_from(_live().subquery()))
            rows.execute(sa.update(_current).values(generation=number, live=live))
        return self.state()

    # --- what nobody needs any more; the caller holds the job lock ---

    def unfinished(self) -> set[str]:
        """Fingerprints of jobs that died: the next one takes up their vectors."""
        with self._reading() as rows:
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
        with self._reading() as rows:
            return np.fromiter(rows.scalars(sa.select(_items.c.key).where(dead).order_by(_items.c.key)), np.int64)

    def forget(self, keys: Sequence[int]) -> None:
        """Versions that are ``unneeded``. In the order of keys, or a version that is no grave would look like one."""
        with self._writing() as rows:
            for some in batched(keys, _LOOKUP):
                rows.execute(sa.delete(_items).where(_items.c.key.in_(some)))

    def named(self, contents: Sequence[str], without: Collection[int] = ()) -> set[str]:
        """Those of ``contents`` that a version has which is not among the keys ``without``."""
        found: set[str] = set()
        with self._reading() as rows:
            for some in batched(contents, _LOOKUP):
                query = sa.select(_items.c.key, _items.c.content).where(_items.c.content.in_(some))
                found |= {row.content for row in rows.execute(query) if row.key not in without}
        return found

    def count_unneeded_vectors(self, fingerprints: Collection[str], without: Collection[int]) -> int:
        """What ``forget_vectors`` would forget if the versions with the keys ``without`` were forgotten before."""
        count, doomed = 0, set(without)
        for contents in self._contents():
            named = self.named(contents, doomed)
            with self._reading() as rows:
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
            with self._writing() as rows:
                count += rows.execute(sa.delete(_vectors).where(within & unneeded)).rowcount
        return count

    def _contents(self) -> Iterator[list[str]]:
        """All that have vectors, in order; no snapshot lasts from one list to the next."""
        last = ""
        while True:
            query = sa.select(_vectors.c.content).distinct().where(_vectors.c.content > last)
            with self._reading() as rows:
                contents = list(rows.scalars(query.order_by(_vectors.c.content).limit(_LOOKUP)))
            if not contents:
                return
            yield contents
            last = contents[-1]

    def count_changes(self, before: int) -> int:
        with self._reading() as rows:
            return rows.scalar(sa.select(sa.func.count()).select_from(_changes).where(_changes.c.number < before)) or 0

    def forget_changes(self, before: int) -> int:
        """Changes under the number ``before``; returns how many. The last one stays: its number is the catalog's."""
        count, old = 0, sa.select(_changes.c.number).where(_changes.c.number < before).order_by(_changes.c.number)
        while True:
            with self._writing() as rows:
                some = sa.delete(_changes).where(_changes.c.number.in_(old.limit(_LOOKUP)))
                gone = rows.execute(some).rowcount
            count += gone
            if gone < _LOOKUP:
                return count

    # --- upkeep ---

    def copy(self, to: Path) -> None:
        """The catalog of this moment as a file of its own; others go on to write meanwhile. Raises ``sqlite3.Error``."""
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as source:
            # Without a snapshot of its own, SQLite begins anew whenever somebody writes.
            source.execute("BEGIN")
            source.execute("SELECT format FROM about").fetchall()
            with closing(sqlite3.connect(to)) as target:
                source.backup(target, pages=_PAGES)

    def damage(self, *, quick: bool = False) -> list[str]:
        """What SQLite finds wrong with its own pages; ``quick`` does not compare indexes with their tables."""
        try:
            with self._reading() as rows:
                found = rows.exec_driver_sql("PRAGMA quick_check" if quick else "PRAGMA integrity_check").scalars().all()
        except CatalogError as error:
            return [str(error)]
        return [line for line in found if line != "ok"]

    def damaged_items(self) -> Iterator[str | None]:
        """For every version of an item, None, or its id where its row is not what was written."""
        for row in self._pages_of(sa.select(_items), _items.c.key):
            yield None if _is_whole(row) else row.id

    def damaged_vectors(self) -> Iterator[str | None]:
        """For every vector, None, or its content where it is not what was written."""
        row = sa.literal_column("vectors.rowid", sa.Integer).label("row")
        for found in self._pages_of(sa.select(_vectors, row).select_from(_vectors), row):
            yield None if zlib.crc32(found.vector) == found.checksum else found.content

    def counted(self) -> tuple[int, int]:
        """How many items are live, as the catalog has noted and as it is counted anew, at one moment."""
        with self._reading() as rows:
            return rows.scalar(sa.select(_current.c.live)) or 0, _amount(rows, _live())

    def uploaded(self) -> list[str]:
        """Contents of pictures that came through the service and are live, or would be again after a rollback."""
        wanted = (_items.c.origin == API_ORIGIN) & (_items.c.removed_by.is_(None) | (_items.c.removed_by != API))
        query = sa.select(_items.c.content).where(wanted & ~_items.c.content.startswith(BARE)).distinct()
        with self._reading() as rows:
            return sorted(rows.scalars(query))

    def origins(self) -> set[str]:
        """Where the live items came from."""
        with self._reading() as rows:
            return set(rows.scalars(_live().with_only_columns(_items.c.origin).distinct()))

    def numbers(self) -> Numbers:
        with self._reading() as rows:
            given: dict[str, int] = dict(rows.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all())
        return Numbers(given.get("jobs", 0), given.get("items", 0), given.get("changes", 0))

    def go_on_above(self, numbers: Numbers) -> None:
        """Give out higher numbers only from now on."""
        with self._writing() as rows:
            for table, number in (("jobs", numbers.job), ("items", numbers.key), ("changes", numbers.change)):
                given = rows.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).scalar()
                rows.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
                rows.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, max(given or 0, number)))

    def came_after(self, numbers: Numbers) -> dict[str, Any]:
        """What this catalog has that one which ended at ``numbers`` has not; of ids only the first thousand."""
        new = _live().where(_items.c.key > numbers.key).with_only_columns(_items.c.id)
        changed = sa.select(_changes.c.id).where(_changes.c.number > numbers.change).distinct()
        with self._reading() as rows:
            jobs = sa.select(_jobs).where(_jobs.c.number > numbers.job)
            return {
                "jobs": [{"number": job.number, "origin": job.origin, "state": job.state} for job in rows.execute(jobs)],
                "changes": _amount(rows, sa.select(_changes).where(_changes.c.number > numbers.change)),
                "changed_ids": rows.scalars(changed.order_by(_changes.c.id).limit(1_000)).all(),
                "items": _amount(rows, new),
                "item_ids": rows.scalars(new.order_by(_items.c.id).limit(1_000)).all(),
            }

    def _pages_of(self, query: sa.Select[Any], order: Any) -> Iterator[Any]:
        """All rows, some at a time: a long snapshot would keep the log growing."""
        last = 0
        while True:
            with self._reading() as rows:
                found = rows.execute(query.where(order > last).order_by(order).limit(_PAGES)).all()
            if not found:
                return
            yield from found
            last = found[-1].key if order is _items.c.key else found[-1].row

    # --- connections ---

    def _prepare(self, create: bool) -> None:
        if create:
            with self._writing() as rows:
                schema.create(rows, time.time())
        with self._reading() as rows:
            if not schema.has_tables(rows):
                raise CatalogError(_EMPTY.format(self.path.parent))
            found = schema.format_of(rows)
        schema.migrate(found, self._writing, self.path)

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        """A connection; what was begun on it and not committed is rolled back at the end."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise self._told(error) from error

    def _told(self, error: sa.exc.DatabaseError) -> CatalogError:
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"The disk of {self.path} is full; nothing was changed. Make room, then try again.")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CatalogError(
                f"{self.path} is damaged ({error.orig}). Restore the collection with `lookalike restore`, or index anew into "
                "another folder."
            )
        if not self.writable:
            return CatalogError(
                f"{self.path} cannot be read ({error.orig}): its folder cannot be written, and it was in use when it was "
                "copied or mounted. Mount it writable, or take what `lookalike backup` wrote."
            )
        return CatalogError(
            f"{self.path} cannot be used ({error.orig}). See that its disk is a local one, not full, and can be written."
        )

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """One snapshot for all statements of the block."""
        with self._connected() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """All of the block or nothing of it, on disk when the block ends."""
        self.check_writable()
        with self._connected() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")


def _url(path: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(path))


def _snapshot(path: Path) -> sa.URL:
    """SQLite has to be told that it cannot lock. What writers left in the log is read too, where its index lies beside it."""
    log = path.with_name(f"{path.name}-wal")
    how = {"mode": "ro"} if log.exists() and log.stat().st_size else {"immutable": "1"}
    return sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query={**how, "uri": "true"})


def _manually(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions on its own, and too late


def _configure(connection: Any, _: Any) -> None:
    _manually(connection, _)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _live(job: Job | None = None, *, generation: int | None = None) -> sa.Select[Any]:
    """The versions that count: added by a job that counts and removed by none."""
    published = _counted(job, generation)
    kept = _items.c.removed_by.is_(None) | _items.c.removed_by.not_in(published)
    added = (_items.c.added_by + 0).in_(published)  # + 0 keeps SQLite from its index: nearly all rows are of published jobs
    return sa.select(_items).where(added & kept)


def _counted(job: Job | None = None, generation: int | None = None) -> sa.Select[Any]:
    """The numbers of jobs that are published; ``job`` passes for published.

    With ``generation``, jobs after that one pass for not published; and if it was rolled back, jobs up to it that were too
    pass for published: who still searches it sees it whole until the next one is taken up.
    """
    counts = _jobs.c.state == PUBLISHED
    if generation is not None:
        own = _jobs.alias("own")
        its_own = sa.select(own.c.state).where(own.c.number == generation).scalar_subquery()
        counts |= (_jobs.c.state == ROLLED_BACK) & (its_own == ROLLED_BACK)
        counts &= _jobs.c.number <= generation
    if job is not None:
        counts |= _jobs.c.number == job.number
    return sa.select(_jobs.c.number).where(counts)


def _find(rows: sa.Connection, ids: Sequence[str]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for some in batched(ids, _LOOKUP):
        found |= {row.id: _item(row) for row in rows.execute(_live().where(_items.c.id.in_(some)))}
    return found


def _graves(rows: sa.Connection, ids: Sequence[str]) -> dict[str, Item]:
    """A grave is the last version that came from a gallery, where it was the service that took it away."""
    found: dict[str, Item] = {}
    for some in batched(ids, _LOOKUP):
        from_gallery = _items.c.id.in_(some) & (_items.c.origin != API_ORIGIN)
        last = sa.select(sa.func.max(_items.c.key)).where(from_gallery).group_by(_items.c.id)
        query = sa.select(_items).where(_items.c.key.in_(last) & (_items.c.removed_by == API))
        found |= {row.id: _item(row) for row in rows.execute(query)}
    return found


def _edited(edit: Edit, there: Item | None, key: int) -> Item | Refused | None:
    """What an edit makes of the item that is ``there``; ``key`` is that of the version that comes."""
    if edit.expected not in (None, there and there.key) or (there is None and not isinstance(edit, Put)):
        return Refused(edit.id, there)
    if isinstance(edit, Delete):
        return None
    if isinstance(edit, Put):
        new = edit.item
        return Item(key, new.id, API_ORIGIN, new.content, new.metadata, new.size, new.mtime_ns, new.path)
    assert there is not None
    return replace(there, key=key, origin=API_ORIGIN, metadata=edit.metadata, path="")


def _write_edits(
    rows: sa.Connection,
    results: Sequence[Item | Refused | None],
    edits: Sequence[Edit],
    came: Mapping[int, Item],
    live: Mapping[str, Item],
) -> None:
    """Versions before the edits go, new ones come: also those that went at once, whose changes followers will read."""
    made = [(edit.id, result) for edit, result in zip(edits, results, strict=True) if not isinstance(result, Refused)]
    _retire(rows, list({id for id, _ in made}))
    stay = {item.key for item in live.values()}
    new = [_row(item, API_ORIGIN, API) | {"key": key, "removed_by": None if key in stay else API} for key, item in came.items()]
    if new:
        rows.execute(sa.insert(_items), new)
    if made:
        rows.execute(sa.insert(_changes), [{"id": id, "key": None if item is None else item.key} for id, item in made])


def _last_key(rows: sa.Connection) -> int:
    """Of all that ever were: keys are given by the catalog's own count, which writing a row raises."""
    sequence = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'items'")
    return int(rows.scalar(sequence) or 0)


def _retire(rows: sa.Connection, ids: Sequence[str]) -> None:
    """The service's word counts: void what a running job did to the ids, and what the rollback of any job would bring back."""
    running = sa.select(_jobs.c.number).where(_jobs.c.state == RUNNING)
    for some in batched(ids, _LOOKUP):
        these = _items.c.id.in_(some)
        rows.execute(sa.delete(_items).where(these & (_items.c.added_by + 0).in_(running)))
        rows.execute(sa.update(_items).where(these & _items.c.removed_by.is_distinct_from(API)).values(removed_by=API))


def _amount(rows: sa.Connection, query: sa.Select[Any]) -> int:
    return rows.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def _mark_removed(rows: sa.Connection, job: Job, keys: Sequence[int]) -> None:
    for some in batched(keys, _LOOKUP):
        unmarked = _items.c.key.in_(some) & _items.c.removed_by.is_(None)
        rows.execute(sa.update(_items).where(unmarked).values(removed_by=job.number))


def _staged(rows: sa.Connection, job: Job) -> tuple[int, int]:
    count = sa.select(sa.func.count()).select_from(_items)
    added = rows.scalar(count.where(_items.c.added_by == job.number))
    removed = rows.scalar(count.where(_items.c.removed_by == job.number))
    return added or 0, removed or 0


def _undo(rows: sa.Connection, number: int) -> None:
    # What the service took away of a job that was rolled back stays as a grave: its file has not changed since.
    grave = _items.c.removed_by.is_not_distinct_from(API)
    rows.execute(sa.delete(_items).where((_items.c.added_by == number) & ~grave))
    rows.execute(sa.update(_items).where(_items.c.removed_by == number).values(removed_by=None))
    rows.execute(sa.update(_jobs).where(_jobs.c.number == number).values(state=FAILED, finished=time.time()))


def _add_to_count(rows: sa.Connection, more: int) -> None:
    rows.execute(sa.update(_current).values(live=_current.c.live + more))


def _add_vectors(rows: sa.Connection, fingerprint: str, vectors: Mapping[str, np.ndarray]) -> None:
    if vectors:
        blobs = {content: np.ascontiguousarray(vector, np.float32).tobytes() for content, vector in vectors.items()}
        values = [
            {"content": content, "fingerprint": fingerprint, "vector": blob, "checksum": zlib.crc32(blob)}
            for content, blob in blobs.items()
        ]
        rows.execute(insert(_vectors).on_conflict_do_nothing(), values)


def _row(item: NewItem | Item, origin: str, job: int) -> dict[str, Any]:
    metadata = json.dumps(item.metadata, ensure_ascii=False)
    return {
        "id": item.id,
        "origin": origin,
        "content": item.content,
        "metadata": metadata,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "path": item.path,
        "added_by": job,
        "checksum": _checksum(item.id, origin, item.content, metadata, item.path),
    }


def _item(row: Any) -> Item:
    if not _is_whole(row):
        raise CatalogError(f"The catalog's row of {row.id!r} is damaged. Restore the collection, or index anew.")
    return Item(row.key, row.id, row.origin, row.content, json.loads(row.metadata), row.size, row.mtime_ns, row.path)


def _is_whole(row: Any) -> bool:
    return _checksum(row.id, row.origin, row.content, row.metadata, row.path) == row.checksum


def _checksum(id: str, origin: str, content: str, metadata: str, path: str) -> int:
    parts = [id, origin, content, metadata, *([path] if path else [])]  # without one as in format 1, which had none
    return zlib.crc32("\0".join(parts).encode())


def content_of(vector: np.ndarray) -> str:
    """The content of an item that came as a bare vector [dim]."""
    return BARE + hashlib.sha256(np.ascontiguousarray(vector, np.float32).tobytes()).hexdigest()


def _last_change(rows: sa.Connection) -> int:
    return rows.scalar(sa.select(sa.func.max(_changes.c.number))) or 0


def _inserted(rows: sa.Connection, statement: sa.Insert) -> int:
    primary_key = rows.execute(statement).inserted_primary_key
    assert primary_key is not None
    return int(primary_key[0])


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` values, the last one shorter."""
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
