"""Filters against a plain evaluation of their JSON over items, and what is said of those that cannot be used.

LOOKALIKE_FILTERS=100000 draws that many filters instead of a few hundred.
"""

import json
import os
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from index.search import columns, filters
from index.search.filters import Cache, FilterError, UnknownField, WrongType

EXAMPLES = int(os.environ.get("LOOKALIKE_FILTERS", "300"))

TEXTS = st.sampled_from(["", "a", "b", "B", "ä", "1", "true", "\U0001f43b", "\uffff"])
EDGES = [0, 1, -1, 7, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
FRACTIONS = st.sampled_from([0.0, -0.0, 1.0, 0.5, -0.5, 2.0**53, 2.0**63, -(2.0**63), 1e19, -1e19, 1e300])
NUMBERS = st.sampled_from(EDGES) | FRACTIONS
PLAIN = TEXTS | NUMBERS | st.booleans()
ODD = st.sampled_from([None, float("nan"), {}, {"a": 1}, 2**70, [[1]]])
KINDS = {  # of the values of each field
    "colour": TEXTS,
    "price": st.integers(0, 4),
    "exact": st.sampled_from(EDGES),
    "weight": FRACTIONS,
    "size": NUMBERS,
    "sold": st.booleans(),
    "mixed": PLAIN,
    "odd": PLAIN,
    "and": TEXTS,
    "id": st.integers(0, 4),
    "metadata.x": TEXTS,
}
HELD = {
    **KINDS,
    "and": st.lists(TEXTS, max_size=3),
    "size": NUMBERS | st.lists(NUMBERS, max_size=3),
    "mixed": PLAIN | st.lists(PLAIN, max_size=3),
    "odd": PLAIN | ODD | st.lists(PLAIN | ODD, max_size=3),
}
WRITTEN = {"and": "metadata.and", "id": "metadata.id", "metadata.x": "metadata.metadata.x"}  # else as they are
ITEMS = st.lists(st.fixed_dictionaries(HELD) | st.fixed_dictionaries({}, optional=HELD), max_size=8)
CUTS = st.lists(st.integers(0, 8), max_size=2).map(sorted)


def conditions(values, bounds):
    """What may stand beside a field: as JSON has it."""
    several = st.lists(values, max_size=4)
    ranges = st.dictionaries(st.sampled_from(["<", "<=", ">", ">="]), bounds, min_size=1, max_size=2)
    exists = st.booleans().map(lambda yes: {"exists": yes})
    return values | several | ranges | exists | st.builds(lambda range, values: {**range, "in": values}, ranges, several)


def condition_on(name):
    usual = KINDS[name] if name not in ("sold", "mixed", "odd") else st.sampled_from(EDGES)
    beside = st.one_of(conditions(KINDS[name], usual), conditions(KINDS[name], usual), conditions(PLAIN, TEXTS))
    return st.tuples(st.just(WRITTEN.get(name, name)), beside).map(lambda pair: dict([pair]))


IDS = st.lists(st.integers(0, 8).map("{}.png".format), max_size=4).map(lambda ids: {"id": ids})
LEAVES = st.one_of(*(condition_on(name) for name in KINDS), IDS)
PAIRS = st.builds(lambda one, other: {**one, **other}, LEAVES, LEAVES)
UNUSUAL = st.sampled_from([{"metadata.colour": "a"}, {"nowhere": 1}, {"id": 1}, {}])
SIMPLE = st.one_of(*[LEAVES] * 8, PAIRS, UNUSUAL)


def combined(inner):
    several = st.lists(inner, max_size=3)
    return st.one_of(
        several.map(lambda parts: {"and": parts}),
        several.map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
        st.builds(lambda leaf, part: {**leaf, "not": part}, LEAVES, inner),
    )


FILTERS = st.one_of(SIMPLE, combined(SIMPLE), combined(combined(SIMPLE)), combined(combined(combined(SIMPLE))))


# --- the plain evaluation ---


def holds(wanted, id, metadata):
    """Does this filter, as JSON, hold for an item?"""
    for name, condition in wanted.items():
        if name == "and":
            fine = all(holds(each, id, metadata) for each in condition)
        elif name == "or":
            fine = any(holds(each, id, metadata) for each in condition)
        elif name == "not":
            fine = not holds(condition, id, metadata)
        else:
            fine = passes(condition, [id] if name == "id" else values_of(metadata, name))
        if not fine:
            return False
    return True


def values_of(metadata, name):
    value = metadata.get(name.removeprefix("metadata."))
    found = value if isinstance(value, list) else [value]
    return [each for each in found if each is not None and each == each]


def passes(condition, values):
    if isinstance(condition, list):
        return any(same(value, wanted) for value in values for wanted in condition)
    if not isinstance(condition, dict):
        return any(same(value, condition) for value in values)
    bounds = {name: bound for name, bound in condition.items() if name not in ("in", "exists")}
    return (
        ("in" not in condition or passes(condition["in"], values))
        and ("exists" not in condition or condition["exists"] == bool(values))
        and (not bounds or any(all(within(value, name, bound) for name, bound in bounds.items()) for value in values))
    )


def kind(value):
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63) else "other"


def same(value, wanted):
    return kind(value) == kind(wanted) and value == wanted


def within(value, name, bound):
    if kind(value) != kind(bound) or kind(value) not in ("text", "number"):
        return False
    return {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound}[name]


def asked(wanted):
    """Each field that a filter names, with what it compares it with."""
    for name, condition in wanted.items():
        if name in ("and", "or"):
            for each in condition:
                yield from asked(each)
        elif name == "not":
            yield from asked(condition)
        elif isinstance(condition, dict):
            values = [value for key, value in condition.items() if key not in ("in", "exists")]
            yield name, [*values, *condition.get("in", [])]
        else:
            yield name, condition if isinstance(condition, list) else [condition]


def fits(wanted, described):
    """Can this filter be asked of these items?"""
    for name, values in asked(wanted):
        held = {"text"} if name == "id" else {kind(value) for _, item in described for value in values_of(item, name)}
        if not held or not {kind(value) for value in values} <= held:
            return False
    return True


# --- against it ---


@given(ITEMS, CUTS, FILTERS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_filters_find_what_a_plain_evaluation_finds(items, cuts, wanted):
    described = [(f"{number}.png", item) for number, item in enumerate(items)]
    parts = [described[start:end] for start, end in pairwise([0, *cuts, len(items)])]
    found, tables = filters.parse(wanted), [columns.from_metadata(part) for part in parts]
    expected = [[row for row, (id, metadata) in enumerate(part) if holds(wanted, id, metadata)] for part in parts]
    assert [found.rows(table).numbers().tolist() for table in tables] == expected
    count = sum(map(len, expected))
    event(f"finds {'none' if count == 0 else 'all' if count == len(items) else 'some'}")
    usable = fits(wanted, described)
    try:
        found.check(columns.fields(*tables))
        assert usable
    except (UnknownField, WrongType) as error:
        assert not usable
        assert error.field in {columns.field_of(name) for name, _ in asked(wanted)}


WHOLE = [0, 1, 2**53, 2**53 + 1, 2**53 + 3, -(2**53) - 1, 2**63 - 1, -(2**63)]
FRACTIONAL = [-0.0, 0.5, -0.5, 2.0**53, 2.0**53 + 2, 2.0**53 + 4, -(2.0**53), 2.0**63, -(2.0**63), -1e19, 1e300]


@pytest.mark.parametrize("stored", [WHOLE, FRACTIONAL, WHOLE + FRACTIONAL])
def test_numbers_are_compared_exactly(stored):
    """Arrow alone would round some of them, or refuse to."""
    table = columns.from_metadata([(str(row), {"n": value}) for row, value in enumerate(stored)])
    for number in [*WHOLE, *FRACTIONAL, 1.5, 1e19]:
        for condition in (*({name: number} for name in ("<", "<=", ">", ">=")), number, [number], [number, 7], [number, 0.25]):
            expected = [row for row, value in enumerate(stored) if passes(condition, [value])]
            assert filters.parse({"n": condition}).rows(table).numbers().tolist() == expected, condition


@given(FILTERS, st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_key_knows_no_order(wanted, random):
    def shuffled(part):
        if isinstance(part, list):
            return random.sample([shuffled(each) for each in part], len(part))
        if isinstance(part, dict):
            return {name: shuffled(part[name]) for name in random.sample(list(part), len(part))}
        return part

    assert filters.parse(shuffled(wanted)).key == filters.parse(wanted).key
    assert filters.read(json.dumps(wanted)).key == filters.parse(wanted).key


@pytest.mark.parametrize(
    "same",
    [
        [{"a": 1}, {"a": 1.0}, {"a": [1]}, {"a": {"in": [1, 1.0]}}, {"metadata.a": 1}, {"and": [{"a": 1}]}],
        [{"a": 1, "b": 2}, {"and": [{"b": 2}, {"a": 1}, {"b": 2}]}],
        [{"a": {">": 1, "in": [2]}}, {"and": [{"a": 2}, {"a": {">": 1.0}}]}],
        [{"a": {"exists": False}}, {"not": {"a": {"exists": True}}}],
    ],
)
def test_what_means_the_same_has_one_key(same):
    assert len({filters.parse(each).key for each in same}) == 1


def test_what_differs_has_keys_that_differ():
    different = [
        *({"a": value} for value in [1, "1", True, "true", 1.5, [], [1, 2]]),
        *({"a": {name: 1}} for name in ["<", "<=", ">", ">="]),
        *({name: [{"a": 1}, {"a": 2}]} for name in ["and", "or"]),
        *({"b": 1}, {"metadata.id": 1}, {"id": 1}, {"not": {"a": 1}}, {}, {"or": []}, {"a": {"exists": True}}),
    ]
    assert len({filters.parse(each).key for each in different}) == len(different)


# --- what cannot be used ---


def nested(depth):
    return {"a": 1} if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("red", 'filter has to be an object .* and is "red"'),
        ({"and": {"a": 1}}, r'filter.and has to be a list of filters, .* called "metadata.and"'),
        ({"or": "red"}, r'filter.or has to be a list of filters, .* called "metadata.or"'),
        ({"not": ["red"]}, r'filter.not has to be a filter, .* called "metadata.not"'),
        ({"and": [{}, 5]}, r"filter.and\[1\] has to be an object"),
        ({"or": [{"a": {"=": 5}}]}, r'filter.or\[0\].a does not know "=". There are "in"'),
        ({"a": {}}, r"filter.a is empty"),
        ({"a b": None}, r"filter\['a b'\] cannot be null\. .* \{\"exists\": false\}"),
        ({"a": [1, [2]]}, r"filter.a has to be a text, .* and is \[2\]"),
        ({"a": float("nan")}, "filter.a has to be a text, .* and is NaN"),
        ({"a": 2**63}, "at most 64 bits, and is 9223372036854775808"),
        ({"a": "\ud800"}, "filter.a has to be a text, "),
        ({"a": {"in": 1}}, "filter.a.in has to be a list of values, and is 1"),
        ({"a": {"exists": "yes"}}, "filter.a.exists has to be true or false"),
        ({"a": {"<": True}}, "filter.a needs numbers as bounds, or texts"),
        ({"a": {"<": 1, ">": "0"}}, "filter.a needs numbers as bounds, or texts"),
        ({"a": list(range(filters.MAX_VALUES + 1))}, "filter.a has 10,001 values, and may have 10,000"),
        ({"or": [{"a": 1}] * (filters.MAX_CONDITIONS + 1)}, "more than 100 conditions"),
        (nested(filters.MAX_DEPTH + 1), r"filter(.not){16} is too deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(wanted, said):
    with pytest.raises(FilterError, match=said) as told:
        filters.parse(wanted)
    assert told.value.field in (None, "a", "a b")
    assert len(str(told.value)) < 300


def test_limits_are_not_below_what_they_say():
    table = columns.from_metadata([("0", {"a": 1}), ("1", {"a": 20_000})])
    many = {"or": [{"a": {"in": list(range(filters.MAX_VALUES))}}] * filters.MAX_CONDITIONS}
    assert filters.parse(many).rows(table).numbers().tolist() == [0]
    assert filters.parse(nested(filters.MAX_DEPTH)).rows(table).numbers().tolist() == [1]


@pytest.mark.parametrize("text", ["", "{", "red", "[" * 100_000, '{"a": 1} x'])
def test_a_text_that_is_no_json(text):
    with pytest.raises(FilterError, match=r"is no JSON\. Give an object"):
        filters.read(text)


def test_a_name_may_stand_once_in_an_object():
    with pytest.raises(FilterError, match=r'"a" twice in one object. Put both into an "and"'):
        filters.read('{"a": {">": 1}, "b": 1, "a": {"<": 2}}')


FOUND = columns.from_metadata([("0", {"colour": "red", "price": "10", "on": True, "box": {"x": 1}, "size": [1, "L"]})])


@pytest.mark.parametrize(
    ("wanted", "kind", "field", "said"),
    [
        ({"color": "red"}, UnknownField, "color", "No item has a value in a field 'color'. Known are: 'colour'."),
        ({"x" * 1000: 1}, UnknownField, "x" * 1000, "Known are: 'box', 'colour', 'id', 'on', 'price', 'size'."),
        ({"not": {"colour": "red", "prize": {"exists": False}}}, UnknownField, "prize", "Known are: 'price'"),
        ({"or": [{}, {"price": {">=": 10}}]}, WrongType, "price", "'price' holds texts, and 10 is none of these"),
        ({"price": ["10", 10]}, WrongType, "price", "10 is none of these"),
        ({"on": "true"}, WrongType, "on", "'on' holds true and false, and \"true\" is none"),
        ({"size": True}, WrongType, "size", "'size' holds numbers and texts, and true is none"),
        ({"box": 1}, WrongType, "box", "values that cannot be compared, and 1 is none of these. Ask whether it exists"),
        ({"id": 1}, WrongType, "id", "'id' holds texts, and 1 is none"),
    ],
)
def test_fields_that_cannot_be_asked_are_named(wanted, kind, field, said):
    with pytest.raises(kind) as told:
        filters.parse(wanted).check(columns.fields(FOUND))
    assert said in str(told.value)
    assert told.value.field == field
    assert len(str(told.value)) < 300


def test_a_field_may_be_in_one_table_only():
    other = columns.from_metadata([("1", {"price": 10})])
    wanted = filters.parse({"price": {">=": 10}, "colour": {"exists": False}})
    wanted.check(columns.fields(FOUND, other))
    assert [wanted.rows(table).count for table in (FOUND, other)] == [0, 1]


# --- the cache ---


def table_of(*values):
    return columns.from_metadata([(str(row), {"a": value}) for row, value in enumerate(values)])


def test_a_filter_is_evaluated_once_a_segment(monkeypatch):
    cache, first, second = Cache(1000), table_of(1, 2), table_of(2, 2)
    asked = []
    evaluate = filters.In.rows
    monkeypatch.setattr(filters.In, "rows", lambda self, table: asked.append(table) or evaluate(self, table))
    for wanted in ({"a": 2}, {"a": [2, 2.0]}):
        assert cache.rows(filters.parse(wanted), "1", first).numbers().tolist() == [1]
        assert cache.rows(filters.parse(wanted), "2", second).numbers().tolist() == [0, 1]
    assert len(asked) == 2


def test_the_longest_unused_leaves_the_cache_first(monkeypatch):
    table = table_of(*range(80))  # ten bytes a filter
    cache, asked = Cache(25), []
    evaluate = filters.In.rows
    monkeypatch.setattr(filters.In, "rows", lambda self, table: asked.append(self.values[0]) or evaluate(self, table))
    for value in (1, 2, 1, 3, 1, 2):
        assert cache.rows(filters.parse({"a": value}), "1", table).numbers().tolist() == [value]
    assert asked == [1, 2, 3, 2]


def test_rows_larger_than_the_cache_are_found_too():
    assert Cache(0).rows(filters.parse({"a": 1}), "1", table_of(1, 2)).numbers().tolist() == [0]


def test_threads_share_a_cache():
    table, cache, wrong = table_of(*range(80)), Cache(45), []

    def ask(seed):
        for value in np.random.default_rng(seed).integers(0, 8, 200).tolist():
            if cache.rows(filters.parse({"a": value}), "1", table).numbers().tolist() != [value]:
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache._bytes == sum(rows.bits.nbytes for rows in cache._kept.values()) <= 45
