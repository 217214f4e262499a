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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.bundle import sync

Kind = Literal["text", "number", "bool", "other"]
Value = str | int | float | bool

ID = "id"
_PREFIX = "metadata."
_RESERVED = (ID, "and", "or", "not")  # the operators of filters
_TYPES: dict[pa.DataType, Kind] = {
    pa.string(): "text",
    pa.int64(): "number",
    pa.float64(): "number",
    pa.bool_(): "bool",
    pa.binary(): "other",
}


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


def from_metadata(described: Sequence[tuple[str, dict[str, Any]]]) -> pa.Table:
    """Ids and metadata of items → a table, its rows in the same order."""
    names, arrays = [ID], [pa.array([id for id, _ in described], pa.string())]
    for name in sorted({name for _, metadata in described for name in metadata}):
        for array in _typed([_values(metadata.get(name)) for _, metadata in described]):
            names.append(_PREFIX + name)
            arrays.append(array)
    return pa.Table.from_arrays(arrays, names)


def write(path: Path, table: pa.Table) -> None:
    """On disk when it returns."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    sync(path)


def open(path: Path) -> pa.Table:
    """Map a table: processes share it. Raises ``OSError`` or ``pa.ArrowException`` where there is none or it is damaged."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _values(value: Any) -> list[Any]:
    """What an item has in a field, each value typed as its column will be but for whole numbers beside fractions."""
    given = value if isinstance(value, list) else [value]
    return [_normal(each) for each in given if each is not None and each == each]  # NaN equals nothing, itself neither


def _normal(value: Any) -> Value | bytes:
    if isinstance(value, float):
        return value + 0.0  # −0.0 and 0.0 are one value, but not for all of Arrow
    if isinstance(value, str | bool) or (isinstance(value, int) and -(2**63) <= value < 2**63):
        return value
    return json.dumps(value, sort_keys=True).encode()


def _typed(rows: list[list[Any]]) -> Iterator[pa.Array]:
    """The values of one field, a list for each row → a column for each type among them."""
    types = {type(value) for values in rows for value in values}
    if types >= {int, float} and all(float(n) == n for values in rows for n in values if type(n) is int):
        rows = [[float(value) if type(value) is int else value for value in values] for values in rows]
        types.remove(int)
    arrow = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}
    for kind, type_ in arrow.items():
        if kind in types:
            mine = [list(dict.fromkeys(value for value in values if type(value) is kind)) for values in rows]
            if max(map(len, mine)) > 1:
                yield pa.array([values or None for values in mine], pa.list_(type_))
            else:
                yield pa.array([values[0] if values else None for values in mine], type_)


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
    counts: Counter[tuple[str, Value]] = Counter()  # with the kind: true equals 1 in Python
    for table, rows in parts:
        mask = pa.array(rows.mask())
        for column in of(table, field):
            kind = _TYPES[_of_values(column.type)]
            if kind != "other":
                chosen = column.filter(mask)
                values = pc.list_flatten(chosen) if pa.types.is_list(chosen.type) else chosen.drop_null()
                found = values.value_counts()
                counts.update(
                    dict(zip(((kind, value) for value in found.field(0).to_pylist()), found.field(1).to_pylist(), strict=True))
                )
    best = heapq.nsmallest(limit, counts.items(), key=lambda found: (-found[1], found[0]))
    return [(_shown(value), count) for (_, value), count in best]


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
