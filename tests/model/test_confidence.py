"""A score and a number of items become a probability; a bundle's curve is whole, or it is refused with a sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import save_file

from model.bundle import Architecture, Bundle, BundleError, Manifest, fingerprint, seal, writing
from model.bundle import load as load_bundle
from model.confidence import FILE, Calibration, load, log_share
from model.transform import Transform

CURVE = Calibration(scores=[0.0, 0.5, 1.0], ratios=[-2.0, 3.0, 8.0], matches=2, exponent=0.8)

finite = st.floats(-30, 30)
knot = st.integers(-(10**6), 10**6).map(lambda number: number / 10**6)  # closer ones have no slope in float64


@st.composite
def curves(draw) -> Calibration:
    knots = draw(st.integers(1, 6))
    scores = sorted(draw(st.lists(knot, min_size=knots, max_size=knots)))
    ratios = sorted(draw(st.lists(finite, min_size=knots, max_size=knots)))
    return Calibration(scores=scores, ratios=ratios, matches=draw(st.floats(0.5, 50)), exponent=draw(st.floats(0, 1.5)))


@settings(deadline=None, max_examples=300)
@given(curve=curves(), scores=st.lists(st.floats(-1, 1), min_size=2, max_size=8), count=st.integers(0, 10**7))
def test_a_better_score_is_never_less_likely(curve: Calibration, scores: list[float], count: int) -> None:
    found = curve.confidence(np.sort(scores), count)
    assert found.dtype == np.float64 and found.shape == (len(scores),)
    assert (np.diff(found) >= -1e-12).all()
    assert (found >= 0).all() and (found <= 1).all()


@settings(deadline=None, max_examples=300)
@given(curve=curves(), score=st.floats(-1, 1), counts=st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)))
def test_more_items_never_make_a_hit_more_likely(curve: Calibration, score: float, counts: tuple[int, int]) -> None:
    few, many = (float(curve.confidence(np.array(score), count)) for count in sorted(counts))
    assert many <= few


def test_values_made_by_hand() -> None:
    found = CURVE.confidence(np.array([[0.25, 0.5], [-1.0, 2.0]]), 200)
    odds = np.array([[0.5, 3.0], [-2.0, 8.0]]) + 0.8 * np.log(2 / 200)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-odds)))


def test_without_an_exponent_the_size_does_not_count() -> None:
    curve = CURVE.model_copy(update={"exponent": 0.0})
    assert curve.confidence(np.array(0.3), 10) == curve.confidence(np.array(0.3), 10**6)


def test_a_share_is_never_above_one() -> None:
    assert log_share(3, 2) == log_share(3, 3) == log_share(3, 0) == 0
    assert log_share(3, 300) == pytest.approx(np.log(0.01))


@pytest.mark.parametrize(
    "change",
    [
        {"scores": [], "ratios": []},
        {"scores": [0.0, 1.0]},
        {"scores": [0.0, 0.7, 0.6]},
        {"ratios": [1.0, 0.5, 2.0]},
        {"ratios": [1.0, 2.0, float("inf")]},
        {"scores": [0.0, float("nan"), 1.0]},
        {"matches": 0},
        {"exponent": -0.1},
        {"format": 2},
    ],
)
def test_what_is_no_rising_curve_is_refused(change) -> None:
    with pytest.raises(ValidationError):
        Calibration.model_validate(CURVE.model_dump() | change)


# In a bundle


def bundle(to: Path, content: bytes | None) -> Bundle:
    tensors = {"bias": np.ones(2, np.float32)}
    architecture, transform = Architecture(dim=2), Transform(size=32)
    mark = fingerprint(tensors, architecture, transform)
    with writing(to) as draft:
        save_file(tensors, draft / "weights.safetensors")
        if content is not None:
            (draft / FILE).write_bytes(content)
        seal(draft, Manifest(name="x", architecture=architecture, transform=transform, origin="a test", fingerprint=mark))
    return load_bundle(to)


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    assert load(bundle(tmp_path / "bundle", CURVE.model_dump_json().encode())) == CURVE


def test_most_bundles_have_none(tmp_path: Path) -> None:
    assert load(bundle(tmp_path / "bundle", None)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        json.dumps(CURVE.model_dump() | {"format": 2}).encode(),
        json.dumps(CURVE.model_dump() | {"ratios": [1.0]}).encode(),
        json.dumps(CURVE.model_dump() | {"ratios": [1.0, 2.0, float("nan")]}).encode(),
    ],
)
def test_a_broken_file_ends_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle", content)
    with pytest.raises(BundleError) as caught:
        load(made)
    assert str(caught.value) == f"{made.path / FILE} cannot be read. If a newer Lookalike made it, update this one."


def test_a_file_that_went_ends_in_a_sentence(tmp_path: Path) -> None:
    made = bundle(tmp_path / "bundle", CURVE.model_dump_json().encode())
    (made.path / FILE).unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load(made)
