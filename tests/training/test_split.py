"""Classes are split by their label or their group alone."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from training.datasets.split import SPLITS, Splitting, hash_split, splitting

PROPORTIONS = Splitting().proportions


@st.composite
def proportions(draw) -> dict[str, float]:
    weights = draw(st.lists(st.integers(0, 50), min_size=1, max_size=4))
    assume(sum(weights))
    return {f"part {number}": weight / sum(weights) for number, weight in enumerate(weights)}


@given(label=st.text(), shares=proportions(), seed=st.integers())
def test_every_label_has_a_split_that_has_a_share(label: str, shares: dict[str, float], seed: int) -> None:
    assert shares[hash_split(label, shares, seed)] > 0


def test_splits_made_today_are_those_of_ever_after() -> None:
    """What a bundle was tested on must stay unseen when more labels have come and somebody trains again."""
    expected = {"cat": "test", "dog": "train", "Maus": "train", "猫": "test", "": "validation", "1f43b": "test"}
    assert {label: Splitting()(label) for label in expected} == expected


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
    thirds = {"a": 0.1, "b": 0.2, "c": 0.7 - 1e-3, "d": 0.0}
    assert {hash_split(str(number), thirds) for number in range(5000)} == {"a", "b", "c"}


# The option


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ("70/15/15", (0.7, 0.15, 0.15)),
        (" 80 / 0 / 20 ", (0.8, 0, 0.2)),
        ("0/0/100", (0, 0, 1)),
        ("33.3/33.3/33.4", (0.333, 0.333, 0.334)),
    ],
)
def test_percents(shares: str, expected: tuple[float, ...]) -> None:
    assert tuple(splitting(shares, 7).proportions.values()) == pytest.approx(expected)
    assert splitting(shares, 7).seed == 7


def test_the_usual_percents_are_the_default() -> None:
    assert splitting("70/15/15", 0) == Splitting()
    assert tuple(PROPORTIONS) == SPLITS


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ("a/b/c", "'a/b/c' is not made of numbers"),
        ("", "'' is not made of numbers"),
        ("70/15/15/", "is not made of numbers"),
        ("100", "'100' has 1 part:"),
        ("50/50", "has 2 parts"),
        ("25/25/25/25", "has 4 parts"),
        ("50/50/50", "'50/50/50' does not sum to 100"),
        ("70/15/14.99", "does not sum to 100"),
        ("0.7/0.15/0.15", "does not sum to 100"),
        ("0/0/0", "does not sum to 100"),
        ("nan/50/50", "has a part that is not from 0 to 100"),
        ("110/-5/-5", "has a part that is not from 0 to 100"),
        ("-inf/inf/100", "has a part that is not from 0 to 100"),
    ],
)
def test_percents_that_are_none_end_in_one_sentence(shares: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        splitting(shares, 0)
    sentence = str(caught.value)
    assert expected in sentence
    assert sentence.endswith(": give the percent of train, validation and test, like 70/15/15.") and "\n" not in sentence


@pytest.mark.parametrize("shares", [{"train": 0.9}, {"train": -0.7, "test": 1.55}, {"train": float("nan")}, {"trian": 0.7}])
def test_a_splitting_that_is_not_whole_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Splitting(**shares)
