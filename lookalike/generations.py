"""The commands for a collection's generations: list them, go back to one, free what none needs."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from index.catalog import Catalog, Upkeep
from index.lifecycle import garbage, history
from index.lifecycle.garbage import KEPT, Freed
from index.lifecycle.history import Kept

from .cli import Collection, Json, _result, app, console
from .duplicates import size


@app.command()
def generations(collection: Collection, as_json: Json = False) -> None:
    """List the generations that a collection keeps, the newest first."""
    with closing(Catalog(collection)) as catalog:
        kept = history.kept(catalog, collection)[::-1]
    found = {"generations": [asdict(each) | {"published": _moment(each.published)} for each in kept]}
    _result(as_json, found, lambda: _list(kept))


@app.command()
def rollback(
    collection: Collection,
    to: Annotated[int | None, typer.Option(help="Number of a generation that is kept; by default the one before.")] = None,
    as_json: Json = False,
) -> None:
    """Search an earlier generation, or one that was rolled back, as long as no job has run since. Servers follow at once."""
    with closing(Catalog(collection)) as catalog:
        before = catalog.state().generation
        history.roll_back(catalog, collection, to)
        state = catalog.state()
    found = {"before": before, "generation": state.generation, "count": state.count}
    _result(as_json, found, lambda: _went_back(found))


@app.command()
def gc(
    collection: Collection,
    keep: Annotated[int, typer.Option(min=1, help="Generations that stay, counted back from the current one.")] = KEPT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    as_json: Json = False,
) -> None:
    """Free what no generation needs any more: files, versions of items, vectors, uploaded pictures. Servers may go on."""
    with closing(Upkeep(collection)) as catalog:
        freed = garbage.collect(catalog, collection, keep, dry_run=dry_run)
    _result(as_json, asdict(freed) | {"dry_run": dry_run}, lambda: _freed(freed, dry_run))


def _list(kept: Sequence[Kept]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("number", "published", "items", "came", "went", "recall"):
        table.add_column(name, justify="left" if name == "published" else "right", no_wrap=True)
    table.add_column("bundle", overflow="fold")
    table.add_column("state", no_wrap=True)
    for each in kept:
        numbers = ("" if number is None else f"{number:,}" for number in (each.items, each.added, each.removed))
        bundle = f"{each.bundle or '(gone)'} {each.fingerprint[:8]}"
        recall = "damaged" if each.recall is None else f"{each.recall:.4g}"
        table.add_row(str(each.number), _moment(each.published)[:16], *numbers, recall, bundle, each.state)
    console.print(table)


def _went_back(found: dict[str, int | None]) -> None:
    console.print(
        f"Generation {found['generation']} is searched from now on, it was {found['before']}: {found['count']:,} items. "
        "Running servers follow within a second. The next `lookalike index` brings in line with the gallery anew."
    )


def _freed(freed: Freed, dry_run: bool) -> None:
    console.print(
        f"{'Would free' if dry_run else 'Freed'} {size(freed.bytes)} of files: {len(freed.generations)} generations, "
        f"{len(freed.segments)} segments, {len(freed.bundles)} bundles, {freed.pictures:,} uploaded pictures."
    )
    console.print(
        f"In the catalog {freed.versions:,} versions of items, {freed.vectors:,} vectors and {freed.changes:,} changes; "
        "new ones take their room."
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
