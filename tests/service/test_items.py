import hashlib
import json
from urllib.parse import quote

import httpx
import pytest
from odd_ids import NAMES

IDS = [
    "plain",
    "a/b/c",
    "/leading",
    "trailing/",
    "two//slashes",
    'it\'s "quoted"',
    "with space",
    "hash#question?percent%41&plus+",
    "%2e%2e%2fetc",
    "👩‍💻/ünï\u202fcode",
    "back\\slash",
    "semi;colon,comma=at@",
    "...",
    "x" * 1024,
]


def search(client, picture, k=10):
    return client.post("/search", files={"image": picture}, params={"k": k}).json()["results"]


@pytest.mark.parametrize("id", IDS, ids=range(len(IDS)))
def test_any_text_is_an_id_on_every_way(address, another, id):
    url, collection = address
    item = f"{url}/items/{quote(id)}"
    put = httpx.put(item, content=another, headers={"Content-Type": "image/png"})
    assert (put.status_code, put.json()["id"]) == (200, id)
    assert httpx.get(item).json() == put.json()
    [hit] = httpx.post(f"{url}/search?k=1", files={"image": another}).json()["results"]
    assert (hit["id"], hit["image_url"]) == (id, put.json()["image_url"])
    assert httpx.get(url + hit["image_url"]).content == another
    assert httpx.delete(item).status_code == 204
    assert httpx.get(item).status_code == 404
    # An id is a row of the catalog; on disk there are names made of digests only.
    assert {file.name for file in (collection / "blobs").iterdir()} == {hashlib.sha256(another).hexdigest()}


@pytest.mark.parametrize("name", NAMES)
def test_a_gallerys_file_name_is_an_id_on_every_way(address, gallery, name):
    url, _ = address
    data = (gallery / name).read_bytes()
    [hit] = httpx.post(f"{url}/search?k=1", files={"image": data}).json()["results"]
    assert hit["id"] == name
    assert hit["score"] >= 0.9999
    assert httpx.get(url + hit["image_url"]).content == data
    assert httpx.get(f"{url}/items/{quote(name)}").json()["content"] == hashlib.sha256(data).hexdigest()


def test_put_is_found_by_the_next_search(changing, another):
    changing.put("/items/new", files={"image": another}, data={"metadata": '{"price": 3}'})
    first = search(changing, another)[0]
    assert (first["id"], first["metadata"]) == ("new", {"price": 3})
    assert first["score"] >= 0.9999


def test_put_replaces_picture_and_metadata(changing, another, picture):
    changing.put("/items/one", files={"image": another}, data={"metadata": '{"price": 3}'})
    changing.put("/items/one", files={"image": picture})
    assert changing.get("/images/one").content == picture
    assert changing.get("/items/one").json()["metadata"] == {}
    found = [hit for hit in search(changing, another, 100) if hit["id"] == "one"]
    assert [hit["score"] < 0.99 for hit in found] == [True]


def test_put_takes_a_gallerys_item_over(changing, another):
    before = changing.get("/items/plain.png").json()["origin"]
    changing.put("/items/plain.png", files={"image": another})
    assert changing.get("/items/plain.png").json()["origin"] == "api" != before
    assert changing.get("/images/plain.png").content == another


def test_delete_holds_for_the_next_search(changing, picture):
    assert search(changing, picture)[0]["id"] == "plain.png"
    assert changing.delete("/items/plain.png").status_code == 204
    assert "plain.png" not in [hit["id"] for hit in search(changing, picture, 100)]
    assert len(search(changing, picture, 100)) == len(NAMES) - 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/items/x"), ("DELETE", "/items/x"), ("GET", "/images/x")])
def test_an_unknown_id(client, check_problem, method, path):
    check_problem(client.request(method, path), 404, "no-such-item")


@pytest.mark.parametrize(
    "metadata",
    [{}, {"a": "text", "b": 1, "c": 1.5, "d": True, "e": None, "f": ["x", 2, False]}, {"ключ": "знач 👩‍💻"}, {"n": 2**63 - 1}],
    ids=range(4),
)
def test_metadata_comes_back_as_it_was_sent(changing, another, metadata):
    assert changing.put("/items/m", files={"image": another}, data={"metadata": json.dumps(metadata)}).status_code == 200
    assert changing.get("/items/m").json()["metadata"] == metadata
    assert search(changing, another)[0]["metadata"] == metadata


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        '{"a": {}}',
        '{"a": [[1]]}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1e400}',
        '{"a": "\\ud800"}',
        '{"a": ' + "[" * 100_000,
        '{"a": "' + "x" * 2**16 + '"}',
    ],
    ids=range(12),
)
def test_other_metadata_is_refused_and_changes_nothing(changing, another, check_problem, text):
    answer = changing.put("/items/m", files={"image": another}, data={"metadata": text})
    check_problem(answer, 422, "bad-metadata")
    assert changing.get("/items/m").status_code == 404


def test_a_server_beyond_this_machine_takes_no_changes_unless_told(fresh, open_client, another, check_problem):
    careful = open_client(fresh, host="0.0.0.0")
    check_problem(careful.put("/items/x", files={"image": another}), 403, "writes-off")
    check_problem(careful.delete("/items/plain.png"), 403, "writes-off")
    assert careful.get("/items/plain.png").status_code == 200
    told = open_client(fresh, host="0.0.0.0", writes=True)
    assert told.put("/items/x", files={"image": another}).status_code == 200
    assert open_client(fresh, writes=False).delete("/items/x").status_code == 403


@pytest.mark.parametrize(
    ("host", "takes"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("::", False), ("box", False)]
)
def test_who_can_ask_decides_whether_changes_are_taken(fresh, host, takes):
    from service.settings import Settings

    assert Settings(collection=fresh, host=host).may_write is takes
