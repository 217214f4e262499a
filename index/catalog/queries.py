"""The statements that several of the catalog's methods are made of. ``rows``: a connection within a transaction."""

import zlib
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert

from .records import Delete, Edit, Item, Job, Put, Refused, item_of, row_of
from .schema import API, API_ORIGIN
from .schema import changes as _changes
from .schema import current as _current
from .schema import items as _items
from .schema import jobs as _jobs
from .schema import vectors as _vectors

T = TypeVar("T")

RUNNING, PUBLISHED, ROLLED_BACK, FAILED = "running", "published", "rolled back", "failed"  # states of a job
LOOKUP = 500  # bound values a statement
AT_ONCE = 10_000  # rows a transaction, where there may be millions: the service waits for no more


def live(job: Job | None = None, *, generation: int | None = None) -> sa.Select[Any]:
    """The versions that count: added by a job that counts and removed by none."""
    published = counted(job, generation)
    kept = _items.c.removed_by.is_(None) | _items.c.removed_by.not_in(published)
    added = (_items.c.added_by + 0).in_(published)  # + 0 keeps SQLite from its index: nearly all rows are of published jobs
    return sa.select(_items).where(added & kept)


item_row: Callable[[Iterable[Any]], Any] = namedtuple("ItemRow", _items.columns.keys())._make  # type: ignore[misc, attr-defined]


@lru_cache(256)
def live_text(count: int, generation: int | None) -> str:
    """``live`` as SQL that asks for ``count`` keys, its values: compiled once, for every search asks it."""
    text = live(generation=generation).compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    return f"{text} AND items.key IN ({', '.join('?' * count)})"


def counted(job: Job | None = None, generation: int | None = None) -> sa.Select[Any]:
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


def keys(rows: sa.Connection, query: sa.Select[Any]) -> np.ndarray:
    """int64 [N]: what a query of one number a row finds."""
    parts = rows.scalars(query).partitions(AT_ONCE)  # row by row, there being millions, would take three times as long
    return np.fromiter(chain.from_iterable(parts), np.int64)


def find(rows: sa.Connection, ids: Sequence[str]) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for some in batched(ids, LOOKUP):
        found |= {row.id: item_of(row) for row in rows.execute(live().where(_items.c.id.in_(some))).all()}
    return found


def graves(rows: sa.Connection, ids: Sequence[str]) -> dict[str, Item]:
    """A grave is the last version that came from a gallery, where it was the service that took it away."""
    found: dict[str, Item] = {}
    for some in batched(ids, LOOKUP):
        from_gallery = _items.c.id.in_(some) & (_items.c.origin != API_ORIGIN)
        last = sa.select(sa.func.max(_items.c.key)).where(from_gallery).group_by(_items.c.id)
        query = sa.select(_items).where(_items.c.key.in_(last) & (_items.c.removed_by == API))
        found |= {row.id: item_of(row) for row in rows.execute(query).all()}
    return found


def edited(edit: Edit, there: Item | None, key: int) -> Item | Refused | None:
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


def write_edits(
    rows: sa.Connection,
    results: Sequence[Item | Refused | None],
    edits: Sequence[Edit],
    came: Mapping[int, Item],
    live: Mapping[str, Item],
) -> None:
    """Versions before the edits go, new ones come: also those that went at once, whose changes followers will read."""
    made = [(edit.id, result) for edit, result in zip(edits, results, strict=True) if not isinstance(result, Refused)]
    retire(rows, list({id for id, _ in made}))
    stay = {item.key for item in live.values()}
    new = [
        row_of(item, API_ORIGIN, API) | {"key": key, "removed_by": None if key in stay else API} for key, item in came.items()
    ]
    if new:
        rows.execute(sa.insert(_items), new)
    if made:
        rows.execute(sa.insert(_changes), [{"id": id, "key": None if item is None else item.key} for id, item in made])


def last_key(rows: sa.Connection) -> int:
    """Of all that ever were: keys are given by the catalog's own count, which writing a row raises."""
    sequence = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'items'")
    return int(rows.scalar(sequence) or 0)


def retire(rows: sa.Connection, ids: Sequence[str]) -> None:
    """The service's word counts: void what a running job did to the ids, and what the rollback of any job would bring back."""
    running = sa.select(_jobs.c.number).where(_jobs.c.state == RUNNING)
    for some in batched(ids, LOOKUP):
        these = _items.c.id.in_(some)
        # What a running job wrote may be in its segment already. So its rows become dead ones of the service.
        for row in rows.execute(sa.select(_items).where(these & (_items.c.added_by + 0).in_(running))).all():
            dead = row_of(item_of(row), API_ORIGIN, API) | {"removed_by": API}
            rows.execute(sa.update(_items).where(_items.c.key == row.key).values(dead))
        rows.execute(sa.update(_items).where(these & _items.c.removed_by.is_distinct_from(API)).values(removed_by=API))


def amount(rows: sa.Connection, query: sa.Select[Any]) -> int:
    return rows.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0


def mark_removed(rows: sa.Connection, job: Job, keys: Sequence[int]) -> None:
    for some in batched(keys, LOOKUP):
        unmarked = _items.c.key.in_(some) & _items.c.removed_by.is_(None)
        rows.execute(sa.update(_items).where(unmarked).values(removed_by=job.number))


def staged(rows: sa.Connection, job: Job) -> tuple[int, int]:
    count = sa.select(sa.func.count()).select_from(_items)
    added = rows.scalar(count.where(_items.c.added_by == job.number))
    removed = rows.scalar(count.where(_items.c.removed_by == job.number))
    return added or 0, removed or 0


def undo(rows: sa.Connection, number: int) -> int:
    """Returns how many rows it undid; 0: there are no more."""
    # What the service took away of a job that was rolled back stays as a grave: its file has not changed since.
    grave = _items.c.removed_by.is_not_distinct_from(API)
    added = sa.select(_items.c.key).where((_items.c.added_by == number) & ~grave).limit(AT_ONCE)
    removed = sa.select(_items.c.key).where(_items.c.removed_by == number).limit(AT_ONCE)
    gone = rows.execute(sa.delete(_items).where(_items.c.key.in_(added))).rowcount
    return gone + rows.execute(sa.update(_items).where(_items.c.key.in_(removed)).values(removed_by=None)).rowcount


def add_to_count(rows: sa.Connection, more: int) -> None:
    rows.execute(sa.update(_current).values(live=_current.c.live + more))


def add_vectors(rows: sa.Connection, fingerprint: str, vectors: Mapping[str, np.ndarray]) -> None:
    if vectors:
        blobs = {content: np.ascontiguousarray(vector, np.float32).tobytes() for content, vector in vectors.items()}
        values = [
            {"content": content, "fingerprint": fingerprint, "vector": blob, "checksum": zlib.crc32(blob)}
            for content, blob in blobs.items()
        ]
        rows.execute(insert(_vectors).on_conflict_do_nothing(), values)


def last_change(rows: sa.Connection) -> int:
    return rows.scalar(sa.select(sa.func.max(_changes.c.number))) or 0


def inserted(rows: sa.Connection, statement: sa.Insert) -> int:
    primary_key = rows.execute(statement).inserted_primary_key
    assert primary_key is not None
    return int(primary_key[0])


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` values, the last one shorter."""
    remaining = iter(values)
    while batch := list(islice(remaining, size)):
        yield batch
