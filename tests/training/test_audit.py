"""Wrong labels that were put in are found, by what was learnt from other images; the page shows them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_watch import Page as Parsed

from training.audit import FOLDS, LIKELY, ROUNDS, STEPS, Audit, audit, fit, folds, judge, on_features
from training.config import TrainingConfig
from training.datasets import DataError
from training.datasets.labels import Dataset, read
from training.suspects import page

CONFIG = TrainingConfig(dim=16, image_size=64)
CLASSES, IMAGES, DIM = 20, 8, 32
NASTY = "<script src=https://elsewhere.example>&\"'"


def table(labels: list[str], root: Path = Path("nowhere")) -> Dataset:
    paths = [f"{row}.png" for row in range(len(labels))]
    return Dataset(
        root, {"path": paths, "label": labels, "split": ["train"] * len(labels)}, [row + 2 for row in range(len(labels))]
    )


def drawn(seed: int = 0, spread: float = 0.6) -> tuple[torch.Tensor, np.ndarray]:
    """Features of images that are scattered about their class, and the classes."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), IMAGES)
    points = random.normal(size=(CLASSES, DIM))[labels] + spread * random.normal(size=(len(labels), DIM))
    return torch.from_numpy(points.astype(np.float32)), labels


def swapped(labels: np.ndarray, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(len(labels), count, replace=False))
    changed = labels.copy()
    changed[rows] = (labels[rows] + random.integers(1, CLASSES, count)) % CLASSES
    return changed, rows


def named(labels: np.ndarray) -> list[str]:
    return [f"class {label:02}" for label in labels]


@pytest.fixture(scope="module")
def found() -> tuple[Audit, np.ndarray, np.ndarray]:
    """The audit, the rows of the wrong labels and the true classes."""
    seen, labels = drawn()
    changed, rows = swapped(labels, 8)
    return judge(table(named(changed)), on_features(seen, CONFIG), 0), rows, labels


def test_wrong_labels_come_first_with_what_they_are(found: tuple[Audit, np.ndarray, np.ndarray]) -> None:
    judged, wrong, true = found
    first = judged.suspects(len(wrong))
    assert sorted(each.row for each in first) == wrong.tolist()
    assert [each.looks_like for each in first] == named(true[[each.row for each in first]])
    assert all(each.similarity < each.similarity_of_other for each in first)
    assert all(each.path == f"{each.row}.png" and each.number == each.row + 2 for each in first)


def test_probabilities_tell_wrong_from_right(found: tuple[Audit, np.ndarray, np.ndarray]) -> None:
    judged, wrong, _ = found
    assert judged.likely == len(wrong)
    assert judged.expected == pytest.approx(len(wrong), abs=1)
    assert judged.share == pytest.approx(len(wrong) / len(judged.files), abs=0.01)
    assert [each.row for each in judged.suspects(None, LIKELY)] == judged.ranked[: len(wrong)].tolist()
    assert (np.diff(judged.probability[judged.ranked]) <= 0).all()


def test_labels_that_are_right_are_not_suspected() -> None:
    seen, labels = drawn(seed=5)
    judged = judge(table(named(labels)), on_features(seen, CONFIG), 0)
    assert judged.likely == 0
    assert judged.expected < 1


def test_an_image_is_never_judged_by_what_was_learnt_from_it() -> None:
    """Nor, in the second round, by what was learnt from suspects."""
    seen, labels = drawn()
    changed, wrong = swapped(labels, 8)
    learn, calls = on_features(seen, CONFIG), []

    def spy(learnt: np.ndarray, theirs: np.ndarray, classes: int, asked: np.ndarray, seed: int):
        calls.append((learnt, theirs, asked, seed))
        return learn(learnt, theirs, classes, asked, seed)

    told: list[int] = []
    judge(table(named(changed)), spy, 0, told.append)
    assert len(calls) == STEPS == sum(told)
    assert len({seed for *_, seed in calls}) == STEPS
    for learnt, theirs, asked, _ in calls:
        assert not set(learnt) & set(asked)
        assert set(theirs) == set(range(CLASSES))
        assert (changed[learnt] == theirs).all()
    for turn in range(ROUNDS):
        asked = np.concatenate([each[2] for each in calls[turn * FOLDS : (turn + 1) * FOLDS]])
        assert sorted(asked) == list(range(len(labels)))
        learnt = set(np.concatenate([each[0] for each in calls[turn * FOLDS : (turn + 1) * FOLDS]]))
        assert set(range(len(labels))) - learnt == (set(wrong) if turn else set())


def test_a_seed_decides_everything() -> None:
    seen, labels = drawn(spread=1.2)
    data, learn = table(named(labels)), on_features(seen, CONFIG)
    first, again, other = (judge(data, learn, seed) for seed in (0, 0, 1))
    assert json.dumps(first.figures(None)) == json.dumps(again.figures(None))
    assert (first.probability == again.probability).all()
    assert (first.probability != other.probability).any()


def test_the_only_image_of_a_label_is_not_judged_and_can_be_looked_like() -> None:
    seen, labels = drawn(spread=0.1)
    kept = np.concatenate([np.arange(2 * IMAGES), [3 * IMAGES, 4 * IMAGES, 4 * IMAGES + 1]])
    names = named(labels[kept])
    names[0] = "class 01"  # shows class 00
    kept, names = np.append(kept, 3 * IMAGES + 1), [*names, "class 00"]  # shows class 03, of which one image is left
    judged = judge(table(names), on_features(seen[kept], CONFIG), 0)
    alone = names.index("class 03")
    assert np.flatnonzero(~judged.judged).tolist() == [alone]
    assert judged.figures()["not_judged"] == [{"number": alone + 2, "path": f"{alone}.png", "label": "class 03"}]
    assert alone not in {each.row for each in judged.suspects(None)}
    assert {each.row: each.looks_like for each in judged.suspects(2)} == {0: "class 00", len(names) - 1: "class 03"}


def test_classes_of_two_can_be_judged_even_if_both_were_suspected() -> None:
    seen, labels = drawn()
    chosen = np.concatenate([np.flatnonzero(labels == kind)[:2] for kind in range(CLASSES)])
    given = np.roll(labels[chosen], 1)  # no label fits both of its images
    judged = judge(table(named(given)), on_features(seen[chosen], CONFIG), 0)
    assert judged.judged.all()
    assert np.isfinite(judged.similarities).all()


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=60), st.integers(0, 9))
def test_folds(images: list[tuple[int, bool]], seed: int) -> None:
    """Every image that is not alone is held out once, and each time a trusted one of its class is left, where there are two."""
    labels, trusted = np.array([label for label, _ in images]), np.array([each for _, each in images])
    fold, sizes = folds(labels, trusted, seed), np.bincount(labels)
    assert ((fold == -1) == (sizes[labels] == 1)).all()
    dealt = np.bincount(fold[fold >= 0], minlength=FOLDS)
    assert dealt.max() - dealt.min() <= 1
    for label in np.flatnonzero(np.bincount(labels, trusted) >= 2):
        for number in range(FOLDS):
            assert ((labels == label) & trusted & (fold != number)).any()


def test_probabilities_are_what_they_say_where_the_model_holds() -> None:
    """Classes drawn by a softmax of similarities at a scale, then a share of them replaced by any other."""
    random, count, classes, scale, share = np.random.default_rng(0), 20_000, 10, 20.0, 0.08
    similarity = random.uniform(-0.2, 0.6, (count, classes))

    def chances(at: float) -> np.ndarray:
        odds = np.exp(at * similarity)
        return odds / odds.sum(axis=1, keepdims=True)

    true = (chances(scale).cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    wrong = random.random(count) < share
    given = np.where(wrong, (true + random.integers(1, classes, count)) % classes, true)
    own = np.stack([chances(at)[np.arange(count), given] for at in np.geomspace(4, 80, 25)], axis=1)
    probability, told, at = fit(own, classes)
    assert told == pytest.approx(share, abs=0.01)
    assert at == pytest.approx(scale, rel=0.1)
    for low, high in ((0.0, 0.05), (0.05, 0.2), (0.2, 0.8), (0.8, 1.0)):
        part = (probability >= low) & (probability < high)
        assert part.sum() > 100
        assert wrong[part].mean() == pytest.approx(probability[part].mean(), abs=0.04)


@pytest.mark.parametrize(("labels", "said"), [(["a"] * 4, "one label only"), (["a", "b", "c"], "one image of each label")])
def test_what_cannot_be_judged_is_refused(labels: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        audit(table(labels, tmp_path), CONFIG)


def test_pictures_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"0\.png: the file does not exist"):
        audit(table(["a", "a", "b", "b"], tmp_path), CONFIG)


# Real pictures

TRUE = {0: "orange v", 25: "red v", 70: "blue o"}  # rows whose labels are changed


@pytest.fixture(scope="module")
def mislabelled(drawings: Path) -> Dataset:
    """The drawings of all splits with three wrong labels, and one of a kind of its own."""
    data = read(drawings)
    labels = list(data.labels)
    assert [labels[row] for row in TRUE] == list(TRUE.values())
    for row, other in zip(TRUE, (40, 90, 7), strict=True):
        labels[row] = data.labels[other]
    labels[50] = NASTY
    return replace(data, table=data.table | {"label": labels})


@pytest.fixture(scope="module")
def audited(mislabelled: Dataset) -> Audit:
    return audit(mislabelled, CONFIG)


def test_wrong_labels_among_real_pictures_of_all_splits(audited: Audit) -> None:
    """Some kinds differ in little: a picture that is drawn oddly may come between."""
    told = {each.row: each.looks_like for each in audited.suspects(6)}
    assert {row: told.get(row) for row in TRUE} == TRUE
    assert np.flatnonzero(~audited.judged).tolist() == [50]


def test_progress_is_told(mislabelled: Dataset, audited: Audit) -> None:
    told: dict[str, int] = {"read": 0, "looked": 0, "judged": 0}

    def count(name: str):
        def advance(done: int) -> None:
            told[name] += done

        return advance

    again = audit(mislabelled, CONFIG, **{name: count(name) for name in told})
    assert told == {"read": len(audited.files), "looked": len(audited.files), "judged": STEPS}
    assert again.figures() == audited.figures()


class Page(Parsed):
    def pictures(self) -> list[str]:
        return [str(found["src"]) for tag, found in self.tags if tag == "img" and "webp" in str(found["src"])]


def test_the_page_is_whole_in_itself(audited: Audit, mislabelled: Dataset) -> None:
    html = page(audited, mislabelled, most=6)
    seen = Page(html)
    assert NASTY in seen.text
    assert "script" not in {tag for tag, _ in seen.tags}
    addresses = [value for _, found in seen.tags for name, value in found.items() if name in ("src", "href") and value]
    assert all(value.startswith("data:image/") for value in addresses)
    assert not re.search(r"url\(|@import", html)
    assert sum(tag == "article" for tag, _ in seen.tags) == 6
    for each in audited.suspects(6):
        assert each.path in seen.text and each.looks_like in seen.text
    assert len(set(seen.pictures())) > 6
    assert "1 not judged" in seen.text


def test_a_suspect_is_not_an_example_of_its_label(audited: Audit, mislabelled: Dataset) -> None:
    """Each card shows the suspect once, and four pictures of each class whose labels are the surest."""
    seen = Page(page(audited, mislabelled, most=1)).pictures()
    assert len(seen) == len(set(seen)) == 9


def test_the_page_of_pictures_that_are_gone(audited: Audit, mislabelled: Dataset, tmp_path: Path) -> None:
    seen = Page(page(audited, replace(mislabelled, root=tmp_path), most=2))
    assert "cannot be read" in seen.text
    assert seen.pictures() == []


def test_figures_are_plain(audited: Audit) -> None:
    figures = json.loads(json.dumps(audited.figures(most=4)))
    assert len(figures["suspects"]) == 4
    assert figures["images"] == figures["judged"] + 1 == len(audited.files)
    assert figures["suspects"][0]["path"] == audited.files[audited.ranked[0]]
    assert figures["likely"] == audited.likely
