"""The client, against a real service, against nothing, and against servers that are no Lookalike."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from index.job import job
from lookalike.client import Client, ServiceError

ODD = [
    "plain.png",
    "with space.png",
    "100%.png",
    "%41.png",
    "a%2Fb.png",
    'sub/folder/it\'s "quoted".png',
    "sub/~+&=@:,;$!*()/x.png",
    "hash#question?k=1.png",
    "sub/👩‍💻 ünï.png",
    "line\nbreak.png",
    "back\\slash.png",
    "dots...png",
]


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client


def complaint(ask) -> str:
    with pytest.raises(ServiceError) as caught:
        ask()
    return str(caught.value)


# A real service


def test_a_picture_finds_itself(client: Client, emoji_slice: Path) -> None:
    answer = client.search(emoji_slice / "1f43b" / "openmoji.png", 3)
    assert len(answer["results"]) == 3
    assert answer["results"][0]["id"] == "1f43b/openmoji.png"
    assert answer["results"][0]["score"] == pytest.approx(1, abs=1e-3)
    by_bytes = client.search((emoji_slice / "1f43b" / "openmoji.png").read_bytes(), 3)
    assert by_bytes["results"] == answer["results"]
    assert len(client.search(emoji_slice / "1f43b" / "openmoji.png")["results"]) == 10


def test_what_the_service_refuses_is_told_in_its_words(client: Client) -> None:
    for picture in (b"", b"no picture"):
        sentence = complaint(lambda picture=picture: client.search(picture))
        assert sentence.endswith(".") and "is that a Lookalike service" not in sentence
    assert "k" in complaint(lambda: client.search(b"no picture", k=0))


def test_a_file_that_is_not_there(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.search(tmp_path / "missing.png")


def test_items_are_there_or_not(client: Client) -> None:
    item = client.item("1f43b/openmoji.png")
    assert item is not None and item["id"] == "1f43b/openmoji.png" and item["metadata"]["family"] == "openmoji"
    for id in ("1f43b", "1f43b/openmoji", "1f43b%2Fopenmoji.png", "nothing", " ", *ODD):
        assert client.item(id) is None


def test_a_filter_and_groups(client: Client, emoji_slice: Path) -> None:
    picture = emoji_slice / "1f43b" / "openmoji.png"
    found = client.search(picture, 20, {"family": ["openmoji", "noto"]})["results"]
    assert {hit["metadata"]["family"] for hit in found} == {"openmoji", "noto"}
    one_each = client.search(picture, 1000, group_by="family")["results"]
    families = [hit["metadata"]["family"] for hit in one_each]
    assert len(set(families)) == len(families) > 2
    many = {"id": ["1f43b/noto.png", *(f"nothing/{number}" for number in range(9_999))]}
    assert [hit["id"] for hit in client.search(picture, filter=many)["results"]] == ["1f43b/noto.png"]
    assert "'family'" in complaint(lambda: client.search(picture, filter={"familiy": "noto"}))


def test_facets(client: Client) -> None:
    counts = {each["value"]: each["count"] for each in client.facets("family")["values"]}
    assert sum(counts.values()) == client.info()["index"]["count"]
    assert client.facets("family", 1, {"family": "noto"})["values"] == [{"value": "noto", "count": counts["noto"]}]
    assert "'family'" in complaint(lambda: client.facets("familiy"))


def test_the_service_describes_itself(client: Client) -> None:
    info = client.info()
    assert info["limits"]["max_k"] >= 100
    assert info["index"]["count"] > 500
    assert info["model"]["dim"] == 128


def test_an_address_may_end_in_a_slash(server: str) -> None:
    with Client(f"{server}/") as client:
        assert client.info()["limits"]


def test_threads_share_a_client(client: Client, emoji_slice: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        pictures = [emoji_slice / "1f43b" / f"{name}.png" for name in ("openmoji", "noto")] * 6
        answers = list(pool.map(lambda picture: client.search(picture, 1)["results"][0]["id"], pictures))
    assert answers == [f"1f43b/{picture.name}" for picture in pictures]


def test_ids_as_odd_as_file_names_are_found(backbone, encoder, start_server, tmp_path: Path) -> None:
    for seed, name in enumerate(ODD):
        path = tmp_path / "gallery" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tiles = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
        Image.fromarray(tiles).resize((96, 96), Image.Resampling.NEAREST).save(path, "PNG")
    job.run(tmp_path / "gallery", backbone, encoder, tmp_path / "collection")
    running = start_server(tmp_path / "collection")
    running.wait_ready()
    with Client(running.url) as client:
        for name in ODD:
            item = client.item(name)
            assert item is not None and item["id"] == name
            assert client.item(f"{name}x") is None
            assert client.search(tmp_path / "gallery" / name, 1)["results"][0]["id"] == name


# No service, and others


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9",
        "127.0.0.1:8000",
        "localhost",
        "",
        "ftp://127.0.0.1",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://127.0.0.1:x",
        "http://nowhere.invalid",
        "http://a\nb",
        "http://a b",
        "//",
    ],
)
def test_no_service(url: str) -> None:
    with Client(url, timeout=5) as client:
        for ask in (client.info, lambda: client.item("a"), lambda: client.search(b"x")):
            sentence = complaint(ask)
            assert sentence.startswith(f"No service answers at {url.rstrip('/')} (")
            assert sentence.endswith("). Start one with: lookalike serve COLLECTION")
            assert "( )" not in sentence and "()" not in sentence


class Other:
    """A server that gives everybody the same answer; None: none."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes, dict[str, str]] | None = (200, b"", {})
        self.asked: list[str] = []
        other = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                other.asked.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if other.answer is None:
                    return
                status, body, headers = other.answer
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # clients that hang up
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    running = Other()
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>It works!</html>"),
        (200, b"[]"),
        (200, b"null"),
        (200, b'"results"'),
        (200, b'{"detail": "all is well"}'),
        (200, b"\xff\xfe{}"),
        (301, b"moved"),
        (404, b"<html>Not Found</html>"),
        (404, b'{"error": "not found"}'),
        (500, b"[1]"),
        (503, b""),
    ],
)
def test_a_server_that_is_no_lookalike(status: int, body: bytes, other: Other) -> None:
    other.answer = (status, body, {"Location": "/elsewhere"} if status == 301 else {})
    with Client(other.url) as client:
        for path, ask in (("/info", client.info), ("/search?k=10", lambda: client.search(b"x"))):
            sentence = complaint(ask)
            assert sentence == f"{other.url}{path} answered {status}; is that a Lookalike service?"
        if status != 404:
            assert complaint(lambda: client.item("a")) == f"{other.url}/items/a answered {status}; is that a Lookalike service?"


def test_the_words_of_a_refusal_are_passed_on(other: Other) -> None:
    other.answer = (503, json.dumps({"detail": "There is no collection yet. Index one."}).encode(), {})
    with Client(other.url) as client:
        assert complaint(client.info) == "There is no collection yet. Index one."
        assert complaint(lambda: client.item("a")) == "There is no collection yet. Index one."


@pytest.mark.parametrize(
    "answer", [None, (200, b"{}", {"Content-Length": "100"}), (200, b"no gzip", {"Content-Encoding": "gzip"})]
)
def test_a_server_that_hangs_up(answer, other: Other) -> None:
    other.answer = answer
    with Client(other.url, timeout=5) as client:
        assert complaint(client.info).startswith(f"No service answers at {other.url} (")


def test_a_server_that_is_too_slow(other: Other) -> None:
    released = threading.Event()

    class Slow(tuple):
        def __iter__(self):
            released.wait(10)
            return super().__iter__()

    other.answer = Slow((200, b"{}", {}))
    with Client(other.url, timeout=0.05) as client:
        sentence = complaint(client.info)
    released.set()
    assert sentence.startswith(f"No service answers at {other.url} (timed out)")


@pytest.mark.parametrize("id", ODD)
def test_ids_are_quoted_in_addresses(id: str, other: Other) -> None:
    other.answer = (200, json.dumps({"id": id}).encode(), {})
    with Client(other.url) as client:
        assert client.item(id) == {"id": id}
    assert unquote(other.asked[-1]) == f"/items/{id}"
    assert not set(other.asked[-1]) & set(' #?"\\\n')


# A busy one


@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, {}])
def test_a_busy_service_is_asked_again_until_it_answers(other: Other, headers: dict[str, str]) -> None:
    other.answer = (429, json.dumps({"detail": "busy"}).encode(), headers)
    other.asked.clear()

    def answer() -> None:
        while not other.asked:
            pass
        other.answer = (200, json.dumps({"limits": {"max_k": 5}}).encode(), {})

    waiting = threading.Thread(target=answer)
    waiting.start()
    with Client(other.url) as client:
        assert client.info() == {"limits": {"max_k": 5}}
    waiting.join()
    assert len(other.asked) >= 2


def test_a_service_that_stays_busy_is_told_in_its_words(other: Other) -> None:
    other.answer = (429, json.dumps({"detail": "The server is busy."}).encode(), {"Retry-After": "1"})
    other.asked.clear()
    with Client(other.url, timeout=0.5) as client:
        assert complaint(client.info) == "The server is busy."
    assert len(other.asked) == 1
