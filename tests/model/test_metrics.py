"""Figures against those of others (pytorch-metric-learning, scikit-learn), against chance, and by their properties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import normalized_mutual_info_score

from model import metrics
from model.metrics import NAMES, RECALL_AT, clustering_nmi, nmi, recall_at, reciprocal_rank, scores
from model.neighbours import NEAR, nearest

THEIRS = {
    "precision@1": "precision_at_1",
    "r_precision": "r_precision",
    "map@r": "mean_average_precision_at_r",
    "mrr": "mean_reciprocal_rank",
}


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clusters(random: np.random.Generator, classes: int, dim: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(classes), random.integers(2, 12, classes))
    centres = random.normal(size=(classes, dim))
    return unit(centres[labels] + spread * random.normal(size=(len(labels), dim))), labels


def figures(vectors: np.ndarray, labels: np.ndarray, **roles) -> dict[str, float]:
    return scores(nearest(vectors, labels, **roles), labels).means()


def closest_scores(vectors: np.ndarray, gallery: np.ndarray) -> float:
    exact = np.sort(vectors.astype(np.float64) @ vectors[gallery].T.astype(np.float64), axis=1)
    return float(np.diff(exact, axis=1).min())


def theirs(vectors, labels, queries=None, gallery=None) -> dict[str, float]:
    depth = len(labels) - 1 if queries is None else len(gallery)
    calculator = AccuracyCalculator(include=tuple(THEIRS.values()), k=depth, device=torch.device("cpu"))
    if queries is None:
        return calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    parts = [torch.from_numpy(part[rows]) for rows in (queries, gallery) for part in (vectors, labels)]
    return calculator.get_accuracy(*parts)


# The same as others say


@pytest.mark.parametrize("case", range(100))
def test_equal_to_pytorch_metric_learning(case: int) -> None:
    """Cases without ties, which it breaks by the order of rows. Odd ones have a gallery apart from the queries."""
    random = np.random.default_rng(case)
    dim = int(random.integers(4, 40))
    while True:
        vectors, labels = clusters(random, int(random.integers(2, 12)), dim, float(random.uniform(0.2, 3)))
        rows = random.permutation(len(labels))
        queries, gallery = (rows[::3], np.sort(np.setdiff1d(rows, rows[::3]))) if case % 2 else (None, None)
        if closest_scores(vectors, np.arange(len(labels)) if gallery is None else gallery) > NEAR / 100:
            break
    expected = theirs(vectors, labels, queries, gallery)
    found = figures(vectors, labels, **({} if queries is None else {"queries": queries, "gallery": gallery}))
    for ours, their in THEIRS.items():
        assert found[ours] == pytest.approx(expected[their], abs=1e-6), ours


@pytest.mark.parametrize("case", range(100))
def test_nmi_is_equal_to_scikit_learns(case: int) -> None:
    random = np.random.default_rng(case)
    count = int(random.integers(1, 400))
    one, other = (random.integers(0, int(random.integers(1, 30)), count) for _ in range(2))
    assert nmi(one, other) == pytest.approx(normalized_mutual_info_score(one, other), abs=1e-6)
    assert nmi(one, one[:] * 3 + 1) == pytest.approx(1.0 if count else 0.0)


def test_k_means_is_pinned_and_finds_clusters_that_are_there() -> None:
    vectors, labels = clusters(np.random.default_rng(0), 9, 16, 0.05)
    found = clustering_nmi(vectors, labels)
    assert found == clustering_nmi(vectors.copy(), labels.astype(str))
    assert found > 0.9
    assert clustering_nmi(vectors, np.random.default_rng(1).permutation(labels)) < found - 0.3


# By hand


def test_one_query_by_hand() -> None:
    """Ranking of the only asker: wrong, right, tie of (right, wrong, wrong); three right answers, one of them last."""
    cosines = np.array([0.9, 0.8, 0.5, 0.5, 0.5, 0.1])
    others = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
    vectors = unit(np.concatenate([[[1, 0]], others]))
    labels = np.array(["a", "b", "a", "a", "b", "b", "a"])
    found = figures(vectors, labels, queries=np.array([0]))
    assert found["recall@1"] == found["precision@1"] == 0
    assert found["recall@2"] == found["recall@4"] == 1
    assert found["mrr"] == pytest.approx(1 / 2)
    assert found["r_precision"] == pytest.approx((1 + 1 / 3) / 3)
    assert found["map@r"] == pytest.approx((1 / 2 + 1 / 3 * 2 / 3) / 3)


@pytest.mark.parametrize(
    ("tie", "k", "expected"),
    [
        ((0, 4, 1), 1, 1 / 4),
        ((0, 4, 1), 2, 1 / 2),
        ((0, 4, 2), 2, 1 - 2 / 4 * 1 / 3),
        ((0, 4, 1), 4, 1.0),
        ((3, 1, 1), 3, 0.0),
        ((3, 1, 1), 4, 1.0),
        ((1, 2, 1), 2, 1 / 2),
        ((0, 0, 0), 8, 0.0),
    ],
)
def test_recall_in_a_tie(tie: tuple[int, int, int], k: int, expected: float) -> None:
    assert recall_at(np.array([tie]), k) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("tie", "expected"),
    [((0, 1, 1), 1), ((4, 1, 1), 1 / 5), ((0, 2, 1), (1 + 1 / 2) / 2), ((1, 3, 2), (2 * (1 / 2) + 1 / 3) / 3), ((0, 0, 0), 0)],
)
def test_reciprocal_rank_in_a_tie(tie: tuple[int, int, int], expected: float) -> None:
    assert reciprocal_rank(np.array([tie])) == pytest.approx([expected])


# Ties


@pytest.mark.parametrize("case", range(20))
def test_ties_count_as_the_mean_over_random_orders(case: int) -> None:
    """Vectors out of few, so that ties are everywhere; a random order is the same search with a little noise on the scores."""
    random = np.random.default_rng(case)
    count, dim = int(random.integers(10, 60)), 4
    vectors = unit(random.normal(size=(int(random.integers(1, 8)), dim)))
    vectors = vectors[random.integers(0, len(vectors), count)]
    labels = random.integers(0, 5, count)
    if not (np.unique(labels, return_counts=True)[1] > 1).any():
        labels[:2] = 0
    found = figures(vectors, labels)
    orders = np.array([ordered(vectors, labels, random) for _ in range(300)])
    error = orders.std(axis=0) / np.sqrt(len(orders))
    for place, name in enumerate(NAMES):
        assert abs(found[name] - orders[:, place].mean()) <= 4 * error[place] + 1e-9, name


def ordered(vectors: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> list[float]:
    """The figures where every tie was put into a random order, by their definitions."""
    exact = (vectors.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    ranks = np.lexsort((random.random(exact.shape), -exact), axis=1)
    values = []
    for query in range(len(labels)):
        right = labels[[row for row in ranks[query] if row != query]] == labels[query]
        wanted = int(right.sum())
        if not wanted:
            continue
        place = np.flatnonzero(right)
        average = sum(right[: i + 1].mean() for i in place if i < wanted) / wanted
        recalls = [float(place[0] < k) for k in RECALL_AT]
        values.append([*recalls, recalls[0], right[:wanted].mean(), average, 1 / (place[0] + 1)])
    return np.mean(values, axis=0).tolist()


def test_a_constant_embedding_scores_chance() -> None:
    vectors, labels = np.ones((600, 7), np.float32) / np.sqrt(7).astype(np.float32), np.arange(600) % 60
    found = figures(vectors, labels)
    assert (found["recall@1"], found["r_precision"]) == pytest.approx((9 / 599, 9 / 599))
    assert found["recall@8"] == pytest.approx(1 - np.prod([(590 - i) / (599 - i) for i in range(8)]))


# Properties


@st.composite
def embeddings(draw) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(4, 40))
    distinct = draw(st.sampled_from([3, 40]))
    vectors = unit(random.normal(size=(distinct, 5)))[random.integers(0, distinct, count)]
    labels = random.integers(0, draw(st.integers(1, 6)), count)
    labels[:2] = labels[0]  # at least one class with two images
    return vectors, labels


@given(space=embeddings(), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=100)
def test_the_order_of_rows_and_the_names_of_classes_do_not_matter(space, seed: int) -> None:
    vectors, labels = space
    order = np.random.default_rng(seed).permutation(len(labels))
    renamed = np.array([f"class {9 - label}" for label in labels])
    assert figures(vectors[order], renamed[order]) == pytest.approx(figures(vectors, labels), abs=1e-9)


@given(space=embeddings())
@settings(deadline=None, max_examples=100)
def test_figures_are_shares_and_in_order(space) -> None:
    found = figures(*space)
    assert all(0 <= value <= 1 + 1e-12 for value in found.values())
    recalls = [found[f"recall@{k}"] for k in RECALL_AT]
    assert recalls == sorted(recalls)
    assert found["map@r"] <= found["r_precision"] + 1e-12
    assert found["recall@1"] - 1e-12 <= found["mrr"]


@given(space=embeddings())
@settings(deadline=None, max_examples=50)
def test_when_every_image_is_there_twice_a_twin_comes_first(space) -> None:
    """Its twin ties with nothing but twins of the same vector; where vectors are all different it is always found."""
    vectors, labels = space
    distinct = np.unique(vectors, axis=0, return_index=True)[1]
    vectors, labels = vectors[distinct], labels[distinct]
    assert figures(np.repeat(vectors, 2, axis=0), np.repeat(labels, 2))["recall@1"] == 1


@given(space=embeddings())
@settings(deadline=None, max_examples=50)
def test_one_class_is_always_right(space) -> None:
    vectors, _ = space
    assert set(figures(vectors, np.zeros(len(vectors), int)).values()) == {1.0}


def test_no_class_with_two_images_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="No query has a right answer"):
        figures(unit(np.random.default_rng(0).normal(size=(5, 3))), np.arange(5))


def test_distractors_make_it_harder_and_count_as_no_query() -> None:
    vectors, labels = clusters(np.random.default_rng(2), 6, 8, 0.5)
    more = unit(np.random.default_rng(3).normal(size=(200, 8)))
    all_labels = np.concatenate([labels, 1000 + np.arange(200)])
    found = nearest(np.concatenate([vectors, more]), all_labels)
    measured = scores(found, all_labels)
    assert len(measured.values) == len(labels)
    assert measured.means()["map@r"] < figures(vectors, labels)["map@r"]


# By class, and intervals


def test_means_by_class_make_up_the_whole() -> None:
    vectors, labels = clusters(np.random.default_rng(4), 7, 6, 1.0)
    measured = scores(nearest(vectors, labels), labels)
    classes = measured.by_class()
    assert len(classes) == 7
    weighted = sum(each["map@r"] * each["queries"] for each in classes.values()) / len(labels)
    assert weighted == pytest.approx(measured.means()["map@r"])


def test_intervals_cover_as_often_as_they_say() -> None:
    """Of 200 samples of 60 classes each, about 95 % of the intervals hold the mean over very many classes."""
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        hard = random.beta(2, 2, size=60)
        classes = np.repeat(np.arange(60), 5)
        values = (random.random(300) < hard[classes]).astype(float)[:, None]
        low, high = metrics.Scores(("recall@1",), values, classes).intervals()["recall@1"]
        covered += low <= 0.5 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_a_gain_is_paired() -> None:
    random = np.random.default_rng(6)
    classes = np.repeat(np.arange(40), 5)
    hard = random.random(40)[classes][:, None]
    before, after = (metrics.Scores(("recall@1",), hard * share, classes) for share in (0.9, 1.0))
    gain = after.gains(before)["recall@1"]
    assert gain["mean"] == pytest.approx(0.1 * hard.mean())
    assert 0 < gain["interval"][0] < gain["mean"] < gain["interval"][1]
    assert gain["interval"][1] - gain["interval"][0] < 0.3 * np.diff(after.intervals()["recall@1"])[0]
    with pytest.raises(ValueError, match="same queries"):
        after.gains(metrics.Scores(("recall@1",), hard[1:], classes[1:]))
