"""Exact search over segments and what the service changed since; what is dead is never found."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import DIM

from index import generation as generations
from index.catalog import Catalog, Known, NewItem
from index.generation import GenerationError
from index.lifecycle.publish import publish
from index.search import filters
from index.search.searcher import Searcher

FINGERPRINT = "f" * 64


class Encoder:
    """As much of one as publishing asks for."""

    fingerprint, dim, runtime, precision = FINGERPRINT, DIM, "none", "f32"


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def some(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


class Place:
    """A collection made of vectors."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.catalog = Catalog(folder, create=True)
        self.vectors: dict[str, np.ndarray] = {}

    def add(self, prefix: str, vectors: np.ndarray, metadata: Callable[[int], dict] = lambda row: {}) -> None:
        """As a job does it."""
        job = self.catalog.begin("g", self.folder, FINGERPRINT)
        ids = [f"{prefix}{row:04d}" for row in range(len(vectors))]
        self.vectors |= zip(ids, vectors, strict=True)
        self.catalog.stage(
            job,
            Known({}, {}, self.catalog.state().change),
            items=[NewItem(id, id, metadata(row), 1, 1) for row, id in enumerate(ids)],
            vectors=dict(zip(ids, vectors, strict=True)),
        )
        publish(self.catalog, self.folder, job, Encoder(), "digest")

    def put(self, id: str, vector: np.ndarray, metadata: dict | None = None) -> None:
        """As the service does it."""
        self.vectors[id] = vector
        self.catalog.put(NewItem(id, f"{id} {vector.tobytes().hex()}", metadata or {}, 1, 1), FINGERPRINT, vector)

    def delete(self, id: str) -> None:
        del self.vectors[id]
        assert self.catalog.delete(id)

    def searcher(self) -> Searcher:
        return Searcher(self.folder, self.catalog, self.catalog.state().generation, DIM)

    def close(self) -> None:
        self.catalog.close()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Two segments and a live one; every tenth item deleted."""
    place = Place(tmp_path_factory.mktemp("mixed"))
    place.add("a", some(200, 1))
    place.add("b", some(15, 2))
    searcher = place.searcher()
    assert len(searcher.generation.segments) == 2
    for row, vector in enumerate(some(20, 3)):
        place.put(f"c{row:04d}", vector)
    for id in sorted(place.vectors)[::10]:
        place.delete(id)
    searcher.follow()
    yield place, searcher
    place.close()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 300))
def test_as_exact_as_numpy(mixed, seed, k):
    place, searcher = mixed
    query = some(1, seed)[0]
    hits = searcher.search(query, k)
    scores = {id: float(vector @ query) for id, vector in place.vectors.items()}
    best = sorted(scores, key=lambda id: -scores[id])
    assert [hit.item.id for hit in hits] == best[:k]
    assert [hit.score for hit in hits] == pytest.approx([scores[id] for id in best[:k]], abs=1e-5)


def test_fewer_items_than_asked_for(place):
    place.add("a", some(3))
    assert {hit.item.id for hit in place.searcher().search(some(1)[0], 1000)} == set(place.vectors)


def test_an_empty_generation(place):
    place.add("a", some(0))
    searcher = place.searcher()
    assert searcher.search(some(1)[0], 10) == []
    place.put("x", some(1)[0])
    searcher.follow()
    assert [hit.item.id for hit in searcher.search(some(1)[0], 10)] == ["x"]


def test_hits_that_died_are_refilled(place):
    """The 400 nearest of 500 are deleted; the nearest of those left must still come."""
    query = some(1, 9)[0]
    place.add("a", some(500))
    searcher = place.searcher()
    nearest = sorted(place.vectors, key=lambda id: -float(place.vectors[id] @ query))
    for id in nearest[:400]:
        place.delete(id)
    assert [hit.item.id for hit in searcher.search(query, 10)] == nearest[400:410]
    assert [hit.item.id for hit in searcher.search(query, 1000)] == nearest[400:]


def test_what_was_deleted_or_replaced_is_not_found_though_nobody_followed(place):
    vectors = some(3)
    place.add("a", vectors)
    searcher = place.searcher()
    place.delete("a0000")
    place.put("a0001", -vectors[1])
    assert [hit.item.id for hit in searcher.search(vectors[0], 10)] == ["a0002"]


def test_additions_are_found_after_following(place):
    vectors = some(10)
    place.add("a", vectors[:5])
    searcher = place.searcher()
    place.put("x", vectors[7])
    place.put("a0001", vectors[8])
    assert len(searcher.search(vectors[7], 10)) == 4
    searcher.follow()
    first = searcher.search(vectors[7], 10)[0]
    assert (first.item.id, first.score) == ("x", pytest.approx(1, abs=1e-5))
    assert searcher.search(vectors[8], 1)[0].item.id == "a0001"
    assert {hit.item.id for hit in searcher.search(vectors[7], 10)} == set(place.vectors)


def test_a_new_searcher_finds_what_came_since_its_generation(place):
    place.add("a", some(3))
    place.put("x", some(1, 5)[0])
    assert place.searcher().search(some(1, 5)[0], 1)[0].item.id == "x"


def test_equal_scores_come_by_age(place):
    """Twins in both segments and in the live one; far more of them than asked for, better ones in between."""
    query = some(1)[0]
    twin, better = unit((query + some(1, 1))[:1])[0], query
    place.add("a", np.stack([*[twin] * 100, *[better] * 5, *[twin] * 100]))
    place.add("b", np.stack([better, *[twin] * 10]))
    searcher = place.searcher()
    assert len(searcher.generation.segments) == 2
    for number in range(30):
        place.put(f"c{number:04d}", better if number % 10 == 0 else twin)
    searcher.follow()
    place.delete("a0001")
    betters = [*(f"a{number:04d}" for number in range(100, 105)), "b0000", "c0000", "c0010", "c0020"]
    twins = sorted(set(place.vectors) - set(betters))
    for k in (3, 9, 10, 20, 100, 1000):
        assert [hit.item.id for hit in searcher.search(query, k)] == [*betters, *twins][:k]


def test_what_another_job_published_is_not_seen_in_part(place):
    """Until its process takes up the new generation, a searcher answers with all of the old one."""
    vectors = some(40)
    place.add("a", vectors[:30])
    old = place.searcher()
    before = old.search(vectors[0], 100)
    known = place.catalog.look_up(["a0000", "a0001"])
    job = place.catalog.begin("g", place.folder, FINGERPRINT)
    new = NewItem("a0000", "new", {}, 1, 2, replaces=known.items["a0000"].key)
    place.catalog.stage(job, known, items=[new], vectors={"new": vectors[35]})
    place.catalog.remove(job, [known.items["a0001"].key], [])
    publish(place.catalog, place.folder, job, Encoder(), "digest")
    old.follow()
    assert old.search(vectors[0], 100) == before
    assert {hit.item.id for hit in place.searcher().search(vectors[0], 100)} == set(place.vectors) - {"a0001"}
    # but what the service takes away now goes from the old one too, though it never knew the version that went
    assert place.catalog.delete("a0000")
    assert "a0000" not in {hit.item.id for hit in old.search(vectors[0], 100)}


def test_items_without_a_vector_wait_and_are_counted(place):
    vectors = some(3)
    place.add("a", vectors[:1])
    searcher = place.searcher()
    item = place.catalog.put(NewItem("x", "x", {}, 1, 1), "another bundle's", vectors[1])
    gone = place.catalog.put(NewItem("y", "y", {}, 1, 1), "another bundle's", vectors[1])
    searcher.follow()
    assert searcher.pending == 2
    assert place.catalog.delete(gone.id)
    place.catalog.add_pending(FINGERPRINT, [item], {"x": vectors[2]})
    searcher.follow()
    assert searcher.pending == 0
    assert searcher.search(vectors[2], 1)[0].item == item


def test_a_generation_knows_what_it_lacks(place):
    place.add("a", some(2))
    place.catalog.put(NewItem("x", "x", {}, 1, 1), "another bundle's", some(1)[0])
    place.add("b", some(1, 2))
    assert place.searcher().pending == 1
    assert len(place.searcher().search(some(1)[0], 10)) == 3


def test_announcing_an_item_twice_finds_it_once(place):
    place.add("a", some(30))
    item = place.catalog.put(NewItem("x", "x", {}, 1, 1), FINGERPRINT, some(1, 3)[0])
    searcher = place.searcher()
    for _ in range(3):
        place.catalog.add_pending(FINGERPRINT, [item], {})
        searcher.follow()
    assert [hit.item.id for hit in searcher.search(some(1, 3)[0], 50)].count("x") == 1
    assert len(searcher._parts.live.keys) == 1


def test_a_generation_that_cannot_be_read(place):
    place.add("a", some(1))
    generations.path(place.folder, 1).write_text("{}")
    with pytest.raises(GenerationError, match="Run `lookalike index` again"):
        place.searcher()


COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Items with a colour, a third each, and of one shop in seven; two segments, a live one, every tenth item deleted."""
    place = Place(tmp_path_factory.mktemp("coloured"))

    def described(row: int) -> dict:
        return {"colour": COLOURS[row % 3]} | ({} if row % 7 else {"shop": row // 7 % 4})

    place.add("a", some(300, 1), described)
    place.add("b", some(20, 2), described)
    searcher = place.searcher()
    for row, vector in enumerate(some(20, 3)):
        place.put(f"c{row:04d}", vector, described(row))
    for id in sorted(place.vectors)[::10]:
        place.delete(id)
    searcher.follow()
    metadata = {id: described(int(id[1:])) for id in place.vectors}
    yield place, searcher, metadata
    place.close()


def best_of(place: Place, query: np.ndarray, ids) -> list[str]:
    return sorted(ids, key=lambda id: -float(place.vectors[id] @ query))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 120), colours=st.sets(st.sampled_from(COLOURS)))
def test_a_filter_finds_the_nearest_of_those_that_pass(coloured, seed, k, colours):
    place, searcher, metadata = coloured
    query = some(1, seed)[0]
    hits = searcher.search(query, k, filter=filters.parse({"colour": sorted(colours)}))
    passing = [id for id in place.vectors if metadata[id]["colour"] in colours]
    assert [hit.item.id for hit in hits] == best_of(place, query, passing)[:k]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 60))
def test_groups_are_k_groups_and_not_k_hits_of_one(coloured, seed, k):
    place, searcher, metadata = coloured
    query = some(1, seed)[0]
    expected, seen = [], set()
    for id in best_of(place, query, place.vectors):
        shop = metadata[id].get("shop")
        if shop is None or shop not in seen:
            expected.append(id)
            seen.add(shop)
    assert [hit.item.id for hit in searcher.search(query, k, group_by="shop")] == expected[:k]


def test_a_group_whose_best_items_died_is_still_there(place):
    query = some(1, 9)[0]
    place.add("a", some(60), lambda row: {"shop": row % 2})
    searcher = place.searcher()
    of_one = best_of(place, query, [id for id in place.vectors if int(id[1:]) % 2])
    for id in of_one[:20]:
        place.delete(id)
    found = [hit.item.id for hit in searcher.search(query, 2, group_by="shop")]
    assert sorted(found) == sorted([of_one[20], best_of(place, query, [id for id in place.vectors if not int(id[1:]) % 2])[0]])


def test_facets_count_the_live_items_that_pass(coloured):
    place, searcher, metadata = coloured
    counts = Counter(metadata[id]["colour"] for id in place.vectors)
    assert dict(searcher.facets("colour", 10)) == counts
    shops = Counter(metadata[id]["shop"] for id in place.vectors if metadata[id]["colour"] == "red" and "shop" in metadata[id])
    assert (
        searcher.facets("shop", 2, filters.parse({"colour": "red"})) == sorted(shops.items(), key=lambda s: (-s[1], s[0]))[:2]
    )


def test_what_was_put_since_passes_filters_too(place):
    place.add("a", some(5), lambda row: {"size": row})
    searcher = place.searcher()
    place.put("x", some(1)[0], {"size": 9, "new": True})
    searcher.follow()
    assert [hit.item.id for hit in searcher.search(some(1)[0], 10, filter=filters.parse({"size": {">": 4}}))] == ["x"]
    assert [hit.item.id for hit in searcher.search(some(1)[0], 10, filter=filters.parse({"new": True}))] == ["x"]


@pytest.mark.parametrize("asked", [{"filter": filters.parse({"color": 1})}, {"group_by": "color"}])
def test_fields_that_nobody_has_are_told(coloured, asked):
    _, searcher, _ = coloured
    with pytest.raises(filters.UnknownField, match="'colour'"):
        searcher.search(some(1)[0], 10, **asked)


def test_versions_that_were_replaced_leave_the_live_segment(place):
    place.add("a", some(3))
    searcher = place.searcher()
    before = searcher._parts.live
    for turn in range(5):
        for number, vector in enumerate(some(4, turn)):
            place.put(f"x{number}", vector)
        searcher.follow()
        assert len(searcher._parts.live.keys) <= 4 + 4
    place.delete("x0")
    place.delete("x1")
    searcher.follow()
    place.put("y", some(1, 9)[0])
    searcher.follow()
    assert len(searcher._parts.live.keys) == 3
    assert {hit.item.id for hit in searcher.search(some(1)[0], 100)} == set(place.vectors)
    assert len(before.keys) == 0


def test_an_announcement_of_a_version_that_was_replaced_meanwhile_takes_nothing_away(place):
    place.add("a", some(1))
    searcher = place.searcher()
    old = place.catalog.put(NewItem("x", "x", {}, 1, 1), "another bundle's", some(1, 2)[0])
    place.put("x", some(1, 3)[0])
    searcher.follow()
    place.catalog.add_pending(FINGERPRINT, [old], {"x": some(1, 2)[0]})
    for _ in range(2):
        searcher.follow()
        assert searcher.search(some(1, 3)[0], 1)[0].score == pytest.approx(1, abs=1e-5)
    assert searcher.pending == 0 and len(searcher._parts.live.keys) == 1
