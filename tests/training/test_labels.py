"""Labels from tables or folders; whatever is wrong with them is told at once."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import DataError
from training.datasets.labels import Dataset, read
from training.datasets.split import SPLITS, Splitting


def folder(root: Path, table: str | bytes | None, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    if table is not None:
        (root / "labels.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return root


def complaint(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(source)
    return str(caught.value)


def told(data: Dataset) -> list[tuple[str, tuple[int, ...], str]]:
    return [(problem.kind, problem.rows, problem.message) for problem in data.problems]


# What is read


def test_a_table_with_a_split_and_columns_of_its_own(tmp_path: Path) -> None:
    table = "label,path,split,artist\ncat,1.png,train,Ann\ndog,2.png,test,Bob\ncat,3.png,train,Bob\n"
    data = read(folder(tmp_path, table))
    assert data.labels == ["cat", "dog", "cat"]
    assert data.paths == [tmp_path / name for name in ("1.png", "2.png", "3.png")]
    assert data.column("artist") == ["Ann", "Bob", "Bob"]
    assert (len(data), list(data.numbers), data.problems) == (3, [2, 3, 4], ())
    assert (data.split("train").labels, data.split("test").paths) == (["cat", "cat"], [tmp_path / "2.png"])
    assert data.rows([2, 0]).column("artist") == ["Bob", "Ann"]
    assert list(data.rows([2, 0]).numbers) == [4, 2]
    assert (data.roles, data.boxes) == ([""] * 3, [None] * 3)


ROWS = [
    {"path": "1.png", "label": 5, "role": "query", "box": [1, 2, 30, 40.5], "metadata": {"price": 7, "note": "ä"}},
    {"path": "2.png", "label": 5, "role": "", "box": None, "metadata": {"note": None, "price": 8}},
    {"path": "3.png", "label": 7, "role": "gallery", "box": None, "metadata": None},
]


def save(path: Path) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        lines = [
            '1.png,5,query,"1,2,30,40.5","{""price"": 7, ""note"": ""ä""}"',
            '2.png,5,,,"{""price"": 8}"',
            "3.png,7,gallery",
        ]
        path.write_text("\n".join(["path,label,role,box,metadata", *lines]))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_same_table_in_every_format(suffix: str, tmp_path: Path) -> None:
    file = save(tmp_path / f"labels{suffix}")
    data = read(file)
    assert (data.root, data.labels, data.roles) == (tmp_path, ["5", "5", "7"], ["query", "", "gallery"])
    assert data.boxes == [(1, 2, 30, 40.5), None, None]
    assert (data.column("price"), data.column("note")) == (["7", "8", ""], ["ä", "", ""])
    assert "metadata" not in data.table
    assert data.problems == ()
    assert read(tmp_path) == data  # the folder that holds it


def test_metadata_never_decides_what_a_column_of_the_table_does(tmp_path: Path) -> None:
    fields = json.dumps({"split": "test", "label": "dog", "group": "pets", "note": "inner", "more": "yes"})
    row = {"path": "1.png", "label": "cat", "note": "outer", "metadata": fields}
    (tmp_path / "labels.jsonl").write_text(json.dumps(row))
    data = read(tmp_path)
    assert data.table == {
        "path": ["1.png"],
        "label": ["cat"],
        "note": ["outer"],
        "more": ["yes"],
        "split": [Splitting()("cat")],
    }


def test_folders_are_classes(tmp_path: Path) -> None:
    names = ("dog/2.JPG", "dog/old/1.webp", "cat/3.tiff")
    folder(tmp_path, None, *names, "cat/notes.txt", "unlabelled.png", "empty/.keep", "elsewhere/bird.png")
    (tmp_path / "labels.csv").mkdir()
    (tmp_path / "cat" / "a folder.png").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    data = read(tmp_path)
    assert data.table["path"] == ["cat/3.tiff", "dog/2.JPG", "dog/old/1.webp", "elsewhere/bird.png", "linked/bird.png"]
    assert data.labels == ["cat", "dog", "dog", "elsewhere", "linked"]
    assert list(data.numbers) == [1, 2, 3, 4, 5]
    assert data.table["split"] == [Splitting()(label) for label in data.labels]


def test_a_file_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    folder(tmp_path, None, "cat/1.png", "cat/3.png")
    try:
        (tmp_path / os.fsdecode(b"cat/2\xff.png")).touch()
    except OSError:
        pytest.skip("this file system holds text alone")
    data = read(tmp_path)
    assert data.table["path"] == ["cat/1.png", "cat/3.png"]
    assert list(data.numbers) == [1, 3]
    assert told(data) == [("bad-row", (2,), r"'cat/2\udcff.png' is not UTF-8: rename the file or its folder")]


# Splits

TABLES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.sampled_from(["", "red", "blue"]), min_size=1, max_size=12
)


def splits(root: Path, groups: dict[str, str], splitting: Splitting) -> dict[str, str]:
    """The split of each label, two images each."""
    rows = [{"path": f"{label}{number}.png", "label": label, "group": groups[label]} for label in groups for number in (0, 1)]
    (root / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = read(root, splitting)
    assert data.problems == ()
    found = dict(zip(data.labels, data.table["split"], strict=True))
    assert [found[label] for label in data.labels] == data.table["split"]
    return found


@given(groups=TABLES, more=TABLES, seed=st.integers(0, 9))
def test_labels_that_arrive_move_none_and_groups_stay_together(groups: dict, more: dict, seed: int, tmp_path_factory) -> None:
    root, splitting = tmp_path_factory.mktemp("splits"), Splitting(seed=seed)
    before, after = splits(root, groups, splitting), splits(root, more | groups, splitting)
    assert {label: after[label] for label in before} == before
    assert before == {label: splitting(group or label) for label, group in groups.items()}


def test_seed_and_shares_are_those_that_were_given(tmp_path: Path) -> None:
    labels = {str(number): "" for number in range(200)}
    usual = splits(tmp_path, labels, Splitting())
    assert set(usual.values()) == set(SPLITS)
    assert splits(tmp_path, labels, Splitting(seed=1)) != usual
    assert set(splits(tmp_path, labels, Splitting(train=1, validation=0, test=0)).values()) == {"train"}


def test_a_split_column_wins(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "path,label,group,split\n1.png,cat,a,test\n2.png,cat,b,train\n"), Splitting(seed=5))
    assert data.table["split"] == ["test", "train"]
    assert data.problems == ()


def test_an_empty_split_column_is_none(tmp_path: Path) -> None:
    data = read(folder(tmp_path, "path,label,split\n1.png,cat,\n2.png,cat,\n"))
    assert data.table["split"] == [Splitting()("cat")] * 2
    assert data.problems == ()


# What is wrong with rows


def test_every_fault_of_every_row_is_told(tmp_path: Path) -> None:
    table = """path,label,split,role,box,metadata
1.png,cat,train,,,

,dog,train
3.png,,train
,,train
4.png,dog,tset,Query,"1,2,3",x
5.png,dog,,,,
1.png,dog,train,,,
./1.png,cat,train,gallery,"1,2,30,40",
1.png,cat,train,query,"[1.0, 2, 30, 40]",[1]
6.png,dog,train,,,"{",1
"""
    data = read(folder(tmp_path, table))
    box = "not left,top,right,bottom in pixels, at least one pixel each way"
    split = "not train, validation or test"
    assert sorted(told(data), key=lambda problem: problem[1][-1]) == [
        ("empty-value", (4,), "the path is empty"),
        ("empty-value", (5,), "the label is empty"),
        ("empty-value", (6,), "the path and label are empty"),
        ("bad-row", (7,), "its metadata is not JSON (Expecting value, column 1)"),
        ("unknown-split", (7,), f"the split is 'tset', {split}"),
        ("unknown-role", (7,), "the role is 'Query', not query, gallery or empty"),
        ("bad-box", (7,), f"the box is '1,2,3', {box}"),
        ("unknown-split", (8,), f"the split is '', {split}"),
        ("repeated-image", (2, 9), "1.png is listed twice"),
        ("bad-row", (11,), "its metadata is not a JSON object: write {…} with a name for each value"),
        ("repeated-image", (10, 11), "1.png is listed twice"),
        ("bad-row", (12,), "it has 7 values for 6 columns: put quotes around a value with a comma"),
    ]
    # Rows that name a picture are kept, so that it is looked at too.
    assert list(zip(data.numbers, data.table["path"], data.table["split"], data.roles, strict=True)) == [
        (2, "1.png", "train", ""),
        (5, "3.png", "train", ""),
        (7, "4.png", "", ""),
        (8, "5.png", "", ""),
        (10, "./1.png", "train", "gallery"),
    ]


@pytest.mark.parametrize(
    "box",
    [
        *("a,b,c,d", "1;2;3;4", "1,2,3,4,5", "10,2,5,40", "1,40,5,2", "1,1,1,1", "nan,0,9,9", "0,0,nan,9"),
        *("null,1,2,3", "0.1,0.1,0.9,0.9", '{"left": 1}', "-inf,-inf,-inf,-inf", "   "),
    ],
)
def test_a_box_that_is_none(box: str, tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text(json.dumps({"path": "1.png", "label": "cat", "box": box}))
    data = read(tmp_path)
    assert [(kind, rows) for kind, rows, _ in told(data)] == [("bad-box", (1,))]
    assert data.boxes == [None]


def test_a_label_of_two_groups_is_told_once_with_all_its_rows(tmp_path: Path) -> None:
    table = (
        "path,label,group\n1.png,cat,b\n2.png,dog,\n3.png,cat,a\n4.png,cat,b\n5.png,dog,\n6.png,bird,a\n7.png,,c\n8.png,,d\n"
    )
    assert told(read(folder(tmp_path, table))) == [
        ("empty-value", (8,), "the label is empty"),
        ("empty-value", (9,), "the label is empty"),
        ("two-groups", (2, 4, 5), "the label 'cat' has the groups 'a' and 'b': give each label one group"),
    ]


def test_a_table_of_nothing_but_bad_rows_lists_them(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("[\n" + '"x"\n' * 30)
    lines = complaint(tmp_path).splitlines()
    assert lines[0] == f"{tmp_path} cannot be used:"
    assert lines[1].startswith("  row 1: it is not JSON")
    assert len(lines) == 22 and lines[-1] == "  and 11 more"


# What is no table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "holds no labelled images"),
        ("\n\n", "holds no labelled images"),
        (b"\xef\xbb\xbf", "holds no labelled images"),
        ("path,label\n", "holds no labelled images"),
        (None, "holds no labelled images"),
        ("path;label\n1.png;cat\n", "separates its columns with ';'"),
        ("path,name\n1.png,cat\n", "lacks the column label; it must have path and label, and has: 'path', 'name'."),
        ("path, label\n1.png,cat\n", "lacks the column label; it must have path and label, and has: 'path', ' label'."),
        ("Path,Label\n1.png,cat\n", "lacks the column path and label"),
        ("1.png,cat\n", "lacks the column path and label"),
        ("path,label\n1.png,cat\n".encode("utf-16-le"), "lacks the column"),
        ("path,label\n1.png,cat\n".encode("utf-16"), "Save it again as UTF-8"),
    ],
)
def test_what_is_no_table(table: str | bytes | None, expected: str, tmp_path: Path) -> None:
    message = complaint(folder(tmp_path, table, "1.png"))
    assert expected in message and "\n" not in message


def test_objects_without_fields_lack_the_columns(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("{}\n{}\n")
    assert "lacks the column path and label; it must have path and label, and has: none." in complaint(tmp_path)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 999])
def test_nothing_there(name: str, tmp_path: Path) -> None:
    message = complaint(tmp_path / name)
    assert "is not there" in message or "cannot be read" in message


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").touch()
    assert "Give a .csv, .jsonl, .parquet file" in complaint(tmp_path / "labels.txt")


def test_a_folder_that_nobody_may_list() -> None:
    user = os.geteuid()
    with TemporaryDirectory() as place:
        root = folder(Path(place), None, "cat/1.png", "cat/hidden/2.png")
        root.chmod(0o755)
        (root / "cat" / "hidden").chmod(0)
        if user == 0:
            os.seteuid(65534)  # root may list everything
        try:
            assert "hidden cannot be read (Permission denied)" in complaint(root)
        finally:
            os.seteuid(user)
            (root / "cat" / "hidden").chmod(0o755)


def test_a_part_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    data = Dataset(tmp_path, {"path": ["1.png"], "label": ["cat"], "split": ["train"]}, [1])
    with pytest.raises(DataError, match="no images in the split test"):
        data.split("test")
    with pytest.raises(DataError, match="no column 'artist'; it has: path, label, split"):
        data.column("artist")
