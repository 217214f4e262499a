"""What is said is what was measured: the best and the worst queries, who is taken for whom, what centres stand for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.evaluate import Measurement, measure
from training.report import Images, Material, gather
from training.report.answers import by_quality, confused
from training.report.facts import Estimate, _gain, _of_hundred
from training.report.modes import portraits
from training.report.origins import licences, settings
from training.report.pictures import album
from training.report.projection import projected


def images(labels: list[str], **columns: list[str]) -> Images:
    """Every picture another one, of 8 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)
    paths = [f"{place}.png" for place in range(len(labels))]
    return Images(pixels, np.arange(len(labels)), {"label": labels, "path": paths, **columns})


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def lost() -> tuple[Measurement, Images]:
    """Two a and two b lie together; of two c, one lies at a's, and of two d, one at c's."""
    shown = images(["a", "a", "b", "b", "c", "c", "d", "d"])
    return measure(at(0, 1, 90, 91, 0.4, 200, 280, 201), shown.columns), shown


def test_the_best_and_the_worst_queries_are_those_and_no_class_comes_twice(lost):
    found = by_quality(*lost)
    assert {answer.query.name for answer in found["best"][:2]} == {"b", "d"}
    assert found["best"][0].average_precision == 1
    assert found["worst"][0].average_precision == 0
    for several in found.values():
        assert len({answer.query.name for answer in several}) == len(several)
    files = [answer.query.file for several in found.values() for answer in several]
    assert len(set(files)) == len(files)


def test_hits_are_told_in_their_order_with_what_they_are(lost):
    answer = next(each for several in by_quality(*lost).values() for each in several if each.query.name == "b")
    other = {"2.png": "3.png", "3.png": "2.png"}[answer.query.file]
    assert (answer.hits[0].picture.file, answer.hits[0].right) == (other, True)
    assert not any(hit.right for hit in answer.hits[1:])
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    assert (answer.possible, answer.first_right) == (1, 1)


def test_confusions_count_wrong_first_hits_both_ways(lost):
    found = {(each.one, each.other): each for each in confused(*lost)}
    # Both a find the c that lies between them, which finds one of them; the other c and the d beside it find each other.
    assert {pair: each.count for pair, each in found.items()} == {("a", "c"): 3, ("c", "d"): 2}
    assert found["a", "c"].queries == 4
    for each in found.values():
        assert all({query.name, hit.name} == {each.one, each.other} for query, hit in each.examples)


def test_where_every_first_hit_is_right_nothing_is_confused():
    shown = images(["a", "a", "b", "b"])
    assert confused(measure(at(0, 1, 90, 91), shown.columns), shown) == []


def test_people_read_the_name_of_a_class_where_it_is_one():
    assert images(["1f", "1f", "2f"], name=["bear", "bear", "cat"]).names == {"1f": "bear", "2f": "cat"}
    assert images(["1f", "1f"], name=["bear", "brown bear"]).names == {"1f": "1f"}
    assert images(["1f", "2f"], name=["bear", "bear"]).names == {"1f": "1f", "2f": "2f"}
    assert images(["1f", "2f"], name=["bear", ""]).names == {"1f": "1f", "2f": "2f"}


def test_portraits_show_what_is_nearest_to_each_centre():
    shown = images(["one"] * 4 + ["two"] * 4)
    vectors = at(0, 2, 60, 61, 100, 101, 199, 200)
    seen = {shown.pixels[place].tobytes(): vector for place, vector in enumerate(vectors)}
    centers = torch.from_numpy(np.stack([at(0, 60), at(100, 199)]))
    found = portraits(centers * 3, ("one", "two"), shown, lambda pixels: np.stack([seen[each.tobytes()] for each in pixels]))
    assert found is not None and found.counts == (0, 2)
    assert [portrait.name for portrait in found.shown] == ["two", "one"]  # whose centres differ most
    assert found.shown[1].cosine == pytest.approx(0.5, abs=1e-6)
    assert [[each.file for each in centre.nearest] for centre in found.shown[0].centres] == [
        ["4.png", "5.png"],
        ["6.png", "7.png"],
    ]
    assert [centre.images for centre in found.shown[1].centres] == [2, 2]


def test_a_centre_without_images_makes_no_portrait_but_is_counted():
    shown = images(["one"] * 3)
    found = portraits(torch.from_numpy(at(0, 180))[None], ("one",), shown, lambda pixels: at(*[0] * len(pixels)))
    assert found is not None and found.shown == () and found.counts == (0, 1)


def test_classes_with_one_centre_have_no_portraits():
    assert portraits(torch.ones(2, 1, 4), ("one", "two"), images(["one", "two"]), lambda pixels: at(0)) is None


def test_the_map_keeps_classes_together_and_its_pictures_apart():
    chance = np.random.default_rng(0)
    labels = np.repeat([f"class {number:02}" for number in range(20)], 8)
    middles = chance.normal(size=(20, 16))
    vectors = np.repeat(middles, 8, axis=0) + 0.05 * chance.normal(size=(160, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    shown = images(labels.tolist())
    seen = {shown.pixels[place].tobytes(): vector for place, vector in enumerate(vectors)}
    found = projected(
        measure(vectors, shown.columns), shown, lambda pixels: np.stack([seen[each.tobytes()] for each in pixels])
    )
    assert found is not None and found.places.shape == (160, 2) and found.classes == 20
    assert found.places.min() == 0 and found.places.max() == 1
    distances = np.linalg.norm(found.places[:, None] - found.places[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).mean() > 0.95
    pictured = found.places[list(found.pictures)]
    gaps = np.abs(pictured[:, None] - pictured[None]).max(axis=2)
    assert gaps[~np.eye(len(pictured), dtype=bool)].min() > 0.08
    assert (found.right == 1).all()
    assert all(picture.file == f"{row}.png" for row, picture in found.pictures.items())


def test_a_map_of_many_images_shows_some_of_them(monkeypatch):
    monkeypatch.setattr("training.report.projection.MOST", 40)
    shown = images(np.repeat([f"{number}" for number in range(30)], 4).tolist())
    vectors = at(*np.linspace(0, 170, 120))
    seen = {shown.pixels[place].tobytes(): vector for place, vector in enumerate(vectors)}
    found = projected(
        measure(vectors, shown.columns), shown, lambda pixels: np.stack([seen[each.tobytes()] for each in pixels])
    )
    assert found is not None and len(found.places) == 40


def test_where_all_vectors_are_equal_there_is_no_map():
    shown = images(["a", "b"] * 10)
    same = at(*[30] * 20)
    assert projected(measure(same, shown.columns), shown, lambda pixels: at(*[30] * len(pixels))) is None


def test_licences_are_what_the_folder_and_the_table_say(tmp_path):
    (tmp_path / "NOTICE").touch()
    (tmp_path / "Licence.txt").touch()
    (tmp_path / "labels.csv").touch()
    found = licences(tmp_path, {"licence": ["MIT", "MIT", "", "CC-BY-4.0"], "label": ["a"] * 4})
    assert found.counts == (("MIT", 2), ("not stated", 1), ("CC-BY-4.0", 1))
    assert found.files == ("Licence.txt", "NOTICE")
    many = licences(tmp_path, {"license": [f"licence {number}" for number in range(20)]})
    assert len(many.counts) == 12 and many.others == 8


def test_settings_that_were_changed_are_told_from_the_others():
    found = {each.name: each for each in settings({"dim": 64, "augmentation": {"flip": 0.5, "zoom": [0.65, 1.1]}})}
    assert {name for name, each in found.items() if each.changed} == {"dim", "augmentation.flip"}
    assert (found["dim"].value, found["dim"].default) == ("64", "128")
    assert found["epochs"].value == found["epochs"].default == "10"


def test_a_gain_is_called_one_only_where_its_interval_says_so():
    assert "gained 20 in 100" in _gain(Estimate(0.2, (0.1, 0.3)))
    assert "lost 20 in 100" in _gain(Estimate(-0.2, (-0.3, -0.1)))
    assert "cannot be told" in _gain(Estimate(0.2, (-0.1, 0.3)))


def test_not_all_and_not_none_are_never_said_to_be_so():
    assert [_of_hundred(share) for share in (0, 0.001, 0.5, 0.999, 1)] == ["0", "1", "50", "99", "100"]


def test_equal_pictures_are_kept_once():
    shown = images(["a", "a", "b"])
    kept = album([shown.picture(0), shown.picture(1), shown.picture(0)])
    assert len(kept.uris) == 2 and kept.id(shown.picture(0)) != kept.id(shown.picture(1))


def test_facts_of_a_real_training(material: Material):
    facts = gather(replace(material, suspects=[(2, "blue o")]))
    figures = material.evaluation.figures
    assert (facts.learnt, facts.tested) == ((10, 60), (figures["classes"], figures["queries"], 0))
    first = facts.tables[0].rows[0]
    assert first.trained.value == figures["recall@1"] and first.backbone.value == figures["backbone"]["recall@1"]
    assert first.gain.interval == tuple(figures["gains"]["recall@1"]["interval"])
    assert facts.tables[1].by == "hand" and facts.tables[1].rows[0].trained.value == figures["masked"]["recall@1"]
    assert f"R@1 {figures['recall@1']:.3f}" in " ".join(facts.summary)
    assert "none of which it had learnt from" in " ".join(facts.summary)
    assert facts.portraits is not None and sum(facts.portraits.counts) == 10
    assert facts.map is not None and len(facts.map.places) == len(material.test)
    (suspect, seems), *_ = facts.suspects
    assert (suspect.file, seems, facts.suspected) == (material.learnt.columns["path"][2], "blue o", 1)
    assert {"dim", "epochs", "image_size"} <= {each.name for each in facts.settings if each.changed}
    worst = facts.worst[0]
    by_class = material.evaluation.first.scores.by_class()
    assert worst[2] == min(each["map@r"] for each in by_class.values()) == by_class[worst[0]]["map@r"]


def test_what_was_not_measured_is_not_said(material: Material):
    plain = measure(at(*range(len(material.test))), material.test.columns)
    facts = gather(replace(material, evaluation=replace(material.evaluation, figures=plain.figures), centers=None))
    assert facts.suspected is None and facts.suspects == []
    assert facts.portraits is None and facts.reliability is None and facts.stages == () and len(facts.tables) == 1
    assert facts.tables[0].rows[0].backbone is None and "backbone" not in " ".join(facts.summary)
