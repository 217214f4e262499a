"""The name of a data set and the settings in, its labels and decoded pixels out.

Pixels are decoded once a (data set, size) and kept in build/bench, with the seconds that it took.
"""

import csv
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import objects
from model.transform import Transform
from training.config import TrainingConfig
from training.datasets import emoji, icons
from training.datasets.check import decode
from training.datasets.labels import Dataset, read
from training.datasets.split import Splitting
from training.examples import Examples, of

from .cells import BUILD

_PLACES: dict[str, tuple[tuple[Path, ...], Callable[[Path], Any]]] = {
    "emoji": ((Path("demo/emoji"), Path("build/emoji")), emoji.build),
    "icons": ((Path("build/icons"),), icons.build),
    "objects": ((Path("build/objects"),), objects.write),
}
_HALVES = Splitting(train=0.5, validation=0.0, test=0.5)  # objects has no split of its own to train on
_TINY = {"emoji": 12, "icons": 12, "objects": 4}  # every so many classes


@dataclass(frozen=True)
class Pictures:
    """Images of a data set, and their pixels as ``transform`` makes them, which are decoded when somebody first asks."""

    name: str
    data: Dataset
    transform: Transform

    @cached_property
    def pixels(self) -> np.ndarray:
        return np.load(self.file)

    @cached_property
    def file(self) -> Path:
        """Holds the pixels, to be mapped."""
        size, fit = self.transform.size, self.transform.fit
        file = BUILD / f"{self.name}-{len(self.data)}-{_digest(self.data)}-{size}-{fit}.npy"
        if not file.with_suffix(".json").exists():
            BUILD.mkdir(parents=True, exist_ok=True)
            started = time.monotonic()
            np.save(file, decode(self.data, self.transform)[0].pixels)
            file.with_suffix(".json").write_text(json.dumps({"reading_seconds": time.monotonic() - started}))
        return file

    @property
    def reading_seconds(self) -> float:
        """What decoding took."""
        return float(json.loads(self.file.with_suffix(".json").read_text())["reading_seconds"])

    @cached_property
    def mask(self) -> str | None:
        """Hits of the same hand are left out where it is known."""
        return "family" if "family" in self.data.table else None

    def rows(self, *splits: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.data.table["split"], splits))

    def columns(self, rows: np.ndarray) -> dict[str, list[str]]:
        return self.data.rows(rows.tolist()).table

    def examples(self, rows: np.ndarray, pixels: np.ndarray | None = None) -> Examples:
        labels = np.array(self.data.labels)[rows].tolist()
        return of(self.pixels if pixels is None else pixels, labels, rows=rows)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What a record tells of the pictures."""
        return {"name": self.name, "splits": self.data.counts(), "labels": _digest(self.data)}


def folder(name: str) -> Path:
    """Where the data set is; built where it is nowhere."""
    places, build = _PLACES[name]
    if (found := next((place for place in places if (place / "labels.csv").exists()), None)) is None:
        build(found := places[-1])
    return found


def load(name: str, config: TrainingConfig, tiny: bool = False) -> Pictures:
    return _load(name, Transform(size=config.image_size, fit=config.fit), tiny)


@cache
def _load(name: str, transform: Transform, tiny: bool) -> Pictures:
    data = read(folder(name))
    if name == "objects":
        data = replace(data, table=data.table | {"split": [_HALVES(label) for label in data.labels]})
    if tiny:
        chosen = set(sorted(set(data.labels))[:: _TINY[name]])
        data = data.rows([row for row, label in enumerate(data.labels) if label in chosen])
    return Pictures(name, data, transform)


def _digest(data: Dataset) -> str:
    rows = "\n".join("\t".join(row) for row in zip(*(data.table[key] for key in ("path", "label", "split")), strict=True))
    return hashlib.sha256(rows.encode()).hexdigest()[:12]


def part(name: str, every: int, to: Path) -> Path:
    """A folder of every so many classes of a data set, with all their pictures, of all three splits."""
    source = folder(name)
    with (source / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = set(sorted({row["label"] for row in rows})[::every])
    rows = [row for row in rows if row["label"] in chosen]
    for row in rows:
        (to / row["path"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / row["path"], to / row["path"])
    with (to / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    return to
