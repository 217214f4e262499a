"""Classes are split by their label alone."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets.labels import PROPORTIONS
from training.datasets.split import hash_split


@st.composite
def proportions(draw) -> dict[str, float]:
    weights = draw(st.lists(st.integers(1, 50), min_size=1, max_size=4))
    return {f"part {number}": weight / sum(weights) for number, weight in enumerate(weights)}


@given(label=st.text(), shares=proportions(), seed=st.integers())
def test_every_label_has_a_split(label: str, shares: dict[str, float], seed: int) -> None:
    assert hash_split(label, shares, seed) in shares


def test_splits_made_today_are_those_of_ever_after() -> None:
    """What a bundle was tested on must stay unseen when more labels have come and somebody trains again."""
    expected = {"cat": "test", "dog": "train", "Maus": "train", "猫": "test", "": "validation", "1f43b": "test"}
    assert {label: hash_split(label, PROPORTIONS) for label in expected} == expected


@given(shares=proportions(), seed=st.integers(0, 1000))
def test_shares_are_kept(shares: dict[str, float], seed: int) -> None:
    counts = Counter(hash_split(f"class {number}", shares, seed) for number in range(2000))
    for split, share in shares.items():
        assert counts[split] / 2000 == pytest.approx(share, abs=0.06)  # five standard deviations


def test_another_seed_is_another_split_with_half_of_it_shared() -> None:
    halves = {"train": 0.5, "test": 0.5}
    first, second = ([hash_split(str(number), halves, seed) for number in range(2000)] for seed in (0, 1))
    assert sum(a == b for a, b in zip(first, second, strict=True)) == pytest.approx(1000, abs=120)


def test_shares_that_lose_a_little_to_rounding_leave_no_label_out() -> None:
    thirds = {"a": 0.1, "b": 0.2, "c": 0.7 - 1e-3}
    assert {hash_split(str(number), thirds) for number in range(5000)} == set(thirds)
