"""Items' metadata in, typed columns out (``columns.arrow``): what filters, facets and groups are read from.

A field of an item has no value, one, or several (a list, each counted once); null, NaN and an empty list are no value. A
field has a column for each type that its values have, nearly always one: text, bool, int64, float64 (whole numbers beside
fractions are float64 too, as long as all of them stay exact), or lists of these where an item has several. What cannot be
compared (objects, lists in lists, whole numbers of more than 64 bits) is kept as JSON in a binary column. So it makes no
difference to any answer how items are spread over tables.
"""

import heapq
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.bundle import sync

from ..catalog import batched

Kind = Literal["text", "number", "bool", "other"]
Value = str | int | float | bool
Described = tuple[str, dict[str, Any]]  # an item's id and metadata

ID = "id"
_PREFIX = "metadata."
_RESERVED = (ID, "and", "or", "not")  # the operators of filters
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
_TYPES: dict[pa.DataType, Kind] = {
    pa.string(): "text",
    pa.int64(): "number",
    pa.float64(): "number",
    pa.bool_(): "bool",
    pa.binary(): "other",
}
_EXACT = 2**53  # whole numbers up to here are float64 as they are
_BATCH = 2**14  # items that are Python's objects at a time
_CHUNK = 2**18  # rows of a written column that lie together: a filter with many values is made ready anew for each chunk


@dataclass(frozen=True, eq=False)
class Rows:
    """A set of a table's rows. ``bits`` uint8 [⌈size / 8⌉]: row i is bit i % 8 of byte i // 8, as ``faiss.IDSelectorBitmap``
    reads them; bits past the end are 0. ``size`` is the number of rows of the table."""

    bits: np.ndarray
    size: int

    @classmethod
    def where(cls, mask: np.ndarray) -> "Rows":
        """``mask`` bool [size]."""
        return cls(np.packbits(mask, bitorder="little"), len(mask))

    @classmethod
    def none(cls, size: int) -> "Rows":
        return cls(np.zeros(-(-size // 8), np.uint8), size)

    @classmethod
    def all(cls, size: int) -> "Rows":
        return ~cls.none(size)

    def __and__(self, other: "Rows") -> "Rows":
        return Rows(self.bits & other.bits, self.size)

    def __or__(self, other: "Rows") -> "Rows":
        return Rows(self.bits | other.bits, self.size)

    def __invert__(self) -> "Rows":
        bits = ~self.bits
        if self.size % 8:
            bits[-1] &= (1 << self.size % 8) - 1
        return Rows(bits, self.size)

    @cached_property
    def count(self) -> int:
        return int(np.bitwise_count(self.bits).sum())

    def mask(self) -> np.ndarray:
        """bool [size]"""
        return np.unpackbits(self.bits, count=self.size, bitorder="little").view(bool)

    def has(self, numbers: np.ndarray) -> np.ndarray:
        """bool [N], for rows int64 [N]."""
        return (self.bits[numbers >> 3] >> (numbers & 7).astype(np.uint8) & 1).view(bool)

    def numbers(self) -> np.ndarray:
        """int64 [count], ascending."""
        return np.flatnonzero(self.mask())


# --- names ---


def field_of(name: str) -> str:
    """The one spelling of a field's name. ``metadata.`` may stand before any field of the metadata, and has to before those
    that are called like the id or an operator, or begin with it themselves."""
    rest = name.removeprefix(_PREFIX)
    return name if rest in _RESERVED or rest.startswith(_PREFIX) else rest


def _column_name(field: str) -> str:
    return field if field == ID or field.startswith(_PREFIX) else _PREFIX + field


def fields(*tables: pa.Table) -> dict[str, frozenset[Kind]]:
    """The fields of some tables and what their values are, by name."""
    found: dict[str, frozenset[Kind]] = {}
    for column in sorted((column for table in tables for column in table.schema), key=lambda column: column.name):
        name = field_of(column.name)
        found[name] = found.get(name, frozenset()) | {_TYPES[_of_values(column.type)]}
    return found


def of(table: pa.Table, field: str) -> list[pa.ChunkedArray]:
    """The columns of a field, one a type; none where no item of the table has a value in it."""
    return [table.column(number) for number in table.schema.get_all_field_indices(_column_name(field))]


# --- tables ---


def from_metadata(described: Sequence[Described]) -> pa.Table:
    """Ids and metadata of items → a table, its rows in the same order."""
    names, arrays = [ID], [pa.array([id for id, _ in described], pa.string())]
    for name in sorted({name for _, metadata in described for name in metadata}):
        for array in _typed([metadata.get(name) for _, metadata in described]):
            names.append(_PREFIX + name)
            arrays.append(array)
    return pa.Table.from_arrays(arrays, names)


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all tables in one, as columns of the types that they need together."""
    types = _Types()
    for table in tables:
        types.add(table)
    return pa.concat_tables([types.fit(table) for table in tables])


def write(path: Path, described: Iterable[Described]) -> int:
    """Write the table of items and return the number of its rows; on disk when it returns.

    The types of a column are known when the last item was seen, so batches wait in a file beside ``path`` until then: memory
    does not grow with the items.
    """
    types, rows = _Types(), 0
    with TemporaryFile(dir=path.parent) as waiting:
        for batch in _batches(described):
            types.add(batch)
            rows += batch.num_rows
            with pa.ipc.new_stream(waiting, batch.schema) as stream:
                stream.write_table(batch)
        end = waiting.tell()
        waiting.seek(0)
        # Arrow would keep a file that it opened itself open when the disk is full.
        with path.open("wb") as file, pa.ipc.new_file(file, types.schema) as writer:
            for some in batched(_read_back(waiting, end), _CHUNK // _BATCH):
                writer.write_table(pa.concat_tables([types.fit(batch) for batch in some]).combine_chunks())
    sync(path)
    return rows


def open(path: Path) -> pa.Table:
    """Map a table: processes share it. Raises ``OSError`` or ``pa.ArrowException`` where there is none or it is damaged."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _batches(described: Iterable[Described]) -> Iterator[pa.Table]:
    for batch in batched(described, _BATCH):
        yield from_metadata(batch)


def _read_back(waiting: IO[bytes], end: int) -> Iterator[pa.Table]:
    while waiting.tell() < end:
        yield pa.ipc.open_stream(waiting).read_all()


class _Types:
    """Of tables that are to become one, what each field has: the types of its values, and whether as lists."""

    def __init__(self) -> None:
        self._lists: dict[str, dict[pa.DataType, bool]] = {ID: {pa.string(): False}}
        self._whole: set[str] = set()  # columns that have numbers which are no float64

    def add(self, table: pa.Table) -> None:
        for name, column in zip(table.column_names, table.columns, strict=True):
            values, lists = _of_values(column.type), self._lists.setdefault(name, {})
            lists[values] = lists.get(values, False) or pa.types.is_list(column.type)
            if values == pa.int64() and name not in self._whole and not _exact(column):
                self._whole.add(name)

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            pa.field(name, pa.list_(values) if lists else values)
            for name in [ID, *sorted(self._lists.keys() - {ID})]
            for values, lists in self._needed(name).items()
        )

    def fit(self, table: pa.Table) -> pa.Table:
        """The same rows, with the columns of ``schema``."""
        schema = self.schema
        return pa.Table.from_arrays([self._column(table, field) for field in schema], schema=schema)

    def _needed(self, name: str) -> dict[pa.DataType, bool]:
        """As ``_typed`` has them: whole numbers are float64 beside fractions."""
        lists = dict(self._lists[name])
        if self._floats(name):
            lists[pa.float64()] |= lists.pop(pa.int64())
        return {type: lists[type] for type in _ARROW.values() if type in lists}

    def _floats(self, name: str) -> bool:
        return self._lists[name].keys() >= {pa.int64(), pa.float64()} and name not in self._whole

    def _column(self, table: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
        wanted = _of_values(field.type)
        fitting = {wanted, pa.int64()} if wanted == pa.float64() and self._floats(field.name) else {wanted}
        for number in table.schema.get_all_field_indices(field.name):
            column = table.column(number)
            if _of_values(column.type) in fitting:
                return _as(column, field.type)
        return pa.nulls(table.num_rows, field.type)


def _exact(column: pa.ChunkedArray) -> bool:
    """Whether all whole numbers of a column stay the same as float64."""
    bounds = pc.min_max(pc.list_flatten(column) if pa.types.is_list(column.type) else column).as_py()
    return bounds["min"] is None or -_EXACT <= bounds["min"] <= bounds["max"] <= _EXACT


def _as(column: pa.ChunkedArray, type: pa.DataType) -> pa.ChunkedArray:
    """Whole numbers as float64, single values as lists of one."""
    if pa.types.is_list(type) and not pa.types.is_list(column.type):
        values, missing = column.combine_chunks().cast(type.value_type), column.is_null().combine_chunks()
        ends = np.cumsum(~missing.to_numpy(zero_copy_only=False)).astype(np.int32)
        lists = pa.ListArray.from_arrays(np.append(np.int32(0), ends), values.drop_null(), mask=missing)
        return pa.chunked_array([lists])
    return column.cast(type)


def _typed(given: list[Any]) -> Iterator[pa.Array]:
    """What each item has in a field → a column for each type among the values."""
    found = _by_type(given, int)
    if found.keys() >= {int, float} and all(-_EXACT <= value <= _EXACT for value in found[int][1]):
        found = _by_type(given, float)
    for kind, type in _ARROW.items():
        if kind in found:
            yield _column(*found[kind], len(given), type)


def _by_type(given: list[Any], whole: type[int] | type[float]) -> dict[type, tuple[list[int], list[Any]]]:
    """The values of each type, and the row of each: not as pairs, so many objects would cost much time."""
    found: dict[type, tuple[list[int], list[Any]]] = defaultdict(lambda: ([], []))
    for row, value in enumerate(given):
        for each in _distinct(value, whole) if isinstance(value, list) else (_normal(value, whole),):
            if each is not None:
                rows, values = found[each.__class__]
                rows.append(row)
                values.append(each)
    return found


def _distinct(values: list[Any], whole: type[int] | type[float]) -> list[Value | bytes | None]:
    normal = [_normal(value, whole) for value in values]
    return [value for _, value in dict.fromkeys((isinstance(value, bool), value) for value in normal)]  # True equals 1


def _normal(value: Any, whole: type[int] | type[float]) -> Value | bytes | None:
    """As a column has it, whole numbers as that type; None where it is no value."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value + 0.0  # −0.0 and 0.0 are one value, but not for all of Arrow
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return whole(value)
    return json.dumps(value, sort_keys=True).encode()


def _column(rows: list[int], values: list[Any], size: int, type: pa.DataType) -> pa.Array:
    """Values of one type and the row of each, ascending → a column of ``size`` rows."""
    array, counts = pa.array(values, type), np.bincount(rows, minlength=size)
    ends, missing = np.cumsum(counts), counts == 0
    if counts.max() == 1:
        return array.take(pa.array(ends - 1, mask=missing))
    return pa.ListArray.from_arrays(np.append(0, ends).astype(np.int32), array, mask=pa.array(missing))


def _of_values(type: pa.DataType) -> pa.DataType:
    return type.value_type if pa.types.is_list(type) else type


# --- answers ---


def passing(column: pa.ChunkedArray, test: Callable[[pa.Array], pa.Array]) -> Rows:
    """The rows that have a value which passes. ``test``: values → bool or null for each."""
    return Rows.where(np.concatenate([np.empty(0, bool), *(_passing(chunk, test) for chunk in column.chunks)]))


def _passing(chunk: pa.Array, test: Callable[[pa.Array], pa.Array]) -> np.ndarray:
    if not pa.types.is_list(chunk.type):
        return test(chunk).fill_null(False).to_numpy(zero_copy_only=False)
    rows = pc.list_parent_indices(chunk).filter(test(chunk.flatten()))
    mask = np.zeros(len(chunk), bool)
    mask[rows.to_numpy()] = True
    return mask


def facets(parts: Iterable[tuple[pa.Table, Rows]], field: str, limit: int) -> list[tuple[Value, int]]:
    """How many of the rows have each value of a field, the ``limit`` most frequent first, then in the order of the values.

    What cannot be compared is not counted.
    """
    chosen: dict[pa.DataType, list[pa.Array]] = {}
    for table, rows in parts:
        mask = pa.array(rows.mask())
        for column in of(table, field):
            chosen.setdefault(_of_values(column.type), []).extend(_filtered(column, mask))
    chosen.pop(pa.binary(), None)
    counts: Counter[tuple[Kind, Value]] = Counter()  # with the kind: true equals 1 in Python
    for type, arrays in chosen.items():
        alone = not chosen.keys() >= {pa.int64(), pa.float64()}  # else one number may be counted in both
        counted = _counted(pa.chunked_array(arrays, type), limit if alone else None)
        counts.update({(_TYPES[type], value): count for value, count in counted})
    best = heapq.nsmallest(limit, counts.items(), key=lambda found: (-found[1], found[0]))
    return [(_shown(value), count) for (_, value), count in best]


def _filtered(column: pa.ChunkedArray, mask: pa.Array) -> list[pa.Array]:
    rows = column.filter(mask)
    return (pc.list_flatten(rows) if pa.types.is_list(rows.type) else rows.drop_null()).chunks


def _counted(values: pa.ChunkedArray, limit: int | None) -> Iterator[tuple[Value, int]]:
    """Each value and how often it is there; with a limit only those of the first so many, by count and then value."""
    found = values.value_counts()
    table = pa.table({"value": found.field(0), "count": found.field(1)})
    if limit is not None and len(table) > limit and not pa.types.is_boolean(values.type):
        table = table.take(pc.select_k_unstable(table, limit, [("count", "descending"), ("value", "ascending")]))
    return zip(table["value"].to_pylist(), table["count"].to_pylist(), strict=True)


def groups_of(table: pa.Table, field: str, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The group of each of ``rows`` (int64 [N]): codes int32 [N], −1 where a row has no value, and the groups by code.

    A group is what an item has in the field, as JSON: the value, or a sorted list of several. Rows of two tables are of one
    group where it is the same.
    """
    taken = [column.take(pa.array(rows)).combine_chunks() for column in of(table, field)]
    if len(taken) == 1 and not pa.types.is_list(taken[0].type):
        encoded = taken[0].dictionary_encode()
        groups = [_json(value) for value in encoded.dictionary.to_pylist()]
    else:
        encoded = pa.array([_group(values) for values in _several(taken, len(rows))], pa.string()).dictionary_encode()
        groups = encoded.dictionary.to_pylist()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32), groups


def _several(taken: list[pa.Array], size: int) -> Iterator[list[Value | bytes]]:
    """The values of each row, from all columns of a field."""
    lists = [array.to_pylist() for array in taken]
    for row in range(size):
        found = [values[row] for values in lists if values[row] is not None]
        yield [value for each in found for value in (each if isinstance(each, list) else [each])]


def _group(values: list[Value | bytes]) -> str | None:
    texts = sorted(map(_json, values))
    return f"[{','.join(texts)}]" if len(texts) > 1 else next(iter(texts), None)


def _json(value: Value | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else json.dumps(_shown(value), ensure_ascii=False)


def _shown(value: Value) -> Value:
    """Whole numbers look alike, in whichever column they are."""
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return value
