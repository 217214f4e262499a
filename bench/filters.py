"""How long does a filter take that is asked for the first time? Columns of each type, from half of the rows to none.

Run: python -m bench.filters [--rows N]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from index.search import columns, filters
from index.search.columns import Rows

REPEATS = 7
SHARES = (0.5, 0.05, 0.001, 0.0)  # of the rows, that a filter holds for


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "columns.arrow"
        started = time.perf_counter()
        columns.write(path, _items(rows))
        print(f"{rows:,} rows, made and written in {time.perf_counter() - started:.1f} s: {path.stat().st_size / 1e6:.0f} MB")
        shown = Table("median ms of a filter that holds for", *(f"{share:.1%}" for share in SHARES), "slowest", "Arrow's MB")
        for name, asked in _filters(rows).items():
            found = [_first_use(path, asked(share), share) for share in SHARES]
            medians = [f"{statistics.median(times):.1f}" for times, _ in found]
            slowest, peak = max(max(times) for times, _ in found), max(peak for _, peak in found)
            shown.add_row(name, *medians, f"{slowest:.1f}", f"{peak / 1e6:.1f}")
        Console(width=128).print(shown)
        _print_others(columns.open(path))


def _first_use(path: Path, asked: dict[str, Any], share: float) -> tuple[list[float], int]:
    """Milliseconds each time, of parsing and of finding the rows, and the most bytes that Arrow needed at once."""
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    times = []
    for _ in range(REPEATS):
        table = columns.open(path)
        started = time.perf_counter()
        rows = filters.parse(asked).rows(table)
        times.append(1000 * (time.perf_counter() - started))
    pa.set_memory_pool(usual)
    assert abs(rows.count / rows.size - share) < 0.01, (asked, rows.count)
    return times, counted.max_memory()


def _print_others(table: pa.Table) -> None:
    every = Rows.all(table.num_rows)
    print(f"a filter that is remembered: {every.bits.nbytes:,} bytes")
    for field in ("colour", "tags", "number"):
        print(f"facets of {field}, all rows: {_milliseconds(lambda: columns.facets([(table, every)], field, 20)):.1f} ms")  # noqa: B023
    some = np.arange(0, table.num_rows, max(1, table.num_rows // 1000))
    print(f"groups of {len(some):,} rows: {_milliseconds(lambda: columns.groups_of(table, 'colour', some)):.1f} ms")


def _milliseconds(work: Callable[[], object]) -> float:
    """The median."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def _items(rows: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """``colour`` and ``tags`` have few values, one for each share; ``serial``, ``number`` and ``mixed`` one a row."""
    random = np.random.default_rng(0)
    numbers, serials, mixed = (random.permutation(rows).tolist() for _ in range(3))
    colours, tags, weights = (random.random(rows).tolist() for _ in range(3))
    for row in range(rows):
        yield (
            f"folder/{row}.png",
            {
                "colour": _named(colours[row]),
                "serial": _serial(serials[row]),
                "number": numbers[row],
                "weight": weights[row],
                "tags": [_named(tags[row]), f"tag {row % 20}"],
                "mixed": mixed[row] if mixed[row] % 2 else f"{mixed[row]}",
            },
        )


def _named(draw: float) -> str:
    """A share's name for that share of the draws."""
    for share in SHARES[:-1]:
        if draw < share:
            return f"{share}"
        draw -= share
    return f"other {100 * draw:.0f}"


def _serial(number: int) -> str:
    return f"serial {number:09d}"


def _filters(rows: int) -> dict[str, Callable[[float], dict[str, Any]]]:
    """What is asked, by the share of the rows that it is to hold for."""

    def serials(share: float) -> list[str]:
        return [_serial(number) for number in range(int(share * rows))][: filters.MAX_VALUES]

    return {
        "text, few values: one": lambda share: {"colour": f"{share}"},
        "text, a value a row: range": lambda share: {"serial": {"<": _serial(int(share * rows))}},
        "text, a value a row: in 10,000 at most, or range": lambda share: {
            "or": [{"serial": serials(share)}, {"serial": {"<": _serial(int(share * rows))}}]
        },
        "int64: range": lambda share: {"number": {">=": 0, "<": int(share * rows)}},
        "float64: range": lambda share: {"weight": {"<": share}},
        "list of texts: one": lambda share: {"tags": f"{share}"},
        "text and int64 in one field: range": lambda share: {"mixed": {"<": int(2 * share * rows)}},
        "five conditions": lambda share: {
            "number": {"<": int(share * rows)},
            "colour": {"exists": True},
            "or": [{"weight": {"<": 2}}, {"serial": "x"}, {"tags": ["x", "y"]}],
        },
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    main(parser.parse_args().rows)
