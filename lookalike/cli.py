"""The command line: options in, one call into a room, a short report out. Every failure is a sentence and a status: 1, or 75
where another job is working (the same command may be run later), 2 for what was typed wrong, 130 when interrupted."""

import errno
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from index.job.judge import LABEL
from index.job.rehearsal import Rehearsal
from index.job.report import Report
from index.lifecycle.garbage import KEPT
from index.lock import Busy
from index.search.planner import RECALL, Aim
from model import Failure

from . import display

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Image search that learns from your own labels.",
)
data_app = typer.Typer(no_args_is_help=True, help="Labelled pictures to try things with.")
app.add_typer(data_app, name="data")

console = Console(stderr=True, highlight=False, emoji=False)  # :bear: in a name is no emoji

_STOPPED = "Stopped. Run the same command again to go on."
_INTERRUPTED = 128 + signal.SIGINT

RuntimeName = Literal["auto", "openvino", "torch"]
PrecisionName = Literal["f32", "bf16"]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Runtime = Annotated[RuntimeName, typer.Option(help="What runs the network.")]
Precision = Annotated[PrecisionName, typer.Option(help="bf16 is quicker where the processor has it.")]
Mask = Annotated[str | None, typer.Option(help="Measure also without hits that share this column's value, e.g. the artist.")]
Collection = Annotated[Path, typer.Argument(help="Folder of a collection.")]
Data = Annotated[Path, typer.Option(help="Labelled pictures: a folder, or a CSV, JSONL or Parquet file.")]
Shares = Annotated[
    str | None, typer.Option("--proportions", help="Percent of the classes for train/validation/test; by default 70/15/15.")
]
SplitSeed = Annotated[int | None, typer.Option(help="Another number, other classes in the splits; by default 0.")]
Host = Annotated[str, typer.Option(help="Address to listen on.", envvar="LOOKALIKE_HOST")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.", envvar="LOOKALIKE_PORT")]


def main() -> None:
    """The entry point."""
    try:
        app()
    except Busy as busy:
        _end(str(busy), os.EX_TEMPFAIL)
    except (Failure, OSError) as error:
        _end(_sentence(error))
    except KeyboardInterrupt:
        _end(_STOPPED, _INTERRUPTED)
    except SystemExit as end:
        if end.code == _INTERRUPTED:  # Typer makes it of Ctrl-C
            _end(_STOPPED, _INTERRUPTED)
        raise


@data_app.command("emoji")
def data_emoji(to: Annotated[Path, typer.Option(help="Folder to write.")], as_json: Json = False) -> None:
    """About 15,000 drawings of 1,600 emoji by seven artists (downloads 12 npm packages, needs npm)."""
    _need_training("data emoji")
    from training.datasets import emoji

    _build(emoji.build, to, "emoji", as_json)


@data_app.command("icons")
def data_icons(to: Annotated[Path, typer.Option(help="Folder to write.")], as_json: Json = False) -> None:
    """About 12,000 icons of 700 meanings by 28 artists (downloads 30 npm packages, needs npm)."""
    _need_training("data icons")
    from training.datasets import icons

    _build(icons.build, to, "meanings", as_json)


@data_app.command("check")
def data_check(
    source: Annotated[Path, typer.Argument(help="Labelled pictures: a folder, or a CSV, JSONL or Parquet file.")],
    proportions: Shares = None,
    split_seed: SplitSeed = None,
    strict: Annotated[bool, typer.Option(help="Warnings end with status 1 too.")] = False,
    as_json: Json = False,
) -> None:
    """Look for everything that is wrong with labelled pictures, and tell it at once. Status 1 where there are errors."""
    from training.datasets.check import check
    from training.datasets.labels import read
    from training.datasets.pixels import look
    from training.datasets.problems import errors

    data = read(source, _splitting(proportions, split_seed))
    with display.progress(console) as progress:
        task = progress.add_task("Reading pictures", total=len(data))
        problems = check(data, look(data, None, lambda n: progress.advance(task, n)))
    found = {
        "source": str(source),
        "splits": data.counts(),
        "errors": len(errors(problems)),
        "warnings": len(problems) - len(errors(problems)),
        "problems": [{"severity": each.severity, **asdict(each)} for each in problems],
    }
    _result(as_json, found, lambda: display.checked(console, found, problems))
    if problems if strict else errors(problems):
        sys.exit(1)


@data_app.command("audit")
def data_audit(
    source: Annotated[Path, typer.Argument(help="Labelled pictures: a folder, or a CSV, JSONL or Parquet file.")],
    page: Annotated[Path | None, typer.Option(help="Write a page with the suspects' pictures, e.g. suspects.html.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Suspects to list, the likeliest wrong label first.")] = 100,
    preset: Annotated[str, typer.Option(help="Whose backbone and head, see `lookalike train`.")] = "best",
    settings: Annotated[list[str], typer.Option("--set", help="key=value, as often as you like.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Look for wrong labels: pictures that look like another label's, judged by what was learnt without them."""
    _need_training("data audit")
    from training import suspects
    from training.audit import STEPS, audit
    from training.config import resolve
    from training.datasets.labels import read

    data, config = read(source), resolve(preset, settings)
    with display.progress(console) as progress:
        tasks = [
            progress.add_task(name, total=total)
            for name, total in (("Reading pictures", len(data)), ("Looking", len(data)), ("Judging", STEPS))
        ]
        read_, looked, judged = (partial(progress.advance, task) for task in tasks)
        found = audit(data, config, read=read_, looked=looked, judged=judged)
    if page is not None:
        # A name that came from a file system may hold what UTF-8 does not have.
        page.write_text(suspects.page(found, data, most), encoding="utf-8", errors="xmlcharrefreplace")
    _result(as_json, found.figures(most), lambda: display.audited(console, found.figures(most), page))


@app.command()
def doctor(
    data: Annotated[Path | None, typer.Option(help="Labelled pictures, to estimate what training on them costs.")] = None,
    proportions: Shares = None,
    split_seed: SplitSeed = None,
    as_json: Json = False,
) -> None:
    """What this machine has, and what reading and an epoch of training on your pictures would take here."""
    _need_training("doctor")
    from training.config import TrainingConfig
    from training.datasets.labels import read
    from training.doctor import estimate, machine

    found: dict[str, Any] = {"machine": machine(Path.cwd())}
    if data is not None:
        with console.status("Measuring: some pictures, some steps of training …"):
            found["data"] = estimate(read(data, _splitting(proportions, split_seed)), TrainingConfig())
    _result(as_json, found, lambda: display.estimated(console, found))


@app.command()
def train(
    data: Data,
    to: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    preset: Annotated[str, typer.Option(help="best, quick, paper:cub|cars|sop|inshop; or a bundle, or a JSON file.")] = "best",
    settings: Annotated[list[str], typer.Option("--set", help="key=value, as often as you like; e.g. dim=64.")] = [],  # noqa: B006
    epochs: Annotated[int | None, typer.Option(min=0, help="Passes over the training images; 0 trains the head only.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Start and order; never which classes are tested. By default 0.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Take the epochs that fit into this time here.")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="A bundle to start from, e.g. last month's.")] = None,
    final_fit: Annotated[
        bool, typer.Option("--final-fit", help="Measure, then train anew on all classes, test ones too.")
    ] = False,
    audit: Annotated[bool, typer.Option("--audit", help="Look for wrong labels first; the report shows them.")] = False,
    comparison: Annotated[Path | None, typer.Option(help="A folder of `lookalike compare`, to be shown in the report.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was interrupted.")] = False,
    memory: Annotated[float | None, typer.Option(min=0.001, help="GB for pixels; beyond, they are mapped from a file.")] = None,
    mask: Mask = None,
    proportions: Shares = None,
    split_seed: SplitSeed = None,
    as_json: Json = False,
) -> None:
    """Learn from labelled images; ends with figures on classes that were not trained on. May be killed and resumed."""
    _need_training("train")
    from training.config import resolve
    from training.datasets.labels import read
    from training.evaluate import start_saw_tests
    from training.train import Audience, Options, metrics
    from training.train import train as train_on

    if minutes is not None and epochs is not None:
        raise Failure("Give --minutes or --epochs, not both.")
    config = resolve(preset, settings, epochs=epochs, seed=seed)
    source = read(data, _splitting(proportions, split_seed))
    most = None if memory is None else int(memory * 1e9)
    options = Options(mask, minutes, start, final_fit, resume, most, audit, comparison)
    with display.progress(console) as progress:
        audience = Audience(
            progress,
            warnings=lambda found: display.warnings(console, found, data),
            plan=lambda found: display.plan(console, found),
            epochs=lambda records: display.epoch(console, records),
        )
        bundle = train_on(source, to, config, options, audience)
    if bundle is None:  # one of several processes, and not the one that writes
        return
    learnt = {"centers": (bundle.manifest.training or {})["centers"], "saw_tests": start_saw_tests(bundle.manifest)}
    found = metrics(bundle) | learnt
    _result(as_json, found, lambda: display.figures(console, found))


@app.command()
def compare(
    data: Data,
    to: Annotated[Path, typer.Option(help="Folder for trials, settings, runs and plots; the same command goes on there.")],
    losses: Annotated[str, typer.Option(help="Comma-separated, or all.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each loss as a head on the frozen backbone.")] = 10,
    full_seeds: Annotated[int, typer.Option(min=0, help="Runs of whole networks, of four losses; 0: none.")] = 5,
    trials: Annotated[int, typer.Option(min=1, help="Settings that are tried for each loss, on validation classes.")] = 12,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of a run of a whole network, about.")] = 5.0,
    preset: Annotated[str, typer.Option(help="The training that all losses share, see `lookalike train`.")] = "best",
    settings: Annotated[list[str], typer.Option("--set", help="key=value, as often as you like.")] = [],  # noqa: B006
    mask: Mask = None,
    proportions: Shares = None,
    split_seed: SplitSeed = None,
    as_json: Json = False,
) -> None:
    """SoftTriple beside other losses on your labels, each tuned alike: figures, costs and differences with intervals."""
    _need_training("compare")
    if find_spec("pytorch_metric_learning") is None:
        raise Failure(
            "`lookalike compare` needs pytorch-metric-learning. Install the extra: pip install 'lookalike[train,compare]'."
        )
    from training.compare.baselines import CONTENDERS
    from training.compare.protocol import Asked
    from training.compare.protocol import compare as compare_on
    from training.compare.results import conclude
    from training.config import resolve
    from training.datasets.labels import read

    names = tuple(CONTENDERS) if losses == "all" else tuple(name.strip() for name in losses.split(","))
    asked = Asked(names, trials, seeds, full_seeds, minutes, mask)
    source, config = read(data, _splitting(proportions, split_seed)), resolve(preset, settings)
    with display.progress(console) as progress:
        folder = compare_on(source, to, config, asked, progress)
    found = conclude(folder)
    _result(as_json, found, lambda: display.compared(console, found))


@app.command()
def evaluate(
    bundle: Annotated[Path | None, typer.Argument(help="Folder of a bundle.")] = None,
    data: Annotated[Path | None, typer.Option(help="Labelled pictures; the test classes are measured.")] = None,
    vectors: Annotated[Path | None, typer.Option(help="Instead of a bundle: a Parquet file, columns vector and label.")] = None,
    service: Annotated[str | None, typer.Option(help="Instead of a bundle: address of a service that holds --data.")] = None,
    mask: Mask = None,
    nmi: Annotated[bool, typer.Option("--nmi", help="Also cluster the vectors (k-means) and compare with the labels.")] = False,
    by_class: Annotated[bool, typer.Option("--by-class", help="Also the figures of every class.")] = False,
    plots: Annotated[Path | None, typer.Option(help="Folder for plots: recall, classes, scores, calibration.")] = None,
    backbone: Annotated[bool, typer.Option(help="Compare a bundle with its backbone as it is (needs the extra train).")] = True,
    proportions: Shares = None,
    split_seed: SplitSeed = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle, vectors from elsewhere, or a running service: R@k, MAP@R and more, with 95 % intervals."""
    from training.evaluate import Evaluation

    splitting = _splitting(proportions, split_seed)
    found: Evaluation
    if bundle and data and not vectors and not service:
        found = _evaluate_bundle(bundle, data, mask, nmi, backbone, splitting)
    elif vectors and not bundle and not data and not service:
        found = _evaluate_vectors(vectors, mask, nmi)
    elif service and data and not bundle and not vectors and not nmi:
        found = _evaluate_service(service, data, mask, splitting)
    else:
        raise Failure("Give one of: BUNDLE --data DATA; --vectors FILE.parquet; --service URL --data DATA (without --nmi).")
    figures = found.figures | ({"by_class": found.first.scores.by_class()} if by_class else {})
    if plots is not None:
        _need("matplotlib", "evaluate --plots")
        from training.plots import draw

        figures["plots"] = [str(path) for path in draw(plots, found.measured, found.reliability)]
    _result(as_json, figures, lambda: display.figures(console, figures))


@app.command()
def bundle(
    to: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the network's input in pixels.")] = 224,
    backbone: Annotated[str, typer.Option(help="Any name of timm's.")] = "efficientnet_lite0",
    weights: Annotated[str, typer.Option(help="A file with its weights, if not those that its name stands for.")] = "",
    pooling: Annotated[Literal["avg", "avg+max", "cls"], typer.Option(help="cls: a transformer's class token.")] = "avg",
) -> None:
    """No labels yet? A bundle of an ImageNet backbone as it is."""
    _need_training("bundle")
    from model.transform import Transform
    from training.export import untrained
    from training.report import of_backbone

    made = untrained(to, Transform(size=size), backbone, weights=weights, pooling=pooling, reports=of_backbone)
    console.print(f"{to}: {made.manifest.architecture.backbone}, {made.manifest.architecture.dim} dimensions.")


@app.command()
def index(
    gallery: Annotated[
        str, typer.Argument(help="Folder of pictures, a .csv, .jsonl or .parquet list of them, or the URL of one of these.")
    ],
    bundle: Annotated[Path, typer.Option(help="Folder of a bundle.")],
    to: Annotated[Path, typer.Option(help="Folder of the collection; made when missing.")],
    origin: Annotated[str | None, typer.Option(help="Name of the gallery, if its path may change.")] = None,
    allow_shrink: Annotated[bool, typer.Option(help="Accept that more than a fifth of the pictures are gone.")] = False,
    recall: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="Share of the ten nearest that searches find; 1: exact.")
    ] = RECALL,
    memory: Annotated[float | None, typer.Option(min=0, help="GB that the search index may take beside the vectors.")] = None,
    max_failures: Annotated[
        int | None,
        typer.Option(min=0, help="Publish nothing where more files cannot be read; by default any number may."),
    ] = None,
    label: Annotated[
        str, typer.Option(help="Metadata field that tells what a picture shows; a new bundle is judged by it.")
    ] = (LABEL),
    allow_worse: Annotated[bool, typer.Option("--allow-worse", help="Publish a new bundle though it is worse.")] = False,
    drop_vector_only: Annotated[
        bool, typer.Option("--drop-vector-only", help="Remove items that came as vectors of another bundle.")
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="Generations that stay beside the new one, for a rollback.")] = KEPT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    as_json: Json = False,
) -> None:
    """Bring a collection in line with a gallery; only what changed is encoded.

    Status 0: published. 1: refused or failed, and search goes on as it was. 75: another job is working. 130: interrupted.
    """
    from index.search.cores import give_way

    asked: dict[str, Any] = {
        "allow_shrink": allow_shrink,
        "max_failures": max_failures,
        "aim": Aim(recall, None if memory is None else int(memory * 1e9)),
    }
    done: Report | Rehearsal
    try:
        if dry_run:
            done = _rehearse(gallery, bundle, to, origin=origin, precision=precision, **asked)
        else:
            asked |= {"allow_worse": allow_worse, "drop_vector_only": drop_vector_only, "label": label, "keep": keep}
            give_way()
            done = _index(gallery, bundle, to, runtime, precision, origin=origin, **asked)
    except (Failure, OSError) as error:
        if as_json:
            report = getattr(error, "report", None)
            print(json.dumps({"error": _sentence(error)} | (asdict(report) if report else {}), ensure_ascii=False))
        raise
    show: Any = display.rehearsal if dry_run else display.report
    _result(as_json, asdict(done), lambda: show(console, done))


@app.command()
def duplicates(
    collection: Collection,
    page: Annotated[Path | None, typer.Option(help="Write a page with the pictures, e.g. duplicates.html.")] = None,
    as_json: Json = False,
) -> None:
    """Look for copies: the same file, or the same picture resized, recompressed or cropped a little. Removes nothing."""
    from index.duplicates import find

    from . import duplicates as pages

    with display.progress(console) as progress:
        tasks: dict[str, Any] = {}

        def advance(phase: str, amount: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=total)
            progress.advance(tasks[phase], amount)

        found = find(collection, progress=advance)
    if page is not None:
        # A name that came from a file system may hold what UTF-8 does not have.
        page.write_text(pages.page(found, collection), encoding="utf-8", errors="xmlcharrefreplace")
    _result(as_json, found.figures(), lambda: display.duplicates(console, found, page))


@app.command()
def serve(
    collection: Annotated[Path, typer.Argument(help="Folder of a collection; may be empty still.")],
    host: Host = "127.0.0.1",
    port: Port = 8000,
    writes: Annotated[bool | None, typer.Option(help="Answer PUT and DELETE; by default only on 127.0.0.1.")] = None,
    runtime: Annotated[RuntimeName | None, typer.Option(help="What runs the network; by default auto.")] = None,
    precision: Annotated[PrecisionName | None, typer.Option(help="By default that of the collection.")] = None,
) -> None:
    """Answer searches, and show the page, at http://HOST:PORT/. Environment variables LOOKALIKE_… set the rest."""
    _serve(collection=collection, host=host, port=port, writes=writes, runtime=runtime, precision=precision)


@app.command()
def up(
    folder: Annotated[Path, typer.Argument(help="Folder of your own pictures.")],
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle; by default an ImageNet backbone as it is.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder of the collection; by default NAME.lookalike here.")] = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
) -> None:
    """From a folder of pictures to the page in one command."""
    if not folder.is_dir():
        raise Failure(f"{folder} is not a folder. Give the folder that holds your pictures.")
    collection = to or Path(f"{folder.resolve().name}.lookalike")
    if bundle is None:
        bundle = collection / "backbone"
        if not (bundle / "bundle.json").is_file():
            _need_training("up without --bundle")
            from model.transform import Transform
            from training.export import untrained
            from training.report import of_backbone

            console.print("Preparing the network …")
            untrained(bundle, Transform(), reports=of_backbone)
    display.report(console, _index(folder, bundle, collection))
    _serve(collection=collection, host=host, port=port)


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="A picture.")],
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="How many hits at most.")] = 10,
    filter: Annotated[
        str | None, typer.Option(help='Only items that pass, e.g. \'{"colour": "red"}\'; docs/filters.md.')
    ] = None,
    group_by: Annotated[str | None, typer.Option(help="A field: one hit of the items that have the same in it.")] = None,
    exact: Annotated[bool, typer.Option(help="Compare with every item.")] = False,
    as_json: Json = False,
) -> None:
    """Ask a running service for the nearest items to a picture."""
    from .client import Client

    with Client(url) as client:
        answer = client.search(file, k, _filter(filter), group_by, exact)
    _result(as_json, answer, lambda: display.hits(console, answer, file))


def _filter(text: str | None) -> dict[str, Any] | None:
    """The service says what else is wrong with it."""
    try:
        found = None if text is None else json.loads(text)
    except ValueError as error:
        raise Failure(
            f'--filter {text!r} is no JSON. Give an object like \'{{"colour": "red"}}\', in single quotes.'
        ) from error
    if not isinstance(found, dict | None):
        raise Failure(f'--filter {text!r} is no JSON object. Give one like \'{{"colour": "red"}}\', in single quotes.')
    return found


def _evaluate_bundle(bundle: Path, source: Path, mask: str | None, nmi: bool, backbone: bool, splitting: Any) -> Any:
    from model import confidence
    from model.bundle import load
    from training.datasets.check import decode
    from training.datasets.labels import read
    from training.datasets.split import Splitting
    from training.evaluate import check, evaluate, saw_tests

    opened = load(bundle)
    if backbone and find_spec("torch") is None:
        raise Failure(
            'To compare with the backbone needs the extra train: pip install "lookalike[train]"; or say --no-backbone.'
        )
    if splitting is None and (learnt_on := (opened.manifest.training or {}).get("splitting")):
        splitting = Splitting(**learnt_on)  # other splits would test what was trained on
    labelled = read(source, splitting)
    test = labelled.split("test")
    check(test.table, mask, source)
    with display.progress(console) as progress:
        task = progress.add_task("Reading pictures", total=len(test))
        pictures, problems = decode(test, opened.manifest.transform, lambda n: progress.advance(task, n))
        display.warnings(console, problems, source)
        task = progress.add_task("Measuring", total=(1 + backbone) * len(test))
        found = evaluate(
            opened,
            pictures.pixels,
            test.table,
            mask,
            nmi=nmi,
            beside_backbone=backbone,
            calibration=confidence.load(opened),
            advance=lambda n: progress.advance(task, n),
        )
    return replace(found, figures=found.figures | {"saw_tests": saw_tests(opened.manifest, labelled)})


def _evaluate_vectors(file: Path, mask: str | None, nmi: bool) -> Any:
    from training.datasets.vectors import read
    from training.evaluate import Evaluation, group_mask, measure

    vectors, columns = read(file)
    mask = mask or group_mask(columns)
    found = measure(vectors, columns, mask, nmi=nmi, source=file)
    return Evaluation(found.figures, {file.stem: found})


def _evaluate_service(url: str, source: Path, mask: str | None, splitting: Any) -> Any:
    from training.datasets.check import decode
    from training.datasets.labels import read
    from training.evaluate import Evaluation, measure_search

    from .client import Client

    with Client(url) as client, display.progress(console) as progress:
        deepest = client.info()["limits"]["max_k"]
        data = read(source, splitting)
        test = data.split("test")
        task = progress.add_task("Reading pictures", total=len(test))
        display.warnings(console, decode(test, None, lambda n: progress.advance(task, n))[1], source)
        task = progress.add_task("Asking", total=len(test))
        found = measure_search(
            lambda picture, k: [(hit["id"], hit["score"]) for hit in client.search(picture, k)["results"]],
            lambda id: client.item(id) is not None,
            data,
            mask,
            deepest,
            lambda n: progress.advance(task, n),
        )
    return Evaluation(found.figures, {url: found})


def _build(build: Any, to: Path, what: str, as_json: bool) -> None:
    with display.progress(console) as progress:
        summary = build(to, progress=progress)
    _result(as_json, summary.__dict__, lambda: console.print(f"{to}: {summary.images:,} images of {summary.classes:,} {what}."))


def _splitting(proportions: str | None, seed: int | None) -> Any:
    """None where neither was given."""
    from training.datasets.split import splitting

    if proportions is None and seed is None:
        return None
    try:
        return splitting(proportions or "70/15/15", seed or 0)
    except ValueError as error:
        raise Failure(f"--proportions: {error}") from error


def _index(
    gallery: Path | str,
    bundle: Path,
    to: Path,
    runtime: RuntimeName = "auto",
    precision: PrecisionName = "f32",
    **options: Any,
) -> Report:
    """``options``: those of ``job.run``."""
    from index.gallery import open as open_gallery
    from index.job import run
    from model.bundle import load
    from model.encoder import open_encoder

    opened = load(bundle)
    source = open_gallery(gallery)
    encoder = open_encoder(opened, runtime, precision)
    with display.progress(console, "images/s") as progress:
        total = source.count(Path(os.path.realpath(to)))
        task = progress.add_task("Indexing", total=total)
        return run(
            source,
            opened,
            encoder,
            to,
            total=total,
            advance=lambda n: progress.advance(task, n),
            begin=lambda what: display.begin(progress, what),
            **options,
        )


def _rehearse(gallery: str, bundle: Path, to: Path, **options: Any) -> Rehearsal:
    """``options``: those of ``rehearse``."""
    from index.gallery import open as open_gallery
    from index.job.rehearsal import rehearse
    from model.bundle import load

    source = open_gallery(gallery)
    with display.progress(console, "files/s") as progress:
        task = progress.add_task("Looking", total=source.count(Path(os.path.realpath(to))))
        return rehearse(source, load(bundle), to, advance=lambda n: progress.advance(task, n), **options)


def _serve(**options: Any) -> None:
    """Serve with ``options`` of ``Settings``; what is None comes from the environment, or is the default."""
    import logging

    import uvicorn
    from pydantic import ValidationError

    from service.app import create_app
    from service.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        faults = (f"LOOKALIKE_{fault['loc'][0]}".upper() + f": {fault['msg']}" for fault in error.errors())
        raise Failure(f"The settings cannot be used: {'; '.join(faults)}.") from error
    with _listening(settings.host, settings.port) as listener:
        console.print(f"Lookalike answers at [bold]http://{settings.host}:{listener.getsockname()[1]}/")
        config = uvicorn.Config(
            create_app(settings), access_log=False, server_header=False, log_config=None, timeout_graceful_shutdown=10
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024)
    except (OSError, OverflowError) as error:
        raise Failure(f"Cannot listen on {host}, port {port} ({error}). Choose another with --host and --port.") from error


def _need_training(command: str) -> None:
    for package in ("torch", "timm", "sklearn"):
        _need(package, command)


def _need(package: str, command: str) -> None:
    if find_spec(package) is None:
        raise Failure(f'`lookalike {command}` needs the extra train: pip install "lookalike[train]"')


def _result(as_json: bool, value: Any, show: Any) -> None:
    if as_json:
        print(json.dumps(value, default=str, ensure_ascii=False))
    else:
        show()


def _sentence(error: Failure | OSError) -> str:
    if isinstance(error, Failure):
        return str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "The disk is full. Make room, then run the same command again."
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error}."


def _end(sentence: str, status: int = 1) -> None:
    console.print(sentence, style="red", markup=False, soft_wrap=True)
    sys.exit(status)


from . import generations, upkeep  # noqa: E402, F401, RUF100 (they register their commands, with what is defined above)
