"""The catalog's tables, and how a catalog of an earlier format becomes one of today's.

A migration is a list of statements and runs in one transaction under the write lock, so two processes that open an old
catalog at once do it once. It may add and fill, never take away: a server of the version before may still have it open.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import sqlalchemy as sa

from model import Failure

FORMAT = 2
API = 0  # the job number, and "api" the origin, of what came through the service
API_ORIGIN = "api"

_schema = sa.MetaData()
about = sa.Table("about", _schema, sa.Column("format", sa.Integer, nullable=False))
current = sa.Table(
    "current",  # one row: the only pointer to the generation that is searched, and how many items are live
    _schema,
    sa.Column("row", sa.Integer, primary_key=True),
    sa.Column("generation", sa.Integer),
    sa.Column("live", sa.Integer, nullable=False),
)
jobs = sa.Table(
    "jobs",
    _schema,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("origin", sa.Text, nullable=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # running, published, rolled back, failed
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("finished", sa.Float),
    # what it did, and the items that were live, when it was published; null in jobs of format 1
    sa.Column("added", sa.Integer),
    sa.Column("removed", sa.Integer),
    sa.Column("live", sa.Integer),
    sqlite_autoincrement=True,
)
items = sa.Table(
    "items",
    _schema,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, index=True),
    sa.Column("origin", sa.Text, nullable=False, index=True),
    sa.Column("content", sa.Text, nullable=False, index=True),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
    sa.Column("path", sa.Text, nullable=False, server_default=""),  # where its source has the bytes; "": that is its id
    sa.Column("added_by", sa.Integer, nullable=False, index=True),
    sa.Column("removed_by", sa.Integer, index=True),
    sa.Column("checksum", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)
vectors = sa.Table(
    "vectors",
    _schema,
    sa.Column("content", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.Integer, nullable=False),
)
changes = sa.Table(
    "changes",  # what the service changed, in order; jobs write none
    _schema,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("key", sa.Integer),  # the version that came, or null where the item went
    sqlite_autoincrement=True,
)
quarantine = sa.Table(
    "quarantine",
    _schema,
    sa.Column("origin", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("mtime_ns", sa.Integer, nullable=False),
)

# The format that they start from → the statements that make the next one of it.
MIGRATIONS = {
    1: (
        "ALTER TABLE items ADD COLUMN path TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN added INTEGER",
        "ALTER TABLE jobs ADD COLUMN removed INTEGER",
        "ALTER TABLE jobs ADD COLUMN live INTEGER",
    ),
}


class CatalogError(Failure):
    """The catalog cannot be used; the message says what to do."""


def create(rows: sa.Connection, now: float) -> None:
    """The tables of an empty catalog; nothing where there are some."""
    if has_tables(rows):
        return
    _schema.create_all(rows)
    rows.execute(sa.insert(about).values(format=FORMAT))
    rows.execute(sa.insert(current).values(row=1, generation=None, live=0))
    api = {"number": API, "origin": API_ORIGIN, "root": "", "fingerprint": "", "state": "published", "started": now}
    rows.execute(sa.insert(jobs).values(**api))


def has_tables(rows: sa.Connection) -> bool:
    return sa.inspect(rows).has_table("about")


def format_of(rows: sa.Connection) -> int:
    return int(rows.scalar(sa.select(about.c.format)) or 0)


def migrate(found: int, writing: Callable[[], AbstractContextManager[sa.Connection]], place: object) -> None:
    """Bring a catalog of format ``found`` up to ``FORMAT``, a transaction of ``writing`` for each step.

    Raises ``CatalogError`` on a format that this version does not know; ``place`` is what its message calls the catalog.
    """
    while found != FORMAT:
        if found not in MIGRATIONS:
            raise CatalogError(
                f"{place} has format {found}; this version of Lookalike reads formats up to {FORMAT}. "
                "Use the version that wrote it, or a later one."
            )
        with writing() as rows:
            if format_of(rows) == found:  # else another process was quicker
                for statement in MIGRATIONS[found]:
                    rows.exec_driver_sql(statement)
                rows.execute(sa.update(about).values(format=found + 1))
            found = format_of(rows)
