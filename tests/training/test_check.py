"""Every planted problem is told, with its rows, and nothing else."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from model.transform import Transform
from training.datasets import DataError
from training.datasets.check import IMBALANCE, check, decode
from training.datasets.labels import Dataset, read
from training.datasets.pixels import Pictures, look
from training.datasets.problems import KINDS, Problem, refuse

WIDTH, HEIGHT = 48, 36
SPLITS = ("train", "validation", "test")


def picture(number: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """Coloured clouds, other ones for each number."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def problems(source: Path, transform: Transform | None = None) -> list[Problem]:
    data = read(source)
    return check(data, look(data, transform))


def summary(found: list[Problem]) -> list[tuple[str, tuple[int, ...]]]:
    return [(problem.kind, problem.rows) for problem in found]


class Plot:
    """A data set that is written row by row, and what is to be found in it: kinds of problems and places of rows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[dict[str, str]] = []
        self.planted: list[tuple[str, tuple[int, ...]]] = []

    def row(self, label: str, split: str, **values: str) -> int:
        """One more row, with a picture of its own unless a path is given; its place."""
        place = len(self.rows)
        if "path" not in values:
            values["path"] = f"{place}.png"
            picture(place).save(self.root / values["path"])
        self.rows.append({"label": label, "split": split, "group": "", "role": "", "box": "", "metadata": "", **values})
        return place

    def plant(self, kind: str, *places: int) -> None:
        self.planted.append((kind, places))

    def path(self, place: int) -> str:
        return self.rows[place]["path"]

    def copy(self, place: int, name: str, change: Callable[[Image.Image], Image.Image] | None = None, **options: int) -> str:
        if change is None:
            shutil.copy(self.root / self.path(place), self.root / name)
        else:
            change(Image.open(self.root / self.path(place))).save(self.root / name, **options)
        return name

    def save(self, suffix: str) -> tuple[Path, list[tuple[str, tuple[int, ...]]]]:
        """The table, and what is expected of it, in the order in which it is told."""
        file = self.root / f"labels{suffix}"
        if suffix == ".csv":
            with file.open("w", newline="", encoding="utf-8") as stream:
                table = csv.DictWriter(stream, self.rows[0])
                table.writeheader()
                table.writerows(self.rows)
        elif suffix == ".jsonl":
            file.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        else:
            pq.write_table(pa.Table.from_pylist(self.rows), file)
        first = 2 if suffix == ".csv" else 1
        expected = [(kind, tuple(place + first for place in places)) for kind, places in self.planted]
        kinds = list(KINDS)
        return file, sorted(expected, key=lambda problem: (kinds.index(problem[0]), problem[1]))


def add_sound_rows(plot: Plot) -> None:
    """Four labels of three images a split; queries in test, boxes, groups, and equal pictures under one label."""
    for split in SPLITS:
        for label in "abcd":
            for number in range(3):
                role = ("query", "gallery", "")[number] if split == "test" else ""
                box = ("0,0,48,36", "5.5,6,40,30", "")[number]
                plot.row(f"{split} {label}", split, group=f"{split} {label in 'ab'}", role=role, box=box)
        plot.row(f"{split} a", split, path=plot.copy(len(plot.rows) - 1, f"twin in {split}.png"), group=f"{split} True")
        plot.rows[-1]["label"] = plot.rows[-2]["label"]
        plot.rows[-1]["group"] = plot.rows[-2]["group"]


def plant_bad_values(plot: Plot) -> None:
    label = "train a"
    plot.plant("bad-row", plot.row(label, "train", metadata="no JSON"))
    plot.plant("bad-row", plot.row(label, "train", metadata="[1]"))
    plot.plant("empty-value", plot.row("", "train"))
    plot.plant("empty-value", plot.row(label, "train", path=""))
    plot.plant("repeated-image", 0, plot.row(label, "train", path=plot.path(0), box=plot.rows[0]["box"]))
    plot.plant("repeated-image", 1, plot.row(label, "train", path=f"./{plot.path(1)}", box="[5.5, 6.0, 40, 30]"))
    plot.plant("unknown-split", plot.row(label, "tset"))
    plot.plant("unknown-split", plot.row(label, ""))
    plot.plant("unknown-role", plot.row("test b", "test", role="Query"))
    plot.plant("bad-box", plot.row(label, "train", box="1,2,3"))
    plot.plant("bad-box", plot.row(label, "train", box="0.1,0.1,0.9,0.9"))


def plant_bad_pictures(plot: Plot) -> None:
    label = "train b"
    plot.plant("missing-file", plot.row(label, "train", path="missing.png"))
    plot.plant("missing-file", plot.row(label, "train", path="not/here.png"))
    (plot.root / "letter.jpg").write_text("Dear Sir or Madam")
    plot.plant("unreadable-image", plot.row(label, "train", path="letter.jpg"))
    (plot.root / "folder.png").mkdir()
    plot.plant("unreadable-image", plot.row(label, "train", path="folder.png"))
    picture(-1 % 9999).save(plot.root / "cut.jpg")
    (plot.root / "cut.jpg").write_bytes((plot.root / "cut.jpg").read_bytes()[:-200])
    plot.plant("unreadable-image", plot.row(label, "train", path="cut.jpg", box="0,0,9,9"))
    plot.plant("box-outside", plot.row(label, "train", box=f"0,0,{WIDTH + 1},{HEIGHT}"))
    plot.plant("box-outside", plot.row(label, "train", box="0,-1,9,9"))
    both = plot.row(label, "train", path="gone.png", role="querry")
    plot.plant("missing-file", both)
    plot.plant("unknown-role", both)


def plant_bad_labels(plot: Plot) -> None:
    queries = [plot.row("unanswered", "test", role="query") for _ in range(2)]
    plot.plant("query-without-gallery", *queries)
    plot.plant("query-without-gallery", plot.row("unanswered and alone", "validation", role="query"))
    plot.plant("single-image", plot.row("alone", "train"))
    plot.plant("single-image", plot.row("alone in the gallery", "test", role="gallery"))
    other = plot.row("train c", "train")
    plot.plant("same-content", other, plot.row("train d", "train", path=plot.copy(other, "copy.png")))
    other = plot.row("train c", "train")  # a copy in another split is not told twice
    plot.plant("same-content", other, plot.row("test d", "test", path=plot.copy(other, "far copy.png")))
    first = plot.row("in two splits", "train"), plot.row("in two splits", "test")
    plot.plant("label-in-splits", *first)
    red = [plot.row(f"{split} red", split, group="red") for split in SPLITS for _ in range(2)]
    plot.plant("group-in-splits", *red)
    many = plot.row("heap", "train")
    copies = [plot.row("heap", "train", path=plot.copy(many, f"heap {number}.png")) for number in range(IMBALANCE * 9)]
    plot.plant("imbalance", many, *copies)


def plant_near_duplicates(plot: Plot) -> None:
    (plot.root / "near").mkdir()
    large = plot.row("train d", "train", path="near/large.png")
    picture(5000, (300, 225)).save(plot.root / "near" / "large.png")
    small = plot.copy(large, "near/small.jpg", lambda image: image.resize((96, 72)), quality=60)
    plot.plant("near-duplicate", large, plot.row("test c", "test", path=small))
    taught, tested = plot.row("validation c", "validation", path="near/taught.png"), len(plot.rows)
    picture(5001, (240, 180)).save(plot.root / "near" / "taught.png")
    plot.plant("near-duplicate", taught, tested)
    plot.row("test b", "test", path=plot.copy(taught, "recompressed.jpg", Image.Image.copy, quality=60))
    exact = plot.row("train d", "train")
    plot.plant("near-duplicate", exact, plot.row("test d", "test", path=plot.copy(exact, "exact.png")))
    plot.rows[-1]["label"] = plot.rows[exact]["label"]  # of one label: no same content, but tested on what was taught
    together = [place for place, row in enumerate(plot.rows) if row["label"] == "train d"]
    plot.plant("label-in-splits", *together)


@pytest.fixture(scope="module")
def plot(tmp_path_factory) -> Plot:
    found = Plot(tmp_path_factory.mktemp("plot"))
    add_sound_rows(found)
    return found


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_sound_data_set_has_no_problem(plot: Plot, suffix: str) -> None:
    assert problems(plot.save(suffix)[0]) == []


def test_every_planted_problem_is_told_and_nothing_else(tmp_path: Path) -> None:
    plot = Plot(tmp_path)
    for step in (add_sound_rows, plant_bad_values, plant_bad_pictures, plant_bad_labels, plant_near_duplicates):
        step(plot)
    assert len(plot.planted) >= 20
    assert {kind for kind, _ in plot.planted} == set(KINDS) - {"two-groups"}  # which needs a table without splits
    for suffix in (".csv", ".jsonl", ".parquet"):
        file, expected = plot.save(suffix)
        for transform in (None, Transform(size=40, fit="crop")):
            assert summary(problems(file, transform)) == expected


def test_groups_where_there_are_no_splits(tmp_path: Path) -> None:
    plot = Plot(tmp_path)
    for group in ("a", "a", "b"):
        plot.row("cat", "", group=group)
    plot.plant("two-groups", 0, 1, 2)
    file, expected = plot.save(".csv")
    assert summary(problems(file)) == expected


def test_rows_of_lines_with_line_breaks_and_of_broken_lines(tmp_path: Path) -> None:
    for number in range(3):
        picture(number).save(tmp_path / f"{number}.png")
    file = tmp_path / "labels.csv"
    file.write_text('path,label,note\n0.png,cat,"a\nb\nc"\n1.png,cat,x,y\n\n2.png,cat,\ngone.png,cat,"d\ne"\n')
    assert summary(problems(file)) == [("bad-row", (5,)), ("missing-file", (9,))]
    assert [str(problem) for problem in problems(file)] == [
        "row 5: it has 4 values for 3 columns: put quotes around a value with a comma",
        "row 9: gone.png: the file does not exist",
    ]
    file = tmp_path / "labels.jsonl"
    file.write_text('\n{"path": "gone.png", "label": 1}\n{"path": "0.png"\n{"path": "1.png", "label": 1}\n')
    assert summary(problems(file)) == [("bad-row", (3,)), ("missing-file", (2,))]


def test_rows_of_folders_are_their_pictures_in_order(tmp_path: Path) -> None:
    for label, count in (("cat", 2), ("dog", 3), ("owl", 1)):
        (tmp_path / label).mkdir()
        for number in range(count):
            picture(ord(label[0]) * 10 + number).save(tmp_path / label / f"{number}.png")
    (tmp_path / "dog" / "1.png").write_bytes(b"")
    assert summary(problems(tmp_path)) == [("unreadable-image", (4,)), ("single-image", (6,))]


# What is told apart


def pair(root: Path, one: Image.Image, two: Image.Image, **table: list[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Problems of two pictures, in train and in test, that are one label each twice."""
    one.save(root / "one.png")
    two.save(root / "two.png")
    columns = {"path": ["one.png", "two.png"], "label": ["cat", "dog"], "split": ["train", "test"]} | table
    data = Dataset(root, columns, [1, 2])
    return [problem for problem in summary(check(data, look(data, None))) if problem[0] != "single-image"]


SCENE = picture(7, (240, 180))
TOLD = [("near-duplicate", (1, 2))]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (SCENE.resize((120, 90)), TOLD),
        (SCENE.resize((480, 360), Image.Resampling.LANCZOS), TOLD),
        (SCENE.point(lambda level: min(255, level + 2)), TOLD),
        (SCENE.transpose(Image.Transpose.FLIP_LEFT_RIGHT), []),
        (SCENE.point(lambda level: min(255, level + 12)), []),
        (SCENE.crop((30, 20, 210, 155)), []),
        (Image.merge("RGB", SCENE.split()[::-1]), []),  # as bright, in other colours
        (picture(8, (240, 180)), []),
    ],
    ids=["half", "twice", "a little brighter", "mirrored", "brighter", "cropped", "other colours", "another"],
)
def test_what_is_a_near_duplicate(other: Image.Image, expected: list, tmp_path: Path) -> None:
    assert pair(tmp_path, SCENE, other) == expected


def test_copies_within_a_split_are_none(tmp_path: Path) -> None:
    assert pair(tmp_path, SCENE, SCENE.resize((120, 90)), split=["test", "test"]) == []


@pytest.mark.parametrize(("box", "expected"), [("0,0,60,60", []), ("0,0,90,90", [("same-content", (1, 2))])])
def test_two_parts_of_one_file_are_two_contents(box: str, expected: list, tmp_path: Path) -> None:
    boxes, paths = ["0,0,90,90", box], ["one.png", "./one.png"]
    assert pair(tmp_path, SCENE, SCENE, path=paths, box=boxes, split=["train", "train"]) == expected


@pytest.mark.parametrize(
    ("splits", "roles", "expected"),
    [
        (["test", "test"], ["query", "gallery"], []),
        (["test", "test"], ["query", ""], []),
        (["test", "test"], ["gallery", "gallery"], []),
        (["test", "test"], ["query", "query"], [("query-without-gallery", (1, 2))]),
        (["test", "train"], ["query", "gallery"], [("query-without-gallery", (1,)), ("label-in-splits", (1, 2))]),
        (["test", ""], ["query", "gallery"], []),  # nobody knows yet where the second belongs
    ],
)
def test_queries_without_gallery(splits: list[str], roles: list[str], expected: list, tmp_path: Path) -> None:
    assert pair(tmp_path, SCENE, picture(8), label=["cat", "cat"], split=splits, role=roles) == expected


def test_copies_are_found_in_a_crowd() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1300, 16, 16, 3), np.uint8)
    copied = np.array([1290, 700, 1299])
    pixels[copied] = np.clip(pixels[[3, 650, 0]].astype(int) + rng.integers(-3, 4, (3, 16, 16, 3)), 0, 255)
    splits = ["train"] * 600 + ["validation"] * 60 + ["test"] * 640
    table = {"path": list(map(str, range(1300))), "label": ["cat"] * 1300, "split": splits}
    data = Dataset(Path(), table, range(1300))
    found = summary(check(data, Pictures(pixels, pixels, list(map(str, range(1300))), {})))
    assert [rows for kind, rows in found if kind == "near-duplicate"] == [(0, 1299), (3, 1290), (650, 700)]


def test_no_rows_have_no_problem(tmp_path: Path) -> None:
    data = Dataset(tmp_path, {"path": [], "label": [], "split": []}, [])
    assert check(data, look(data, Transform(size=40))) == []


# How it is told


def test_decoding_refuses_errors_all_at_once_and_hands_on_warnings(tmp_path: Path) -> None:
    plot, heard = Plot(tmp_path), []
    good = [plot.row("cat", "train"), plot.row("cat", "train"), plot.row("dog", "train")]
    plot.plant("single-image", good[2])
    file, expected = plot.save(".csv")
    pictures, warnings = decode(read(file), Transform(size=40), heard.append)
    assert summary(warnings) == expected
    np.testing.assert_array_equal(pictures.pixels[1], Transform(size=40)((tmp_path / plot.path(1)).read_bytes()))
    assert heard == [1] * 3
    plot.row("cat", "tset")
    plot.row("cat", "train", path="gone.png")
    with pytest.raises(DataError) as caught:
        decode(read(plot.save(".csv")[0]), Transform(size=16))
    assert str(caught.value).splitlines() == [
        f"{tmp_path} cannot be used:",
        "  row 5: the split is 'tset', not train, validation or test",
        "  row 6: gone.png: the file does not exist",
    ]


def test_long_lists_end_with_their_number() -> None:
    assert str(Problem("imbalance", tuple(range(1, 1501)), "much")) == "rows 1, 2, 3, 4, 5 and 1,495 more: much"
    assert str(Problem("two-groups", (7, 9), "two")) == "rows 7, 9: two"
    with pytest.raises(DataError) as caught:
        refuse("labels.csv", [Problem("missing-file", (row,), "gone") for row in range(1500)])
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[-1] == "  and 1,480 more"
    refuse("labels.csv", [Problem("single-image", (1,), "alone")])
