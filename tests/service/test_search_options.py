"""Filters, groups and facets over HTTP: what passes, what is counted, and what is refused in which words."""

import json
import shutil
import threading

import pytest
from odd_ids import NAMES
from starlette.testclient import TestClient

from index.search.searcher import Searcher
from service.app import create_app
from service.engine import Engine
from service.schemas import MAX_FILTER
from service.settings import Settings

ITEMS = {
    "a": {"colour": "red", "price": 10, "tags": ["old", "small"], "product": 1},
    "b": {"colour": "red", "price": 2.5, "tags": ["old"], "product": 1},
    "c": {"colour": "blue", "price": 30, "sold": True, "product": 2},
    "d": {"colour": "green"},
}
RED, BLUE = '{"colour": "red"}', '{"colour": "blue"}'
NONE = '{"or": []}'

# name: filter, kind, the field that is to blame, what the sentence says
REFUSED = {
    "nothing": ("", "bad-filter", None, "no JSON"),
    "no JSON": ("colour=red", "bad-filter", None, "no JSON"),
    "half": ('{"colour": ', "bad-filter", None, "no JSON"),
    "deep": ("[" * 10_000, "bad-filter", None, "no JSON"),
    "a list": ("[]", "bad-filter", None, "has to be an object"),
    "twice": ('{"colour": "red", "colour": "blue"}', "bad-filter", None, "twice"),
    "null": ('{"colour": null}', "bad-filter", "colour", '{"exists": false}'),
    "an operator that there is not": ('{"price": {"$gt": 1}}', "bad-filter", "price", '"$gt"'),
    "not a number": ('{"price": {">": NaN}}', "bad-filter", "price", "filter.price"),
    "too long": (json.dumps({"colour": "x" * MAX_FILTER}), "bad-filter", None, "1,048,576 characters"),
    "a field that no item has": ('{"color": "red"}', "unknown-field", "color", "'colour'"),
    "half a character": ('{"\\ud83d": "red"}', "unknown-field", "\ud83d", "'\\ud83d'"),
    "another type": ('{"colour": 1}', "wrong-type", "colour", "holds texts"),
}


@pytest.fixture(scope="module")
def coloured(indexed, gallery, tmp_path_factory):
    """For questions only: a client of what is indexed, and of ITEMS with the same pictures."""
    collection = shutil.copytree(indexed, tmp_path_factory.mktemp("coloured") / "collection")
    engine = Engine(collection, "openvino", None, 80_000_000)
    assert engine.follow()
    for name, (id, metadata) in zip(NAMES, ITEMS.items(), strict=False):
        engine.put(id, (gallery / name).read_bytes(), metadata)
    assert engine.follow()
    with TestClient(create_app(Settings(collection=collection), engine)) as client:
        yield client


def ids(answer):
    return {hit["id"] for hit in answer.raise_for_status().json()["results"]}


def counts(client, field, **options):
    answer = client.get("/facets", params={"field": field, **options}).raise_for_status().json()
    return [(each["value"], each["count"]) for each in answer["values"]]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"params": {"filter": RED}}, {"a", "b"}),
        ({"data": {"filter": RED}}, {"a", "b"}),
        ({"params": {"filter": BLUE}, "data": {"filter": RED}}, {"a", "b"}),
        ({"params": {"filter": RED}, "data": {"k": "1"}}, {"a"}),
        ({"params": {"filter": '{"price": {">=": 10}, "not": {"sold": true}}'}}, {"a"}),
        ({"params": {"filter": '{"id": ["d", "plain.png"]}'}}, {"d", "plain.png"}),
        ({"params": {"filter": "{}", "k": 1000}}, {*ITEMS, *NAMES}),
    ],
    ids=["query", "form", "the form has the last word", "some of each", "several conditions", "ids", "every item"],
)
def test_only_what_passes_is_found(coloured, picture, asked, found):
    assert ids(coloured.post("/search", files={"image": picture}, **asked)) == found


def test_a_raw_picture_is_filtered_by_the_query(coloured, picture):
    answer = coloured.post("/search", params={"filter": BLUE}, content=picture, headers={"Content-Type": "image/png"})
    assert ids(answer) == {"c"}


def test_a_filter_may_be_longer_than_an_address(coloured, picture):
    many = json.dumps({"id": ["a", *(f"nothing/{number}" for number in range(9_999))]})
    assert ids(coloured.post("/search", files={"image": picture}, data={"filter": many})) == {"a"}


@pytest.mark.parametrize(("which", "similar"), [("calibrated", False), ("client", None)])
def test_a_filter_that_nothing_passes(which, similar, picture, request):
    client = request.getfixturevalue(which)
    answer = client.post("/search", files={"image": picture}, params={"filter": NONE}).json()
    assert answer["results"] == []
    assert answer["similar"] is similar
    assert (answer["message"] is None) is (similar is None)
    assert answer["index"]["count"] == len(NAMES)


def test_a_filter_changes_no_confidence(calibrated, picture):
    def first(**options):
        return calibrated.post("/search", files={"image": picture}, params=options).json()["results"][0]

    assert first(filter='{"label": "a mosaic"}') == first()


@pytest.mark.parametrize(("number", "nearest"), [(0, "a"), (1, "b")])
def test_of_a_group_only_the_nearest_comes(coloured, gallery, number, nearest):
    asked = (gallery / NAMES[number]).read_bytes()
    for options in ({"params": {"k": 100, "group_by": "product"}}, {"data": {"k": "100", "group_by": "product"}}):
        assert ids(coloured.post("/search", files={"image": asked}, **options)) == {nearest, "c", "d", *NAMES}
    both = {"group_by": "metadata.product", "filter": RED}
    assert ids(coloured.post("/search", files={"image": asked}, params=both)) == {nearest}


def test_facets_count_the_items_that_pass(coloured):
    answer = coloured.get("/facets", params={"field": "colour"}).json()
    assert answer == {
        "field": "colour",
        "values": [{"value": "red", "count": 2}, {"value": "blue", "count": 1}, {"value": "green", "count": 1}],
        "index": {"generation": 1, "count": len(NAMES) + len(ITEMS)},
    }
    assert counts(coloured, "colour", limit=2) == [("red", 2), ("blue", 1)]
    assert counts(coloured, "colour", filter='{"price": {">": 2}}') == [("red", 2), ("blue", 1)]
    assert counts(coloured, "metadata.tags", filter=RED) == [("old", 2), ("small", 1)]
    assert counts(coloured, "tags", filter=BLUE) == counts(coloured, "colour", filter=NONE) == []


def test_facets_show_values_as_they_are(coloured):
    assert coloured.get("/facets?field=price").json()["values"] == [{"value": price, "count": 1} for price in (2.5, 10, 30)]
    assert '{"value":true,"count":1}' in coloured.get("/facets?field=sold").text
    assert '{"value":10,"count":1}' in coloured.get("/facets?field=price").text


def test_facets_follow_at_once(changing, another):
    def put(id, metadata):
        changing.put(f"/items/{id}", files={"image": another}, data={"metadata": metadata}).raise_for_status()

    put("a", RED)
    put("b", RED)
    assert counts(changing, "colour") == [("red", 2)]
    put("b", '{"colour": "blue", "size": "L"}')
    assert counts(changing, "colour") == [("blue", 1), ("red", 1)]
    assert counts(changing, "size", filter=BLUE) == [("L", 1)]
    changing.delete("/items/a").raise_for_status()
    assert counts(changing, "colour") == [("blue", 1)]
    assert counts(changing, "label") == [("a mosaic", 1)]
    changing.delete("/items/plain.png").raise_for_status()
    assert counts(changing, "label") == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_filter_that_is_refused(coloured, picture, check_problem, name):
    filter, kind, field, said = REFUSED[name]
    answers = [coloured.post("/search", files={"image": picture}, data={"filter": filter})]
    if len(filter) < MAX_FILTER:  # no address is that long
        answers.append(coloured.post("/search", files={"image": picture}, params={"filter": filter}))
        answers.append(coloured.get("/facets", params={"field": "colour", "filter": filter}))
    for answer in answers:
        assert said in check_problem(answer, 422, kind)
        assert answer.json().get("field") == field


def test_a_field_that_no_item_has(coloured, picture, check_problem):
    for answer in (
        coloured.post("/search", files={"image": picture}, params={"group_by": "prise"}),
        coloured.get("/facets", params={"field": "prise"}),
    ):
        assert "'price'" in check_problem(answer, 422, "unknown-field")
        assert answer.json()["field"] == "prise"


@pytest.mark.parametrize("asked", [{"group_by": "prise"}, {"filter": '{"prise": 1}'}])
def test_a_field_that_no_item_has_is_told_before_the_picture_is_decoded(coloured, check_problem, asked):
    check_problem(coloured.post("/search", files={"image": b"no picture"}, params=asked), 422, "unknown-field")


def test_a_filter_that_cannot_be_read_is_told_before_the_body_is(call):
    async def receive():
        raise AssertionError("the body was read")

    begin, _ = call("POST", "/search", receive, content_type="image/png", query=b"filter={")
    assert begin["status"] == 422


@pytest.mark.parametrize(
    "query", ["", "field=label&limit=0", "field=label&limit=1001", "field=label&limit=x", "field=label&k=1"]
)
def test_wrong_options_of_facets(client, check_problem, query):
    check_problem(client.get(f"/facets?{query}"), 422, "wrong-values")


def test_facets_wait_for_their_turn_like_searches(fresh, open_client, picture, check_problem, monkeypatch):
    counting, go_on = threading.Event(), threading.Event()

    def slowly(*_):
        counting.set()
        assert go_on.wait(60)
        return []

    client = open_client(fresh, threads=1, queue=0)
    monkeypatch.setattr(Searcher, "facets", slowly)
    asking = threading.Thread(target=client.get, args=("/facets?field=label",))
    asking.start()
    assert counting.wait(60)
    for answer in (client.get("/facets?field=label"), client.post("/search", files={"image": picture})):
        check_problem(answer, 429, "too-many-requests")
    go_on.set()
    asking.join()
    assert client.get("/facets?field=label").json()["values"] == []


@pytest.mark.parametrize(
    ("asked", "effort"),
    [({}, None), ({"exact": "true"}, 0), ({"ef": 7}, 7), ({"ef": 7, "exact": True}, 0), ({"exact": "no"}, None)],
)
def test_how_hard_to_search_is_passed_on(client, picture, monkeypatch, asked, effort):
    heard, search = [], Searcher.search

    def noted(self, vector, k, **options):
        heard.append(options["effort"])
        return search(self, vector, k, **options)

    monkeypatch.setattr(Searcher, "search", noted)
    assert ids(client.post("/search", files={"image": picture}, params=asked)) == set(NAMES)
    assert heard == [effort]


@pytest.mark.parametrize("asked", [{"ef": 0}, {"ef": 4097}, {"ef": "wide"}, {"exact": "perhaps"}])
def test_efforts_that_there_are_not(client, picture, asked):
    answer = client.post("/search", files={"image": picture}, params=asked)
    assert answer.status_code == 422 and answer.json()["type"].endswith("wrong-values")
