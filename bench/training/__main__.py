"""Run rows of measurements, cell by cell; what is already measured with equal settings is not measured again.

Run: python -m bench.training [ROW …] [--seeds N] [--seed FIRST] [--epochs N] [--count N] [--list] [--table] [--tiny]
"""

import argparse
import sys
import traceback

from rich.console import Console

from training import cpu

from . import architectures, busy, curves, gained, kills, levers, loss, steps
from .cells import Asked, Row, known, records, run
from .tables import table

ROWS = {row.name: row for part in (gained, levers, curves, busy, steps, loss, architectures, kills) for row in part.ROWS}
console = Console(stderr=True, highlight=False, emoji=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.training", description="What training is worth, row by row.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join(ROWS))
    parser.add_argument("--seeds", type=int, help="how many, instead of the row's own number")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--epochs", type=int, help="instead of the preset's, for all variants alike")
    parser.add_argument("--count", type=int, default=30, help="of kills")
    parser.add_argument("--list", action="store_true", help="say which cells there are, and which are measured")
    parser.add_argument("--table", action="store_true", help="print what was measured as Markdown")
    parser.add_argument("--tiny", action="store_true", help="few pictures and steps, into a file of its own: does a row run?")
    given = parser.parse_args()
    if unknown := [name for name in given.rows if name not in ROWS]:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    if not given.rows and not given.list and not given.table:
        parser.error(f"name rows: {', '.join(ROWS)}; or --list, or --table")
    asked = Asked(given.seeds, given.seed, given.epochs, given.count, given.tiny)
    rows = [ROWS[name] for name in given.rows or ROWS]
    if given.table:
        print("\n\n".join(table(row, found) for row in rows if (found := _of(row, asked))))
        return 0
    if given.list:
        for row in rows:
            listed(row, asked)
        return 0
    cpu.keep_freed_memory()  # a training does it, and cells after it shall not differ from those before it
    return max([measure(row, asked) for row in rows])


def listed(row: Row, asked: Asked) -> None:
    console.print(f"[bold]{row.name}[/bold]: {row.question}")
    there: dict[str, list[bool]] = {}
    for cell in row.all_cells(asked):
        there.setdefault(cell.variant, []).append(known(row, cell, asked.file) is not None)
    for variant, found in there.items():
        console.print(f"  {variant}: {sum(found)} of {len(found)}")


def measure(row: Row, asked: Asked) -> int:
    """Status 1 where a cell failed; the others are run all the same."""
    status = 0
    for cell in row.all_cells(asked):
        named = f"{row.name}: {cell.variant}, seed {cell.seed}"
        record = known(row, cell, asked.file)
        if record is None:
            console.print(f"[bold]{named}[/bold] …")
            try:
                record = run(row, cell, asked.file)
            except Exception:  # a night's other cells shall not be lost with it
                console.print(f"{named} [red]failed[/red]\n{traceback.format_exc()}", markup=False, soft_wrap=True)
                status = 1
                continue
        told = {title: record["figures"].get(key) for title, key in row.columns.items() if key in record["figures"]}
        console.print(f"{named}: {told}, {record['seconds']:.0f} s, {record['date']}", markup=False, soft_wrap=True)
        status = max(status, int(record["figures"].get("failed", False)))
    row.finish(asked, _of(row, asked))
    return status


def _of(row: Row, asked: Asked) -> list:  # type: ignore[type-arg]
    return [each for each in records(asked.file) if each["row"] == row.name]


if __name__ == "__main__":
    sys.exit(main())
