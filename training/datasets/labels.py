"""A folder in, labelled images out: from its ``labels.csv``, or from one sub-folder a class.

``labels.csv`` needs the columns ``path`` (below the folder) and ``label``; ``split`` (train, validation, test) is used when
there, else classes are split by the hash of their label. Every other column is kept (``Dataset.column``).
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.image import SUFFIXES

from . import DataError
from .split import hash_split

SPLITS = ("train", "validation", "test")
PROPORTIONS = {"train": 0.7, "validation": 0.15, "test": 0.15}


@dataclass(frozen=True)
class Dataset:
    """Rows of images, all sequences in one order. ``table`` holds every column of the source."""

    root: Path
    table: dict[str, list[str]]

    @property
    def paths(self) -> list[Path]:
        return [self.root / path for path in self.table["path"]]

    @property
    def labels(self) -> list[str]:
        return self.table["label"]

    def column(self, name: str) -> list[str]:
        if name not in self.table:
            raise DataError(f"{self.root} has no column {name!r}; it has: {', '.join(self.table)}.")
        return self.table[name]

    def split(self, *names: str) -> "Dataset":
        """The rows whose split is one of ``names``. Raises ``DataError`` when there are none."""
        part = self.rows([row for row, split in enumerate(self.table["split"]) if split in names])
        if not part.labels:
            raise DataError(f"{self.root} has no images in the split {' or '.join(names)}; add classes or a split column.")
        return part

    def rows(self, rows: Sequence[int]) -> "Dataset":
        return Dataset(self.root, {name: [values[row] for row in rows] for name, values in self.table.items()})

    def __len__(self) -> int:
        return len(self.labels)


def read(root: Path) -> Dataset:
    """Raises ``DataError`` with every problem of the table at once."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give a folder with a labels.csv, or with one sub-folder a class.")
    table, lines = _read_csv(root / "labels.csv") if (root / "labels.csv").is_file() else _read_folders(root)
    if "split" not in table:
        table["split"] = [hash_split(label, PROPORTIONS) for label in table["label"]]
    _check(root, table, lines)
    return Dataset(root, table)


def _read_csv(path: Path) -> tuple[dict[str, list[str]], Sequence[int]]:
    """The columns, and the line on which each row ends."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="", restkey="")
            columns = [name for name in reader.fieldnames or [] if name]
            rows = [(row, reader.line_num) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as UTF-8 CSV ({error}). Save it again as UTF-8.") from error
    missing = {"path", "label"} - set(columns)
    if missing:
        raise DataError(f"{path} lacks the column {' and '.join(sorted(missing))}; its first line must name path and label.")
    return {name: [row[name] for row, _ in rows] for name in columns}, [line for _, line in rows]


def _read_folders(root: Path) -> tuple[dict[str, list[str]], Sequence[int]]:
    files = sorted(file for file in root.glob("*/**/*") if file.suffix.lower() in SUFFIXES and file.is_file())
    names = [file.relative_to(root) for file in files]
    return {"path": [name.as_posix() for name in names], "label": [name.parts[0] for name in names]}, range(1, len(names) + 1)


def _check(root: Path, table: dict[str, list[str]], lines: Sequence[int]) -> None:
    problems = []
    first: dict[str, int] = {}
    for line, path, label, split in zip(lines, table["path"], table["label"], table["split"], strict=True):
        if not path or not label:
            problems.append(f"line {line}: the path or the label is empty")
        elif first.setdefault(path, line) != line:
            problems.append(f"line {line}: {path} is on line {first[path]} already")
        elif split not in SPLITS:
            problems.append(f"line {line}: the split is {split!r}, not train, validation or test")
        elif not (root / path).is_file():
            problems.append(f"line {line}: {path} does not exist")
    if not table["path"]:
        problems.append("it holds no labelled images: give a labels.csv (path, label), or one sub-folder a class")
    if problems:
        more = [f"and {len(problems) - 20:,} more"] if len(problems) > 20 else []
        raise DataError("\n  ".join([f"{root} cannot be used:", *problems[:20], *more]))
