"""What other processes do: one opens a collection like a server, one adds to it like a job."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.search.vectors import real
from index.search.approximate import K
from index.search.cores import give_way
from model.bundle import load
from model.encoder import Precision, open_encoder
from service.engine import Engine

from .made import add

BUNDLE = Path("demo/bundle")
PRECISION: Precision = "bf16"  # as the vectors were made


def engine(place: Path) -> Engine:
    engine = Engine(place, "openvino", None, 80_000_000)
    assert engine.follow()
    return engine


def opened(place: Path, asked: np.ndarray, connection: Any) -> None:
    before = private()
    began = time.perf_counter()
    searcher = engine(place).serving.searcher
    ready = time.perf_counter()
    searcher.search(asked[0], K)
    first = time.perf_counter()
    for query in asked:
        searcher.search(query, K)
    told = {"open_seconds": ready - began, "first_search_ms": 1000 * (first - ready), "before_mb": before}
    connection.send({name: round(value, 3) for name, value in told.items()})
    connection.recv()


def private(pid: int | str = "self") -> float:
    """Megabytes that no other process has too."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def grow(place: Path, rows: range) -> None:
    give_way()
    bundle = load(BUNDLE)
    add(place, real(rows.stop), rows, bundle, open_encoder(bundle, "openvino", PRECISION))
