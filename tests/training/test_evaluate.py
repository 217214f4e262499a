"""Figures of labelled vectors, of a bundle, and of a search that others serve: the same ones, and a sentence for the rest."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.bundle import Bundle
from model.confidence import Calibration
from model.encoder import open_encoder
from model.metrics import NAMES, clustering_nmi, scores
from model.neighbours import nearest
from training.calibrate import reliability
from training.datasets import DataError
from training.datasets.labels import Dataset
from training.evaluate import check, evaluate, group_mask, measure, measure_search


def unit(count: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def labelled(draw) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Vectors, some of them equal, with labels, hands, and roles or none; something can be measured in them, masked too."""
    count, seed = draw(st.integers(4, 40)), draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    vectors = unit(draw(st.sampled_from([3, 40])), 5, seed)
    vectors = vectors[random.integers(0, len(vectors), count)]
    columns = {"label": random.integers(0, draw(st.integers(1, 6)), count).astype(str).tolist()}
    columns["hand"] = random.integers(0, 3, count).astype(str).tolist()
    if draw(st.booleans()):
        columns["role"] = random.choice(["", "query", "gallery"], count).tolist()
    columns = {name: [*values[:2], *values] for name, values in columns.items()}  # two rows that are surely there
    columns["label"][:2], columns["hand"][:2] = ["0", "0"], ["0", "1"]
    if "role" in columns:
        columns["role"][:2] = ["query", "gallery"]
    return np.concatenate([unit(2, 5, seed + 1), vectors]), columns


@given(space=labelled(), mask=st.sampled_from([None, "hand"]))
@settings(deadline=None, max_examples=60)
def test_figures_are_those_of_the_neighbours(space, mask: str | None) -> None:
    vectors, columns = space
    roles = np.array(columns.get("role", [""] * len(vectors)))
    queries, gallery = np.flatnonzero(roles != "gallery"), np.flatnonzero(roles != "query")
    found = measure(vectors, columns, mask)
    measured = [(found, found.figures, None)]
    if mask:
        assert found.masked is not None and found.figures["masked"].pop("by") == "hand"
        measured.append((found.masked, found.figures["masked"], columns["hand"]))
    else:
        assert found.masked is None and "masked" not in found.figures
    for each, figures, masks in measured:
        neighbours = nearest(vectors, columns["label"], queries=queries, gallery=gallery, masks=masks)
        expected = scores(neighbours, columns["label"])
        assert {name: figures[name] for name in NAMES} == expected.means() == each.scores.means()
        assert figures["intervals"] == expected.intervals()
        assert figures["queries"] == neighbours.answerable.sum()
        assert figures["queries"] + figures["distractors"] == len(queries)
        assert figures["classes"] == len({columns["label"][row] for row in queries[neighbours.answerable]})


def test_figures_by_hand() -> None:
    angles = np.radians([0, 10, 30, 90, 95, 200])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = measure(vectors, {"label": ["a", "b", "a", "c", "c", "alone"]})
    # 0° finds b, then a; 30° too; 90° and 95° find each other; 10° and 200° are alone of their class.
    assert found.figures["recall@1"] == found.figures["precision@1"] == 0.5
    assert found.figures["recall@2"] == 1
    assert found.figures["mrr"] == 0.75
    assert found.figures["r_precision"] == found.figures["map@r"] == 0.5
    assert {name: found.figures[name] for name in ("queries", "classes", "distractors")} == {
        "queries": 4,
        "classes": 2,
        "distractors": 2,
    }


def test_intervals_contain_the_mean() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), 5)
    vectors = unit(60, 8, 1)[labels] + 0.5 * random.normal(size=(300, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    figures = measure(vectors, {"label": labels.astype(str).tolist()}).figures
    assert set(figures["intervals"]) == set(NAMES)
    for name, (low, high) in figures["intervals"].items():
        assert low < figures[name] < high < low + 0.25


def test_the_gallery_is_searched_and_the_queries_ask() -> None:
    vectors = unit(1, 3, 0).repeat(4, axis=0)
    figures = measure(vectors, {"label": list("aaab"), "role": ["query", "query", "gallery", ""]}).figures
    assert figures["queries"] == 2 and figures["distractors"] == 1
    assert figures["recall@1"] == 0.5  # the tie of an a and a b; the other query is no hit


def test_clustering_is_done_only_where_asked_for() -> None:
    vectors, columns = unit(20, 4, 0), {"label": list("abcde") * 4}
    assert "nmi" not in measure(vectors, columns).figures
    found = measure(vectors, columns, nmi=True)
    assert found.figures["nmi"] == clustering_nmi(vectors, columns["label"])
    assert "nmi" not in found.figures["intervals"]


# What cannot be measured


def complaint(columns: dict[str, list[str]], mask: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        check(columns, mask, "shop.csv")
    with pytest.raises(DataError) as again:
        measure(unit(len(columns["label"]), 3, 0), columns, mask, source="shop.csv")
    assert str(caught.value) == str(again.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "columns",
    [
        {"label": ["a", "b", "c"]},
        {"label": ["a"]},
        {"label": ["a", "a"], "role": ["query", "query"]},
        {"label": ["a", "a"], "role": ["gallery", "gallery"]},
        {"label": ["a", "b", "a"], "role": ["query", "gallery", "query"]},
    ],
)
def test_nothing_to_measure(columns: dict[str, list[str]]) -> None:
    assert complaint(columns) == "shop.csv: no image to be measured has a second one of its class. Add some."


def test_nothing_to_measure_behind_the_mask() -> None:
    columns = {"label": ["a", "a", "b"], "artist": ["x", "x", "y"]}
    check(columns)
    expected = "shop.csv: no image to be measured has a second one of its class with another artist. Add some."
    assert complaint(columns, "artist") == expected


def test_a_mask_that_is_no_column() -> None:
    found = complaint({"label": ["a", "a"], "family": ["x", "y"]}, "artist")
    assert found == "shop.csv has no column 'artist'; it has: label, family."


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"label": ["a", "a"]}, None),
        ({"label": ["a", "a"], "group": ["1", "2"]}, "group"),
        ({"label": ["a", "a"], "group": ["1", "1"]}, None),
        ({"label": ["a", "a", "a"], "group": ["1", "1", "2"], "role": ["query", "gallery", "query"]}, "group"),
        ({"label": ["a", "a", "a"], "group": ["1", "1", "2"], "role": ["query", "gallery", "gallery"]}, "group"),
        ({"label": ["a", "a", "a"], "group": ["1", "1", "2"], "role": ["gallery", "query", "query"]}, "group"),
        ({"label": ["a", "a", "b"], "group": ["1", "1", "2"], "role": ["gallery", "query", "query"]}, None),
    ],
)
def test_groups_are_a_mask_where_that_leaves_anything(columns: dict[str, list[str]], expected: str | None) -> None:
    assert group_mask(columns) == expected


# A bundle


def test_an_untrained_bundle_gains_nothing_over_its_backbone(backbone: Bundle) -> None:
    random = np.random.default_rng(0)
    mosaics = random.integers(0, 256, (10, 3, 3, 3)).repeat(3, axis=0) + random.integers(-40, 40, (30, 3, 3, 3))
    pixels = mosaics.clip(0, 255).astype(np.uint8).repeat(32, axis=1).repeat(32, axis=2)
    columns = {"label": np.arange(10).repeat(3).astype(str).tolist(), "hand": list("abc") * 10}
    told: list[int] = []
    known = Calibration(scores=[0.0, 1.0], ratios=[-3.0, 3.0], matches=2)
    found = evaluate(backbone, pixels, columns, "hand", nmi=True, calibration=known, advance=told.append)

    vectors = open_encoder(backbone).encode(pixels)
    expected = measure(vectors, columns, "hand", nmi=True)
    assert sum(told) == 2 * len(pixels)
    assert list(found.measured) == ["trained", "backbone as it is"] and found.first is found.measured["trained"]
    figures = found.figures
    assert {name: figures[name] for name in expected.figures if name != "masked"} == {
        name: value for name, value in expected.figures.items() if name != "masked"
    }
    assert figures["backbone"] == expected.figures
    for gains in (figures["gains"], figures["masked"].pop("gains")):
        assert gains == {name: {"mean": 0.0, "interval": (0.0, 0.0)} for name in NAMES}
    assert figures["masked"] == expected.figures["masked"]
    trust = reliability(known, vectors, np.array(columns["label"])).figures()
    assert found.reliability is not None and figures["calibration"] == found.reliability.figures() == trust


def test_without_backbone_and_calibration_there_is_less(backbone: Bundle) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 96, 96, 3), np.uint8)
    found = evaluate(backbone, pixels, {"label": list("aabb")}, beside_backbone=False)
    assert set(found.figures) == {*NAMES, "intervals", "queries", "classes", "distractors"}
    assert list(found.measured) == ["trained"] and found.reliability is None and found.first.masked is None


# A search that others serve


class Service:
    """Brute force over the vectors of some rows, and over strangers that the data does not list."""

    def __init__(self, data: Dataset, vectors: np.ndarray, held: list[int], strangers: np.ndarray | None = None) -> None:
        strangers = vectors[:0] if strangers is None else strangers
        self.row_of = {path: row for row, path in enumerate(data.paths)}
        self.vectors, self.asked = vectors, []
        self.items = np.concatenate([vectors[held], strangers])
        self.ids = [data.table["path"][row] for row in held] + [f"stranger {number}" for number in range(len(strangers))]

    def holds(self, id: str) -> bool:
        return id in self.ids

    def search(self, picture: Path, k: int) -> list[tuple[str, float]]:
        self.asked.append((self.row_of[picture], k))
        query = self.vectors[self.row_of[picture]].astype(np.float64)
        found = (self.items.astype(np.float64) * query).sum(axis=1).astype(np.float32)
        return [(self.ids[row], float(found[row])) for row in np.argsort(-found, kind="stable")[:k]]


def dataset(labels: list[str], **columns: list[str]) -> Dataset:
    table = {"path": [f"{label}/{row}.png" for row, label in enumerate(labels)], "label": labels}
    return Dataset(Path("shop"), {"split": ["test"] * len(labels)} | table | columns, range(len(labels)))


def assert_same(one: dict, other: dict) -> None:
    assert one["intervals"].keys() == other["intervals"].keys()
    for name, ends in one["intervals"].items():
        assert ends == pytest.approx(other["intervals"][name], abs=1e-9)
    plain = [
        {name: value for name, value in each.items() if name not in ("intervals", "masked", "by")} for each in (one, other)
    ]
    assert plain[0] == pytest.approx(plain[1], abs=1e-9)
    assert one.get("by") == other.get("by") and ("masked" in one) == ("masked" in other)
    if "masked" in one:
        assert_same(one["masked"], other["masked"])


@given(space=labelled(), mask=st.sampled_from([None, "hand"]), trained_on=st.integers(0, 20))
@settings(deadline=None, max_examples=60)
def test_through_a_service_figures_are_the_same(space, mask: str | None, trained_on: int) -> None:
    """A service holds training images too, in whose way they are: as if they had the role of the gallery."""
    vectors, columns = space
    count = len(vectors)
    roles = columns.pop("role", [""] * count) + ["gallery"] * trained_on
    labels = columns["label"] + ["learnt"] * trained_on
    hands = columns["hand"] + ["0"] * trained_on
    vectors = np.concatenate([vectors, unit(trained_on, 5, 77)])
    data = dataset(labels, role=roles, hand=hands, split=["test"] * count + ["train"] * trained_on)
    service = Service(data, vectors, [row for row in range(len(data)) if roles[row] != "query"])
    told: list[int] = []
    found = measure_search(service.search, service.holds, data, mask, 1000, told.append)
    expected = measure(vectors, {"label": labels, "hand": hands, "role": roles}, mask)
    assert_same(found.figures, expected.figures)
    assert (found.masked is None) == (mask is None)
    if found.masked and expected.masked:
        assert found.masked.figures == {name: value for name, value in found.figures["masked"].items() if name != "by"}
        assert (found.masked.found.possible == expected.masked.found.possible).all()
    queries = [row for row in range(count) if roles[row] != "gallery"]
    assert sorted(row for row, _ in service.asked) == queries and sum(told) == len(queries)


def test_hits_are_kept_in_order_without_the_query() -> None:
    data, vectors = dataset(list("aabb")), unit(4, 3, 0)
    found = measure_search(Service(data, vectors, [0, 1, 2, 3]).search, lambda _: True, data, None, 10).found
    order = np.argsort(-(vectors @ vectors.T), axis=1)
    assert found.rows[:, :3].tolist() == order[:, 1:].tolist()
    assert (found.rows[:, 3:] == -1).all() and np.isneginf(found.scores[:, 3:]).all()
    assert found.possible.tolist() == [1, 1, 1, 1]


def test_items_that_the_data_does_not_list_are_wrong_hits() -> None:
    data, vectors = dataset(["a", "a"]), np.array([[1, 0], [0.8, 0.6]], np.float32)
    alone = measure_search(Service(data, vectors, [0, 1]).search, lambda _: True, data, None, 10)
    service = Service(data, vectors, [0, 1], strangers=np.array([[1, 0], [0, 1]], np.float32))
    found = measure_search(service.search, service.holds, data, None, 10)
    assert alone.figures["recall@1"] == 1
    # Of the first, a stranger is nearer; of the second both of the data's and it are: a tie of one right and one wrong.
    assert found.figures["recall@1"] == pytest.approx(0.25)
    assert found.figures["recall@2"] == 1
    assert found.found.rows[0].tolist()[:3] == [-1, 1, -1]
    masked = measure_search(service.search, service.holds, dataset(["a", "a"], hand=["x", "y"]), "hand", 10)
    assert masked.figures["recall@1"] == masked.figures["masked"]["recall@1"] == pytest.approx(0.25)


def test_paths_may_be_written_in_a_longer_form_than_ids() -> None:
    """`./a/1.png` in a table is the item `a/1.png`."""
    vectors, plain = unit(4, 3, 0), dataset(list("aabb"))
    long = dataset(list("aabb"), path=[f"./{path.replace('/', '//')}" for path in plain.table["path"]])
    service = Service(plain, vectors, [0, 1, 2, 3])
    expected = measure_search(service.search, service.holds, plain, None, 10)
    assert measure_search(service.search, service.holds, long, None, 10).figures == expected.figures
    assert expected.figures["queries"] == 4


def test_what_the_service_lacks_is_not_asked_for() -> None:
    data, vectors = dataset(["a", "a", "a", "b", "b", "c"]), unit(6, 4, 0)
    service = Service(data, vectors, [0, 1, 3, 5])
    found = measure_search(service.search, service.holds, data, None, 10)
    assert found.found.possible.tolist() == [1, 1, 2, 0, 1, 0]
    assert found.figures["queries"] == 4 and found.figures["distractors"] == 2 and found.figures["classes"] == 2


def test_only_classes_that_are_asked_for_are_looked_up() -> None:
    data = dataset(list("aabbc"), split=["test", "test", "train", "train", "validation"])
    service, looked = Service(data, unit(5, 3, 0), [0, 1, 2, 3, 4]), []

    def holds(id: str) -> bool:
        looked.append(id)
        return service.holds(id)

    measure_search(service.search, holds, data, None, 10)
    assert sorted(looked) == ["a/0.png", "a/1.png"]
    assert sorted(row for row, _ in service.asked) == [0, 1]


def test_right_answers_that_lie_too_deep_count_as_not_found() -> None:
    labels = ["a", *"bcdefghi", "a"]
    angles = np.radians([0, *range(10, 18), 40])
    data, vectors = dataset(labels), np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    service = Service(data, vectors, list(range(10)))
    deep = measure_search(service.search, service.holds, data, None, 10)
    assert deep.figures["mrr"] == pytest.approx(1 / 9)
    shallow = measure_search(service.search, service.holds, data, None, 5)
    assert shallow.figures["mrr"] == shallow.figures["recall@8"] == 0
    assert {k for _, k in service.asked} == {10, 5}


def test_it_looks_as_deep_as_the_largest_class_needs() -> None:
    data = dataset(["a"] * 130 + ["b"] * 2)
    service = Service(data, unit(132, 8, 0), list(range(132)))
    found = measure_search(service.search, service.holds, data, None, 1000)
    assert {k for _, k in service.asked} == {130}  # 129 others, and the query itself
    expected = measure(service.vectors, {"label": data.labels})
    assert found.figures["map@r"] == pytest.approx(expected.figures["map@r"])


def test_a_service_that_finds_nothing_or_little() -> None:
    data = dataset(list("aabb"))
    found = measure_search(lambda *_: [], lambda _: True, data, None, 10)
    assert {name: found.figures[name] for name in NAMES} == dict.fromkeys(NAMES, 0.0)
    assert found.figures["queries"] == 4
    itself = measure_search(lambda picture, _: [(f"{picture.parent.name}/{picture.name}", 1.0)], lambda _: True, data, None, 10)
    assert itself.figures["recall@1"] == 0


@pytest.mark.parametrize("held", [[], [2], [3]])
def test_a_service_without_the_data_ends_in_a_sentence(held: list[int]) -> None:
    data = dataset(list("aabc"), split=["test", "test", "test", "train"])
    service = Service(data, unit(4, 3, 0), held)
    with pytest.raises(DataError) as caught:
        measure_search(service.search, service.holds, data, None, 10)
    assert str(caught.value) == "The service has no right answer to any test image of shop. Index this folder there first."
    assert not service.asked


def test_data_with_boxes_ends_in_a_sentence() -> None:
    data = dataset(list("aab"), box=["", "0,0,10,10", ""])
    with pytest.raises(DataError, match="data with boxes cannot be measured through it"):
        measure_search(lambda *_: [], lambda _: True, data, None, 10)


def test_a_mask_that_is_no_column_ends_in_a_sentence_before_anything_is_asked() -> None:
    data = dataset(list("aab"))
    service = Service(data, unit(3, 3, 0), [0, 1, 2])
    with pytest.raises(DataError, match="has no column 'artist'"):
        measure_search(service.search, service.holds, data, "artist", 10)
    assert not service.asked


def test_nothing_behind_the_mask_ends_in_a_sentence_before_anything_is_asked() -> None:
    data = dataset(list("aab"), artist=["x", "x", "y"])
    service = Service(data, unit(3, 3, 0), [0, 1, 2])
    with pytest.raises(DataError, match="with another artist"):
        measure_search(service.search, service.holds, data, "artist", 10)
    assert not service.asked


def test_a_search_that_fails_is_not_hidden() -> None:
    def fail(*_):
        raise DataError("The service went away.")

    with pytest.raises(DataError, match="went away"):
        measure_search(fail, lambda _: True, dataset(list("aab")), None, 10)
