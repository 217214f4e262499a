"""The command line: options in, one call into a room, a short report out. Every failure is a sentence and status 1."""

import errno
import json
import socket
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

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

console = Console(stderr=True, highlight=False)

RuntimeName = Literal["auto", "openvino", "torch"]
PrecisionName = Literal["f32", "bf16"]

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output.")]
Runtime = Annotated[RuntimeName, typer.Option(help="What runs the network.")]
Precision = Annotated[PrecisionName, typer.Option(help="bf16 is quicker where the processor has it.")]
Mask = Annotated[str | None, typer.Option(help="Measure also without hits that share this column's value, e.g. the artist.")]
Host = Annotated[str, typer.Option(help="Address to listen on.", envvar="LOOKALIKE_HOST")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.", envvar="LOOKALIKE_PORT")]


def main() -> None:
    """The entry point."""
    try:
        app()
    except Failure as failure:
        _end(str(failure))
    except OSError as error:
        full = error.errno == errno.ENOSPC
        _end("The disk is full. Make room, then run the same command again." if full else _sentence(error))
    except KeyboardInterrupt:
        _end("Stopped. Run the same command again to go on.")


@data_app.command("emoji")
def data_emoji(to: Annotated[Path, typer.Option(help="Folder to write.")], as_json: Json = False) -> None:
    """About 15,000 drawings of 1,600 emoji by seven artists (downloads 12 npm packages, needs npm)."""
    _need_training("data emoji")
    from training.datasets import emoji

    with display.progress(console) as progress:
        summary = emoji.build(to, progress=progress)
    _result(
        as_json,
        summary.__dict__,
        lambda: console.print(f"{to}: {summary.images:,} images of {summary.classes:,} emoji."),
    )


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with a labels.csv, or with one sub-folder a class.")],
    to: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    seed: Annotated[int, typer.Option(help="Decides start and order; never which classes are tested.")] = 0,
    mask: Mask = None,
    as_json: Json = False,
) -> None:
    """Learn from labelled images; ends with figures on classes that were not trained on."""
    _need_training("train")
    from training.config import TrainingConfig
    from training.datasets.labels import read
    from training.train import metrics
    from training.train import train as train_on

    config = TrainingConfig(seed=seed) if epochs is None else TrainingConfig(seed=seed, epochs=epochs)
    with display.progress(console) as progress:
        bundle = train_on(read(data), to, config, mask, progress)
    found = metrics(bundle)
    _result(as_json, found, lambda: display.figures(console, found))


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    data: Annotated[Path, typer.Option(help="Folder with a labels.csv, or with one sub-folder a class.")],
    mask: Mask = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle on the test classes, beside its backbone as it is."""
    _need_training("evaluate")
    from model.bundle import load
    from training.datasets.labels import read
    from training.evaluate import compare_with_backbone

    opened, test = load(bundle), read(data).split("test")
    with display.progress(console) as progress:
        task = progress.add_task("Measuring", total=2 * len(test))
        found = compare_with_backbone(opened, test, mask, lambda n: progress.advance(task, n))
    _result(as_json, found, lambda: display.figures(console, found))


@app.command()
def bundle(
    to: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    size: Annotated[int, typer.Option(min=32, max=1024, help="Side of the network's input in pixels.")] = 224,
) -> None:
    """No labels yet? A bundle of an ImageNet backbone as it is."""
    _need_training("bundle")
    from model.transform import Transform
    from training.export import untrained

    made = untrained(to, Transform(size=size))
    console.print(f"{to}: {made.manifest.architecture.backbone}, {made.manifest.architecture.dim} dimensions.")


@app.command()
def index(
    gallery: Annotated[Path, typer.Argument(help="Folder of pictures; a labels.csv in it gives metadata.")],
    bundle: Annotated[Path, typer.Option(help="Folder of a bundle.")],
    to: Annotated[Path, typer.Option(help="Folder of the collection; made when missing.")],
    origin: Annotated[str | None, typer.Option(help="Name of the gallery, if its path may change.")] = None,
    allow_shrink: Annotated[bool, typer.Option(help="Accept that more than a fifth of the pictures are gone.")] = False,
    runtime: Runtime = "auto",
    precision: Precision = "f32",
    as_json: Json = False,
) -> None:
    """Bring a collection in line with a folder of pictures; only what changed is encoded."""
    report = _index(gallery, bundle, to, origin, allow_shrink, runtime, precision)
    _result(as_json, report.__dict__, lambda: display.report(console, report))


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

            console.print("Preparing the network …")
            untrained(bundle, Transform())
    display.report(console, _index(folder, bundle, collection, None, False, "auto", "f32"))
    _serve(collection=collection, host=host, port=port)


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="A picture.")],
    url: Annotated[str, typer.Option(help="Address of the service.")] = "http://127.0.0.1:8000",
    k: Annotated[int, typer.Option(min=1, max=1000, help="How many hits at most.")] = 10,
    as_json: Json = False,
) -> None:
    """Ask a running service for the nearest items to a picture."""
    from .client import Client

    answer = Client(url).search(file, k)
    _result(as_json, answer, lambda: display.hits(console, answer, file))


def _index(
    gallery: Path,
    bundle: Path,
    to: Path,
    origin: str | None,
    allow_shrink: bool,
    runtime: RuntimeName,
    precision: PrecisionName,
) -> Any:
    from index.gallery import count
    from index.job import run
    from model.bundle import load
    from model.encoder import open_encoder

    opened = load(bundle)
    encoder = open_encoder(opened, runtime, precision)
    with display.progress(console) as progress:
        task = progress.add_task("Indexing", total=count(gallery))
        return run(
            gallery,
            opened,
            encoder,
            to,
            origin=origin,
            allow_shrink=allow_shrink,
            advance=lambda n: progress.advance(task, n),
        )


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
    if find_spec("torch") is None or find_spec("timm") is None:
        raise Failure(f'`lookalike {command}` needs the extra train: pip install "lookalike[train]"')


def _result(as_json: bool, value: Any, show: Any) -> None:
    if as_json:
        print(json.dumps(value, default=str))
    else:
        show()


def _sentence(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}." if error.filename else f"{error}."


def _end(sentence: str) -> None:
    console.print(sentence, style="red", markup=False, soft_wrap=True)
    sys.exit(1)
