"""Cells in, each run once and kept as a JSON line out: what was measured, with which settings,
where, and how busy it was there.

A cell that the file holds with equal settings is not run again; delete its line to repeat it.
"""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

BUILD = Path("build/bench")
Record = dict[str, Any]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for. ``tiny``: few pictures and steps, only to see that a row runs."""

    seeds: int | None = None
    first_seed: int = 0
    epochs: int | None = None
    count: int = 30
    tiny: bool = False

    @property
    def file(self) -> Path:
        return BUILD / ("training-tiny.jsonl" if self.tiny else "training.jsonl")


@dataclass(frozen=True)
class Cell:
    """``settings`` is all that decides the result beside the seed, as JSON; ``measure`` gives the figures."""

    variant: str
    seed: int
    settings: Mapping[str, Any]
    measure: Callable[[], Figures]


@dataclass(frozen=True)
class Row:
    """``cells``: those of one seed, so that compared variants take turns; ``columns``: titles and names of figures for the
    table; ``once``: variants without chance, measured with the first seed only."""

    name: str
    question: str
    cells: Callable[[Asked, int], Iterable[Cell]]
    columns: Mapping[str, str]
    seeds: int = 1
    once: tuple[str, ...] = ()
    finish: Callable[[Asked, list[Record]], None] = lambda *_: None

    def all_cells(self, asked: Asked) -> Iterable[Cell]:
        first = asked.first_seed
        for seed in range(first, first + (asked.seeds or self.seeds)):
            yield from (cell for cell in self.cells(asked, seed) if seed == first or cell.variant not in self.once)


def records(file: Path) -> list[Record]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def known(row: Row, cell: Cell, file: Path) -> Record | None:
    """The record of this cell, where there is one with equal settings."""
    settings = json.loads(json.dumps(cell.settings))
    wanted = (row.name, cell.variant, cell.seed, settings)
    return next((each for each in records(file) if wanted == tuple(each[key] for key in _KEYS)), None)


_KEYS = ("row", "variant", "seed", "settings")


def run(row: Row, cell: Cell, file: Path) -> Record:
    """Measure, and keep at once."""
    load, date, started = os.getloadavg(), datetime.now(UTC), time.monotonic()
    figures = cell.measure()
    record = dict(zip(_KEYS, (row.name, cell.variant, cell.seed, cell.settings), strict=True)) | {
        "figures": figures,
        "seconds": round(time.monotonic() - started, 1),
        "load": {"before": load, "after": os.getloadavg()},
        "machine": machine(),
        "commit": commit(),
        "date": date.isoformat(timespec="seconds"),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(record) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
    return record


def machine() -> dict[str, Any]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def commit() -> dict[str, Any]:
    """``dirty``: tracked files differed from it."""
    return {"hash": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True).stdout.strip()
