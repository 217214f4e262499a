"""Labels from a labels.csv or from folders; whatever is wrong with them is told at once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets import DataError
from training.datasets.labels import PROPORTIONS, Dataset, read
from training.datasets.split import hash_split


def folder(root: Path, table: str | bytes | None, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if table is not None:
        (root / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def complaint(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(root)
    return str(caught.value)


# What is read


def test_a_table_with_a_split_and_columns_of_its_own(tmp_path: Path) -> None:
    table = "label,path,split,artist\ncat,1.png,train,Ann\ndog,2.png,test,Bob\ncat,3.png,train,Bob\n"
    data = read(folder(tmp_path, table, "1.png", "2.png", "3.png"))
    assert data.labels == ["cat", "dog", "cat"]
    assert data.paths == [tmp_path / name for name in ("1.png", "2.png", "3.png")]
    assert data.column("artist") == ["Ann", "Bob", "Bob"]
    assert len(data) == 3
    assert (data.split("train").labels, data.split("test").paths) == (["cat", "cat"], [tmp_path / "2.png"])
    assert data.split("train", "test").labels == data.labels
    assert data.rows([2, 0]).column("artist") == ["Bob", "Ann"]


def test_folders_are_classes(tmp_path: Path) -> None:
    names = ("dog/2.JPG", "dog/old/1.webp", "cat/3.tiff")
    data = read(folder(tmp_path, None, *names, "cat/notes.txt", "unlabelled.png", "empty/.keep"))
    assert dict(zip(data.table["path"], data.labels, strict=True)) == {names[0]: "dog", names[1]: "dog", names[2]: "cat"}
    assert data.table["path"] == sorted(names)
    assert data.table["split"] == [hash_split(label, PROPORTIONS) for label in data.labels]


def test_without_a_split_column_classes_are_split_by_their_labels(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "path,label\n1.png,cat\n2.png,cat\n", "1.png", "2.png"))
    assert data.table["split"] == [hash_split("cat", PROPORTIONS)] * 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_spreadsheets_save_utf8_in_their_own_ways(encoding: str, newline: str, tmp_path: Path) -> None:
    table = newline.join(["path,label,note", '"Mäuse, 1.png",Maus,"two\nlines"', "", "猫.png,猫,"])
    data = read(folder(tmp_path, table.encode(encoding), "Mäuse, 1.png", "猫.png"))
    assert data.labels == ["Maus", "猫"]
    assert data.column("note") == ["two\nlines", ""]


@given(
    table=st.lists(
        st.tuples(st.text("ab ,;\"'\n\r\tä猫", min_size=1, max_size=6), st.text("xyz,\"'\n ", max_size=6)),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None)
def test_any_text_survives_the_table(table: list, tmp_path_factory) -> None:
    root = tmp_path_factory.mktemp("texts")
    quoted = [[str(row), *('"' + text.replace('"', '""') + '"' for text in texts)] for row, texts in enumerate(table)]
    data = read(folder(root, "\n".join(map(",".join, [["path", "label", "note"], *quoted])), *(row[0] for row in quoted)))
    assert list(zip(data.labels, data.column("note"), strict=True)) == table


# What is wrong


def test_every_problem_is_told_with_its_line(tmp_path: Path) -> None:
    table = (
        'path,label,split\n1.png,cat,train\n\n2.png,"two\nlines",train\n3.png,,train\n4.png,dog,tset\n5.png\n1.png,dog,train\n'
    )
    message = complaint(folder(tmp_path, table, "1.png", "4.png"))
    assert message.splitlines()[0] == f"{tmp_path} cannot be used:"
    assert [line.strip() for line in message.splitlines()[1:]] == [
        "line 5: 2.png does not exist",
        "line 6: the path or the label is empty",
        "line 7: the split is 'tset', not train, validation or test",
        "line 8: the path or the label is empty",
        "line 9: 1.png is on line 2 already",
    ]


def test_a_long_list_of_problems_ends_with_their_number(tmp_path: Path) -> None:
    lines = complaint(folder(tmp_path, "path,label\n" + "".join(f"{row}.png,cat\n" for row in range(1500)))).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip() == "and 1,480 more"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "lacks the column label and path"),
        ("\n\n", "lacks the column label and path"),
        ("path;label\n1.png;cat\n", "lacks the column label and path"),
        ("path,name\n1.png,cat\n", "lacks the column label;"),
        ("1.png,cat\n", "lacks the column"),
        ("path,label\n", "holds no labelled images"),
        (None, "holds no labelled images"),
        ("path,label\n1.png,Mäuse\n".encode("latin-1"), "Save it again as UTF-8"),
        ("path,label\n1.png,cat\n".encode("utf-16"), "Save it again as UTF-8"),
        (b"path,label\n1.png," + b"x" * 200_000, "Save it again as UTF-8"),
    ],
)
def test_what_is_no_table(table: str | bytes | None, expected: str, tmp_path: Path) -> None:
    assert expected in complaint(folder(tmp_path, table, "1.png"))


def test_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", folder(tmp_path, None, "file") / "file"):
        assert "is not a folder" in complaint(path)


def test_a_part_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    data = Dataset(tmp_path, {"path": ["1.png"], "label": ["cat"], "split": ["train"]})
    with pytest.raises(DataError, match="no images in the split test"):
        data.split("test")
    with pytest.raises(DataError, match="no column 'artist'; it has: path, label, split"):
        data.column("artist")
