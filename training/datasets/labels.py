"""A source of labelled images in, one table of rows out. Four kinds of source:

- a folder with one sub-folder a class;
- a CSV, JSONL or Parquet file, or a folder that holds one called ``labels.csv`` (``.jsonl``, ``.parquet``), with the columns
  ``path`` (below the file's folder) and ``label``;
- the published layouts of ``layouts``.

Optional columns: ``split`` (train, validation, test), ``group`` (classes that belong together, for the split), ``role``
(query, gallery; empty for both), ``box`` (left, top, right, bottom in pixels: only this part of the picture counts),
``metadata`` (a JSON object: its fields become columns, but none of those above). Every other column is kept
(``Dataset.column``).
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from model.image import SUFFIXES, Box

from . import DataError, layouts, tables
from .problems import Problem, refuse
from .split import SPLITS, Splitting
from .tables import Table

REQUIRED = ("path", "label")
ROLES = ("", "query", "gallery")
_OWN = (*REQUIRED, "split", "group", "role", "box")


@dataclass(frozen=True)
class Dataset:
    """Rows of images, all sequences in one order. ``table`` holds every column of the source as text, and ``split``.

    ``numbers``: where each row stands in its source. ``problems``: what is wrong with the table. A row is there if it names
    a picture, whatever else is wrong with it, so that the picture is looked at too; its ``split`` or ``role`` is then empty.
    ``splitting``: how the classes were split; None where the source says it.
    """

    root: Path
    table: dict[str, list[str]]
    numbers: Sequence[int]
    problems: tuple[Problem, ...] = ()
    splitting: Splitting | None = None

    @property
    def paths(self) -> list[Path]:
        return [self.root / path for path in self.table["path"]]

    @property
    def labels(self) -> list[str]:
        return self.table["label"]

    @property
    def roles(self) -> list[str]:
        return self.table.get("role", [""] * len(self))

    @property
    def boxes(self) -> list[Box | None]:
        return [_box(text) for text in self.table["box"]] if "box" in self.table else [None] * len(self)

    def column(self, name: str) -> list[str]:
        """Raises ``DataError`` when there is none of that name."""
        if name not in self.table:
            raise DataError(f"{self.root} has no column {name!r}; it has: {', '.join(self.table)}.")
        return self.table[name]

    def rows_of(self, split: str) -> list[int]:
        """Raises ``DataError`` when there are none."""
        rows = [row for row, found in enumerate(self.table["split"]) if found == split]
        if not rows:
            raise DataError(f"{self.root} has no images in the split {split}; add classes or a split column.")
        return rows

    def counts(self) -> dict[str, dict[str, int]]:
        """Classes and images of each split."""
        found: dict[str, list[str]] = {split: [] for split in SPLITS}
        for split, label in zip(self.table["split"], self.labels, strict=True):
            found.setdefault(split or "none", []).append(label)
        return {split: {"classes": len(set(labels)), "images": len(labels)} for split, labels in found.items() if labels}

    def split(self, name: str) -> "Dataset":
        """The rows of a split. Raises ``DataError`` when there are none."""
        return self.rows(self.rows_of(name))

    def rows(self, rows: Sequence[int]) -> "Dataset":
        table = {name: [values[row] for row in rows] for name, values in self.table.items()}
        return replace(self, table=table, numbers=[self.numbers[row] for row in rows])

    def __len__(self) -> int:
        return len(self.labels)


def read(source: Path, splitting: Splitting | None = None) -> Dataset:
    """Read the table; no picture is opened. Raises ``DataError`` when there is no table to read.

    What is wrong with single rows is kept in ``Dataset.problems``; ``problems.refuse`` turns it into an error.
    """
    try:
        root, table = _find(source)
    except OSError as error:
        raise DataError(f"{error.filename or source} cannot be read ({error.strerror or error}).") from error
    if not table.numbers:
        refuse(source, table.problems)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing and (table.columns or table.numbers):
        has = ", ".join(map(repr, table.columns)) or "none"
        raise DataError(f"{source} lacks the column {' and '.join(missing)}; it must have path and label, and has: {has}.")
    if not table.numbers:
        raise DataError(f"{source} holds no labelled images: give a table of path and label, or one sub-folder a class.")
    columns, problems = _unfolded(table)
    usable, faults = _check_paths(columns, table.numbers)
    columns = {name: [values[row] for row in usable] for name, values in columns.items()}
    numbers = [table.numbers[row] for row in usable]
    has_splits = any(columns.get("split", ()))
    faults += _check_values(columns, numbers)
    used = None if has_splits else splitting or Splitting()
    if used is not None:
        columns["split"], clashes = _split(columns, numbers, used)
        faults += clashes
    return Dataset(root, columns, numbers, (*table.problems, *problems, *faults), used)


def _find(source: Path) -> tuple[Path, Table]:
    if source.is_file():
        return source.parent, tables.read(source)
    if not source.is_dir():
        raise DataError(f"{source} is not there. Give a folder of labelled pictures, or a CSV, JSONL or Parquet file.")
    for suffix in tables.SUFFIXES:
        if (file := source / f"labels{suffix}").is_file():
            return source, tables.read(file)
    return source, layouts.read(source) or _folders(source)


def _folders(root: Path) -> Table:
    names = sorted(name for folder in root.iterdir() if folder.is_dir() for name in _pictures(root, folder))
    problems, usable = [], []
    for number, name in enumerate(names, start=1):
        try:
            str(name).encode()
            usable.append(number)
        except UnicodeEncodeError:
            problems.append(Problem("bad-row", (number,), f"{str(name)!r} is not UTF-8: rename the file or its folder"))
    names = [names[number - 1] for number in usable]
    columns = {"path": [name.as_posix() for name in names], "label": [name.parts[0] for name in names]}
    return Table(columns, usable, problems)


def _pictures(root: Path, folder: Path) -> Iterator[PurePath]:
    """Names below ``root`` of the pictures in ``folder``, however deep. Raises ``OSError`` for one that nobody may list."""

    def fail(error: OSError) -> None:
        raise error

    for place, _, files in os.walk(folder, onerror=fail):
        paths = (Path(place, name) for name in files if name.lower().endswith(SUFFIXES))
        yield from (path.relative_to(root) for path in paths if path.is_file())


def _unfolded(table: Table) -> tuple[dict[str, list[str]], list[Problem]]:
    """The columns, with the fields of ``metadata`` among them; a column of the same name goes before."""
    columns, problems = dict(table.columns), []
    for row, text in enumerate(columns.pop("metadata", ())):
        try:
            fields = tables.fields(text) if text else {}
        except ValueError as error:
            problems.append(Problem("bad-row", (table.numbers[row],), f"its metadata is {error}"))
            continue
        for name, value in fields.items():
            if name in table.columns or name in _OWN:
                continue
            if name not in columns:
                columns[name] = [""] * len(table.numbers)
            columns[name][row] = value
    return columns, problems


def _check_paths(columns: dict[str, list[str]], numbers: Sequence[int]) -> tuple[list[int], list[Problem]]:
    """Rows that name a picture, each once; and rows without a path or a label, or named before."""
    usable, problems = [], []
    first: dict[tuple[str, object], int] = {}
    boxes = columns.get("box", [""] * len(numbers))
    for row, (number, path, label, box) in enumerate(zip(numbers, columns["path"], columns["label"], boxes, strict=True)):
        if not path or not label:
            empty = " and ".join(name for name, value in (("path", path), ("label", label)) if not value)
            problems.append(Problem("empty-value", (number,), f"the {empty} {'is' if path or label else 'are'} empty"))
        if not path:
            continue
        before = first.setdefault((os.path.normpath(path), _box(box) or box), row)
        if before == row:
            usable.append(row)
        else:
            problems.append(Problem("repeated-image", (numbers[before], number), f"{path} is listed twice"))
    return usable, problems


def _check_values(columns: dict[str, list[str]], numbers: Sequence[int]) -> Iterator[Problem]:
    """Tells of splits, roles and boxes that are none. Empties the splits and roles among them in ``columns``."""
    checks = (
        ("split", "unknown-split", lambda text: text in SPLITS, "train, validation or test"),
        ("role", "unknown-role", lambda text: text in ROLES, "query, gallery or empty"),
        ("box", "bad-box", lambda text: not text or _box(text), "left,top,right,bottom in pixels, at least one pixel each way"),
    )
    for name, kind, is_right, wanted in checks:
        values = columns.get(name, [])
        for row, value in enumerate(values if any(values) else ()):
            if not is_right(value):
                yield Problem(kind, (numbers[row],), f"the {name} is {value!r}, not {wanted}")
                values[row] = value if name == "box" else ""


def _split(columns: dict[str, list[str]], numbers: Sequence[int], splitting: Splitting) -> tuple[list[str], list[Problem]]:
    """The split of each row: by its group where it has one, else by its label; none without a label."""
    labels = columns["label"]
    groups = columns.get("group", [""] * len(labels))
    first: dict[str, str] = {}
    clashes: dict[str, set[str]] = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        if group != first.setdefault(label, group):
            clashes[label] |= {first[label], group}
    clashes.pop("", None)
    rows = defaultdict(list)
    for number, label in zip(numbers, labels, strict=True):
        if label in clashes:
            rows[label].append(number)
    problems = []
    for label, found in clashes.items():
        named = " and ".join(map(repr, sorted(found)))
        message = f"the label {label!r} has the groups {named}: give each label one group"
        problems.append(Problem("two-groups", tuple(rows[label]), message))
    splits = {label: splitting(group or label) if label else "" for label, group in first.items()}
    return [splits[label] for label in labels], problems


def _box(text: str) -> Box | None:
    """None where ``text`` is no box: ``10,20,110,220``, or the same as a JSON list.

    Boxes of less than a pixel are none: they are shares of the picture's sides that somebody took for pixels.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.strip("[] ").split(","))
    except ValueError:
        return None
    return (left, top, right, bottom) if right - left >= 1 and bottom - top >= 1 else None
