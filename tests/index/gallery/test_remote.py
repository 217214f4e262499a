"""Galleries at URLs: file://, memory:// and an S3 server that the test starts; and networks that fail."""

import importlib.util
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import fsspec
import httpx
import pytest
from fsspec.implementations.ftp import FTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from miniatures import content, picture, write

from index import blobs, gallery
from index.gallery import Entry, GalleryError, ReadError, Unreachable, Unreadable, files, listing
from index.job import JobError


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def s3(monkeypatch):
    """The URL of an empty bucket."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("s3fs") is None:
        pytest.skip("needs s3fs and moto[server]")
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    httpx.post(f"http://{host}:{port}/moto-api/reset").raise_for_status()  # what it holds is its process's, not the server's
    s3fs.S3FileSystem().mkdir("shop")
    yield "s3://shop"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def web():
    """The URL of a server; ``pages``: what it answers by path, and the ranges that were asked for."""
    pages: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = pages.get(self.path.split("?")[0])
            if data is None:
                self.send_error(404)
                return
            asked = self.headers.get("Range")
            if asked and not data:
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            if asked:
                data = data[: int(asked.removeprefix("bytes=0-")) + 1]
            self.send_header("Content-Type", "text/html" if data.startswith(b"<") else "image/png")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", pages=pages)
    server.shutdown()
    server.server_close()


def fill(url: str, *names: str) -> None:
    system, path = fsspec.url_to_fs(url)
    for number, name in enumerate(names):
        system.pipe_file(f"{path}/{name}", picture(number))


def ids(url: str) -> list[str]:
    return [found.id for found in gallery.open(url).scan()]


NAMES = ["b.png", "ü ?.JPG", ".hidden.png", "note.txt", "a/2.png", "a/b/1.png", ".h/x.png", "A.png", "a.png"]
SEEN = ["A.png", "a.png", "b.png", "ü ?.JPG", "a/2.png", "a/b/1.png"]


def test_a_folder_in_memory(memory):
    fill("memory://shop", *NAMES)
    assert ids("memory://shop/") == SEEN
    opened = gallery.open("memory://shop/")
    assert (opened.name, opened.root, opened.count()) == ("memory:///shop", "memory:///shop", None)
    assert files.read(opened.root, "a/2.png") == picture(4)


def test_a_folder_in_s3(s3):
    fill(f"{s3}/pre fix", *NAMES)
    assert ids(f"{s3}/pre fix/") == SEEN
    entry = next(found for found in gallery.open(f"{s3}/pre fix").scan())
    assert (entry.id, entry.size) == ("A.png", len(picture(7)))
    assert files.look(f"{s3}/pre fix", "A.png") == (entry.size, entry.mtime_ns)
    assert files.read(f"{s3}/pre fix", "A.png") == picture(7)
    with pytest.raises(ReadError, match="not there"):
        files.read(s3, "gone.png")
    with pytest.raises(GalleryError, match="is not there"):
        ids("s3://no-such-bucket/x")


def test_a_folder_in_s3_without_a_name(s3):
    fill(s3, "a//1.png", "b.png")
    found = {each.id: each for each in gallery.open(s3).scan()}
    assert set(found) == {"b.png", "a//"}
    assert isinstance(found["a//"], Unreadable)


def test_a_file_and_a_folder_of_one_name_in_s3(s3):
    fill(s3, "a.png", "a.png/b.png", "c.png")
    assert ids(s3) == ["a.png", "c.png", "a.png/b.png"]
    assert files.read(s3, "a.png") == picture(0)


def test_a_folder_that_was_made_in_s3_and_holds_nothing(s3):
    import s3fs

    s3fs.S3FileSystem().call_s3("put_object", Bucket="shop", Key="made/")
    assert ids(f"{s3}/made") == []


def test_an_empty_file_in_s3_was_read(s3, shop):
    fsspec.url_to_fs(s3)[0].pipe_file("shop/p/empty.png", b"")
    fill(f"{s3}/p", "0.png")
    assert files.read(f"{s3}/p", "empty.png") == b""
    assert "cannot be had" not in shop.index(f"{s3}/p").unreadable["empty.png"]


def test_pages_of_an_http_server(web, shop):
    links = ["?C=N;O=D", "/", "../", "/icons/logo.png", "a.png", "b.png", "empty.png", "sub/", "/p/sub/c.png", "/p", "/p/"]
    web.pages["/p"] = web.pages["/p/"] = b"<html>" + b"".join(f'<a href="{link}">x</a>'.encode() for link in links)
    web.pages["/p/sub"] = web.pages["/p/sub/"] = b'<html><a href="../">up</a><a href="/p/">up</a><a href="c.png">x</a>'
    web.pages |= {"/p/a.png": picture(1), "/p/b.png": picture(2), "/p/sub/c.png": picture(3), "/p/empty.png": b""}
    assert ids(f"{web.url}/p/") == ["a.png", "b.png", "empty.png", "sub/c.png"]
    report = shop.index(f"{web.url}/p/")
    assert (report.added, set(report.unreadable)) == (3, {"empty.png"})
    assert "cannot be had" not in report.unreadable["empty.png"]


def test_a_file_that_is_no_list_is_no_gallery(memory, web, s3):
    fill("memory://shop", "0.png", "list.ndjson")
    fill(s3, "p/list.ndjson")
    web.pages |= {"/list.ndjson": b"{}", "/page.html": b"<html>Welcome"}
    places = ("memory://shop/list.ndjson", f"{s3}/p/list.ndjson", f"{web.url}/list.ndjson", f"{web.url}/page.html")
    for url in places:
        with pytest.raises(GalleryError, match="is no folder, nor a list"):
            ids(url)


def test_no_more_of_a_file_is_read_than_tells_that_it_is_too_large(memory, web, s3, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_FILE", 10)
    for root in ("memory://shop", s3):
        fill(root, "0.png")
        assert files.read(root, "0.png") == picture(0)[:11]
    web.pages["/0.png"] = picture(0)
    write(tmp_path / "0.png", 0)
    for root in (web.url, str(tmp_path)):
        assert files.read(root, "0.png") == picture(0)[:11]


def test_a_server_that_is_away_is_not_waited_for_for_minutes(monkeypatch):
    from fsspec.config import conf

    timeout = files.system("http://shop.example/x")[0].client_kwargs["timeout"]
    assert (timeout.sock_connect, timeout.sock_read, timeout.total) == (10, 30, None)
    monkeypatch.setitem(conf, "http", {"client_kwargs": {"headers": {"Authorization": "x"}}})
    assert set(files.system("http://shop.example/x")[0].client_kwargs) == {"timeout", "headers"}


def test_a_host_is_part_of_the_name(monkeypatch):
    monkeypatch.setattr(FTPFileSystem, "_connect", lambda self: setattr(self, "ftp", SimpleNamespace(close=lambda: None)))
    names = ["ftp://one.example/pics", "ftp://two.example/pics", "webhdfs://one:9870/pics", "webhdfs://two:9870/pics"]
    assert [gallery.open(f"{name}/").name for name in names] == names
    assert gallery.open(names[0]).root == names[0]


def test_a_place_that_is_away_when_it_is_connected_to(shop, monkeypatch):
    connects = []

    def refusing(self):
        self.ftp = SimpleNamespace(close=lambda: None)
        connects.append(None)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(FTPFileSystem, "_connect", refusing)
    monkeypatch.setattr(files, "PAUSES", (0.0,))
    with pytest.raises(Unreachable, match="Connection refused"):
        files.read("ftp://shop.example", "a.png")
    assert len(connects) == 2
    rows = "".join(f"ftp://shop.example/{n}.png,7,1\n" for n in range(500))
    (shop.folder / "list.csv").write_text("path,size,mtime\n" + rows)
    with pytest.raises(JobError, match="in a row could not be had"):
        shop.index(shop.folder / "list.csv")


def test_who_stops_does_not_wait_for_what_is_tried_again(memory, monkeypatch):
    def silent(self, path, **options):
        raise ConnectionError("refused")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", silent)
    paused = []
    with pytest.raises(Unreachable):
        files.read("memory://shop", "none.png", pauses=(100.0, 100.0), rest=lambda pause: paused.append(pause) or True)
    assert paused == [100.0]


@pytest.mark.parametrize(
    "place", ["generic:///etc/x.png", "dir:///etc/x.png", "FILE:///etc/x.png", "local:x.png://", "file://x"]
)
def test_a_row_cannot_make_a_job_read_this_machine(memory, place):
    with pytest.raises(ReadError, match=r"nowhere that pictures can be read from|files of this machine|is not there"):
        files.read("memory://shop", place)


def test_a_job_of_s3_downloads_what_changed(s3, shop, monkeypatch):
    fill(f"{s3}/p", *(f"{n}.png" for n in range(5)))
    fsspec.url_to_fs(s3)[0].pipe_file("shop/p/labels.csv", b"path,name\n2.png,two\n")
    assert shop.index(f"{s3}/p").added == 5
    read, asked = files.read, Counter()

    def counting(root, path, *rest, **options):
        asked[path] += 1
        return read(root, path, *rest, **options)

    monkeypatch.setattr(files, "read", counting)
    assert shop.index(f"{s3}/p").unchanged == 5
    assert not asked
    fsspec.url_to_fs(s3)[0].pipe_file("shop/p/1.png", picture(9))
    report = shop.index(f"{s3}/p")
    assert (report.added, report.encoded, asked) == (1, 1, Counter({"1.png": 1}))
    item = shop.found(2)["2.png"]
    assert (item.origin, item.metadata) == ("s3://shop/p", {"name": "two"})
    catalog = shop.catalog()
    assert blobs.read(shop.collection, catalog, item) == picture(2)
    catalog.close()


def test_a_list_in_s3(s3, shop):
    fill(s3, "0.png", "1.png")
    write(shop.folder / "2.png", 2)
    system = fsspec.url_to_fs(s3)[0]
    rows = f'{{"path":"0.png"}}\n{{"path":"s3://shop/1.png","id":"one"}}\n{{"path":"{shop.folder}/2.png","id":"here"}}\n'
    system.pipe_file("shop/list.jsonl", (rows + f'{{"path":"file://{shop.folder}/2.png","id":"too"}}').encode())
    report = shop.index("s3://shop/list.jsonl")
    assert (report.added, set(report.unreadable)) == (2, {"here", "too"})
    assert "cannot name files of this machine" in report.unreadable["here"]
    found = shop.found()
    assert {id: item.content for id, item in found.items()} == {"0.png": content(0), "one": content(1)}
    catalog = shop.catalog()
    assert blobs.read(shop.collection, catalog, found["one"]) == picture(1)
    catalog.close()


def test_file_urls_are_paths(shop):
    shop.fill([1, 2])
    assert shop.index(f"file://{shop.gallery}").added == 2
    assert {item.origin for item in shop.found().values()} == {str(shop.gallery)}
    assert shop.index().unchanged == 2


def test_a_file_whose_place_does_not_answer_is_tried_again_and_not_remembered(memory, shop, monkeypatch):
    fill("memory://shop", "0.png", "1.png", "2.png")
    monkeypatch.setattr(files, "PAUSES", (0.0, 0.0))
    cat, tries = MemoryFileSystem.cat_file, Counter()

    def failing(self, path, *rest, **options):
        tries[path] += 1
        if path.endswith("1.png") or (path.endswith("2.png") and tries[path] < 3):
            raise ConnectionError("reset by peer")
        return cat(self, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "cat_file", failing)
        report = shop.index("memory://shop")
    assert (report.added, tries["/shop/1.png"], tries["/shop/2.png"]) == (2, 3, 3)
    assert "reset by peer" in report.unreadable["1.png"]
    report = shop.index("memory://shop")
    assert (report.added, report.unchanged, report.unreadable) == (1, 2, {})


def test_a_listing_that_fails_loses_nothing(memory, shop, monkeypatch):
    fill("memory://shop", "0.png", "a/1.png")
    shop.index("memory://shop")
    ls = MemoryFileSystem.ls

    def failing(self, path, *rest, **options):
        if path.endswith("/a"):
            raise TimeoutError("no answer")
        return ls(self, path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "ls", failing)
        with pytest.raises(GalleryError, match="cannot be listed"):
            shop.index("memory://shop")
    assert set(shop.found()) == {"0.png", "a/1.png"}


def test_a_closed_folder_keeps_what_was_in_it(memory, shop, monkeypatch):
    fill("memory://shop", "0.png", "a/1.png")
    shop.index("memory://shop")
    ls = MemoryFileSystem.ls

    def closed(self, path, *rest, **options):
        if path.endswith("/a"):
            raise PermissionError("denied")
        return ls(self, path, *rest, **options)

    monkeypatch.setattr(MemoryFileSystem, "ls", closed)
    assert list(shop.index("memory://shop").unreadable) == ["a/"]
    assert set(shop.found()) == {"0.png", "a/1.png"}


def test_a_list_none_of_whose_files_can_be_had_stops_the_job(memory, monkeypatch):
    rows = [f"told.png,{n},7,e" if n % 2 else f"{n}.png,,," for n in range(300)]
    memory.pipe_file("/l/list.csv", "\n".join(["path,id,size,etag", *rows]).encode())
    opened = gallery.open("memory://l/list.csv")
    monkeypatch.setattr(files, "PAUSES", ())

    asked = []

    def silent(self, path, **options):
        asked.append(path)
        raise ConnectionError("refused")

    monkeypatch.setattr(MemoryFileSystem, "info", silent)
    monkeypatch.setattr(listing, "READERS", 1)
    found = []
    with pytest.raises(GalleryError, match=r"64 files of .* in a row cannot be had"):
        for each in opened.scan():
            found.append(each)
    assert sum(isinstance(each, Unreadable) for each in found) == files.SILENT - 1


def test_where_nothing_tells_that_a_file_stayed_the_same_it_is_read_again():
    one, two = files.told({"size": 3}), files.told({"size": 3})
    assert one != two
    assert files.told({"size": 3, "ETag": '"x"', "mtime": 1}) == files.told({"size": 3, "ETag": '"x"', "mtime": 2})


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3://key:secret@bucket/x", "holds a password"),
        ("https://shop.example/list.csv?X-Amz-Signature=abc", "holds a password or a signature"),
        ("zip:///etc/x.zip", "is nowhere that pictures can be read from"),
        ("memory://none/list.csv", "is not there"),
    ],
)
def test_urls_that_are_refused(url, sentence):
    with pytest.raises(GalleryError, match=sentence) as error:
        gallery.open(url)
    assert "secret" not in str(error.value)
    assert "abc" not in str(error.value)


def test_names_that_fsspec_would_misread(memory):
    with pytest.raises(ReadError, match="chain of URLs"):
        files.read("memory://shop", "zip://a.png::/etc/x.zip")


def test_errors_tell_whose_fault_it_is(memory, monkeypatch):
    def silent(self, path, *rest, **options):
        raise ConnectionError("refused")

    with pytest.raises(ReadError) as gone:
        files.read("memory://shop", "none.png")
    assert not isinstance(gone.value, Unreachable)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", silent)
    with pytest.raises(Unreachable):
        files.read("memory://shop", "none.png", pauses=())


def test_entries_are_the_same_each_time(memory):
    fill("memory://shop", "0.png", "a/1.png")
    first, second = (list(gallery.open("memory://shop").scan()) for _ in range(2))
    assert first == second
    assert all(isinstance(entry, Entry) for entry in first)
