import re

import pytest
from odd_ids import NAMES
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings

GETS = [
    "/",
    "/docs",
    "/openapi.json",
    "/livez",
    "/readyz",
    "/info",
    "/metrics",
    "/web/app.js",
    "/facets?field=label",
    "/items/plain.png",
    "/images/plain.png",
]


def test_an_empty_collection_is_alive_and_says_how_to_fill_it(tmp_path, check_problem, picture):
    with TestClient(create_app(Settings(collection=tmp_path / "none"))) as client:
        assert client.get("/livez").json() == {"status": "alive"}
        assert client.get("/").status_code == 200
        assert client.get("/info").json()["index"] is None
        for answer in (
            client.get("/readyz"),
            client.post("/search", files={"image": picture}),
            client.get("/facets?field=x"),
            client.get("/items/x"),
            client.get("/images/x"),
            client.put("/items/x", files={"image": picture}),
            client.delete("/items/x"),
        ):
            assert f"lookalike index GALLERY --bundle BUNDLE --to {tmp_path / 'none'}" in check_problem(
                answer, 503, "not-ready"
            )
    assert not (tmp_path / "none").exists()


def test_info_tells_what_is_served(client, backbone):
    info = client.get("/info").json()
    assert info["model"]["fingerprint"] == backbone.fingerprint
    assert (info["model"]["image_size"], info["model"]["runtime"], info["model"]["precision"]) == (96, "openvino", "f32")
    assert (info["index"]["count"], info["index"]["pending"]) == (len(NAMES), 0)
    assert info["limits"] == {"max_k": 1000, "max_body_bytes": 32 * 2**20, "max_pixels": 80_000_000}


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_the_body(client, path):
    get, head = client.get(path), client.head(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]


def test_each_answer_has_an_id_of_its_own(client):
    ids = [client.get(path).headers["x-request-id"] for path in ("/livez", "/livez", "/nowhere", "/web/app.js")]
    assert len(set(ids)) == 4


def metric(client, name, **labels):
    text = client.get("/metrics").text
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    found = re.search(rf"^{re.escape(name + (f'{{{inside}}}' if labels else ''))} (\S+)$", text, re.M)
    return float(found[1]) if found else 0


def test_metrics_count_answers_and_time_phases(client, picture):
    labels = {"route": "/search", "method": "POST", "status": 200}
    before = metric(client, "lookalike_requests_total", **labels)
    client.post("/search", files={"image": picture})
    assert metric(client, "lookalike_requests_total", **labels) == before + 1
    assert metric(client, "lookalike_phase_seconds_count", phase="encode") >= 1
    assert metric(client, "lookalike_items") == len(NAMES)
    assert metric(client, "lookalike_following") == 1
    assert metric(client, "lookalike_requests_in_work") == 0


def test_what_clients_write_makes_no_new_time_series(client):
    def ask(n):
        for path in (
            f"/nowhere{n}",
            f"/items/{n}",
            f"/images/{n}?size=small",
            f"/facets?field={n}",
            f"/web/{n}",
            f"/search/{n}",
        ):
            client.get(path)
            client.request(f"ODD{n}", path)

    def series():
        return {line.rpartition(" ")[0] for line in client.get("/metrics").text.splitlines()}

    ask(0)
    series()
    before = series()
    ask(1)
    assert series() == before
    assert any('route="/items/{id}"' in line for line in before)
    assert any('route="/web"' in line for line in before)
