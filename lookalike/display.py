"""How results look in a terminal: progress bars and tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from index.job import Report

FIGURES = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r")


@contextmanager
def progress(console: Console) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description:<17}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
    )
    with _WithNote(*columns, console=console) as bars:
        yield bars


class _WithNote(Progress):
    """Every task has a note, empty until somebody writes one."""

    def add_task(self, description: str, *args: Any, **fields: Any) -> Any:
        return super().add_task(description, *args, **{"note": "", **fields})


def figures(console: Console, found: dict[str, Any]) -> None:
    """``{"bundle": figures, "backbone": figures}`` as a table, best known first."""
    bundle = found["bundle"]
    table = Table(title=f"{bundle['queries']:,} queries of {bundle['classes']:,} test classes", title_justify="left")
    table.add_column("")
    for name in FIGURES:
        table.add_column(name.replace("recall", "R").replace("map@r", "MAP@R"), justify="right")
    _rows(table, found, "")
    if "masked" in bundle:
        table.add_section()
        _rows(table, {who: figures["masked"] for who, figures in found.items()}, f", other {bundle['masked']['by']}")
    console.print(table)


def _rows(table: Table, found: dict[str, Any], suffix: str) -> None:
    for who, title in (("backbone", "backbone as it is"), ("bundle", "[bold]trained")):
        if who in found:
            table.add_row(title + suffix, *(f"{found[who][name]:.4f}" for name in FIGURES))


def report(console: Console, report: Report) -> None:
    """What an index job did; the files that could not be read, with their reasons."""
    console.print(
        f"[bold]{report.count:,} items[/bold] can be searched (generation {report.generation}): {report.added:,} came, "
        f"{report.removed:,} went, {report.unchanged:,} were unchanged, {report.encoded:,} images were encoded."
    )
    notes = {
        "belong to the service now and were left alone": report.owned_by_api,
        "stay deleted, as the service was told": report.kept_deleted,
        "wait for a vector": report.pending,
    }
    for note, count in notes.items():
        if count:
            console.print(f"{count:,} {note}.")
    if report.unreadable:
        console.print(f"[yellow]{len(report.unreadable):,} files could not be used:")
        for id, reason in sorted(report.unreadable.items())[:20]:
            console.print(f"  {id}: {reason}", markup=False)
        if len(report.unreadable) > 20:
            console.print("  … all of them with --json")


def hits(console: Console, answer: dict[str, Any], file: Path) -> None:
    """The answer of a search."""
    table = Table(title=f"{file.name}, among {answer['index']['count']:,} items", title_justify="left")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold")
    table.add_column("", overflow="fold")
    for hit in answer["results"]:
        metadata = hit["metadata"]
        note = " · ".join(str(metadata[name]) for name in sorted(metadata, key=_by_use) if name in _SHOWN)
        table.add_row(f"{hit['score']:.3f}", hit["id"], note)
    console.print(table)


_SHOWN = ("name", "label", "style", "family")


def _by_use(name: str) -> int:
    return _SHOWN.index(name) if name in _SHOWN else len(_SHOWN)
