"""The catalog: the durable record of items, keys, vectors and changes, in ``catalog.sqlite`` on a local disk.

Everything else in a collection can be rebuilt from it and a bundle. Vectors are kept by (content, fingerprint). An item's
row is one version of it and its key is never used again. Which job added and which removed a version is written beside it,
so a job's changes all become visible by one mark on the job's own row, and undone by taking that mark away; the service's
own changes are those of job 0, which is always published. A job that dies needs no care: the next one undoes it.
"""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from model import Failure

T = TypeVar("T")

FILE = "catalog.sqlite"
FORMAT = 1
API = 0  # the job number, and "api" the origin, of what came through the service
API_ORIGIN = "api"

_schema = sa.MetaData()
_about = sa.Table("about", _schema, sa.Column("format", sa.Integer, nullable=False))
_current = sa.Table(
    "current",  # one row: the only pointer to the generation that is searched, and how many items are live
    _schema,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer),
    sa.Column("live", sa.Integer, nullable=False),
)
_jobs = sa.Table(
    "jobs",
    _schema,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # running, published, failed
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("finished", sa.Float),
    sqlite_autoincrement=True,
)
_items = sa.Table(
    "items",
    _schema,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, index=True),
    sa.Column("origin", sa.Text, nullable=False, index=True),
    sa.Column("content", sa.Text, nullable=False, index=True),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("added_by", sa.Integer, nullable=False, index=True),
    sa.Column("removed_by", sa.Integer, index=True),
    sa.Column("checksum", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
_vectors = sa.Table(
    "vectors",
    _schema,
    sa.Column("content", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.Integer, nullable=False),
)
_changes = sa.Table(
    "changes",  # what the service changed, in order; jobs write none
    _schema,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("key", sa.Integer),  # the version that came, or null where the item went
    sqlite_autoincrement=True,
)
_quarantine = sa.Table(
    "quarantine",
    _schema,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
)

_LOOKUP = 500  # bound values a statement
_EMPTY = "{} holds no collection yet. Fill it with `lookalike index` first."


class CatalogError(Failure):
    """The catalog cannot be used; the message says what to do."""


class ReadOnly(CatalogError):
    """The collection's folder cannot be written."""


class DiskFull(CatalogError):
    """Nothing was changed."""


@dataclass(frozen=True)
class Item:
    """One version of an item. ``content`` is the SHA-256 of the file's bytes."""

    key: int
    id: str
    origin: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class NewItem:
    id: str
    content: str
    metadata: dict[str, Any]
    size: int
    mtime_ns: int
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
        published = sa.select(_jobs.c.number).where((_jobs.c.state == "published") & (_jobs.c.number <= generation))
        query = sa.select(_items.c.key).where(_items.c.removed_by.in_(published)).order_by(_items.c.key)
        with self._reading() as rows:
            return np.fromiter(rows.scalars(query), np.int64)

    def vectors(self, keys: Sequence[int], fingerprint: str, dim: int) -> Iterator[tuple[Item, np.ndarray]]:
        """Item and float32 vector [dim] of those ``keys`` that have one. Raises ``CatalogError`` on a damaged vector."""
        match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
        found = sa.select(_items, _vectors.c.vector, _vectors.c.checksum.label("vector_checksum")).join(_vectors, match)
        for some in batched(keys, _LOOKUP):
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

    def published(self) -> list[int]:
        """The numbers of the jobs that count, the newest first."""
        query = sa.select(_jobs.c.number).where(_jobs.c.state == "published").order_by(_jobs.c.number.desc())
        with self._reading() as rows:
            return list(rows.scalars(query))

    def quarantined(self, origin: str) -> dict[str, Fault]:
        query = sa.select(_quarantine).where(_quarantine.c.origin == origin).order_by(_quarantine.c.id)
        with self._reading() as rows:
            return {row.id: Fault(row.id, row.reason, row.size, row.mtime_ns) for row in rows.execute(query)}

    def root(self, origin: str) -> Path | None:
        """The folder where an origin's files lay when a job last published it."""
        published = sa.select(_jobs.c.root).where((_jobs.c.origin == origin) & (_jobs.c.state == "published"))
        with self._reading() as rows:
            root = rows.scalar(published.order_by(_jobs.c.number.desc()).limit(1))
        return None if root is None else Path(root)

    # --- what the service changes ---

    def put(self, new: NewItem, fingerprint: str, vector: np.ndarray) -> Item:
        """Add an item or replace it, whoever owned it; visible and durable on return."""
        with self._writing() as rows:
            _add_vectors(rows, fingerprint, {new.content: vector})
            replaced = _is_live(rows, new.id)
            _retire(rows, new.id)
            key = _inserted(rows, sa.insert(_items).values(_row(new, API_ORIGIN, API)))
            rows.execute(sa.insert(_changes).values(id=new.id, key=key))
            _add_to_count(rows, 0 if replaced else 1)
        return Item(key, new.id, API_ORIGIN, new.content, new.metadata, new.size, new.mtime_ns)

    def delete(self, id: str) -> bool:
        """False when there is no such item. Its file's next version in a gallery comes back, the same one does not."""
        with self._writing() as rows:
            if not _is_live(rows, id):
                return False
            _retire(rows, id)
            rows.execute(sa.insert(_changes).values(id=id, key=None))
            _add_to_count(rows, -1)
        return True

    def add_pending(self, fingerprint: str, items: Sequence[Item], vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors; the change log tells followers to take up ``items``, live ones that had none."""
        with self._writing() as rows:
            _add_vectors(rows, fingerprint, vectors)
            if items:
                rows.execute(sa.insert(_changes), [{"id": item.id, "key": item.key} for item in items])

    # --- what a job changes ---

    def begin(self, origin: str, root: Path, fingerprint: str) -> Job:
        """Start a job; the caller holds the collection's job lock, so any other that still runs is dead and is undone."""
        with self._writing() as rows:
            for number in rows.scalars(sa.select(_jobs.c.number).where(_jobs.c.state == "running")).all():
                _undo(rows, number)
            row = {"origin": origin, "root": str(root), "fingerprint": fingerprint, "state": "running", "started": time.time()}
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
            finished = {"state": "published", "finished": time.time()}
            rows.execute(sa.update(_jobs).where(_jobs.c.number == job.number).values(finished))
            _add_to_count(rows, added - removed)
            if generation is not None:
                rows.execute(sa.update(_current).values(generation=generation))
        return added, removed

    # --- connections ---

    def _prepare(self, create: bool) -> None:
        if create:
            with self._writing() as rows:
                if not sa.inspect(rows).has_table("about"):
                    _schema.create_all(rows)
                    rows.execute(sa.insert(_about).values(format=FORMAT))
                    rows.execute(sa.insert(_current).values(row=1, generation=None, live=0))
                    api = {"number": API, "origin": API_ORIGIN, "root": "", "fingerprint": "", "state": "published"}
                    rows.execute(sa.insert(_jobs).values(**api, started=time.time()))
        with self._reading() as rows:
            if not sa.inspect(rows).has_table("about"):
                raise CatalogError(_EMPTY.format(self.path.parent))
            found = rows.scalar(sa.select(_about.c.format))
        if found != FORMAT:
            raise CatalogError(f"{self.path} has format {found}; this version of Lookalike reads format {FORMAT}.")

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
    """The versions that count: added by a published job and removed by none; ``job`` passes for published.

    With ``generation``, jobs after that one pass for not published.
    """
    counts = _jobs.c.state == "published"
    if generation is not None:
        counts &= _jobs.c.number <= generation
    if job is not None:
        counts |= _jobs.c.number == job.number
    published = sa.select(_jobs.c.number).where(counts)
    kept = _items.c.removed_by.is_(None) | _items.c.removed_by.not_in(published)
    added = (_items.c.added_by + 0).in_(published)  # + 0 keeps SQLite from its index: nearly all rows are of published jobs
    return sa.select(_items).where(added & kept)


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


def _is_live(rows: sa.Connection, id: str) -> bool:
    return rows.scalar(_live().with_only_columns(_items.c.key).where(_items.c.id == id)) is not None


def _retire(rows: sa.Connection, id: str) -> None:
    """The service's word counts: void what a running job did to the id, and what the rollback of any job would bring back."""
    running = sa.select(_jobs.c.number).where(_jobs.c.state == "running")
    rows.execute(sa.delete(_items).where((_items.c.id == id) & _items.c.added_by.in_(running)))
    rows.execute(sa.update(_items).where(_items.c.id == id).values(removed_by=API))


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
    rows.execute(sa.delete(_items).where(_items.c.added_by == number))
    rows.execute(sa.update(_items).where(_items.c.removed_by == number).values(removed_by=None))
    rows.execute(sa.update(_jobs).where(_jobs.c.number == number).values(state="failed", finished=time.time()))


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


def _row(item: NewItem, origin: str, job: int) -> dict[str, Any]:
    metadata = json.dumps(item.metadata, ensure_ascii=False)
    return {
        "id": item.id,
        "origin": origin,
        "content": item.content,
        "metadata": metadata,
        "size": item.size,
        "mtime_ns": item.mtime_ns,
        "added_by": job,
        "checksum": _checksum(item.id, origin, item.content, metadata),
    }


def _item(row: Any) -> Item:
    if _checksum(row.id, row.origin, row.content, row.metadata) != row.checksum:
        raise CatalogError(f"The catalog's row of {row.id!r} is damaged. Restore the collection, or index anew.")
    return Item(row.key, row.id, row.origin, row.content, json.loads(row.metadata), row.size, row.mtime_ns)


def _checksum(*parts: str) -> int:
    return zlib.crc32("\0".join(parts).encode())


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
