"""The service as a process of its own, with jobs, other servers and terminals around it."""

import json
import re
import shutil
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

from index.job import job

HANG = 20  # seconds


def draw(path, seed):
    """A mosaic of its own for each seed."""
    tiles = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    Image.fromarray(tiles).resize((320, 240), Image.Resampling.NEAREST).save(path)
    return path


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    for seed in range(12):
        draw(folder / f"mosaic {seed}.png", seed)
    return folder


@pytest.fixture(scope="module")
def indexed(gallery, backbone, encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed") / "collection"
    job.run(gallery, backbone, encoder, folder)
    return folder


@pytest.fixture
def fresh(indexed, tmp_path):
    return shutil.copytree(indexed, tmp_path / "collection")


@pytest.fixture
def started(start_server):
    """Start a server and wait until it is ready."""

    def start(*arguments):
        server = start_server(*arguments)
        server.wait_ready()
        return server

    return start


@pytest.fixture
def another(tmp_path):
    return draw(tmp_path / "another.png", 99)


def search(url, file, k=1):
    with file.open("rb") as data:
        return httpx.post(f"{url}/search", files={"image": data}, params={"k": k}, timeout=HANG).json()["results"]


def until(condition):
    end = time.monotonic() + HANG
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def test_an_empty_collection_becomes_ready_by_itself(start_server, run, gallery, backbone, tmp_path):
    collection = tmp_path / "collection"
    server = start_server(collection)
    assert httpx.get(f"{server.url}/livez").status_code == 200
    assert "<title>Lookalike</title>" in httpx.get(server.url).text
    told = httpx.get(f"{server.url}/readyz")
    assert told.status_code == 503
    assert f"`lookalike index GALLERY --bundle BUNDLE --to {collection}`" in told.json()["detail"]

    done = run("index", str(gallery), "--bundle", str(backbone.path), "--to", str(collection))
    assert done.returncode == 0, done.stderr
    server.wait_ready()
    for file in gallery.iterdir():
        [hit] = search(server.url, file)
        assert (hit["id"], hit["score"] >= 0.999) == (file.name, True)
        assert httpx.get(server.url + hit["image_url"]).content == file.read_bytes()

    mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "openvino" in mapped
    assert "torch" not in mapped


def test_two_servers_over_one_collection(started, fresh, another, gallery):
    one, two = started(fresh), started(fresh)
    put = httpx.put(f"{one.url}/items/new", content=another.read_bytes(), headers={"Content-Type": "image/png"})
    assert put.status_code == 200
    assert search(one.url, another)[0]["id"] == "new"
    until(lambda: search(two.url, another)[0]["id"] == "new")

    assert httpx.delete(f"{two.url}/items/new").status_code == 204
    first = gallery / "mosaic 0.png"
    assert httpx.delete(f"{one.url}/items/mosaic%200.png").status_code == 204
    for server in (one, two):
        assert {"new", first.name}.isdisjoint(hit["id"] for hit in search(server.url, first, 100))
        assert httpx.get(f"{server.url}/items/new").status_code == 404


def test_a_job_publishes_into_a_running_server(started, run, fresh, gallery, backbone, another, tmp_path):
    server = started(fresh)
    copied = shutil.copytree(gallery, tmp_path / "gallery")
    shutil.copy(another, copied / "new.png")
    (copied / "mosaic 0.png").unlink()
    options = ("--bundle", str(backbone.path), "--to", str(fresh), "--origin", str(gallery), "--json")
    report = run("index", str(copied), *options)
    assert json.loads(report.stdout)["encoded"] == 1, report.stderr
    until(lambda: search(server.url, another)[0]["id"] == "new.png")
    assert "mosaic 0.png" not in [hit["id"] for hit in search(server.url, another, 100)]


def metric(server, name):
    text = httpx.get(f"{server.url}/metrics").text
    return float(dict(re.findall(r"^(\S+) (\S+)$", text, re.M)).get(name, 0))


def test_nothing_is_encoded_for_clients_that_left(start_server, indexed, gallery, tmp_path):
    """One thread, kept busy by a large picture; ten more clients come and go meanwhile."""
    server = start_server(indexed, env={"LOOKALIKE_THREADS": "1"})
    server.wait_ready()
    large, small = tmp_path / "large.png", gallery / "mosaic 1.png"
    Image.new("L", (8000, 8000)).save(large)
    head = f"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {small.stat().st_size}\r\n\r\n"
    place = urlsplit(server.url)
    busy = threading.Thread(target=search, args=(server.url, large))
    busy.start()
    until(lambda: metric(server, "lookalike_requests_in_work") == 1)
    leaving = [socket.create_connection((place.hostname, place.port), timeout=HANG) for _ in range(10)]
    for connection in leaving:
        connection.sendall(head.encode() + small.read_bytes())
        connection.close()
    busy.join()
    assert search(server.url, small)[0]["id"] == small.name
    assert metric(server, 'lookalike_phase_seconds_count{phase="encode"}') == 2
    assert metric(server, 'lookalike_requests_total{method="POST",route="/search",status="499"}') == 10


def test_who_uploads_slowly_is_in_nobodys_way(start_server, indexed, gallery):
    server, picture = start_server(indexed, env={"LOOKALIKE_UPLOAD_SECONDS": "1"}), gallery / "mosaic 1.png"
    server.wait_ready()
    place = urlsplit(server.url)
    head = b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 100000\r\n\r\nand so on"
    slow = [socket.create_connection((place.hostname, place.port), timeout=HANG) for _ in range(200)]
    for connection in slow:
        connection.sendall(head)
    assert search(server.url, picture)[0]["id"] == picture.name
    for connection in slow:
        with connection, connection.makefile("rb") as answer:
            said = answer.read()
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"urn:lookalike:body-too-slow" in said


def test_what_was_accepted_is_finished_before_the_end(started, indexed, gallery):
    server, picture = started(indexed), (gallery / "mosaic 1.png").read_bytes()
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=HANG) as connection:
        head = f"POST /search?k=1 HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(picture)}\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        answer = connection.makefile("rb")
        assert answer.readline().startswith(b"HTTP/1.1 100")  # it waits for the body now
        connection.sendall(picture[:100])
        server.process.terminate()
        until(lambda: not listens(place))
        connection.sendall(picture[100:])
        said = answer.read().decode()
    assert "HTTP/1.1 200 OK" in said
    assert '"id":"mosaic 1.png"' in said
    server.process.wait(HANG)
    assert "Traceback" not in server.log.read_text()


def listens(place):
    try:
        socket.create_connection((place.hostname, place.port), timeout=HANG).close()
    except ConnectionError:
        return False
    return True


def test_a_port_that_is_taken(run, indexed):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = run("serve", str(indexed), "--port", str(port))
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(f"Cannot listen on 127.0.0.1, port {port}")
    assert line.endswith("Choose another with --host and --port.")


def test_a_server_beyond_this_machine_takes_no_changes_unless_told(start_server, fresh, another, gallery):
    asked = {"content": another.read_bytes(), "headers": {"Content-Type": "image/png"}}
    careful, told = start_server(fresh, "--host", "0.0.0.0"), start_server(fresh, "--host", "0.0.0.0", "--writes")
    for server in (careful, told):
        server.wait_ready()
    refused = httpx.put(f"{careful.url}/items/new", **asked)
    assert refused.status_code == httpx.delete(f"{careful.url}/items/mosaic%201.png").status_code == 403
    assert "--writes" in refused.json()["detail"]
    assert search(careful.url, gallery / "mosaic 1.png")[0]["id"] == "mosaic 1.png"
    assert httpx.put(f"{told.url}/items/new", **asked).status_code == 200
    assert httpx.delete(f"{told.url}/items/mosaic%201.png").status_code == 204


def test_search_from_a_terminal(run, started, indexed, gallery, tmp_path):
    server, file = started(indexed), gallery / "mosaic 2.png"
    shown = run("search", str(file), "--url", server.url)
    assert shown.returncode == 0
    assert "mosaic 2.png, among 12 items" in shown.stderr
    assert "1.000" in shown.stderr
    asked = run("search", str(file), "--url", f"{server.url}/", "--k", "3", "--json")
    results = json.loads(asked.stdout)["results"]
    assert results[0]["id"] == "mosaic 2.png"
    assert len(results) == 3

    notes = tmp_path / "notes.txt"
    notes.write_text("milk, eggs")
    refused = run("search", str(notes), "--url", server.url)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == ["The file is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture."]


def test_no_service_at_the_address(run, gallery):
    file = str(gallery / "mosaic 2.png")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for address in (url, "localhost", "http://[::1"):
        ended = run("search", file, "--url", address)
        assert (ended.returncode, ended.stdout) == (1, "")
        [line] = ended.stderr.splitlines()
        assert line.startswith(f"No service answers at {address} (")
        assert line.endswith("Start one with: lookalike serve COLLECTION")


class Stranger(BaseHTTPRequestHandler):
    """Another service, which answers everything with a page."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path.startswith("/search") else 418)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_):
        pass


def test_another_service_at_the_address(run, gallery):
    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{stranger.server_port}"
        for address, status in ((url, 200), (f"{url}/elsewhere", 418)):
            ended = run("search", str(gallery / "mosaic 2.png"), "--url", address)
            assert ended.returncode == 1
            [line] = ended.stderr.splitlines()
            assert f"answered {status}; is that a Lookalike service?" in line
        stranger.shutdown()
