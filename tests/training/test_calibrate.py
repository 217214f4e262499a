"""On classes that are drawn at random, a confidence is what it says it is: a probability."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.confidence import Calibration
from training.calibrate import EXPONENTS, MIN_CLASSES, Reliability, calibrate, reliability, some_classes

DIM, SPREAD = 16, 0.7


def drawn(classes: int, seed: int, name: str, most: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of classes of 2 to ``most`` images, each scattered about a centre of its own."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), random.integers(2, most + 1, classes))
    points = random.normal(size=(classes, DIM))[labels] + SPREAD * random.normal(size=(len(labels), DIM))
    names = np.array([f"{name} {label}" for label in labels])
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), names


@pytest.fixture(scope="module")
def fitted() -> Calibration:
    made = calibrate(*drawn(100, 1, "validation"), *drawn(400, 2, "train"))
    assert made is not None
    return made


def test_the_curve_never_falls(fitted: Calibration) -> None:
    assert len(fitted.scores) == len(fitted.ratios) > 10
    assert (np.diff(fitted.scores) >= 0).all()
    assert (np.diff(fitted.ratios) >= 0).all()
    assert fitted.ratios[-1] - fitted.ratios[0] > 5
    assert EXPONENTS[0] <= fitted.exponent <= EXPONENTS[-1]
    assert 2 <= fitted.matches <= 8


def test_the_same_picture_is_surely_of_the_same_kind(fitted: Calibration) -> None:
    images = fitted.fitted_on["images"]
    assert fitted.scores[-1] == 1.0
    assert fitted.ratios[-1] >= np.log(images**2)
    assert fitted.confidence(np.array(1.0), images) > 0.99


def test_it_tells_what_it_was_fitted_on(fitted: Calibration) -> None:
    vectors, _ = drawn(100, 1, "validation")
    assert fitted.fitted_on["classes"] == 100
    assert fitted.fitted_on["images"] == len(vectors)
    assert fitted.fitted_on["hits"] > 10 * len(vectors)
    assert 0 < fitted.fitted_on["log_loss"] < np.log(2)


@pytest.mark.parametrize("size", [200, 1000, 4000])
def test_confidences_hold_on_new_classes_in_galleries_of_any_size(fitted: Calibration, size: int) -> None:
    vectors, labels = drawn(800, 3, "test")
    gallery = some_classes(np.arange(len(vectors)), labels, size)
    figures = reliability(fitted, vectors, labels, gallery).figures()
    assert figures["ece"] <= 0.05
    assert figures["brier"] < 0.85 * figures["brier_of_constant"]


def test_confidences_hold_for_what_is_in_no_gallery(fitted: Calibration) -> None:
    vectors, labels = drawn(200, 4, "test")
    unrelated, _ = drawn(300, 5, "unrelated")
    found = reliability(fitted, vectors, labels, unrelated=unrelated)
    assert found.figures()["ece"] <= 0.05


def test_the_size_of_the_gallery_must_be_told(fitted: Calibration) -> None:
    """Otherwise the test above would hold for any exponent."""
    vectors, labels = drawn(800, 3, "test")
    blind = fitted.model_copy(update={"exponent": 0.0, "ratios": [ratio - 6 for ratio in fitted.ratios]})
    sizes = [reliability(blind, vectors, labels, some_classes(np.arange(len(vectors)), labels, size)) for size in (200, 4000)]
    assert max(found.figures()["ece"] for found in sizes) > 0.05


def test_the_same_vectors_give_the_same_curve(fitted: Calibration) -> None:
    again = calibrate(*drawn(100, 1, "validation"), *drawn(400, 2, "train"))
    other = calibrate(*drawn(100, 1, "validation"), *drawn(400, 2, "train"), seed=1)
    assert again == fitted != other


def test_without_training_images_there_is_a_curve_too() -> None:
    vectors, labels = drawn(60, 6, "validation")
    made = calibrate(vectors, labels, vectors[:0], labels[:0])
    assert made is not None and (np.diff(made.ratios) >= 0).all()


def test_twins_do_not_break_the_curve() -> None:
    vectors, labels = drawn(40, 7, "validation")
    vectors, labels = np.repeat(vectors, 2, axis=0), np.repeat(labels, 2)
    made = calibrate(vectors, labels, *drawn(40, 8, "train"))
    assert made is not None and np.isfinite(made.ratios).all() and (np.diff(made.scores) >= 0).all()
    assert made.confidence(np.array(1.0), len(vectors)) > 0.95


def test_too_few_classes_of_two_make_none() -> None:
    vectors, labels = drawn(MIN_CLASSES, 9, "validation", most=2)
    single, singles = drawn(50, 10, "single", most=2)
    more = np.concatenate([vectors[:-1], single[::2]]), np.concatenate([labels[:-1], singles[::2]])
    others = drawn(50, 11, "train")
    assert calibrate(*more, *others) is None
    assert calibrate(vectors, labels, *others) is not None


def test_labels_may_be_numbers() -> None:
    vectors, labels = drawn(MIN_CLASSES, 12, "v")
    numbers = np.unique(labels, return_inverse=True)[1]
    made = calibrate(vectors, numbers, vectors[:0], numbers[:0])
    assert made is not None
    assert reliability(made, vectors, numbers, unrelated=drawn(5, 13, "u")[0]).figures()["hits"] > 0


# Galleries of whole classes


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=20), share=st.floats(0.01, 1), seed=st.integers(0, 99))
@settings(deadline=None)
def test_classes_are_taken_whole_and_hardly_more_than_needed(counts: list[int], share: float, seed: int) -> None:
    names = np.repeat([f"class {place}" for place in range(len(counts))], counts)
    rows = np.random.default_rng(seed).permutation(len(names))
    size = max(1, round(share * len(names)))
    taken = some_classes(rows, names, size, np.random.default_rng(seed))
    assert len(np.unique(taken)) == len(taken)
    assert size <= len(taken) < size + max(counts)
    assert not set(names[taken]) & set(names[np.setdiff1d(rows, taken)])


# Reliability


def test_reliability_by_hand() -> None:
    found = Reliability(np.array([0.9, 0.1, 0.5]), np.array([True, False, False]))
    assert found.bins() == [(0.1, 0.0, 1), (0.5, 0.0, 1), (0.9, 1.0, 1)]
    figures = found.figures()
    assert figures["ece"] == pytest.approx((0.1 + 0.5 + 0.1) / 3)
    assert figures["brier"] == pytest.approx((0.01 + 0.25 + 0.01) / 3)
    assert figures["brier_of_constant"] == pytest.approx(1 / 3 * 2 / 3)
    assert figures["hits"] == 3


def test_bins_are_of_equal_mass() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(size=152) ** 3
    bins = Reliability(confidence, random.uniform(size=152) < confidence).bins()
    assert [count for _, _, count in bins] == [11] * 2 + [10] * 13
    said = [mean for mean, _, _ in bins]
    assert said == sorted(said)
    assert np.average(said, weights=[count for _, _, count in bins]) == pytest.approx(confidence.mean())


def test_equal_confidences_have_no_order() -> None:
    """The curve has level parts: what was asked first must not fill the first of their bins."""
    found = Reliability(np.repeat([0.2, 0.7, 0.2, 0.7], 15_000), np.repeat([True, False], 30_000))
    assert [was for _, was, _ in found.bins()] == pytest.approx([0.5] * 15, abs=0.05)
    assert found.figures()["ece"] == pytest.approx(0.25, abs=0.02)


def test_half_of_the_questions_have_no_answer() -> None:
    """Two classes, far apart, of two: each question finds its answer first where that is there, and never otherwise."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0, -1], [-0.6, -0.8]], np.float32)
    labels = np.array(["a", "a", "b", "b"])
    known = Calibration(scores=[0.0, 1.0], ratios=[-1.0, 5.0], matches=1)
    found = reliability(known, vectors, labels)
    assert found.right.tolist() == [True, False, False] * 4 + [False] * 8
    assert found.confidence[0] == pytest.approx(known.confidence(np.array(0.8), 4))
    with_others = reliability(known, vectors, labels, unrelated=np.array([[0, 1]], np.float32))
    assert len(with_others.right) == 12 + 3 * 2 + 4  # a question of the unrelated sees all four
    assert with_others.right.sum() == 4
