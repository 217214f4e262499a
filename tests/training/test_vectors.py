"""Vectors from elsewhere become unit vectors, or a sentence that names the rows that are wrong."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets import DataError
from training.datasets.vectors import read

ROWS = [[3, 4, 0], [0, 0, 2], [1, 2, 2]]
UNIT = np.array([[0.6, 0.8, 0], [0, 0, 1], [1 / 3, 2 / 3, 2 / 3]])


def written(folder: Path, **columns) -> Path:
    path = folder / "vectors.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def faults(path: Path) -> list[str]:
    first, *others = complaint(path).split("\n  ")
    assert first == " cannot be used:"
    return others


@pytest.mark.parametrize("values", ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "uint64"])
@pytest.mark.parametrize("lists", [pa.list_, pa.large_list, lambda value: pa.list_(value, 3)], ids=["list", "large", "fixed"])
def test_lists_of_any_numbers_become_unit_vectors(values: str, lists, tmp_path: Path) -> None:
    rows = pa.array(
        [[np.float16(x) for x in row] if values == "float16" else row for row in ROWS], lists(pa.type_for_alias(values))
    )
    vectors, columns = read(written(tmp_path, vector=rows, label=["a", "b", "a"]))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, UNIT, atol=1e-6)
    assert columns == {"label": ["a", "b", "a"]}


@given(
    rows=st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(any), min_size=1, max_size=5),
    scale=st.sampled_from([5e-324, 1e-200, 1e-30, 1, 1e30, 1e300]),
    fixed=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_any_length_is_brought_to_one(rows, scale: float, fixed: bool, tmp_path_factory) -> None:
    numbers = np.array(rows) * scale
    kind = pa.list_(pa.float64(), 4) if fixed else pa.list_(pa.float64())
    path = written(tmp_path_factory.mktemp("any"), vector=pa.array(numbers.tolist(), kind), label=["a"] * len(rows))
    if not numbers.any(axis=1).all():
        assert "is zero and has no direction" in complaint(path)
        return
    vectors, _ = read(path)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    expected = numbers / np.abs(numbers).max(axis=1, keepdims=True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_large_float32_numbers_do_not_overflow(tmp_path: Path) -> None:
    vectors, _ = read(written(tmp_path, vector=pa.array([[3e30, 4e30]], pa.list_(pa.float32())), label=["a"]))
    np.testing.assert_allclose(vectors, [[0.6, 0.8]], atol=1e-6)


def test_other_columns_come_as_text(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        role=["query", "gallery", None],
        label=[7, 8, 7],
        group=pa.array(["x", "y", "x"]).dictionary_encode(),
        price=[1.5, None, 2.0],
        seen=[datetime(2024, 5, 1), None, None],
        tags=[["a"], [], None],
        vector=ROWS,
    )
    assert read(path)[1] == {
        "role": ["query", "gallery", ""],
        "label": ["7", "8", "7"],
        "group": ["x", "y", "x"],
        "price": ["1.5", "", "2"],
        "seen": ["2024-05-01 00:00:00.000000", "", ""],
        "tags": ['["a"]', "[]", ""],
    }


def test_rows_keep_their_order_over_row_groups(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(100, 3))
    path = tmp_path / "vectors.parquet"
    table = pa.table({"vector": pa.array(rows.tolist(), pa.list_(pa.float64(), 3)), "label": [str(row) for row in range(100)]})
    pq.write_table(table, path, row_group_size=7)
    vectors, columns = read(path)
    np.testing.assert_allclose(vectors, rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)
    assert columns["label"] == [str(row) for row in range(100)]


# Rows that cannot be used


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_vectors_without_a_direction_are_listed_by_row(fixed: bool, wide: bool, tmp_path: Path) -> None:
    rows = [[1, 2], [np.nan, 1], [1, np.inf], [0, 0], [1, None], [-np.inf, np.inf], [1, 1]]
    kind = pa.float64() if wide else pa.float32()
    vector = pa.array(rows, pa.list_(kind, 2) if fixed else pa.list_(kind))
    assert faults(written(tmp_path, vector=vector, label=list("aabbccd"))) == [
        "row 2: its vector holds NaN, infinity or an empty value",
        "row 3: its vector holds NaN, infinity or an empty value",
        "row 4: its vector is zero and has no direction",
        "row 5: its vector holds NaN, infinity or an empty value",
        "row 6: its vector holds NaN, infinity or an empty value",
    ]


def test_ragged_and_missing_vectors_are_listed_by_row(tmp_path: Path) -> None:
    assert faults(written(tmp_path, vector=[[1.0, 2.0], [1.0], None, [], [3.0, 4.0]], label=list("aabbc"))) == [
        "row 2: its vector has 1 numbers, not 2",
        "row 3: its vector has 0 numbers, not 2",
        "row 4: its vector has 0 numbers, not 2",
    ]


def test_missing_vectors_are_wrong_even_where_they_are_the_most(tmp_path: Path) -> None:
    found = faults(written(tmp_path, vector=[None, None, [1.0, 2.0], None], label=list("aabb")))
    assert found == [f"row {row}: its vector has 0 numbers, not 2" for row in (1, 2, 4)]


def test_missing_vectors_of_fixed_size(tmp_path: Path) -> None:
    vector = pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2))
    assert faults(written(tmp_path, vector=vector, label=list("aab"))) == ["row 2: its vector has 0 numbers, not 2"]


def test_labels_and_roles_are_checked_by_row(tmp_path: Path) -> None:
    path = written(tmp_path, vector=ROWS, label=["a", None, ""], role=["query", "Gallery", "both"])
    assert faults(path) == [
        "row 2: the label is empty",
        "row 2: the role is 'Gallery', not query, gallery or empty",
        "row 3: the label is empty",
        "row 3: the role is 'both', not query, gallery or empty",
    ]


def test_not_every_row_of_many_is_listed(tmp_path: Path) -> None:
    found = faults(written(tmp_path, vector=[[0.0, 0.0]] * 100 + [[1.0, 0.0]], label=["a"] * 101))
    assert len(found) == 21
    assert found[-1].startswith("and 80 more")


# Files that cannot be used


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"label": ["a"]}, " lacks the column vector; it must have vector and label, and has: label."),
        ({"vector": [[1.0]]}, " lacks the column label; it must have vector and label, and has: vector."),
        ({"x": [1]}, " lacks the column vector and label; it must have vector and label, and has: x."),
        ({}, " lacks the column vector and label; it must have vector and label, and has: none."),
        ({"vector": [1.0], "label": ["a"]}, ": the column vector is of type double. Write it as lists of numbers."),
        ({"vector": ["1,2"], "label": ["a"]}, ": the column vector is of type string. Write it as lists of numbers."),
        ({"vector": [["1"]], "label": ["a"]}, ": the column vector holds lists of string. Write it as lists of numbers."),
        ({"vector": [[True]], "label": ["a"]}, ": the column vector holds lists of bool. Write it as lists of numbers."),
        ({"vector": [[[1.0]]], "label": ["a"]}, ": the column vector holds lists of list<element: double>. Write it as"),
        ({"vector": [None], "label": ["a"]}, ": the column vector is of type null. Write it as lists of numbers."),
        ({"vector": [[]], "label": ["a"]}, ": the column vector holds lists of null. Write it as lists of numbers."),
        (
            {"vector": pa.array([[], None], pa.list_(pa.float32())), "label": ["a", "b"]},
            ": all vectors are empty. Write them as lists of numbers.",
        ),
        (
            {"vector": pa.array([], pa.list_(pa.float32())), "label": pa.array([], pa.string())},
            " holds no vectors. Give a file with a row for each image.",
        ),
        (
            {"vector": pa.array([], pa.list_(pa.float32(), 3)), "label": pa.array([], pa.string())},
            " holds no vectors. Give a file with a row for each image.",
        ),
    ],
)
def test_tables_that_are_not_of_vectors(columns, sentence: str, tmp_path: Path) -> None:
    assert complaint(written(tmp_path, **columns)).startswith(sentence)


@pytest.mark.parametrize("name", ["vector", "label", "note"])
def test_two_columns_of_one_name(name: str, tmp_path: Path) -> None:
    names = ["vector", "label", "note", name]
    arrays = [pa.array([[1.0]]), pa.array(["a"]), pa.array(["b"]), pa.array(["c"])]
    pq.write_table(pa.Table.from_arrays(arrays, names), tmp_path / "twice.parquet")
    assert complaint(tmp_path / "twice.parquet") == f" has two columns named {name}. Rename one of them."


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    label = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")])
    assert "cannot be read as Parquet" in complaint(written(tmp_path, vector=[[1.0]], label=label))


@pytest.mark.parametrize("content", [b"", b"path,label\na,b\n", b"PAR1", b"PAR1" + bytes(100) + b"PAR1"])
def test_files_that_are_not_parquet(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vectors.parquet"
    path.write_bytes(content)
    sentence = complaint(path)
    assert sentence.startswith(" cannot be read as Parquet (")
    assert sentence.endswith("Give a file with the columns vector and label.")


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.parquet"):
        assert "cannot be read as Parquet" in complaint(path)


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), cut=st.floats(0, 1))
@settings(deadline=None, max_examples=150)
def test_damage_ends_in_a_sentence_or_in_unit_vectors(place: float, value: int, cut: float, tmp_path_factory) -> None:
    path = written(tmp_path_factory.mktemp("damaged"), vector=[[1.0, 2.0]] * 3, label=list("aab"), note=["x", None, "z"])
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] = value
    path.write_bytes(content if cut > 0.2 else content[: int(cut * 5 * len(content))])
    try:
        vectors, columns = read(path)
    except DataError:
        return
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert {len(values) for values in columns.values()} == {len(vectors)}
