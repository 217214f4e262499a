"""A filter as JSON in, the rows of a table of ``columns`` that it holds for out.

``{"colour": "red", "price": {">=": 10, "<": 20}, "not": {"tags": ["old", "broken"]}}``: docs/filters.md has the grammar. A
condition holds for an item where one of the item's values in the field passes; where it has none, none does. ``not`` is the
plain complement. A filter that was parsed is in one form, whatever the order of its parts, so it can be found in a cache.
"""

import json
import math
import operator
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial, reduce
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from model import Failure

from . import columns
from .columns import Kind, Rows, Value

MAX_DEPTH = 16  # filters in filters
MAX_CONDITIONS = 100
MAX_VALUES = 10_000  # of one "in"

_ORDER: dict[str, Callable[[pa.Array, pa.Scalar], pa.Array]] = {
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_LEAST, _MOST = -(2**63), 2**63 - 1
_SHOWN = 60  # characters of what was given
_NAMED: dict[Kind, str] = {
    "text": "texts",
    "number": "numbers",
    "bool": "true and false",
    "other": "values that cannot be compared",
}

Fields = Mapping[str, Collection[Kind]]


class FilterError(Failure):
    """The filter cannot be used: the message says where, and what to give. ``field`` is its name where one is to blame."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownField(FilterError):
    """No item has a value in a field of this name; the message names those that look like it."""


class WrongType(FilterError):
    """A field's values cannot be compared with what was given."""


class Filter(ABC):
    """What ``parse`` returns."""

    @abstractmethod
    def form(self) -> list[Any]:
        """Its parts as JSON, in the one order."""

    @abstractmethod
    def check(self, fields: Fields) -> None:
        """``fields``: those of all tables together. Raises ``UnknownField`` or ``WrongType``."""

    @abstractmethod
    def rows(self, table: pa.Table) -> Rows:
        """The rows of one table. A field that the table lacks has no value in any of them."""

    @cached_property
    def key(self) -> str:
        """The same where the parts are the same, in whatever order, and nowhere else."""
        return sha256(_text(self.form()).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class In(Filter):
    """One of the field's values is one of these."""

    field: str
    values: tuple[Value, ...]

    def form(self) -> list[Any]:
        return ["in", self.field, list(self.values)]

    def check(self, fields: Fields) -> None:
        known(self.field, fields)
        for value in self.values:
            _comparable(self.field, fields, value)

    def rows(self, table: pa.Table) -> Rows:
        return _rows(table, self.field, partial(_among, self.values))


@dataclass(frozen=True, eq=False)
class Range(Filter):
    """One of the field's values is within all bounds: numbers by size, texts by code points."""

    field: str
    bounds: tuple[tuple[str, Value], ...]  # operator and bound

    def form(self) -> list[Any]:
        return ["range", self.field, [list(bound) for bound in self.bounds]]

    def check(self, fields: Fields) -> None:
        known(self.field, fields)
        for _, value in self.bounds:
            _comparable(self.field, fields, value)

    def rows(self, table: pa.Table) -> Rows:
        return _rows(table, self.field, partial(_within, self.bounds))


@dataclass(frozen=True, eq=False)
class Exists(Filter):
    """The field has a value."""

    field: str

    def form(self) -> list[Any]:
        return ["exists", self.field]

    def check(self, fields: Fields) -> None:
        known(self.field, fields)

    def rows(self, table: pa.Table) -> Rows:
        return _rows(table, self.field, pc.is_valid)


@dataclass(frozen=True, eq=False)
class _Several(Filter):
    parts: tuple[Filter, ...]

    def form(self) -> list[Any]:
        return [type(self).__name__.lower(), *(part.form() for part in self.parts)]

    def check(self, fields: Fields) -> None:
        for part in self.parts:
            part.check(fields)


class And(_Several):
    def rows(self, table: pa.Table) -> Rows:
        return reduce(operator.and_, (part.rows(table) for part in self.parts), Rows.all(table.num_rows))


class Or(_Several):
    def rows(self, table: pa.Table) -> Rows:
        return reduce(operator.or_, (part.rows(table) for part in self.parts), Rows.none(table.num_rows))


@dataclass(frozen=True, eq=False)
class Not(Filter):
    part: Filter

    def form(self) -> list[Any]:
        return ["not", self.part.form()]

    def check(self, fields: Fields) -> None:
        self.part.check(fields)

    def rows(self, table: pa.Table) -> Rows:
        return ~self.part.rows(table)


class Cache:
    """Which rows of a segment a filter holds for, remembered up to ``limit`` bytes of them: the longest unused goes first.

    Safe to use from several threads.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str], Rows] = OrderedDict()
        self._bytes = 0
        self._changing = threading.Lock()

    def rows(self, filter: Filter, segment: str, table: pa.Table) -> Rows:
        """``segment`` is the name of the one, never changed, that ``table`` is of."""
        place = (segment, filter.key)
        with self._changing:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
        rows = filter.rows(table)  # other filters do not wait for this one
        with self._changing:
            if place not in self._kept:
                self._kept[place] = rows
                self._bytes += rows.bits.nbytes
            while self._bytes > self._limit:
                self._bytes -= self._kept.popitem(last=False)[1].bits.nbytes
        return rows


# --- JSON ---


def read(text: str) -> Filter:
    """``parse`` of a JSON text. Raises ``FilterError``."""
    try:
        return parse(json.loads(text, object_pairs_hook=_object))
    except (ValueError, RecursionError) as error:
        raise FilterError('The filter is no JSON. Give an object like {"colour": "red"}.') from error


def parse(given: object) -> Filter:
    """JSON's objects, lists and values → a filter. Raises ``FilterError`` that says where what is wrong."""
    return _Parser().filter(given, "filter", 1)


def known(field: str, fields: Fields) -> str:
    """The one spelling of a name that a user gave. Raises ``UnknownField`` unless it is among ``fields``."""
    name = columns.field_of(field)
    if name in fields:
        return name
    shown = name[:_SHOWN]
    near = get_close_matches(shown, fields, 3) or sorted(fields)[:10]
    hint = f"Known are: {', '.join(map(repr, near))}." if near else "No item has any."
    raise UnknownField(f"No item has a value in a field {shown!r}. {hint}", name)


class _Parser:
    """``place`` is where in the JSON a part stands, for messages."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, given: object, place: str, depth: int) -> Filter:
        if not isinstance(given, dict):
            raise FilterError(f'{place} has to be an object like {{"colour": "red"}}, and is {_shown(given)}.')
        if depth > MAX_DEPTH:
            raise FilterError(f"{place} is too deep: at most {MAX_DEPTH} filters may lie in each other. Write it flatter.")
        return _joined(And, [part for name, value in given.items() for part in self._parts(name, value, place, depth)])

    def _parts(self, name: str, value: object, place: str, depth: int) -> Iterator[Filter]:
        place = f"{place}.{name[:_SHOWN]}" if name.isidentifier() else f"{place}[{name[:_SHOWN]!r}]"
        match name, value:
            case "not", dict():
                yield Not(self.filter(value, place, depth + 1))
            case "and" | "or", list():
                parts = [self.filter(part, f"{place}[{number}]", depth + 1) for number, part in enumerate(value)]
                yield _joined(And if name == "and" else Or, parts)
            case "and" | "or" | "not", _:
                needed = "a filter" if name == "not" else "a list of filters"
                hint = f'A field of that name is called "metadata.{name}".'
                raise FilterError(f"{place} has to be {needed}, and is {_shown(value)}. {hint}")
            case _:
                yield from self._conditions_on(columns.field_of(name), value, place)

    def _conditions_on(self, field: str, given: object, place: str) -> Iterator[Filter]:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise FilterError(
                f"The filter has more than {MAX_CONDITIONS} conditions."
                ' Take some away; many values of one field fit into one "in".'
            )
        if not isinstance(given, dict):
            yield _in(field, given if isinstance(given, list) else [given], place)
            return
        operators = given.keys() - _ORDER.keys() - {"in", "exists"}
        if operators or not given:
            what = f"does not know {_shown(min(operators))}" if operators else "is empty"
            raise FilterError(f'{place} {what}. There are "in", "exists", "<", "<=", ">" and ">=".', field)
        if "in" in given:
            yield _in(field, given["in"], f"{place}.in")
        if "exists" in given:
            yield _exists(field, given["exists"], f"{place}.exists")
        if bounds := {name: given[name] for name in sorted(given.keys() & _ORDER.keys())}:
            yield _range(field, bounds, place)


def _in(field: str, given: object, place: str) -> Filter:
    if not isinstance(given, list):
        raise FilterError(f"{place} has to be a list of values, and is {_shown(given)}.", field)
    if len(given) > MAX_VALUES:
        raise FilterError(f"{place} has {len(given):,} values, and may have {MAX_VALUES:,}. Give less.", field)
    distinct = {(type(value).__name__, value) for value in (_value(field, value, place) for value in given)}  # True == 1
    return In(field, tuple(value for _, value in sorted(distinct)))


def _exists(field: str, given: object, place: str) -> Filter:
    if not isinstance(given, bool):
        raise FilterError(f"{place} has to be true or false, and is {_shown(given)}.", field)
    return Exists(field) if given else Not(Exists(field))


def _range(field: str, given: dict[str, object], place: str) -> Filter:
    bounds = {name: _value(field, value, place) for name, value in given.items()}
    kinds = {_kind(value) for value in bounds.values()}
    if kinds not in ({"number"}, {"text"}):
        raise FilterError(f"{place} needs numbers as bounds, or texts, and has {_shown(given)}.", field)
    return Range(field, tuple(bounds.items()))


def _value(field: str, given: object, place: str) -> Value:
    """A value that can be compared; a number that is whole as int, as far as 64 bits go."""
    match given:
        case bool():
            return given
        case str() if _is_unicode(given):
            return given
        case int() if _LEAST <= given <= _MOST:
            return given
        case float() if math.isfinite(given):
            return int(given) if given.is_integer() and _LEAST <= given <= _MOST else given
        case None:
            raise FilterError(f'{place} cannot be null. For items without a value give {{"exists": false}}.', field)
    raise FilterError(f"{place} has to be a text, true, false, or a number of at most 64 bits, and is {_shown(given)}.", field)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can write half a character
        return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name in found if sum(name == other for other, _ in pairs) > 1)
        raise FilterError(f'The filter has {_shown(twice)} twice in one object. Put both into an "and".')
    return found


def _joined(kind: type[And] | type[Or], parts: list[Filter]) -> Filter:
    """Each part once and in the one order; one alone is itself."""
    distinct = {_text(part.form()): part for part in parts}
    return kind(tuple(distinct[text] for text in sorted(distinct))) if len(distinct) != 1 else parts[0]


def _text(form: Any) -> str:
    return json.dumps(form)


def _shown(given: object) -> str:
    """As JSON, cut short."""
    try:
        text = json.dumps(given)
    except (TypeError, ValueError, RecursionError):
        text = f"of the type {type(given).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


# --- values ---


def _kind(value: Value) -> Kind:
    return "text" if isinstance(value, str) else "bool" if isinstance(value, bool) else "number"


def _comparable(field: str, fields: Fields, value: Value) -> None:
    kinds = fields[field]
    if _kind(value) not in kinds:
        held = " and ".join(_NAMED[kind] for kind in sorted(kinds))
        advice = "Ask whether it exists." if kinds == {"other"} else "Compare like with like."
        raise WrongType(f"The field {field!r} holds {held}, and {_shown(value)} is none of these. {advice}", field)


def _rows(table: pa.Table, field: str, test: Callable[[pa.Array], pa.Array]) -> Rows:
    found = (columns.passing(column, test) for column in columns.of(table, field))
    return reduce(operator.or_, found, Rows.none(table.num_rows))


def _among(values: tuple[Value, ...], array: pa.Array) -> pa.Array:
    fitting = _fitting(values, array.type)
    if len(fitting) == 1:
        return pc.equal(array, pa.scalar(fitting[0], array.type))
    return pc.is_in(array, value_set=pa.array(fitting, array.type))


def _fitting(values: tuple[Value, ...], type: pa.DataType) -> list[Value]:
    """Those that a column of this type can have, as it has them."""
    if pa.types.is_float64(type):
        return [float(value) for value in values if _kind(value) == "number" and float(value) == value]
    fits = {pa.string(): str, pa.bool_(): bool, pa.int64(): int}.get(type)
    return [value for value in values if value.__class__ is fits]


def _within(bounds: tuple[tuple[str, Value], ...], array: pa.Array) -> pa.Array:
    kind: Kind = "text" if pa.types.is_string(array.type) else "number"
    if any(_kind(value) != kind for _, value in bounds) or array.type not in (pa.string(), pa.int64(), pa.float64()):
        return pa.nulls(len(array), pa.bool_())
    exact = [_bound(name, value, array.type) for name, value in bounds]
    return reduce(pc.and_, (_ORDER[name](array, pa.scalar(value, array.type)) for name, value in exact))


def _bound(name: str, value: Any, type: pa.DataType) -> tuple[str, Value]:
    """The same bound for a column of this type, where the type cannot have its value. Arrow would round it."""
    upward = name in (">", ">=")
    if pa.types.is_int64(type) and isinstance(value, float):
        if upward:
            return (">", _MOST) if value > _MOST else (">=", max(math.ceil(value), _LEAST))
        return ("<", _LEAST) if value < _LEAST else ("<=", min(math.floor(value), _MOST))
    if pa.types.is_float64(type):
        near = float(value)
        if near < value:  # no float64 lies between the two
            name = ">" if upward else "<="
        elif near > value:
            name = ">=" if upward else "<"
        return name, near
    return name, value
