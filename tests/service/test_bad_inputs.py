"""Whatever arrives at a real server: a problem with a sentence, soon, and the next good request works."""

import http.client
import io
import json
import re
import socket
import struct
import zlib
from urllib.parse import quote, urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

HANG = 5  # seconds; an answer takes some milliseconds, to the largest bodies some tenths of a second
TYPED = {"Content-Type": "image/png"}
FORM = {"Content-Type": "multipart/form-data; boundary=X"}
MEGABYTE = bytes(2**20)


def encoded(kind, **options):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(width, height, data=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def form(*parts, end=b"--X--\r\n"):
    return b"".join(b"--X\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


def image(data, name=b"image"):
    return b'name="' + name + b'"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + data


PICTURE = encoded("PNG")
JPEG = encoded("JPEG")

# name: method, address, headers, body, status
BODIES = {
    "no bytes": (TYPED, b"", 400),
    "text": (TYPED, b"milk, eggs", 415),
    "text that begins like a JPEG": (TYPED, b"\xff\xd8\xff\xe0milk, eggs", 422),
    "HTML": (TYPED, b"<!doctype html><img src=x onerror=alert(1)>", 415),
    "SVG": ({"Content-Type": "image/svg+xml"}, b'<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>', 415),
    "PostScript": (TYPED, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", 415),
    "ICO": (TYPED, encoded("ICO"), 415),
    "PPM": (TYPED, encoded("PPM"), 415),
    "JPEG, half": (TYPED, JPEG[: len(JPEG) // 2], 422),
    "JPEG, without its last bytes": (TYPED, JPEG[:-200], 422),
    "PNG, half": (TYPED, PICTURE[: len(PICTURE) // 2], 422),
    "PNG, its signature only": (TYPED, PICTURE[:8], 415),
    "PNG, a bit turned": (TYPED, PICTURE[:5000] + bytes([PICTURE[5000] ^ 1]) + PICTURE[5001:], 422),
    "WebP, half": (TYPED, encoded("WEBP", lossless=True)[:9000], 422),
    "GIF, half": (TYPED, encoded("GIF")[:4000], 422),
    "BMP, half": (TYPED, encoded("BMP")[:9000], 422),
    "TIFF, half": (TYPED, encoded("TIFF")[:9000], 422),
    "TIFF, its offset points nowhere": (TYPED, b"II*\0\xff\xff\xff\xff", 415),
    "PNG, 50,000 by 50,000": (TYPED, png(50_000, 50_000), 413),
    "PNG, 2 billion by 2 billion": (TYPED, png(2**31 - 1, 2**31 - 1), 413),
    "PNG, no pixels": (TYPED, png(0, 0), 415),
    "PNG, large and almost empty": (TYPED, png(8_000, 8_000, bytes(100)), 422),
    "JPEG, 65,500 by 65,500": (TYPED, re.sub(rb"(?<=\xff\xc0..\x08)....", b"\xff\xdc" * 2, JPEG, flags=re.S), 413),
    "no content type": ({}, PICTURE, 415),
    "content type JSON": ({"Content-Type": "application/json"}, b"{}", 415),
    "deep JSON": ({"Content-Type": "application/json"}, b"[" * 10**6, 415),
    "an ordinary form": ({"Content-Type": "application/x-www-form-urlencoded"}, b"image=x", 415),
    "a content type that is none": ({"Content-Type": ";;;"}, PICTURE, 415),
    "a picture that is called video": ({"Content-Type": "video/mp4"}, PICTURE, 415),
    "form without boundary": ({"Content-Type": "multipart/form-data"}, form(image(PICTURE)), 400),
    "form with an endless boundary": (
        {"Content-Type": "multipart/form-data; boundary=" + "X" * 5000},
        form(image(PICTURE)),
        400,
    ),
    "form with another boundary": ({"Content-Type": "multipart/form-data; boundary=Y"}, form(image(PICTURE)), 400),
    "form, cut within the picture": (FORM, form(image(PICTURE))[:5000], 400),
    "form, cut before its end": (FORM, form(image(PICTURE), end=b""), 400),
    "form, nothing": (FORM, b"", 400),
    "form, no parts": (FORM, b"--X--\r\n", 422),
    "form, part without a name": (FORM, form(b'filename="a.png"\r\n\r\nx'), 400),
    "form, part without a header": (FORM, b"--X\r\n\r\nx\r\n--X--\r\n", 400),
    "form, broken base64": (FORM, form(b'name="image"; filename="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n!'), 400),
    "form, 10,000 parts": (FORM, form(*[b'name="k"\r\n\r\n1'] * 10_000), 400),
    "form, a field that is not UTF-8": (FORM, form(image(PICTURE), b'name="k"\r\n\r\n\xff'), 400),
    "form, no picture": (FORM, form(b'name="k"\r\n\r\n1'), 422),
    "form, another field": (FORM, form(image(PICTURE, b"picture")), 422),
    "form, the picture is text": (FORM, form(b'name="image"\r\n\r\nx'), 422),
    "form, an empty picture": (FORM, form(image(b"")), 415),
    "form, two pictures": (FORM, form(image(PICTURE), image(PICTURE)), 422),
    "form, an option that is none": (FORM, form(image(PICTURE), b'name="limit"\r\n\r\n1'), 422),
    "form, k = 0": (FORM, form(image(PICTURE), b'name="k"\r\n\r\n0'), 422),
    "200 MB, announced": (TYPED | {"Content-Length": str(200 * 2**20)}, [MEGABYTE] * 200, 413),
    "200 MB, in chunks": (TYPED, [MEGABYTE] * 200, 413),
}
OPTIONS = ["k=0", "k=-1", "k=1000000000", "k=x", "k=1.5", "k=", "k=1e3", "k=nan", "k=%00", "limit=5", "k[]=1", "k=1;k=x"]
FILTERS = [
    "",
    "{",
    "[" * 10_000,
    '{"not":' * 2_000,
    '{"x":1}' * 2,
    '{"\\ud800": 1}',
    '{"label": 1e400}',
    '{"label": {"in": ' + "9" * 9_000,
]
FIELDS = ["", "nothing", "%00", "%ff", "x" * 10_000, "%F0%9F%90%BB" * 1_000]
ADDRESSES = {
    "nowhere": ("POST", "/nowhere", 404),
    "search by GET": ("GET", "/search", 405),
    "search by PUT": ("PUT", "/search", 405),
    "item by POST": ("POST", "/items/x", 405),
    "page by POST": ("POST", "/", 405),
    "search below": ("POST", "/search/deeper", 404),
    "page's parts, outside": ("GET", "/web/../app.py", 404),
    "page's parts, outside, escaped": ("GET", "/web/%2e%2e/app.py", 404),
    "page's parts, absolute": ("GET", "/web//etc/passwd", 404),
    "page's parts, NUL": ("GET", "/web/app.js%00.css", 404),
    "another size": ("GET", "/images/plain.png?size=../../x", 422),
}
# Whether PUT refuses it. The others are ids like any other text: what matters is that none becomes a path.
PATHS = {
    "../../etc/passwd": True,
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd": True,
    "..%2f..%2fcatalog.sqlite": True,
    "sub/../catalog.sqlite": True,
    "./plain.png": True,
    "....//....//etc/passwd": False,
    "..\\..\\catalog.sqlite": False,
    "..%5c..%5ccatalog.sqlite": False,
    "/etc/passwd": False,
    "%2fetc%2fpasswd": False,
    "file:///etc/passwd": False,
    "plain.png/": False,
    "plain.png%00": True,
    "plain.png%00.txt": True,
    "%00": True,
    "%0a": True,
    "%ff%fe": True,
    "%c0%ae%c0%ae/etc/passwd": True,
    "%": False,
    "%zz": False,
    "x" * 1025: True,
    "%F0%9F%90%BB" * 257: True,
    "": True,
}
METADATA = ["", "{", "[]", '{"a": {}}', '{"a": NaN}', "[" * 100_000, '{"a":' * 10_000, "\0", '{"a": "' + "x" * 70_000 + '"}']
METADATA += ['{"a": ' + "[" * depth + "]" * depth + "}" for depth in (65, 300)]


@pytest.fixture
def ask(address):
    """Sends a request as it is, nothing tidied up; gives a complete problem or fails."""
    url, _ = address

    def asking(method, path, headers, body, status):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=HANG)
        try:
            chunked = isinstance(body, list) and "Content-Length" not in headers
            connection.request(method, path, body, headers, encode_chunked=chunked)
            answer = connection.getresponse()
            problem = json.loads(answer.read())
        finally:
            connection.close()
        assert (answer.status, answer.getheader("content-type")) == (status, "application/problem+json"), problem
        assert set(problem) - {"field"} == {"type", "title", "status", "detail", "request_id"}
        assert problem["status"] == status
        assert problem["type"].startswith("urn:lookalike:")
        assert problem["title"] and problem["detail"].endswith(".")
        assert problem["request_id"] == answer.getheader("x-request-id")
        return problem

    return asking


@pytest.fixture(autouse=True)
def check_the_server_goes_on(address, picture):
    """After each: a good request works, and on disk there is what there was, and nothing else."""
    url, collection = address
    before = files(collection)
    yield
    answer = httpx.post(f"{url}/search", files={"image": picture}, params={"k": 1}, timeout=HANG).json()
    assert answer["results"][0]["id"] == "plain.png"
    assert files(collection) == before


def files(collection):
    """All but SQLite's own, which come and go."""
    return {path for path in collection.parent.rglob("*") if not path.name.startswith("catalog.sqlite")}


@pytest.mark.parametrize("name", BODIES)
def test_search_with_a_bad_body(ask, name):
    headers, body, status = BODIES[name]
    ask("POST", "/search", dict(headers), body, status)


@pytest.mark.parametrize(
    "name", ["no bytes", "text", "PNG, half", "PNG, 50,000 by 50,000", "no content type", "form, two pictures"]
)
def test_put_with_a_bad_body(ask, address, name):
    headers, body, status = BODIES[name]
    ask("PUT", "/items/bad", dict(headers), body, status)
    assert httpx.get(f"{address[0]}/items/bad").status_code == 404


@pytest.mark.parametrize("query", OPTIONS)
def test_bad_options(ask, query):
    ask("POST", f"/search?{query}", TYPED, PICTURE, 422)


@pytest.mark.parametrize("text", FILTERS, ids=range(len(FILTERS)))
def test_bad_filters(ask, text):
    ask("POST", "/search", FORM, form(image(PICTURE), b'name="filter"\r\n\r\n' + text.encode()), 422)
    for method, path in (("POST", "/search?"), ("GET", "/facets?field=label&")):
        ask(method, f"{path}filter={quote(text)}", TYPED, PICTURE if method == "POST" else None, 422)


@pytest.mark.parametrize("field", FIELDS, ids=range(len(FIELDS)))
def test_fields_that_no_item_has(ask, field):
    for method, path in (("POST", "/search?group_by="), ("GET", "/facets?field=")):
        problem = ask(method, path + field, TYPED, PICTURE if method == "POST" else None, 422)
        assert problem["type"] == "urn:lookalike:unknown-field"
        assert len(problem["detail"]) < 500


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_bad_address(ask, name):
    method, path, status = ADDRESSES[name]
    ask(method, path, TYPED, PICTURE if method != "GET" else None, status)


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_an_id_that_would_be_a_path(ask, address, path):
    for room in ("items", "images"):
        ask("GET", f"/{room}/{path}", {}, None, 404)
    ask("DELETE", f"/items/{path}", {}, None, 404)
    if PATHS[path]:
        assert ask("PUT", f"/items/{path}", TYPED, PICTURE, 422)["type"] == "urn:lookalike:bad-id"


@pytest.mark.parametrize(
    "line",
    [
        b"GET /items/\xff HTTP/1.1",
        b"GET /items/\0 HTTP/1.1",
        b"GET /items/a b HTTP/1.1",
        b"BREW / HTTP/1.1",
        b"\x16\x03\x01\x02",
    ],
)
def test_what_is_no_http_is_refused_and_let_go(address, line):
    """The one answer that is not ours: the web server gives it before there is a request."""
    place = urlsplit(address[0])
    with socket.create_connection((place.hostname, place.port), timeout=HANG) as connection:
        connection.sendall(line + b"\r\nHost: x\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("text", METADATA, ids=range(len(METADATA)))
def test_bad_metadata(ask, text):
    body = form(image(PICTURE), b'name="metadata"\r\n\r\n' + text.encode())
    assert ask("PUT", "/items/bad", FORM, body, 422)["type"] == "urn:lookalike:bad-metadata"
