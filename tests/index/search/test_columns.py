"""Columns have the types of what is in them, wherever it is, and facets and groups are read from them."""

from collections import Counter

import faiss
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.search import columns
from index.search.columns import Rows

METADATA = [
    {"name": "bear", "price": 3, "tags": ["a", "b", "a"], "mixed": 1, "on": True, "huge": 2**70, "weight": 1.5, "id": "x"},
    {"name": "Bär", "price": 4, "tags": [], "mixed": "one", "on": False, "weight": 2, "box": {"b": 1, "a": 2}},
    {"name": None, "tags": ["b"], "mixed": [True, "one", None, 1.0], "weight": float("nan"), "none": None, "and": ["one"]},
]


def described(metadata):
    return [(f"{row}.png", each) for row, each in enumerate(metadata)]


def table(*metadata):
    return columns.from_metadata(described(metadata))


def everywhere(*metadata):
    """A table with each of them, and all of its rows."""
    found = table(*metadata)
    return found, Rows.all(found.num_rows)


def test_columns_have_the_types_of_their_values():
    found = table(*METADATA)
    assert [(field.name, str(field.type)) for field in found.schema] == [
        ("id", "string"),
        ("metadata.and", "string"),
        ("metadata.box", "binary"),
        ("metadata.huge", "binary"),
        ("metadata.id", "string"),
        ("metadata.mixed", "string"),
        ("metadata.mixed", "double"),
        ("metadata.mixed", "bool"),
        ("metadata.name", "string"),
        ("metadata.on", "bool"),
        ("metadata.price", "int64"),
        ("metadata.tags", "list<item: string>"),
        ("metadata.weight", "double"),
    ]
    rows = {number: column.to_pylist() for number, column in enumerate(found.columns)}
    assert rows[0] == ["0.png", "1.png", "2.png"]
    assert rows[2] == [None, b'{"a": 2, "b": 1}', None]
    assert [rows[5], rows[6], rows[7]] == [[None, "one", "one"], [1.0, None, 1.0], [None, None, True]]
    assert rows[8] == ["bear", "Bär", None]
    assert rows[11] == [["a", "b"], None, ["b"]]
    assert rows[12] == [1.5, 2.0, None]


def test_fields_have_the_kinds_of_all_tables():
    assert columns.fields(table({"a": 1, "b": "x"}), table({"a": "1", "c": [True, {}]}), table()) == {
        "id": {"text"},
        "a": {"number", "text"},
        "b": {"text"},
        "c": {"bool", "other"},
    }


def test_names_that_mean_something_else_have_a_prefix():
    odd = {"id": 1, "and": 1, "metadata.a": 1, "metadata.metadata.b": 1, "a": "x", "": 1}
    assert list(columns.fields(table(odd))) == [
        "id",
        "",
        "a",
        "metadata.and",
        "metadata.id",
        "metadata.metadata.a",
        "metadata.metadata.metadata.b",
    ]
    for field in columns.fields(table(odd)):
        assert len(columns.of(table(odd), field)) == 1
        assert columns.field_of(field) == field
    assert columns.field_of("metadata.colour") == "colour"


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([2**53 + 1, 1], ["int64"]),
        ([2**53, 0.5], ["double"]),
        ([2**53 + 1, 0.5], ["int64", "double"]),
        ([2**63 - 1, -(2**63)], ["int64"]),
        ([2**63], ["binary"]),
        ([float("nan"), None, []], []),
    ],
)
def test_numbers_stay_exact(values, types):
    found = columns.of(table(*({"n": value} for value in values)), "n")
    assert [str(column.type) for column in found] == types
    read = [value for column in found for value in column.to_pylist() if value is not None and not isinstance(value, bytes)]
    assert sorted(read) == sorted(value for value in values if isinstance(value, int | float) and -(2**63) <= value < 2**63)


def test_a_table_is_mapped_as_it_was_written(tmp_path):
    assert columns.write(tmp_path / "columns.arrow", described(METADATA)) == len(METADATA)
    before = pa.total_allocated_bytes()
    read = columns.open(tmp_path / "columns.arrow")
    assert read.equals(table(*METADATA))
    assert pa.total_allocated_bytes() == before


def test_no_items_have_no_fields():
    assert columns.fields(table()) == {"id": {"text"}}
    assert columns.from_metadata([]).num_rows == 0


@pytest.mark.parametrize("damage", [lambda data: data[:-8], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_table_does_not_open(tmp_path, damage):
    path = tmp_path / "columns.arrow"
    columns.write(path, described(METADATA))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((OSError, pa.ArrowException)):
        columns.open(path)


@pytest.mark.parametrize("size", [0, 1, 8, 9, 1000])
def test_rows_are_a_set(size):
    drawn = np.random.default_rng(size).random((2, size)) < 0.4
    first, second = Rows.where(drawn[0]), Rows.where(drawn[1])
    for rows, mask in (
        (first, drawn[0]),
        (first & second, drawn[0] & drawn[1]),
        (first | second, drawn[0] | drawn[1]),
        (~first, ~drawn[0]),
        (Rows.none(size), np.zeros(size, bool)),
        (Rows.all(size), np.ones(size, bool)),
    ):
        assert rows.numbers().tolist() == np.flatnonzero(mask).tolist()
        assert rows.numbers().dtype == np.int64
        assert rows.count == mask.sum()
        assert np.array_equal(rows.mask(), mask)


def test_rows_are_a_selector_of_faiss():
    mask = np.random.default_rng(0).random(21) < 0.5
    selector = faiss.IDSelectorBitmap(Rows.where(mask).bits)
    assert [selector.is_member(row) for row in range(30)] == [*mask.tolist(), *[False] * 9]


def test_facets_count_items_over_tables():
    first = everywhere({"c": "red", "n": 1}, {"c": ["red", "blue", "red"], "n": 2.5}, {"c": "green"}, {})
    second = everywhere({"c": "blue"}, {"c": [True, 1]}, {"c": {"x": 1}}, {"n": 1})
    assert columns.facets([first, second], "c", 10) == [("blue", 2), ("red", 2), (True, 1), (1, 1), ("green", 1)]
    assert [type(value) for value, _ in columns.facets([second], "c", 2)] == [bool, int]
    assert columns.facets([first, second], "c", 1) == [("blue", 2)]
    assert columns.facets([first, second], "n", 10) == [(1, 2), (2.5, 1)]
    assert columns.facets([first, second], "nothing", 10) == []
    found, _ = first
    assert columns.facets([(found, Rows.where(np.array([False, True, True, True])))], "c", 10) == [
        ("blue", 1),
        ("green", 1),
        ("red", 1),
    ]


def groups(found, field, rows):
    codes, names = columns.groups_of(found, field, np.array(rows, np.int64))
    assert codes.dtype == np.int32
    return [None if code < 0 else names[code] for code in codes]


def test_groups_are_what_items_have():
    found = table({"c": "red", "n": 1.0}, {"c": "1", "n": 0.5}, {"n": 1}, {"c": "red"})
    assert groups(found, "c", [3, 0, 1, 2]) == ['"red"', '"red"', '"1"', None]
    assert groups(found, "n", [0, 1, 2, 3]) == ["1", "0.5", "1", None]
    assert groups(found, "nothing", [0, 1]) == [None, None]
    assert groups(found, "c", []) == []
    assert groups(found, "id", [1]) == ['"1.png"']


def test_groups_of_several_values_have_no_order():
    found = table({"c": ["b", "a"]}, {"c": ["a", "b"]}, {"c": ["a", 1, True]}, {"c": "a"}, {}, {"c": {"x": None}})
    assert groups(found, "c", range(6)) == ['["a","b"]', '["a","b"]', '["a",1,true]', '"a"', None, '{"x": null}']


_VALUES = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, 1.0, 0.5, -0.0, 2**53, 2**53 + 1, -(2**63), 2**63, float("nan"), float("inf")])
    | st.sampled_from(["a", "b", ""])
    | st.just({"x": 1})
)
_ITEMS = st.lists(st.dictionaries(st.sampled_from("nm"), _VALUES | st.lists(_VALUES, max_size=3), max_size=2), max_size=12)
_SMALL = st.integers(1, 5)


def several(found: pa.Table, field: str) -> list[Counter]:
    """What each item has in a field, whole numbers and fractions alike."""
    rows = [Counter() for _ in range(found.num_rows)]
    for column in columns.of(found, field):
        for row, value in zip(rows, column.to_pylist(), strict=True):
            row.update(
                (isinstance(each, bool), each) for each in (value if isinstance(value, list) else [value]) if each is not None
            )
    return rows


@settings(deadline=None)
@given(items=_ITEMS, batch=_SMALL, chunk=_SMALL)
def test_batches_make_no_difference(tmp_path_factory, items, batch, chunk):
    path = tmp_path_factory.mktemp("batches") / "columns.arrow"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_BATCH", batch)
        patch.setattr(columns, "_CHUNK", batch * chunk)
        assert columns.write(path, described(items)) == len(items)
    read, whole = columns.open(path), table(*items)
    assert all(column.num_chunks <= -(-len(items) // (batch * chunk)) for column in read.columns)
    assert read["id"].to_pylist() == whole["id"].to_pylist()
    assert read.schema.names == whole.schema.names and read.schema.types == whole.schema.types
    for field in "nm":
        assert several(read, field) == several(whole, field)
        assert groups(read, field, range(len(items))) == groups(whole, field, range(len(items)))
        every = Rows.all(len(items))
        assert columns.facets([(read, every)], field, 20) == columns.facets([(whole, every)], field, 20)


def test_a_list_and_a_fraction_in_a_later_batch_change_the_type_of_all(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_BATCH", 1)
    monkeypatch.setattr(columns, "_CHUNK", 2)
    columns.write(tmp_path / "columns.arrow", described([{"n": 1}, {}, {"n": [2.5, 3]}, {"new": "x"}]))
    read = columns.open(tmp_path / "columns.arrow")
    assert [(field.name, str(field.type)) for field in read.schema][1:] == [
        ("metadata.n", "list<item: double>"),
        ("metadata.new", "string"),
    ]
    assert read["metadata.n"].to_pylist() == [[1.0], None, [2.5, 3.0], None]
    assert read["metadata.n"].num_chunks == 2
    assert [path.name for path in tmp_path.iterdir()] == ["columns.arrow"]


def test_one_number_of_an_item_is_counted_once_beside_what_no_float_can_hold():
    assert columns.facets([everywhere({"n": [1, 1.0]}, {"n": 2**53 + 1}, {"n": 0.5})], "n", 9)[-1] == (2**53 + 1, 1)
    assert dict(columns.facets([everywhere({"n": [1, 1.0]}, {"n": 2**53 + 1})], "n", 9)) == {1: 1, 2**53 + 1: 1}
