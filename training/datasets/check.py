"""Labelled images and what was seen of them in, every problem at once out: ``problems.KINDS`` lists what is looked for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from model.transform import Transform

from . import DataError
from .labels import Dataset
from .pixels import Advance, Pictures, Squeeze, look
from .problems import KINDS, Problem, refuse
from .split import SPLITS

NEAR = 3.0  # root mean square difference of two previews, in levels of 255: below, one is a copy of the other
IMBALANCE = 50  # times the images of the median class
_CANDIDATES = 8
_BLOCK = 512  # previews that are compared with their candidates at once: 13 MB


def decode(
    data: Dataset, transform: Transform | Squeeze | None, advance: Advance = lambda _: None, store: Path | None = None
) -> tuple[Pictures, list[Problem]]:
    """Look at every image of ``data``, once: the pixels, in the file ``store`` if that is given, and what should be known.

    Raises ``DataError`` that lists every error in table and pictures, and leaves no file; warnings are returned.
    """
    pictures = look(data, transform, advance, store)
    problems = check(data, pictures)
    try:
        refuse(data.root, problems, ": `lookalike data check` lists them all")
    except DataError:
        if store is not None:
            store.unlink(missing_ok=True)
        raise
    return pictures, problems


def check(data: Dataset, pictures: Pictures) -> list[Problem]:
    """Errors first, kinds in the order of ``KINDS``, each kind in the order of its rows."""
    found = [*data.problems, *_faults(data, pictures), *_queries_without_gallery(data), *_single_images(data)]
    found += [*_shared_contents(data, pictures), *_near_duplicates(data, pictures), *_imbalance(data)]
    found += [*_in_several_splits(data, "label"), *_in_several_splits(data, "group")]
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(found, key=lambda problem: (order[problem.kind], problem.rows))


def _faults(data: Dataset, pictures: Pictures) -> Iterator[Problem]:
    for row, (kind, message) in pictures.faults.items():
        yield Problem(kind, (data.numbers[row],), message)


def _queries_without_gallery(data: Dataset) -> Iterator[Problem]:
    """A label that is asked for and cannot be found: all its images of a split are queries."""
    splits, roles = data.table["split"], data.roles
    if "query" not in roles:
        return
    for label, rows in _rows_by(data.labels).items():
        asked = {splits[row] for row in rows if roles[row] == "query"}
        answered = {splits[row] for row in rows if roles[row] != "query"}
        for split in SPLITS:
            if split in asked - answered and "" not in answered:  # a split that nobody knows may be this one
                queries = [row for row in rows if splits[row] == split]
                message = f"the label {label!r} has queries in {split}, and no image in the gallery there"
                yield Problem("query-without-gallery", _numbers(data, queries), message)


def _single_images(data: Dataset) -> Iterator[Problem]:
    roles = data.roles
    for label, rows in _rows_by(data.labels).items():
        if len(rows) == 1 and roles[rows[0]] != "query":
            learnt_from = data.table["split"][rows[0]] == "train"
            message = f"the label {label!r} has one image: " + (
                "its augmentations are a class" if learnt_from else "a distractor"
            )
            yield Problem("single-image", _numbers(data, rows), message)


def _shared_contents(data: Dataset, pictures: Pictures) -> Iterator[Problem]:
    for rows in _rows_by(pictures.contents).values():
        labels = sorted({data.labels[row] for row in rows} - {""})
        if len(labels) > 1:
            named = " and ".join(map(repr, labels))
            yield Problem("same-content", _numbers(data, rows), f"one picture under the labels {named}")


def _near_duplicates(data: Dataset, pictures: Pictures) -> Iterator[Problem]:
    """Pictures of a later split that are copies of one in an earlier split: what was trained on would be tested."""
    splits = data.table["split"]
    places = {split: place for place, split in enumerate(SPLITS)}
    place = np.array([-1 if row in pictures.faults else places.get(split, -1) for row, split in enumerate(splits)], np.int64)
    for later in range(1, len(SPLITS)):
        known, asked = np.flatnonzero((place >= 0) & (place < later)), np.flatnonzero(place == later)
        for row, twin in _twins(pictures.previews, asked, known):
            told = pictures.contents[twin] == pictures.contents[row] and data.labels[twin] != data.labels[row]
            if not told:  # as the same content under two labels
                names = f"{data.table['path'][twin]} and {data.table['path'][row]}"
                message = f"{names} look the same, in {splits[twin]} and {splits[row]}"
                yield Problem("near-duplicate", _numbers(data, sorted((twin, row))), message)


def _twins(previews: np.ndarray, asked: np.ndarray, known: np.ndarray) -> Iterator[tuple[int, int]]:
    """Each of the rows ``asked`` that has a copy among the rows ``known``, and the nearest copy."""
    if not len(known) or not len(asked):
        return
    candidates = min(_CANDIDATES, len(known))
    gallery = _coarse(previews[known])
    for start in range(0, len(asked), _BLOCK):
        rows = asked[start : start + _BLOCK]
        _, nearest = faiss.knn(_coarse(previews[rows]), gallery, candidates, metric=faiss.METRIC_L2)
        difference = previews[known[nearest]].astype(np.float32) - previews[rows][:, None]
        squares = np.square(difference, out=difference).mean(axis=(2, 3, 4))
        best = squares.argmin(axis=1)
        for at in np.flatnonzero(squares.min(axis=1) <= NEAR**2):
            yield int(rows[at]), int(known[nearest[at, best[at]]])


def _coarse(previews: np.ndarray) -> np.ndarray:
    """uint8 [N, 16, 16, 3] → float32 [N, 64] of brightness: never farther apart than the previews, and quick to compare."""
    return previews.reshape(-1, 8, 2, 8, 2, 3).mean(axis=(2, 4, 5), dtype=np.float32).reshape(-1, 64)


def _in_several_splits(data: Dataset, column: str) -> Iterator[Problem]:
    for name, rows in _rows_by(data.table.get(column, [])).items():
        found = {data.table["split"][row] for row in rows}
        listed = [split for split in SPLITS if split in found]
        if len(listed) > 1:
            message = f"the {column} {name!r} is in {' and '.join(listed)}: figures will be of what was trained on"
            yield Problem(f"{column}-in-splits", _numbers(data, rows), message)


def _imbalance(data: Dataset) -> Iterator[Problem]:
    groups = _rows_by(data.labels)
    median = float(np.median([len(rows) for rows in groups.values()])) if groups else 0.0
    for label, rows in groups.items():
        if len(rows) > IMBALANCE * median:
            message = f"the label {label!r} has {len(rows):,} images, the median label {median:g}: it will outweigh the others"
            yield Problem("imbalance", _numbers(data, rows), message)


def _rows_by(values: Iterable[str]) -> dict[str, list[int]]:
    """The rows of each value that is not empty."""
    rows = defaultdict(list)
    for row, value in enumerate(values):
        if value:
            rows[value].append(row)
    return rows


def _numbers(data: Dataset, rows: Sequence[int]) -> tuple[int, ...]:
    return tuple(data.numbers[row] for row in rows)
