"""Tables of three formats, honest and broken, become columns of text or a sentence."""

import datetime
import decimal
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets import DataError
from training.datasets.tables import SUFFIXES, Table, read


def written(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def complaint(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and sentence.endswith(".") and "\n" not in sentence
    return sentence


def problems(table: Table) -> list[tuple[str, tuple[int, ...], str]]:
    return [(problem.kind, problem.rows, problem.message) for problem in table.problems]


@given(table=st.lists(st.lists(st.text("ab ,;|\"'\n\r\tä猫\0", max_size=6), min_size=2, max_size=2), min_size=1, max_size=6))
@settings(deadline=None)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_text_survives(table: list[list[str]], suffix: str, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("texts") / f"labels{suffix}"
    rows = [{"number": str(number), "label": label, "a note": note} for number, (label, note) in enumerate(table)]
    if suffix == ".csv":
        quoted = [['"' + value.replace('"', '""') + '"' for value in row] for row in (rows[0], *(row.values() for row in rows))]
        written(path.parent, path.name, "\n".join(map(",".join, quoted)))
    elif suffix == ".jsonl":
        written(path.parent, path.name, "\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    found = read(path)
    assert found.columns == {name: [row[name] for row in rows] for name in rows[0]}
    assert found.problems == []


# Where rows stand


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_rows_are_numbered_by_the_line_on_which_they_end(newline: str, mark: bytes, tmp_path: Path) -> None:
    lines = ["", "path,label,", '1.png,"two', 'lines",', "", ",,", "2.png,猫,", "3.png,a,b,c", "4.png"]
    table = read(written(tmp_path, "labels.CSV", mark + newline.join(lines).encode()))
    assert table.columns == {"path": ["1.png", "2.png", "4.png"], "label": [f"two{newline}lines", "猫", ""]}
    assert list(table.numbers) == [4, 7, 9]
    assert problems(table) == [
        ("bad-row", (8,), "it has 4 values for 3 columns: put quotes around a value with a comma"),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_jsonl_rows_are_numbered_by_their_lines(newline: str, tmp_path: Path) -> None:
    lines = [
        '\ufeff{"path": "1.png", "label": "two\\nlines"}',
        "",
        '{"label": 5, "seen": true, "path": "2.png", "size": [1, {"a": "猫"}], "none": null, "nan": NaN, "whole": 5.0}',
        '{"path": "3.png", "label": "cat"',
        "[1, 2]",
        '"path"',
        "\0",
        '{"path": "\\ud83d"}',
        "[" * 100_000,
        '{"path": ' + "9" * 5000 + "}",
        '{"path": 123456789012345678901234567890}',
    ]
    table = read(written(tmp_path, "labels.jsonl", newline.join(lines)))
    assert table.columns == {
        "path": ["1.png", "2.png", "123456789012345678901234567890"],
        "label": ["two\nlines", "5", ""],
        "seen": ["", "true", ""],
        "size": ["", '[1, {"a": "猫"}]', ""],
        "none": ["", "", ""],
        "nan": ["", "", ""],
        "whole": ["", "5", ""],
    }
    assert list(table.numbers) == [1, 3, 11]
    assert [(kind, rows) for kind, rows, _ in problems(table)] == [("bad-row", (number,)) for number in range(4, 11)]
    messages = [message for *_, message in problems(table)]
    assert messages[0].startswith("it is not JSON (Expecting ',' delimiter, column ")
    assert messages[1] == messages[2] == "it is not a JSON object: write {…} with a name for each value"
    assert "half a character" in messages[4] and messages[5] == "it is nested too deeply"


def test_parquet_rows_are_numbered_from_one_and_every_type_becomes_text(tmp_path: Path) -> None:
    nanosecond = pa.array([1_577_836_800_000_000_001, None], pa.timestamp("ns", "UTC"))
    columns = {
        "text": (pa.array(["a", None]), ["a", ""]),
        "dictionary": (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        "numbered": (pa.array([7, None]).dictionary_encode(), ["7", ""]),
        "whole": (pa.array([2**62, None]), [str(2**62), ""]),
        "gap": (pa.array([5.0, float("nan")]), ["5", ""]),
        "float": (pa.array([0.5, 1e300]), ["0.5", "1e+300"]),
        "bool": (pa.array([True, None]), ["true", ""]),
        "bytes": (pa.array([b"1.png", b"\xff"]), ["1.png", "\ufffd"]),
        "fixed": (pa.array([b"ab", None], pa.binary(2)), ["ab", ""]),
        "decimal": (pa.array([decimal.Decimal("1.50"), None]), ["1.50", ""]),
        "day": (pa.array([datetime.date(2020, 2, 29), None]), ["2020-02-29", ""]),
        "time": (nanosecond, ["2020-01-01 00:00:00.000000001Z", ""]),
        "list": (pa.array([[1, 2], None]), ["[1, 2]", ""]),
        "struct": (pa.array([{"a": b"x", "b": "猫"}, None]), ['{"a": "b\'x\'", "b": "猫"}', ""]),
        "nothing": (pa.array([None, None]), ["", ""]),
    }
    path = tmp_path / "split=train" / "labels.parquet"  # a folder's name adds no column
    path.parent.mkdir()
    pq.write_table(pa.table({name: array for name, (array, _) in columns.items()}), path, row_group_size=1)
    table = read(path)
    assert table.columns == {name: texts for name, (_, texts) in columns.items()}
    assert list(table.numbers) == [1, 2] and table.problems == []


def test_times_that_python_cannot_hold_are_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"far": pa.array([2**62], pa.timestamp("us"))}), path)
    assert "out of range" in read(path).columns["far"][0]
    pq.write_table(pa.table({"far": pa.array([[2**62]], pa.list_(pa.timestamp("us")))}), path)
    assert "cannot be read as Parquet" in complaint(path)


# What is no table


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("path,label\n1.png,Mäuse\n".encode("latin-1"), "cannot be read as UTF-8"),
        ("path,label\n1.png,cat\n".encode("utf-16"), "Save it again as UTF-8."),
        (b"\x89PNG\r\n\x1a\n\0\0", "cannot be read as UTF-8"),
        ('path,label\n1.png,cat\n2.png,"dog\n3.png,cat\n', "row that begins on line 3 (unexpected end of data). Close every"),
        ('path,label\n1.png,"a\nb"\n2.png,"cat"s\n', "is no CSV in the row that begins on line 4"),
        ('"path,label\n1.png,cat\n', "is no CSV in the row that begins on line 1"),
        ("path,label\n1.png," + "x" * 200_000, "row that begins on line 2 (field larger than field limit"),
        ("path;label\n1.png;cat\n", "separates its columns with ';'. Save it again with commas."),
        ("path\tlabel\n1.png\tcat\n", r"separates its columns with '\t'"),
        ("path,label,path,label\n1.png,cat,1.png,cat\n", "has two columns named label, path. Rename one of them."),
    ],
)
def test_what_is_no_csv(content: str | bytes, expected: str, tmp_path: Path) -> None:
    assert expected in complaint(written(tmp_path, "labels.csv", content))


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_what_is_no_jsonl(encoding: str, tmp_path: Path) -> None:
    assert "Save it again as UTF-8" in complaint(written(tmp_path, "labels.jsonl", '{"path": "ä"}'.encode(encoding)))


@pytest.mark.parametrize("part", [0, 3, 200, -300, -9, -1])
def test_a_parquet_file_cut_short(part: int, tmp_path: Path) -> None:
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"path": [f"{row}.png" for row in range(99)], "label": ["cat"] * 99}), path)
    assert "cannot be read" in complaint(written(tmp_path, path.name, path.read_bytes()[:part]))


@pytest.mark.parametrize("content", [b"path,label\n1.png,cat\n", b"PAR1" + b"\xff" * 90 + b"PAR1", b"PAR1" * 9])
def test_what_is_no_parquet(content: bytes, tmp_path: Path) -> None:
    assert "cannot be read" in complaint(written(tmp_path, "labels.parquet", content))


def test_two_parquet_columns_of_one_name(tmp_path: Path) -> None:
    pq.write_table(pa.table([pa.array(["a"])] * 2, names=["path", "path"]), tmp_path / "labels.parquet")
    assert "two columns named path" in complaint(tmp_path / "labels.parquet")


@pytest.mark.parametrize("name", ["labels.txt", "labels", "labels.csv.gz"])
def test_another_kind_of_file(name: str, tmp_path: Path) -> None:
    assert "Give a .csv, .jsonl, .parquet file." in complaint(written(tmp_path, name, "path,label"))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_folder_or_nothing_is_no_table(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("folder", "missing"):
        assert "cannot be read" in complaint(tmp_path / f"{name}{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_nobody_may_read(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"labels{suffix}", "")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        assert "Permission denied" in complaint(path)
    finally:
        os.seteuid(user)
