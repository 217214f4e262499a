"""A collection's items with their vectors into one Parquet file, and from such a file into a collection.

``export`` writes id, origin, content, size, mtime_ns, path, metadata (JSON) and vector, with the fingerprint beside them.
``take_in`` reads that back, or a file of others: a column ``id``, a column ``vector``, and any typed columns of metadata.
Every page has a checksum. Nothing is encoded and no picture is copied; memory grows with the ids only.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from model import Failure
from model import bundle as bundles
from model.bundle import Bundle, file_digest, sync
from model.encoder import Precision

from .. import generation as generations
from ..catalog import API_ORIGIN, Catalog, Item, Job, NewItem, Put, batched, content_of
from ..gallery.files import is_url
from ..gallery.rows import as_python, plain
from ..generation import Generation
from ..job.keeping import keep_bundle, lay_out
from ..lifecycle.garbage import sweep
from ..lifecycle.publish import Encoding, publish
from ..lock import only_job
from ..search.planner import Aim

FORMAT = 1
MARK = b"lookalike"  # the key of what the file says of itself
_BATCH = 5_000  # items
_UNIT = 1e-3  # how far a length may be from 1 to count as 1
_CONTENT = re.compile("(vector:)?[0-9a-f]{64}")
_OWN = ("id", "origin", "content", "size", "mtime_ns", "path", "metadata", "vector")

Advance = Callable[[int], None]


class TransferError(Failure):
    """The file or the collection does not fit; the message says what to do. No item came in."""


@dataclass(frozen=True)
class Exported:
    """``left_out``: live items that have no vector yet."""

    items: int
    left_out: int
    bytes: int
    fingerprint: str

    def figures(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class TakenIn:
    """``kept``: ids that were there with something else and stay; ``stay_deleted``: that the service deleted. The first
    thousand of them are in ``kept_ids`` and ``deleted_ids``."""

    rows: int = 0
    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    kept: int = 0
    stay_deleted: int = 0
    made_unit: int = 0
    kept_ids: list[str] = field(default_factory=list)
    deleted_ids: list[str] = field(default_factory=list)
    generation: int | None = None
    count: int = 0

    def figures(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Encoded:
    """Vectors that were made elsewhere, as ``publish`` notes them."""

    fingerprint: str
    dim: int
    precision: Precision
    runtime: str = "import"


# --- out ---


def export(collection: Path, to: Path, advance: Advance = lambda n: None) -> Exported:
    """Write every live item that has a vector of the current generation. Raises ``TransferError`` or ``CatalogError``."""
    if to.is_dir() or not to.absolute().parent.is_dir():
        raise TransferError(f"{to} cannot be written. Give a file in a folder that is there with --to.")
    with closing(Catalog(collection)) as catalog:
        if (number := catalog.state().generation) is None:
            raise TransferError(f"{collection} holds nothing yet. Fill it with `lookalike index` first.")
        generation = generations.read(collection, number)
        bundle = bundles.load(collection / "bundles" / generation.fingerprint)
        dim, keys = bundle.manifest.architecture.dim, catalog.live_keys().tolist()
        draft = to.with_name(f".{to.name}.{uuid4().hex}.tmp")  # two may write the same file at once
        try:
            written = _write(draft, bundle, generation, _rows(catalog, keys, bundle.fingerprint, dim), advance)
            sync(draft)
            draft.rename(to)
            sync(to.absolute().parent)
        finally:
            draft.unlink(missing_ok=True)
    return Exported(written, len(keys) - written, to.stat().st_size, bundle.fingerprint)


def _rows(catalog: Catalog, keys: list[int], fingerprint: str, dim: int) -> Iterator[list[tuple[Item, np.ndarray]]]:
    for some in batched(keys, _BATCH):
        yield list(catalog.vectors(some, fingerprint, dim))


def _write(
    draft: Path,
    bundle: Bundle,
    generation: Generation,
    batches: Iterator[list[tuple[Item, np.ndarray]]],
    advance: Advance,
) -> int:
    dim = bundle.manifest.architecture.dim
    about = {"format": FORMAT, "fingerprint": bundle.fingerprint, "bundle": bundle.manifest.name, "dim": dim}
    about |= {"precision": generation.precision}
    schema = pa.schema(
        [(name, pa.int64() if name in ("size", "mtime_ns") else pa.string()) for name in _OWN[:-1]]
        + [("vector", pa.list_(pa.float32(), dim))],
        metadata={MARK: json.dumps(about)},
    )
    written = 0
    # Arrow would keep a file that it opened itself open when the disk is full.
    how: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["origin"], "write_page_checksum": True}
    with draft.open("wb") as file, pq.ParquetWriter(file, schema, **how) as writer:
        for rows in batches:
            writer.write_batch(_batch(rows, schema, dim))
            written += len(rows)
            advance(len(rows))
    return written


def _batch(rows: list[tuple[Item, np.ndarray]], schema: pa.Schema, dim: int) -> pa.RecordBatch:
    items = [item for item, _ in rows]
    vectors = np.concatenate([np.empty(0, np.float32), *(vector for _, vector in rows)])
    columns = {name: [getattr(item, name) for item in items] for name in _OWN[:-1]}
    columns["metadata"] = [json.dumps(item.metadata, ensure_ascii=False) for item in items]
    arrays = [pa.array(columns[name], schema.field(name).type) for name in _OWN[:-1]]
    return pa.record_batch([*arrays, pa.FixedSizeListArray.from_arrays(pa.array(vectors), dim)], schema=schema)


# --- in ---


def take_in(
    file: Path,
    collection: Path,
    bundle: Bundle,
    encoding: Encoding,
    *,
    origin: str | None = None,
    replace: bool = False,
    outside: bool = False,
    aim: Aim = Aim(),
    advance: Advance = lambda n: None,
) -> TakenIn:
    """Add the items of ``file`` and publish. Items of an export keep their origins; others are of ``origin``, by default the
    file's path. ``encoding``: of ``bundle``, for what the generation notes of it. ``outside``: places of pictures that are
    absolute or URLs are taken from the file, which is trusted then.

    The whole file is checked before anything is taken in. Raises ``TransferError``, ``Busy`` or ``CatalogError``.
    """
    table, name = _Table(file, bundle, outside), str(file.resolve())
    origins = table.check(origin or name)
    place = collection.resolve()
    lay_out(place)
    with only_job(place), closing(Catalog(place, create=True)) as catalog:
        _check_same(catalog, place, bundle)
        sweep(catalog, place)
        keep_bundle(bundle, place)
        taking = _Taking(catalog, table, place, encoding, origin or name, replace, aim, advance)
        if API_ORIGIN in origins:
            taking.as_service()
        for each in sorted(origins - {API_ORIGIN}) or [name]:
            taking.as_job(each)
            sweep(catalog, place)
        state = catalog.state()
        taking.report.generation, taking.report.count = state.generation, state.count
    return taking.report


def _check_same(catalog: Catalog, collection: Path, bundle: Bundle) -> None:
    number = catalog.state().generation
    if number is not None and generations.read(collection, number).fingerprint != bundle.fingerprint:
        raise TransferError(
            f"{collection} is searched with another bundle than {bundle.path}. Give no --bundle, or index with this one first."
        )


@dataclass(frozen=True)
class _Row:
    origin: str
    item: NewItem
    vector: np.ndarray


class _Table:
    """A file that is read some rows at a time. Raises ``TransferError``, where it can with the number of the row, from 1."""

    def __init__(self, file: Path, bundle: Bundle, outside: bool) -> None:
        self.name, self.dim, self.outside, self.made_unit = file, bundle.manifest.architecture.dim, outside, 0
        try:
            self.file = pq.ParquetFile(file, page_checksum_verification=True)
            self.schema: pa.Schema = self.file.schema_arrow
            names = self.schema.names
        except (OSError, pa.ArrowException, UnicodeError) as error:  # of the schema, Parquet keeps no checksum
            raise TransferError(f"{file} cannot be read as Parquet ({error}). Give a file of `lookalike export`.") from error
        about = (self.schema.metadata or {}).get(MARK)
        self.own = about is not None
        if about is not None:
            self._check_about(about, bundle)
        self._check_names(names)
        vector = self.schema.field("vector").type
        if not (_is_list(vector) and pa.types.is_floating(vector.value_type)):
            raise TransferError(f"{file}: the column vector is of type {vector}. Make it a list of float32 in each row.")
        self.columns = [name for name in names if name not in ("id", "vector")]

    def _check_about(self, mark: bytes, bundle: Bundle) -> None:
        try:
            about = json.loads(mark)
            found, fingerprint, name = about["format"], str(about["fingerprint"]), about["bundle"]
        except (ValueError, TypeError, KeyError) as error:
            raise TransferError(f"{self.name} is not as `lookalike export` writes it. Export again.") from error
        if found != FORMAT:
            raise TransferError(f"{self.name} has format {found}; this version of Lookalike reads {FORMAT}.")
        if fingerprint != bundle.fingerprint:
            raise TransferError(
                f"{self.name} holds vectors of another bundle, {name} ({fingerprint[:8]}). Vectors of two bundles cannot be "
                "compared: index the pictures anew, or give the bundle that made these with --bundle."
            )

    def _check_names(self, names: list[str]) -> None:
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TransferError(f"{self.name} has two columns named {twice[0]}. Rename one of them.")
        for name in _OWN if self.own else ("id", "vector"):
            if name not in names:
                raise TransferError(f"{self.name} has no column named {name}. It needs id and vector at least.")
        if not self.own and {*_OWN} <= {*names}:
            raise TransferError(
                f"{self.name} has the columns of an export, but another program wrote it and left out which bundle made the "
                "vectors. Give the file that `lookalike export` wrote, or leave the column content out."
            )

    def check(self, origin: str) -> set[str]:
        """Read all of it once. Returns the origins that its rows name."""
        origins = {row.origin for rows in self.rows(origin) for row in rows}
        self.made_unit = 0
        ids = self.file.read(columns=["id"])["id"].cast(pa.string())
        if pc.count_distinct(ids, mode="all").as_py() < len(ids):
            counted = ids.value_counts()
            twice = counted.filter(pc.greater(counted.field(1), 1)).field(0)[0].as_py()
            raise TransferError(f"{self.name}: the id {twice!r} is there more than once. Each item needs one of its own.")
        return origins

    def rows(self, origin: str) -> Iterator[list[_Row]]:
        """``origin``: of the rows that name none."""
        start, count = 1, self.file.metadata.num_rows
        try:
            for batch in self.file.iter_batches(_BATCH):
                yield self._of_batch(batch, start, origin)
                start += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise TransferError(f"{self.name} is damaged ({error}). Make it again.") from error
        if start <= count:  # where one column ends early, pyarrow ends too, and says nothing
            raise TransferError(f"{self.name} is damaged (of {count:,} rows, {start - 1:,} can be read). Make it again.")

    def _of_batch(self, batch: pa.RecordBatch, start: int, origin: str) -> list[_Row]:
        vectors = self._vectors(batch.column("vector"), start)
        columns = {name: self._column(name, batch.column(name)) for name in self.columns}
        rows = []
        for number, id in enumerate(self._column("id", batch.column("id"), pa.string())):
            if not id:
                raise TransferError(f"{self.name}, row {start + number}: there is no id. Give each row one.")
            values = {name: values[number] for name, values in columns.items()}
            if self.own:
                rows.append(self._exported(id, values, vectors[number], start + number))
            else:
                content = content_of(vectors[number])
                metadata = {name: value for name, value in values.items() if value is not None}
                rows.append(_Row(origin, NewItem(id, content, metadata, 0, 0), vectors[number]))
        return rows

    def _column(self, name: str, column: pa.Array, type: pa.DataType | None = None) -> list[Any]:
        """As metadata from a list has it, see ``gallery.rows``."""
        try:
            return [plain(value) for value in as_python(column if type is None else column.cast(type))]
        except (pa.ArrowException, ValueError, ArithmeticError) as error:
            raise TransferError(
                f"{self.name}: the column {name} is of type {column.type}, and cannot be kept ({error}). Make it text, "
                "numbers, true and false, times, or lists of these; or leave it out."
            ) from error

    def _exported(self, id: str, values: dict[str, Any], vector: np.ndarray, number: int) -> _Row:
        metadata = _json(values["metadata"])
        typed = all(isinstance(values[name], str) for name in ("origin", "content", "path"))
        typed &= all(isinstance(values[name], int) for name in ("size", "mtime_ns"))
        if not (typed and values["origin"] and _CONTENT.fullmatch(values["content"]) and isinstance(metadata, dict)):
            raise TransferError(f"{self.name}, row {number}: {id!r} is not as `lookalike export` writes it. Export again.")
        if values["origin"] != API_ORIGIN:
            self._check_place(id, values["path"], number)
        item = NewItem(id, values["content"], metadata, values["size"], values["mtime_ns"], values["path"])
        return _Row(values["origin"], item, vector)

    def _check_place(self, id: str, path: str, number: int) -> None:
        """The picture is read from its path, or from its id: what could lead out of the gallery's folder is refused."""
        if ".." in {*PurePosixPath(id).parts, *PurePosixPath(path).parts}:
            raise TransferError(f"{self.name}, row {number}: {id!r} is not as `lookalike export` writes it. Export again.")
        place = path or id
        if not self.outside and (is_url(place) or place.startswith("/")):
            raise TransferError(
                f"{self.name}, row {number}: the picture of {id!r} lies at {place}, outside of its gallery's folder. If you "
                "trust the file, say --outside: pictures are then read from wherever it says."
            )

    def _vectors(self, column: pa.Array, start: int) -> np.ndarray:
        """float32 [N, dim], rows of length 1."""
        fixed = pa.types.is_fixed_size_list(column.type)
        lengths = [column.type.list_size] * len(column) if fixed else pc.list_value_length(column).to_pylist()
        for number, (length, there) in enumerate(zip(lengths, column.is_valid().to_pylist(), strict=True)):
            if not there or length != self.dim:
                found = "no vector" if not there else f"a vector of {length} numbers"
                raise TransferError(
                    f"{self.name}, row {start + number}: there is {found}, and the bundle makes {self.dim} numbers. "
                    "Give vectors of this bundle only."
                )
        vectors = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False).reshape(-1, self.dim)
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        if len(wrong := np.flatnonzero(~(np.isfinite(vectors).all(axis=1) & (lengths > 0)))):
            raise TransferError(
                f"{self.name}, row {start + wrong[0]}: the vector holds NaN or infinite numbers, or nothing but zeros. "
                "Leave the row out, or make the vector again."
            )
        long = np.abs(lengths - 1) > _UNIT
        self.made_unit += int(long.sum())
        return np.where(long[:, None], vectors / lengths[:, None], vectors).astype(np.float32)


class _Taking:
    """Rows into the catalog. The caller holds the job lock."""

    def __init__(
        self,
        catalog: Catalog,
        table: _Table,
        place: Path,
        encoding: Encoding,
        origin: str,
        replace: bool,
        aim: Aim,
        advance: Advance,
    ) -> None:
        self.catalog, self.table, self.place, self.encoding = catalog, table, place, encoding
        self.origin = origin  # of rows that name none
        self.replace, self.aim, self.advance = replace, aim, advance
        self.report = TakenIn()

    def as_service(self) -> None:
        """What came through the service comes as if it did so again: it is found at once, and no rollback undoes it."""
        for rows in self._of(API_ORIGIN):
            known = self.catalog.look_up([row.item.id for row in rows])
            chosen = self._chosen(rows, known.items, known.graves)
            self.catalog.apply([Put(row.item, row.vector) for row in chosen], self.encoding.fingerprint)
            self.advance(len(rows))

    def as_job(self, origin: str) -> None:
        # Its root is the file itself: nothing lies below it, until a job of the gallery says where its pictures are.
        root = self.catalog.root(origin) or self.table.name.resolve()
        job = self.catalog.begin(origin, root, self.encoding.fingerprint)
        for rows in self._of(origin):
            self._stage(job, rows)
            self.advance(len(rows))
        bundle = file_digest(self.place / "bundles" / job.fingerprint / "bundle.json")
        publish(self.catalog, self.place, job, self.encoding, bundle, self.aim)

    def _stage(self, job: Job, rows: list[_Row]) -> None:
        known = self.catalog.look_up([row.item.id for row in rows])
        chosen = self._chosen(rows, known.items, known.graves)
        items = [_replacing(row.item, known.items.get(row.item.id)) for row in chosen]
        self.catalog.stage(job, known, items=items, vectors={row.item.content: row.vector for row in chosen})

    def _of(self, origin: str) -> Iterator[list[_Row]]:
        """All rows of this origin; each row is counted once, when its turn comes."""
        for rows in self.table.rows(self.origin):
            if chosen := [row for row in rows if row.origin == origin]:
                self.report.rows += len(chosen)
                yield chosen
        self.report.made_unit, self.table.made_unit = self.table.made_unit, 0

    def _chosen(self, rows: list[_Row], items: dict[str, Item], graves: dict[str, Item]) -> list[_Row]:
        """The rows that come in; what becomes of the others is counted."""
        chosen = []
        for row in rows:
            item, grave = items.get(row.item.id), graves.get(row.item.id)
            if item is not None and _same(item, row):
                self.report.unchanged += 1
            elif item is not None and not self.replace:
                self.report.kept += 1
                self.report.kept_ids += [item.id] if self.report.kept <= 1_000 else []
            elif grave is not None and grave.content == row.item.content and not self.replace:
                self.report.stay_deleted += 1
                self.report.deleted_ids += [grave.id] if self.report.stay_deleted <= 1_000 else []
            else:
                self.report.added += item is None
                self.report.replaced += item is not None
                chosen.append(row)
        return chosen


def _same(item: Item, row: _Row) -> bool:
    return (item.origin, item.content, item.metadata) == (row.origin, row.item.content, row.item.metadata)


def _replacing(new: NewItem, old: Item | None) -> NewItem:
    key = None if old is None else old.key
    return NewItem(new.id, new.content, new.metadata, new.size, new.mtime_ns, new.path, replaces=key)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _json(text: Any) -> Any:
    """None where it is none."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
