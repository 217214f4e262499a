"""The published layouts of CUB-200-2011, Cars-196, Stanford Online Products and In-Shop in, tables with protocol splits out.

The papers on metric learning split by class and look at whole pictures. So the boxes that come with a data set are a column
like any other, ``bounding_box``: "left,top,right,bottom" in pixels from 0, right and bottom exclusive.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from . import DataError
from .problems import Problem
from .tables import Table

_CUB_CLASSES, _CUB_LAST_TRAIN = 200, 100
_CARS_LAST_TRAIN = 98
_CARS_TEST = "cars_test_annos_withlabels.mat"
_PARTITION = "list_eval_partition.txt"
_PARTITION_FOLDERS = ("", "Eval", "Anno", "eval")
_PARTITION_COLUMNS = ("image_name", "item_id", "evaluation_status")
_STATUSES = {"train": ("train", ""), "query": ("test", "query"), "gallery": ("test", "gallery")}
_PRODUCT_COLUMNS = ("image_id", "class_id", "super_class_id", "path")
_AGAIN = "Unpack the data set again, or download this file from its page again."

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Layout:
    """``folders``: where it may lie in the folder that was given. ``there``: whether a folder holds it."""

    name: str
    folders: tuple[str, ...]
    there: Callable[[Path], bool]
    read: Callable[[Path], Table]

    def folder(self, root: Path) -> str | None:
        return next((folder for folder in self.folders if self.there(root / folder)), None)


def read(root: Path) -> Table | None:
    """The table of a published data set that was unpacked in ``root``; None where ``root`` is none of them.

    Columns: ``path`` (below ``root``), ``label``, ``split`` (train, test), for In-Shop ``role``, and what else the data set
    says. ``numbers``: lines of the text file, or entries of the .mat file, in which a row stands. Raises ``DataError`` when
    one of the data set's files is missing or damaged; single rows that cannot be read are problems of the table.
    """
    try:
        found = [(layout, folder) for layout in LAYOUTS if (folder := layout.folder(root)) is not None]
        if len(found) > 1:
            names = " and ".join(layout.name for layout, _ in found)
            raise DataError(f"{root} holds {names}. Put each in a folder of its own, and give one of these.")
        for layout, folder in found:
            return _below(folder, layout.read(root / folder))
    except OSError as error:
        raise DataError(f"{error.filename or root} cannot be read ({error.strerror or error}).") from error
    return None


# CUB-200-2011


def _holds_cub(base: Path) -> bool:
    # images.txt alone is a name that anybody may give to a file
    return (base / "image_class_labels.txt").is_file() or (
        (base / "images.txt").is_file() and (base / "classes.txt").is_file() and (base / "images").is_dir()
    )


def _cub(base: Path) -> Table:
    source = base / "images.txt"
    lines = _lines(source)
    names = _cub_names(base / "classes.txt")
    classes = _of_images(base / "image_class_labels.txt", len(lines), "class_id")
    boxes = base / "bounding_boxes.txt"
    corners = _of_images(boxes, len(lines), "x", "y", "width", "height") if boxes.is_file() else None

    def row(line: str) -> tuple[str, ...]:
        image, path = _values(line, "image_id", "path")
        [number] = _looked_up(classes, "image", image, "image_class_labels.txt")
        [name] = _looked_up(names, "class", number, "classes.txt")
        box = () if corners is None else (_sized_box(*_looked_up(corners, "image", image, boxes.name)),)
        return path, name, _split(_whole("class", number), _CUB_LAST_TRAIN), number, *box

    columns = ("path", "label", "split", "class_id") + (() if corners is None else ("bounding_box",))
    return _located(base, source, _table(source, columns, lines, row), "images")


def _cub_names(path: Path) -> dict[str, list[str]]:
    names = _lookup(path, "class_id", "class_name")
    if len(names) > _CUB_CLASSES:  # NABirds has the same files
        raise DataError(
            f"{path} lists {len(names):,} classes, CUB-200-2011 has {_CUB_CLASSES}. For another data set in this layout, "
            "write a CSV file with the columns path, label and split."
        )
    return names


def _of_images(path: Path, images: int, *names: str) -> dict[str, list[str]]:
    """Image id → values. Raises ``DataError`` when it is not about as many images as images.txt."""
    found = _lookup(path, "image_id", *names)
    if len(found) != images:
        raise DataError(f"{path} is about {len(found):,} images, images.txt about {images:,}: one of them is cut off. {_AGAIN}")
    return found


def _sized_box(*texts: str) -> str:
    try:
        x, y, width, height = map(float, texts)
    except ValueError:
        raise ValueError(f"its bounding box {' '.join(texts)} is not made of numbers") from None
    return _box(x, y, x + width, y + height)


# Cars-196


def _holds_cars(base: Path) -> bool:
    names = ("cars_annos.mat", "devkit/cars_train_annos.mat", _CARS_TEST, f"devkit/{_CARS_TEST}")
    return any((base / name).is_file() for name in names)


def _cars(base: Path) -> Table:
    """From ``cars_annos.mat`` and ``car_ims``, else from ``devkit``, ``cars_train`` and ``cars_test``.

    Both tell a train and a test half that share their classes. Metric learning splits by class, so that is left aside.
    """
    whole, devkit = base / "cars_annos.mat", base / "devkit"
    if whole.is_file() and ((base / "car_ims").is_dir() or not (base / "cars_train").is_dir()):
        return _cars_part(base, whole, "relative_im_path", "", _class_names(whole))
    names = _class_names(devkit / "cars_meta.mat")
    labelled = base / _CARS_TEST if (base / _CARS_TEST).is_file() else devkit / _CARS_TEST
    return _joined(
        _cars_part(base, devkit / "cars_train_annos.mat", "fname", "cars_train", names),
        _cars_part(base, labelled, "fname", "cars_test", names),
    )


def _class_names(path: Path) -> list[str]:
    return [str(name) for name in np.atleast_1d(_variable(path, "class_names"))]


def _cars_part(base: Path, source: Path, file: str, folder: str, names: Sequence[str]) -> Table:
    """``file``: the field that names the picture in ``folder``; ``names``: of class 1, 2, …"""
    corners = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
    entries = np.atleast_1d(_variable(source, "annotations"))
    if lacking := [name for name in (file, "class", *corners) if name not in (entries.dtype.names or ())]:
        raise DataError(f"{source} is damaged: its annotations have no {', '.join(lacking)}. {_AGAIN}")

    def row(entry: Any) -> tuple[str, ...]:
        number = _whole("class", entry["class"])
        if not 1 <= number <= len(names):
            raise ValueError(f"class {number} is none of the {len(names)} that have a name")
        path = entry[file]
        if not isinstance(path, str):
            raise ValueError("it names no picture")
        left, top, right, bottom = (_whole(corner, entry[corner]) for corner in corners)
        # MATLAB counts from 1, and the last pixel belongs to the box
        box = _box(left - 1, top - 1, right, bottom)
        return str(path), names[number - 1], _split(number, _CARS_LAST_TRAIN), str(number), box

    table = _table(source, ("path", "label", "split", "class_id", "bounding_box"), enumerate(entries, start=1), row)
    return _located(base, source, table, folder)


def _variable(path: Path, name: str) -> Any:
    """A variable of a .mat file, without dimensions of length 1."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError(f'Reading {path} needs scipy. Say: pip install "lookalike[train]"') from None
    _check_there(path)
    try:
        content = loadmat(str(path), squeeze_me=True, variable_names=[name])
    except Exception as error:  # scipy lets whatever a damaged byte leads to pass
        raise DataError(f"{path} is damaged ({error}). {_AGAIN}") from error
    if name not in content:
        raise DataError(f"{path} is damaged: it has no {name}. {_AGAIN}")
    return content[name]


# Stanford Online Products


def _holds_products(base: Path) -> bool:
    return (base / "Ebay_train.txt").is_file() or (base / "Ebay_test.txt").is_file()


def _products(base: Path) -> Table:
    return _joined(*(_products_part(base, split) for split in ("train", "test")))


def _products_part(base: Path, split: str) -> Table:
    source = base / f"Ebay_{split}.txt"
    header, *lines = _lines(source) or [(1, "")]
    _check_header(source, header, _PRODUCT_COLUMNS)

    def row(line: str) -> tuple[str, ...]:
        _, number, kind, path = _values(line, *_PRODUCT_COLUMNS)
        return path, number, split, kind

    return _located(base, source, _table(source, ("path", "label", "split", "super_class"), lines, row), "")


# In-Shop


def _holds_inshop(base: Path) -> bool:
    return _partition(base) is not None


def _partition(base: Path) -> Path | None:
    """CelebA and DeepFashion's other benchmarks give this name to files that have not these three columns."""
    for folder in _PARTITION_FOLDERS:
        path = base / folder / _PARTITION
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as file:
                starts = [file.readline(1000).split() for _ in range(3)]
            if any(len(values) == 3 and values[2] in ("evaluation_status", *_STATUSES) for values in starts):
                return path
    return None


def _inshop(base: Path) -> Table:
    source = _partition(base)
    assert source is not None
    (_, count), *lines = _lines(source)
    header, *lines = lines or [(2, "")]
    _check_header(source, header, _PARTITION_COLUMNS)
    if count.strip() != str(len(lines)):
        raise DataError(f"{source} announces {count.strip()} images in its first line and lists {len(lines):,}. {_AGAIN}")

    def row(line: str) -> tuple[str, ...]:
        path, item, status = _values(line, *_PARTITION_COLUMNS)
        if status not in _STATUSES:
            raise ValueError(f"its status {status} is none of {', '.join(_STATUSES)}")
        return path, item, *_STATUSES[status]

    return _located(base, source, _table(source, ("path", "label", "split", "role"), lines, row), "", "Img")


# Text files


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path} is missing, and the files beside it need it. {_AGAIN}")


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1."""
    _check_there(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is damaged ({error}). {_AGAIN}") from error
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _values(line: str, *names: str) -> list[str]:
    """As many values as ``names``, the last of them up to the end of the line. Raises ``ValueError`` when there are fewer."""
    values = line.strip().split(maxsplit=len(names) - 1)
    if len(values) < len(names):
        raise ValueError(f"it has {len(values)} of the {len(names)} values {', '.join(names)}")
    return values


def _check_header(path: Path, header: tuple[int, str], names: Sequence[str]) -> None:
    number, line = header
    if line.split() != list(names):
        raise DataError(f"{path} is damaged: line {number} should be {' '.join(names)!r}. {_AGAIN}")


def _lookup(path: Path, *names: str) -> dict[str, list[str]]:
    """First value of a line → the others."""
    found: dict[str, list[str]] = {}
    for number, line in _lines(path):
        try:
            key, *values = _values(line, *names)
        except ValueError as error:
            raise DataError(f"{path} is damaged in line {number}: {error}. {_AGAIN}") from None
        if key in found:
            raise DataError(f"{path} is damaged in line {number}: it has the {names[0]} {key} twice. {_AGAIN}")
        found[key] = values
    return found


def _looked_up(found: dict[str, list[str]], what: str, key: str, file: str) -> list[str]:
    if key not in found:
        raise ValueError(f"{what} {key} is not in {file}")
    return found[key]


# Values


def _whole(what: str, value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"its {what} {value} is not a whole number") from None


def _split(number: int, last_train: int) -> str:
    return "train" if number <= last_train else "test"


def _box(left: float, top: float, right: float, bottom: float) -> str:
    corners = (left, top, right, bottom)
    text = ",".join(f"{corner:g}" for corner in corners)
    if not (all(map(math.isfinite, corners)) and left < right and top < bottom):
        raise ValueError(f"its bounding box {text} is empty")
    return text


# Tables


def _table(
    source: Path, columns: Sequence[str], entries: Iterable[tuple[int, Entry]], row: Callable[[Entry], tuple[str, ...]]
) -> Table:
    """``row`` gives the values of an entry in the order of ``columns``; its ``ValueError`` becomes a problem."""
    rows, numbers, problems = [], [], []
    for number, entry in entries:
        try:
            rows.append(row(entry))
            numbers.append(number)
        except ValueError as error:
            # the file is named because a data set can have two
            problems.append(Problem("bad-row", (number,), f"{error} ({source.name})"))
    if not rows and not problems:
        raise DataError(f"{source} lists no image. {_AGAIN}")
    return Table({name: [values[place] for values in rows] for place, name in enumerate(columns)}, numbers, problems)


def _located(base: Path, source: Path, table: Table, *folders: str) -> Table:
    """Paths below ``base``, by the first of ``folders`` that has any of the pictures."""
    paths = table.columns["path"]
    for folder in folders:
        if not paths or any((base / folder / path).is_file() for path in paths):
            return _below(folder, table)
    places = " or ".join(str(base / folder) for folder in folders)
    raise DataError(f"{source} lists {len(paths):,} images, such as {paths[0]}, and none is in {places}. Unpack them there.")


def _below(folder: str, table: Table) -> Table:
    if not folder:
        return table
    return replace(table, columns=table.columns | {"path": [f"{folder}/{path}" for path in table.columns["path"]]})


def _joined(*tables: Table) -> Table:
    """One table below the other; all have the same columns."""
    columns = {name: [value for table in tables for value in table.columns[name]] for name in tables[0].columns}
    numbers = [number for table in tables for number in table.numbers]
    return Table(columns, numbers, [problem for table in tables for problem in table.problems])


LAYOUTS = (
    Layout("CUB-200-2011", ("", "CUB_200_2011"), _holds_cub, _cub),
    Layout("Cars-196", ("", "stanford_cars"), _holds_cars, _cars),
    Layout("Stanford Online Products", ("", "Stanford_Online_Products"), _holds_products, _products),
    Layout("In-Shop", ("",), _holds_inshop, _inshop),
)
