"""A small real collection whose ids are as odd as file names can be, and applications over it."""

import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from odd_ids import NAMES
from PIL import Image
from starlette.testclient import TestClient

from index.job import job
from model import bundle as bundles
from model import confidence
from model.confidence import Calibration
from model.transform import Transform
from service.app import create_app
from service.settings import Settings
from training.export import untrained

# Rises all the way; a picture that is in the collection is far above UNLIKELY, other mosaics are far below.
CALIBRATION = Calibration(scores=[-1, 0.95, 1], ratios=[-10, -5, 5], matches=1)


def draw(path, seed):
    """A mosaic of its own for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    Image.fromarray(tiles).resize((320, 240), Image.Resampling.NEAREST).save(path, quality=90)
    return path


@pytest.fixture(scope="session")
def gallery(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for seed, name in enumerate(NAMES):
        draw(folder / name, seed)
    (folder / "labels.csv").write_text("path,label\nplain.png,a mosaic\n")
    return folder


@pytest.fixture(scope="session")
def indexed(gallery, backbone, encoder, tmp_path_factory) -> Path:
    """Not to be changed; `fresh` is a copy for that."""
    folder = tmp_path_factory.mktemp("indexed") / "collection"
    job.run(gallery, backbone, encoder, folder)
    return folder


@pytest.fixture(scope="session")
def calibrate(tmp_path_factory):
    """`calibrate(bundle, text)`: a copy of a bundle with this calibration.json, by default one that is whole."""

    def calibrated(bundle, text=CALIBRATION.model_dump_json()):
        folder = shutil.copytree(bundle.path, tmp_path_factory.mktemp("bundles") / "calibrated")
        (folder / "bundle.json").unlink()
        (folder / confidence.FILE).write_text(text)
        bundles.seal(folder, bundle.manifest.model_copy())
        return bundles.load(folder)

    return calibrated


@pytest.fixture(scope="session")
def calibrated_backbone(backbone, calibrate):
    return calibrate(backbone)


@pytest.fixture(scope="session")
def indexed_calibrated(gallery, calibrated_backbone, encoder, tmp_path_factory) -> Path:
    """As `indexed`, with a bundle that knows what its scores are worth. Not to be changed; `fresh_calibrated` is a copy."""
    folder = tmp_path_factory.mktemp("indexed") / "calibrated"
    job.run(gallery, calibrated_backbone, encoder, folder)
    return folder


@pytest.fixture
def fresh_calibrated(indexed_calibrated, tmp_path) -> Path:
    return shutil.copytree(indexed_calibrated, tmp_path / "calibrated")


@pytest.fixture
def fresh(indexed, tmp_path) -> Path:
    return shutil.copytree(indexed, tmp_path / "collection")


@pytest.fixture(scope="session")
def other_backbone(tmp_path_factory):
    """The same network at another size: another fingerprint."""
    return untrained(tmp_path_factory.mktemp("bundles") / "other", Transform(size=64))


@pytest.fixture
def picture(gallery) -> bytes:
    return (gallery / "plain.png").read_bytes()


@pytest.fixture
def another(tmp_path) -> bytes:
    """A picture that is not in the gallery."""
    return draw(tmp_path / "another.png", 99).read_bytes()


def ready(client):
    for _ in range(600):
        if client.get("/readyz").status_code == 200:
            return client
        time.sleep(0.02)
    raise AssertionError(client.get("/readyz").text)


@pytest.fixture
def open_client():
    """`open_client(collection, threads=…)`: a client of an application of its own, ready to search."""
    clients = []

    def opened(collection, **settings):
        client = TestClient(create_app(Settings(collection=collection, follow_seconds=0.02, **settings)))
        clients.append(client.__enter__())
        return ready(client)

    yield opened
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(indexed):
    """For questions only."""
    with TestClient(create_app(Settings(collection=indexed, follow_seconds=0.02))) as client:
        yield ready(client)


@pytest.fixture(scope="module")
def calibrated(indexed_calibrated):
    """As `client`, over the calibrated collection."""
    with TestClient(create_app(Settings(collection=indexed_calibrated, follow_seconds=0.02))) as client:
        yield ready(client)


@pytest.fixture
def changing(fresh, open_client):
    """A client of a collection of its own, for changes."""
    return open_client(fresh)


@pytest.fixture(scope="session")
def address(indexed, tmp_path_factory):
    """The address of a real server, and the folder of its collection."""
    folder = tmp_path_factory.mktemp("served")
    collection = shutil.copytree(indexed, folder / "collection")
    command = [sys.executable, "-m", "lookalike", "serve", str(collection), "--port", "0"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        while not (found := re.search(r"http://[\d.:]+", (folder / "log").read_text())):
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.02)
        with httpx.Client(base_url=found[0]) as client:
            ready(client)
        yield found[0], collection
        process.terminate()


@pytest.fixture
def call(client):
    """Calls the application without a network: `receive` says what arrives; gives the messages that were sent."""

    async def calling(method, path, receive, query=b"", **headers):
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "root_path": ""}
        scope["headers"] = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        sent = []

        async def send(message):
            sent.append(message)

        await client.app(scope, receive, send)
        return sent

    return lambda *asked, **headers: client.portal.call(partial(calling, *asked, **headers))


@pytest.fixture
def check_problem():
    def check(answer, status=None, kind=None):
        """``answer`` is a complete problem; gives its detail."""
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert set(body) - {"field"} == {"type", "title", "status", "detail", "request_id"}
        assert body["status"] == answer.status_code == (status or answer.status_code)
        assert re.fullmatch(r"urn:lookalike:[a-z-]+", body["type"])
        assert kind is None or body["type"] == f"urn:lookalike:{kind}"
        assert body["title"]
        assert body["detail"].endswith(".")
        assert body["request_id"] == answer.headers["x-request-id"]
        return body["detail"]

    return check
