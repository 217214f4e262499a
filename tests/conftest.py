"""Real pictures, real bundles and a real server, each made once a session.

Tests that need npm (pictures), Chromium or Docker are skipped where these are missing; with LOOKALIKE_TESTS=all, as in
.ci/run, that is a failure.
"""

import csv
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageDraw
from rich.progress import Progress

from index.job import job
from model.bundle import Bundle
from model.encoder import Encoder, open_encoder
from model.transform import Transform
from training.config import TrainingConfig
from training.datasets import emoji as emoji_set
from training.datasets.labels import Dataset, read
from training.export import untrained
from training.train import Audience, Options, train

ROOT = Path(__file__).parent.parent


def pytest_runtest_makereport(item, call):
    """Where everything was installed (LOOKALIKE_TESTS=all), a test that was skipped for want of something is a failure."""
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if skipped and os.environ.get("LOOKALIKE_TESTS") == "all" and str(call.excinfo.value).startswith("needs"):
        call.excinfo = pytest.ExceptionInfo.from_exc_info(_as_failure(call.excinfo.value))


def _as_failure(skip):
    try:
        raise AssertionError(f"skipped, though LOOKALIKE_TESTS=all: {skip}")
    except AssertionError:
        return sys.exc_info()


@pytest.fixture(scope="session")
def emoji() -> Path:
    """The whole emoji set; kept in build/ between sessions."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm for the pictures (Debian: apt install npm)")
    folder = ROOT / "build" / "emoji"
    with Progress() as progress:
        emoji_set.build(folder, progress=progress)
    return folder


@pytest.fixture(scope="session")
def emoji_slice(emoji: Path, tmp_path_factory) -> Path:
    """Every twelfth emoji and the bear, with all their drawings: about 130 classes, 1,200 images, of all three splits."""
    folder = tmp_path_factory.mktemp("slice") / "emoji"
    folder.mkdir()
    with (emoji / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    chosen = {*labels[::12], "1f43b"}
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(row for row in rows if row["label"] in chosen)
    for label in chosen:
        shutil.copytree(emoji / label, folder / label)
    return folder


@pytest.fixture(scope="session")
def dataset(emoji_slice: Path) -> Dataset:
    return read(emoji_slice)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> Bundle:
    """A bundle of the ImageNet backbone as it is, at 96 pixels."""
    return untrained(tmp_path_factory.mktemp("bundles") / "backbone", Transform(size=96))


@pytest.fixture(scope="session")
def bundle(dataset: Dataset, tmp_path_factory) -> Bundle:
    """A bundle that was really trained, for a few seconds, on the slice."""
    config = TrainingConfig(backbone="efficientnet_lite0", dim=128, epochs=14, image_size=96, train_size=80)
    with Progress() as progress:
        to = tmp_path_factory.mktemp("bundles") / "trained"
        return train(dataset, to, config, Options(mask="family"), Audience(progress))


@pytest.fixture(scope="session")
def drawings(tmp_path_factory) -> Path:
    """Labelled pictures that need nothing from outside: 10 kinds to train on, 4 to validate and 4 to test, 6 of each."""
    root = tmp_path_factory.mktemp("drawings") / "shapes"
    root.mkdir()
    chance = random.Random(0)
    kinds = [(shape, colour) for colour in ("red", "green", "blue", "orange", "purple", "teal") for shape in ("o", "#", "v")]
    chance.shuffle(kinds)
    rows = [("path", "label", "split", "hand")]
    for number, (shape, colour) in enumerate(kinds):
        for copy in range(6):
            path = f"{number}-{copy}.png"
            _draw(shape, colour, chance).save(root / path)
            split = "train" if number < 10 else "validation" if number < 14 else "test"
            rows.append((path, f"{colour} {shape}", split, str(copy % 3)))
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return root


def _draw(shape: str, colour: str, chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", (72, 60), chance.choice(["white", "lightgrey", "beige"]))
    left, top, side = chance.randrange(20), chance.randrange(15), chance.randrange(28, 44)
    place, pen = (left, top, left + side, top + side), ImageDraw.Draw(picture)
    if shape == "v":
        pen.polygon([place[:2], (place[2], top), (left + side // 2, place[3])], colour)
    else:
        (pen.ellipse if shape == "o" else pen.rectangle)(place, colour)
    return picture


@pytest.fixture(scope="session")
def encoder(backbone: Bundle) -> Encoder:
    return open_encoder(backbone, "openvino")


@pytest.fixture(scope="session")
def collection(emoji_slice: Path, bundle: Bundle, tmp_path_factory) -> Path:
    """The slice, indexed with the trained bundle. Shared: tests that change a collection make their own."""
    folder = tmp_path_factory.mktemp("collections") / "emoji"
    job.run(emoji_slice, bundle, open_encoder(bundle, "openvino"), folder)
    return folder


class Server:
    """A `lookalike serve` process of its own."""

    def __init__(self, collection: Path, *options: str, env: dict[str, str] | None = None) -> None:
        command = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0", *options]
        self.log = Path(tempfile.mkstemp(prefix="lookalike-server-", suffix=".log")[1])
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, **(env or {})})
        self.url = self._url()

    def _url(self) -> str:
        while self.process.poll() is None:
            if found := re.search(r"http://[\w.:]+", self.log.read_text()):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(f"the server ended: {self.log.read_text()}")

    def wait_ready(self, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if httpx.get(f"{self.url}/readyz").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError("not ready in time")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def start_server():
    servers = []

    def start(collection: Path, *options: str, **kwargs) -> Server:
        servers.append(Server(collection, *options, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def server(request):
    """The address of a server over the shared collection; or LOOKALIKE_URL, for the README's picture of the demo."""
    if url := os.environ.get("LOOKALIKE_URL"):
        yield url
        return
    running = Server(request.getfixturevalue("collection"))
    running.wait_ready()
    yield running.url
    running.stop()
