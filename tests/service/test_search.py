import io
import math
import re
import tempfile
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from odd_ids import NAMES
from PIL import Image

from index.catalog import Catalog


def test_an_address_holds_nothing_that_would_end_it_early(client, picture):
    for hit in client.post("/search?k=1000", content=picture, headers={"Content-Type": "image/png"}).json()["results"]:
        address = urlsplit(hit["image_url"])
        assert re.fullmatch(r"/images/[\w/%.~-]+", address.path, re.ASCII)
        assert not address.query and not address.fragment


def test_all_hits_best_first(client, picture):
    answer = client.post("/search", files={"image": picture}, params={"k": 1000}).json()
    scores = [hit["score"] for hit in answer["results"]]
    assert sorted(hit["id"] for hit in answer["results"]) == sorted(NAMES)
    assert scores == sorted(scores, reverse=True)
    assert answer["index"]["count"] == len(NAMES)
    assert answer["results"][0]["metadata"] == {"label": "a mosaic"}
    assert answer["model"] == {key: client.get("/info").json()["model"][key] for key in ("name", "fingerprint")}


@pytest.mark.parametrize(
    "asked",
    [
        {"params": {"k": 3}},
        {"data": {"k": "3"}},
        {"params": {"k": 5}, "data": {"k": "3"}},
    ],
    ids=["query", "form", "the form has the last word"],
)
def test_options_come_in_the_query_or_the_form(client, picture, asked):
    assert len(client.post("/search", files={"image": picture}, **asked).json()["results"]) == 3


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "Image/PNG; charset=x", "application/octet-stream"])
def test_the_bytes_decide_what_a_raw_picture_is(client, picture, kind):
    answer = client.post("/search", content=picture, headers={"Content-Type": kind})
    assert answer.json()["results"][0]["id"] == "plain.png"


def test_the_phases_are_told_in_the_body_and_the_header(client, picture):
    answer = client.post("/search", files={"image": picture})
    told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    took = answer.json()["took_ms"]
    assert list(told) == list(took) == ["decode", "encode", "search", "total"]
    assert took["total"] == pytest.approx(took["decode"] + took["encode"] + took["search"], abs=0.01)
    assert all(float(told[phase]) == pytest.approx(took[phase], abs=0.01) for phase in took)


def test_two_pictures_are_one_too_many(client, picture, check_problem):
    answer = client.post("/search", files=[("image", picture), ("image", picture)])
    assert "2 pictures" in check_problem(answer, 422, "too-many-images")


def test_wrong_options_are_told_before_the_body_is_read(call):
    async def receive():
        raise AssertionError("the body was read")

    begin, _ = call("POST", "/search", receive, content_type="image/png", query=b"k=0")
    assert begin["status"] == 422


def test_a_large_query_never_touches_the_disk(client, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a temporary file was opened")

    for name in ("NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)).save(noise, "PNG")
    assert noise.tell() > 2**21
    assert client.post("/search", files={"image": noise.getvalue()}).status_code == 200


def confidence_of(score, count):
    """What conftest's CALIBRATION makes of a score in a collection of so many items."""
    ratio = -5 + 200 * (score - 0.95) if score > 0.95 else -10 + 5 * (score + 1) / 1.95
    return 1 / (1 + count * math.exp(-ratio))


def test_a_calibrated_model_tells_its_confidence(calibrated, picture):
    answer = calibrated.post("/search", files={"image": picture}, params={"k": 1000}).json()
    confidences = [hit["confidence"] for hit in answer["results"]]
    assert confidences == pytest.approx([confidence_of(hit["score"], len(NAMES)) for hit in answer["results"]], rel=1e-5)
    assert confidences == sorted(confidences, reverse=True)
    assert len(set(confidences)) == len(NAMES)  # a better score is a better confidence
    assert confidences[0] > 0.9
    assert (answer["similar"], answer["message"]) == (True, None)


def test_nothing_similar_is_said_and_the_nearest_items_come_all_the_same(calibrated, another):
    answer = calibrated.post("/search", files={"image": another}, params={"k": 3}).json()
    assert answer["similar"] is False
    assert answer["message"].startswith("Nothing similar here: ")
    assert len(answer["results"]) == 3
    assert 0 < answer["results"][0]["confidence"] < 0.1


def test_without_a_calibration_confidences_are_unknown(client, picture, another):
    for asked in (picture, another):
        answer = client.post("/search", files={"image": asked}).json()
        assert {hit["confidence"] for hit in answer["results"]} == {None}
        assert answer["similar"] is None
        assert answer["message"] is None


@pytest.mark.parametrize("which", ["picture", "another"])
def test_form_and_raw_body_are_answered_alike(calibrated, which, request):
    asked = request.getfixturevalue(which)
    form = calibrated.post("/search", files={"image": asked}).json()
    raw = calibrated.post("/search", content=asked, headers={"Content-Type": "image/png"}).json()
    assert form["results"][0]["confidence"] is not None
    assert form | {"took_ms": None} == raw | {"took_ms": None}


def test_the_same_score_is_worth_less_in_a_larger_collection(open_client, fresh_calibrated, picture, another):
    client = open_client(fresh_calibrated)

    def odds(count):
        for _ in range(500):
            answer = client.post("/search?k=1", files={"image": picture}).json()
            if answer["index"]["count"] == count:
                [hit] = answer["results"]
                assert hit["id"] == "plain.png"
                return hit["confidence"] / (1 - hit["confidence"])
            time.sleep(0.01)
        raise AssertionError(answer)

    before = odds(len(NAMES))
    for number in range(len(NAMES)):
        client.put(f"/items/{number}", files={"image": another}).raise_for_status()
    assert odds(2 * len(NAMES)) == pytest.approx(before / 2, rel=1e-4)


@pytest.mark.parametrize(("collection", "similar"), [("fresh_calibrated", False), ("fresh", None)])
def test_in_an_empty_collection(open_client, picture, collection, similar, request):
    folder = request.getfixturevalue(collection)
    catalog = Catalog(folder)
    assert all(catalog.delete(name) for name in NAMES)
    catalog.close()
    answer = open_client(folder).post("/search", files={"image": picture}).json()
    assert answer["results"] == []
    assert answer["similar"] is similar
    assert (answer["message"] is None) is (similar is None)
