"""The commands that look after a collection: backup, restore, verify, export, import. Each is one call into ``index``."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from index.search.planner import RECALL
from model import Failure

from . import display
from .cli import Collection, Json, Runtime, _result, app, console
from .duplicates import size


@app.command()
def backup(
    collection: Collection,
    to: Annotated[Path, typer.Option(help="Folder of the backup; the next one there copies what is new only.")],
    as_json: Json = False,
) -> None:
    """A whole copy of a collection that is searched, changed and indexed meanwhile."""
    from index.upkeep.backup import backup as make

    with _bytes("Copying") as advance:
        found = make(collection, to, advance).figures()
    _result(as_json, found, lambda: _backed_up(found, to))


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="Folder of a backup.")],
    to: Annotated[Path, typer.Option(help="Folder of the collection.")],
    replace: Annotated[bool, typer.Option("--replace", help="Set the collection that is there aside, beside it.")] = False,
    as_json: Json = False,
) -> None:
    """Make a collection of a backup, every checksum checked, and tell what came after it. Stop the servers before."""
    from index.upkeep.backup import restore as make

    with _bytes("Restoring") as advance:
        found = make(backup, to, replace=replace, advance=advance).figures()
    _result(as_json, found, lambda: _restored(found, to))


@app.command()
def verify(
    collection: Collection,
    sample: Annotated[int, typer.Option(min=0, help="Pictures that are read and encoded again.")] = 100,
    runtime: Runtime = "auto",
    as_json: Json = False,
) -> None:
    """Read all of a collection back and tell everything that is wrong, with what to do. Changes nothing. Status 1 if so."""
    from index.upkeep.verify import verify as look
    from model.encoder import open_encoder

    with console.status("Looking") as status:
        verdict = look(
            collection,
            sample,
            lambda generation, bundle: open_encoder(bundle, runtime, generation.precision),
            lambda what: status.update(f"Looking at {escape(what)} …"),
        )
    found = verdict.figures()
    _result(as_json, found, lambda: _verified(found))
    if verdict.findings:
        sys.exit(1)


@app.command()
def export(
    collection: Collection,
    to: Annotated[Path, typer.Option(help="Parquet file to write.")],
    as_json: Json = False,
) -> None:
    """Write the items with their metadata and vectors into one Parquet file."""
    from index.catalog import Catalog
    from index.upkeep.transfer import export as write

    catalog = Catalog(collection)
    total = catalog.count()
    catalog.close()
    with _items("Writing", total) as advance:
        found = write(collection, to, advance).figures()
    _result(as_json, found, lambda: _exported(found, to))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Parquet: of `lookalike export`, or with the columns id and vector.")],
    collection: Annotated[Path, typer.Argument(help="Folder of the collection; made when missing.")],
    bundle: Annotated[Path | None, typer.Option(help="Whose vectors these are; by default the collection's bundle.")] = None,
    origin: Annotated[str | None, typer.Option(help="Whose items these are, where the file does not say it.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Ids that are there already take what the file says.")] = False,
    outside: Annotated[
        bool, typer.Option("--outside", help="Trust places of pictures that are absolute or URLs in an export.")
    ] = False,
    recall: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of the ten nearest that searches find; 1: exact.")
    ] = RECALL,
    as_json: Json = False,
) -> None:
    """Items with their vectors become part of a collection, and can be searched at once. Nothing is encoded."""
    from index.search.planner import Aim
    from index.upkeep.transfer import Encoded, take_in
    from model.bundle import load

    place, precision = _current(collection, bundle)
    opened = load(place)
    encoded = Encoded(opened.fingerprint, opened.manifest.architecture.dim, precision)
    how: dict[str, Any] = {"origin": origin, "replace": replace, "outside": outside, "aim": Aim(recall)}
    with _items("Taking in", None) as advance:
        taken = take_in(file, collection, opened, encoded, **how, advance=advance)
    found = taken.figures()
    _result(as_json, found, lambda: _taken_in(found))


def _current(collection: Path, bundle: Path | None) -> tuple[Path, Any]:
    """The bundle to use, and the precision that the collection's vectors have."""
    from index import generation as generations
    from index.catalog import FILE, Catalog

    if (collection / FILE).is_file():
        catalog = Catalog(collection)
        number = catalog.state().generation
        catalog.close()
        if number is not None:
            generation = generations.read(collection, number)
            return bundle or collection / "bundles" / generation.fingerprint, generation.precision
    if bundle is None:
        raise Failure(f"{collection} has no bundle yet. Say with --bundle which one made the vectors.")
    return bundle, "f32"


# --- how it looks ---


@contextmanager
def _bytes(what: str) -> Iterator[Callable[[int, int], None]]:
    """Progress in MB."""
    with display.progress(console) as progress:
        task = progress.add_task(f"{what} (MB)", total=None)
        done = 0

        def advance(more: int, total: int) -> None:
            nonlocal done
            done += more
            progress.update(task, completed=done // 10**6, total=-(-total // 10**6))

        yield advance


@contextmanager
def _items(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    with display.progress(console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda n: progress.advance(task, n)


def _say(sentence: str, style: str = "") -> None:
    console.print(sentence, style=style, markup=False, soft_wrap=True)


def _backed_up(found: Mapping[str, Any], to: Path) -> None:
    _say(
        f"{to}: {found['count']:,} items, generation {found['generation']}, change {found['numbers']['change']}; "
        f"{size(found['size'])} in {found['files']:,} files, {size(found['copied'])} of them copied, {found['seconds']:.1f} s."
    )
    if found["missing"]:
        _say(
            f"{len(found['missing']):,} uploaded pictures are missing in the collection itself: {found['missing'][0]} …",
            "yellow",
        )


def _restored(found: Mapping[str, Any], to: Path) -> None:
    _say(f"{to}: {found['count']:,} items, as they were at {found['created']}; {found['seconds']:.1f} s.")
    if found["set_aside"]:
        _say(f"The old collection is {found['set_aside']}. Remove it when nothing of it is needed any more.")
    if (lost := found["lost"]) is not None:
        _say(
            f"After the backup came {len(lost['jobs']):,} jobs and {lost['changes']:,} changes through the service; "
            f"{lost['items']:,} items are new or changed since."
        )
        for id in lost["changed_ids"][:20]:
            _say(f"  {id}")
        if len(lost["changed_ids"]) > 20:
            _say("  … more of them with --json")
        if lost["jobs"]:
            _say("Run `lookalike index` again for what jobs brought.")
    elif found["old_unreadable"]:
        _say(f"What came after {found['created']} is lost, and cannot be told: {found['old_unreadable']}", "yellow")


def _verified(found: Mapping[str, Any]) -> None:
    _say(
        f"{found['items']:,} rows, {found['vectors']:,} vectors, {found['segments']} segments, {found['bundles']} bundles and "
        f"{found['blobs']:,} uploaded pictures were read; {found['live']:,} items are live."
    )
    if (agreement := found["agreement"]) is not None:
        _say(
            f"{agreement['images']:,} pictures were encoded again: cosine {agreement['median']:.4f} in the median, "
            f"{agreement['minimum']:.4f} at least."
        )
    if found["changed"] or found["away"]:
        _say(f"Of the sample, {found['changed']:,} files have changed since and {found['away']:,} are not to be had.")
    for finding in found["findings"]:
        _say(finding["what"], "red")
        for where in finding["where"][:5]:
            _say(f"  {where}")
        _say(f"  → {finding['todo']}")
    if found["whole"]:
        _say("Nothing is wrong.", "green")


def _exported(found: Mapping[str, Any], to: Path) -> None:
    _say(f"{to}: {found['items']:,} items, {size(found['bytes'])}, vectors of the bundle {found['fingerprint'][:8]}.")
    if found["left_out"]:
        _say(f"{found['left_out']:,} items have no vector yet and are not in it. Run `lookalike index` first.", "yellow")


def _taken_in(found: Mapping[str, Any]) -> None:
    _say(
        f"{found['added']:,} items came, {found['replaced']:,} took another's place, {found['unchanged']:,} were "
        f"there already; {found['count']:,} can be searched (generation {found['generation']})."
    )
    notes = {
        "kept": "ids are there with something else, which stays. --replace takes the file's",
        "stay_deleted": "stay deleted, as the service was told. --replace brings them back",
        "made_unit": "vectors were brought to length 1",
    }
    for name, note in notes.items():
        if found[name]:
            _say(f"{found[name]:,} {note}.")
    for id in found["kept_ids"][:20]:
        _say(f"  {id}")
