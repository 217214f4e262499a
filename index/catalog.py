"""The catalog: the durable record of items, keys, vectors and changes, in ``catalog.sqlite`` on a local disk.

Everything else in a collection can be rebuilt from it and a bundle. Vectors are kept by (content, fingerprint). An item's
row is one version of it and its key is never used again. Who added and who removed a version is written beside it, so a
job's changes all become visible by one mark on the job's own row, and undone by taking that mark away; the service's own
changes are those of job 0, which is always published.
"""

import json
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from model import Failure

FILE = "catalog.sqlite"
FORMAT = 1
API = 0  # the job number, and "api" the origin, of what came through the service
API_ORIGIN = "api"

_schema = sa.MetaData()
_about = sa.Table("about", _schema, sa.Column("format", sa.Integer, nullable=False))
_current = sa.Table(
    "current",  # one row: the only pointer to the generation that is searched
    _schema,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer, nullable=False),
)
_origins = sa.Table(
    "origins", _schema, sa.Column("name", sa.Text, primary_key=True), sa.Column("root", sa.Text, nullable=False)
)
_jobs = sa.Table(
    "jobs",
    _schema,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # running, published, failed
    sa.Column("since", sa.Integer, nullable=False),  # the last change when it began
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
_tombstones = sa.Table(
    "tombstones",  # gallery files whose items were deleted through the service, as they were then
    _schema,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
)
_quarantine = sa.Table(
    "quarantine",
    _schema,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("job", sa.Integer, nullable=False),
)

_LOOKUP = 500  # bound values a statement


class CatalogError(Failure):
    """The catalog cannot be used; the message says what to do."""


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
    """A file that a job could not use."""

    id: str
    reason: str
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True)
class Job:
    number: int
    origin: str
    fingerprint: str
    since: int


@dataclass(frozen=True)
class Change:
    """``key`` is the version that came, or None where the item went."""

    number: int
    id: str
    key: int | None


@dataclass(frozen=True)
class State:
    """What a follower asks for: the current generation (None before the first) and the last change."""

    generation: int | None
    change: int


class Catalog:
    """Safe to use from several threads and processes. Raises ``CatalogError`` when it cannot be opened."""

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        path = directory / FILE
        if not create and not path.is_file():
            raise CatalogError(f"{directory} holds no collection yet. Fill it with `lookalike index` first.")
        directory.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._engine = sa.create_engine(f"sqlite:///{path}", pool_size=16, max_overflow=48)
        sa.event.listen(self._engine, "connect", _configure)
        try:
            self._prepare(create)
        except sa.exc.DatabaseError as error:
            raise CatalogError(f"{path} cannot be used ({error.orig}). Is it on a local disk that can be written?") from error

    def close(self) -> None:
        self._engine.dispose()

    # --- what is there ---

    def state(self) -> State:
        with self._reading() as rows:
            return State(rows.scalar(sa.select(_current.c.generation)), _last_change(rows))

    def count(self) -> int:
        with self._reading() as rows:
            return rows.scalar(sa.select(sa.func.count()).select_from(_live())) or 0

    def live(self, keys: Sequence[int]) -> dict[int, Item]:
        """Those of ``keys`` that are a live version of an item: the check that every hit has to pass."""
        found: dict[int, Item] = {}
        with self._reading() as rows:
            for some in _batched(keys, _LOOKUP):
                view = _live()
                found |= {row.key: _item(row) for row in rows.execute(sa.select(view).where(view.c.key.in_(some)))}
        return found

    def find(self, ids: Sequence[str]) -> dict[str, Item]:
        """The live items of these ids."""
        found: dict[str, Item] = {}
        with self._reading() as rows:
            for some in _batched(ids, _LOOKUP):
                view = _live()
                found |= {row.id: _item(row) for row in rows.execute(sa.select(view).where(view.c.id.in_(some)))}
        return found

    def live_keys(self, *, origin: str | None = None, job: Job | None = None) -> np.ndarray:
        """int64, sorted: keys that are live, of one origin or of all; with ``job``, as if it were published already."""
        view = _live(job)
        query = sa.select(view.c.key).order_by(view.c.key)
        if origin is not None:
            query = query.where(view.c.origin == origin)
        with self._reading() as rows:
            return np.fromiter((row.key for row in rows.execute(query)), np.int64)

    def vectors(self, keys: Sequence[int], fingerprint: str, dim: int) -> Iterator[tuple[Item, np.ndarray]]:
        """Item and float32 vector [dim] of those ``keys`` that have one. Raises ``CatalogError`` on a damaged vector."""
        with self._reading() as rows:
            for some in _batched(keys, _LOOKUP):
                match = (_vectors.c.content == _items.c.content) & (_vectors.c.fingerprint == fingerprint)
                vector_checksum = _vectors.c.checksum.label("vector_checksum")
                query = (
                    sa.select(_items, _vectors.c.vector, vector_checksum)
                    .join(_vectors, match)
                    .where(_items.c.key.in_(some))
                    .order_by(_items.c.key)
                )
                for row in rows.execute(query):
                    if zlib.crc32(row.vector) != row.vector_checksum or len(row.vector) != 4 * dim:
                        raise CatalogError(
                            f"{self.path}: the vector of {row.id} is damaged. Restore the collection or index anew."
                        )
                    yield _item(row), np.frombuffer(row.vector, np.float32)

    def without_vector(self, contents: Iterable[str], fingerprint: str) -> set[str]:
        """Those of ``contents`` that were never encoded with this fingerprint."""
        wanted = set(contents)
        with self._reading() as rows:
            for some in _batched(sorted(wanted), _LOOKUP):
                known = (_vectors.c.fingerprint == fingerprint) & _vectors.c.content.in_(some)
                wanted -= set(rows.scalars(sa.select(_vectors.c.content).where(known)))
        return wanted

    def pending(self, fingerprint: str, job: Job | None = None) -> list[Item]:
        """Live items that have no vector of this fingerprint."""
        view = _live(job)
        match = (_vectors.c.content == view.c.content) & (_vectors.c.fingerprint == fingerprint)
        query = sa.select(view).outerjoin(_vectors, match).where(_vectors.c.content.is_(None))
        with self._reading() as rows:
            return [_item(row) for row in rows.execute(query)]

    def changes(self, after: int) -> list[Change]:
        query = sa.select(_changes).where(_changes.c.number > after).order_by(_changes.c.number)
        with self._reading() as rows:
            return [Change(row.number, row.id, row.key) for row in rows.execute(query)]

    def tombstones(self, ids: Sequence[str]) -> dict[str, str]:
        """id → content that it had when it was deleted."""
        found: dict[str, str] = {}
        with self._reading() as rows:
            for some in _batched(ids, _LOOKUP):
                query = sa.select(_tombstones).where(_tombstones.c.id.in_(some))
                found |= {row.id: row.content for row in rows.execute(query)}
        return found

    def quarantined(self, origin: str) -> dict[str, Fault]:
        query = sa.select(_quarantine).where(_quarantine.c.origin == origin).order_by(_quarantine.c.id)
        with self._reading() as rows:
            return {row.id: Fault(row.id, row.reason, row.size, row.mtime_ns) for row in rows.execute(query)}

    def root(self, origin: str) -> Path | None:
        """The folder where an origin's files lie."""
        with self._reading() as rows:
            root = rows.scalar(sa.select(_origins.c.root).where(_origins.c.name == origin))
        return None if root is None else Path(root)

    # --- what the service changes ---

    def put(self, new: NewItem, fingerprint: str, vector: np.ndarray) -> Item:
        """Add an item or replace it, whoever owned it; visible and durable on return."""
        with self._writing() as rows:
            _add_vectors(rows, fingerprint, {new.content: vector})
            self._remove_live(rows, new.id)
            row = _row(new, API_ORIGIN, API)
            key = _inserted(rows, sa.insert(_items).values(row))
            rows.execute(sa.delete(_tombstones).where(_tombstones.c.id == new.id))
            rows.execute(sa.insert(_changes).values(id=new.id, key=key))
        return Item(key, new.id, API_ORIGIN, new.content, new.metadata, new.size, new.mtime_ns)

    def delete(self, id: str) -> bool:
        """False when there is no such item. Its file's next version in a gallery comes back, the same one does not."""
        with self._writing() as rows:
            if not self._remove_live(rows, id):
                return False
            gallery = (_items.c.id == id) & (_items.c.origin != API_ORIGIN)
            last = sa.select(_items.c.content).where(gallery).order_by(_items.c.key.desc()).limit(1)
            content = rows.scalar(last)
            if content is not None:
                grave = insert(_tombstones).values(id=id, content=content)
                rows.execute(grave.on_conflict_do_update(index_elements=["id"], set_={"content": content}))
            rows.execute(sa.insert(_changes).values(id=id, key=None))
        return True

    def _remove_live(self, rows: sa.Connection, id: str) -> bool:
        """Also takes back what a job did to the id and did not publish yet: the service's word counts."""
        view = _live()
        alive = sa.select(view.c.key).where(view.c.id == id)
        return rows.execute(sa.update(_items).where(_items.c.key.in_(alive)).values(removed_by=API)).rowcount > 0

    # --- what a job changes ---

    def begin(self, origin: str, root: Path, fingerprint: str) -> Job:
        """Start a job; the caller holds the collection's job lock, so any other that still runs is dead."""
        with self._writing() as rows:
            for number in rows.scalars(sa.select(_jobs.c.number).where(_jobs.c.state == "running")).all():
                _undo(rows, number)
            place = insert(_origins).values(name=origin, root=str(root))
            rows.execute(place.on_conflict_do_update(index_elements=["name"], set_={"root": str(root)}))
            since = _last_change(rows)
            row = {
                "origin": origin,
                "fingerprint": fingerprint,
                "state": "running",
                "since": since,
                "started": time.time(),
            }
            return Job(_inserted(rows, sa.insert(_jobs).values(row)), origin, fingerprint, since)

    def stage(
        self,
        job: Job,
        *,
        items: Sequence[NewItem] = (),
        removed: Sequence[int] = (),
        vectors: Mapping[str, np.ndarray] | None = None,
        touched: Sequence[tuple[int, int, int]] = (),
        faults: Sequence[Fault] = (),
        healed: Sequence[str] = (),
    ) -> None:
        """Keep a part of a job's work. Vectors last from now on; the items show when the job is published.

        ``removed`` are keys; ``touched`` (key, size, mtime_ns) files whose bytes stayed the same; ``healed`` ids leave
        the quarantine.
        """
        gone = [*removed, *(item.replaces for item in items if item.replaces is not None)]
        with self._writing() as rows:
            _add_vectors(rows, job.fingerprint, vectors or {})
            if items:
                rows.execute(sa.insert(_items), [_row(item, job.origin, job.number) for item in items])
            for some in _batched(gone, _LOOKUP):
                unmarked = _items.c.key.in_(some) & _items.c.removed_by.is_(None)
                rows.execute(sa.update(_items).where(unmarked).values(removed_by=job.number))
            for key, size, mtime_ns in touched:
                rows.execute(sa.update(_items).where(_items.c.key == key).values(size=size, mtime_ns=mtime_ns))
            for some in _batched(healed, _LOOKUP):
                rows.execute(sa.delete(_quarantine).where((_quarantine.c.origin == job.origin) & _quarantine.c.id.in_(some)))
            for fault in faults:
                values = {"reason": fault.reason, "size": fault.size, "mtime_ns": fault.mtime_ns, "job": job.number}
                row = insert(_quarantine).values(origin=job.origin, id=fault.id, **values)
                rows.execute(row.on_conflict_do_update(index_elements=["origin", "id"], set_=values))

    def staged(self, job: Job) -> tuple[int, int]:
        """How many items the job adds and removes, replacements counted in both."""
        count = sa.select(sa.func.count()).select_from(_items)
        with self._reading() as rows:
            added = rows.scalar(count.where(_items.c.added_by == job.number))
            removed = rows.scalar(count.where(_items.c.removed_by == job.number))
        return added or 0, removed or 0

    def publish(self, job: Job, generation: int | None) -> None:
        """Make a job's changes visible and, unless None, ``generation`` the current one: one short transaction.

        Where the service changed an item meanwhile, its change stays and the job's is dropped.
        """
        with self._writing() as rows:
            meanwhile = sa.select(_changes.c.id).where(_changes.c.number > job.since)
            rows.execute(sa.delete(_items).where((_items.c.added_by == job.number) & _items.c.id.in_(meanwhile)))
            added = sa.select(_items.c.id).where(_items.c.added_by == job.number)
            rows.execute(sa.delete(_tombstones).where(_tombstones.c.id.in_(added)))
            finished = {"state": "published", "finished": time.time()}
            rows.execute(sa.update(_jobs).where(_jobs.c.number == job.number).values(finished))
            if generation is not None:
                pointer = insert(_current).values(row=1, generation=generation)
                rows.execute(pointer.on_conflict_do_update(index_elements=["row"], set_={"generation": generation}))

    def add_pending(self, fingerprint: str, items: Sequence[Item], vectors: Mapping[str, np.ndarray]) -> None:
        """Vectors for items that were published without one; the change log tells followers to take them up."""
        with self._writing() as rows:
            _add_vectors(rows, fingerprint, vectors)
            for item in items:
                rows.execute(sa.insert(_changes).values(id=item.id, key=item.key))

    def abandon(self, job: Job) -> None:
        """Forget what a job staged; the vectors it made stay."""
        with self._writing() as rows:
            _undo(rows, job.number)

    # --- connections ---

    def _prepare(self, create: bool) -> None:
        if create:
            with self._writing() as rows:
                if not sa.inspect(rows).has_table("about"):
                    _schema.create_all(rows)
                    rows.execute(sa.insert(_about).values(format=FORMAT))
                    api = {"number": API, "origin": API_ORIGIN, "fingerprint": "", "state": "published", "since": 0}
                    rows.execute(sa.insert(_jobs).values(**api, started=time.time()))
        with self._reading() as rows:
            found = rows.scalar(sa.select(_about.c.format)) if sa.inspect(rows).has_table("about") else None
        if found != FORMAT:
            raise CatalogError(f"{self.path} has format {found}; this version of Lookalike reads format {FORMAT}.")

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """One snapshot for all statements of the block."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            try:
                yield connection
            finally:
                connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """All of the block or nothing of it, on disk when the block ends."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")


def _configure(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions on its own, and too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _live(job: Job | None = None) -> sa.Subquery:
    """The versions that count: added by a published job and removed by none; ``job`` passes for published."""
    counts = _jobs.c.state == "published"
    if job is not None:
        counts |= _jobs.c.number == job.number
    published = sa.select(_jobs.c.number).where(counts)
    removed = _items.c.removed_by.is_not(None) & _items.c.removed_by.in_(published)
    return sa.select(_items).where(_items.c.added_by.in_(published) & ~removed).subquery()


def _undo(rows: sa.Connection, number: int) -> None:
    rows.execute(sa.delete(_items).where(_items.c.added_by == number))
    rows.execute(sa.update(_items).where(_items.c.removed_by == number).values(removed_by=None))
    rows.execute(sa.update(_jobs).where(_jobs.c.number == number).values(state="failed", finished=time.time()))


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


def _batched(values: Sequence[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
