"""``catalog.sqlite`` in, transactions out: opening, migrating, and one sentence for each way in which SQLite fails."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa

from . import schema
from .schema import CatalogError

FILE = "catalog.sqlite"
_WAIT = 30_000  # milliseconds for another writer
_LOG = 64 * 2**20  # bytes of the write-ahead log that stay on the disk when a large transaction is over
_EMPTY = "{} holds no collection yet. Fill it with `lookalike index` first."


class ReadOnly(CatalogError):
    """The collection's folder cannot be written."""


class DiskFull(CatalogError):
    """Nothing was changed."""


class Database:
    """Safe to use from several threads and processes. Raises ``CatalogError`` when it cannot be opened.

    In a folder that cannot be written it is a snapshot: read as it lies there, never changed.
    """

    def __init__(self, directory: Path, *, create: bool = False) -> None:
        self.path = directory.absolute() / FILE
        if not create and not self.path.is_file():
            raise CatalogError(_EMPTY.format(directory))
        directory.mkdir(parents=True, exist_ok=True)
        self.writable = os.access(directory, os.W_OK)
        # Who does not create it must not: a file that was taken away would be replaced by an empty one.
        how = {"mode": "rwc" if create else "rw"} if self.writable else _reading(self.path)
        url = sa.URL.create("sqlite", database=_file(self.path), query={**how, "uri": "true"})
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

    def _prepare(self, create: bool) -> None:
        if create:
            with self.writing() as rows:
                schema.create(rows, time.time())
        with self.reading() as rows:
            if not schema.has_tables(rows):
                raise CatalogError(_EMPTY.format(self.path.parent))
            found = schema.format_of(rows)
        schema.migrate(found, self.writing, self.path)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One snapshot for all statements of the block."""
        with self._connected() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    def select(self, text: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of one statement, which is a snapshot of its own: the quick way, for what every search asks."""
        try:
            with closing(self._engine.raw_connection()) as connection:
                return connection.cursor().execute(text, values).fetchall()  # type: ignore[no-any-return, attr-defined]
        except sqlite3.DatabaseError as error:
            raise self._told(error) from error

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """All of the block or nothing of it, on disk when the block ends."""
        self.check_writable()
        with self._connected() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        """A connection; what was begun on it and not committed is rolled back at the end."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise self._told(error.orig) from error

    def _told(self, error: BaseException | None) -> CatalogError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return DiskFull(f"The disk of {self.path} is full; nothing was changed. Make room, then try again.")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return CatalogError(
                f"{self.path} is damaged ({error}). Restore the collection with `lookalike restore`, or index anew into "
                "another folder."
            )
        if code == sqlite3.SQLITE_BUSY:
            return CatalogError(
                f"Another process has been writing to {self.path} for too long; nothing was changed. Try again."
            )
        if not self.writable:
            return CatalogError(
                f"{self.path} cannot be read ({error}): its folder cannot be written, and it was in use when it was "
                "copied or mounted. Mount it writable, or take what `lookalike backup` wrote."
            )
        return CatalogError(
            f"{self.path} cannot be used ({error}). See that its disk is a local one, not full, and can be written."
        )


def read_only(path: Path) -> str:
    """What ``sqlite3.connect`` takes as a URI, for who reads only: also in a folder that cannot be written."""
    return f"{_file(path)}?{urlencode(_reading(path))}"


def _file(path: Path) -> str:
    return f"file:{quote(str(path))}"


def _reading(path: Path) -> dict[str, str]:
    """SQLite has to be told that it cannot lock. What writers left in the log is read too, where its index lies beside it."""
    log = path.with_name(f"{path.name}-wal")
    locks = os.access(path.parent, os.W_OK) or (log.exists() and log.stat().st_size)
    return {"mode": "ro"} if locks else {"immutable": "1"}


def _manually(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions on its own, and too late


def _configure(connection: Any, _: Any) -> None:
    _manually(connection, _)
    for pragma in (
        f"busy_timeout={_WAIT}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "temp_store=MEMORY",
        f"journal_size_limit={_LOG}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
