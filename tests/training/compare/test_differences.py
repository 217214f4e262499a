"""Runs in, means and paired differences out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.compare.differences import Sums, over_seeds, paired

NAMES = ("recall@1", "map@r")


def summed(means: np.ndarray, counts: np.ndarray) -> Sums:
    """``means`` [C, M] of the classes."""
    return Sums(NAMES, means * counts[:, None], counts)


def runs(
    seeds: int, classes: int, shift: float = 0.0, of_seed: float = 0.0, of_class: float = 0.0, chance: int = 0
) -> list[Sums]:
    """The same base for all, and what is put on top of it."""
    random = np.random.default_rng(7)
    counts, base = random.integers(1, 9, classes), random.random((classes, 2))
    added = np.random.default_rng(chance)
    by_seed, by_class = of_seed * added.normal(size=(seeds, 1, 2)), of_class * added.normal(size=(classes, 2))
    return [summed(base + shift + by_seed[seed] + by_class, counts) for seed in range(seeds)]


def test_means_are_over_queries_and_deviations_over_seeds() -> None:
    counts = np.array([1, 3])
    found = over_seeds([summed(np.array([[1.0, 0.5], [0.0, 0.5]]), counts), summed(np.array([[1.0, 0.5], [1.0, 0.5]]), counts)])
    assert found["recall@1"] == {"mean": pytest.approx(0.625), "deviation": pytest.approx(np.std([0.25, 1.0], ddof=1))}
    assert found["map@r"] == {"mean": pytest.approx(0.5), "deviation": pytest.approx(0)}
    assert over_seeds([summed(np.ones((2, 2)), counts)])["recall@1"] == {"mean": 1.0, "deviation": 0.0}


def test_a_constant_gain_has_no_width() -> None:
    found = paired(runs(5, 40, shift=0.25), runs(5, 40))
    for difference in found.values():
        assert difference["mean"] == pytest.approx(0.25)
        assert difference["interval"] == (pytest.approx(0.25), pytest.approx(0.25))


def test_what_seeds_and_classes_have_in_common_does_not_count() -> None:
    """Paired: seeds that are good for both, and classes that are hard for both, say nothing of the difference."""
    low, high = paired(runs(5, 40, 0.1, of_seed=1, of_class=1), runs(5, 40, of_seed=1, of_class=1))["recall@1"]["interval"]
    assert low == pytest.approx(0.1) and high == pytest.approx(0.1)


@pytest.mark.parametrize("by", ["of_seed", "of_class"])
def test_chance_of_seeds_and_of_classes_both_widen_the_interval(by: str) -> None:
    def width(amount: float) -> float:
        low, high = paired(runs(8, 60, **{by: amount}), runs(8, 60))["recall@1"]["interval"]
        return high - low

    assert 0.001 < width(0.1) < width(0.3)


@pytest.mark.parametrize(
    ("seeds", "classes", "of_seed", "of_class"), [(10, 200, 0.02, 0.0), (10, 60, 0.0, 0.3), (10, 60, 0.05, 0.3)]
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds: int, classes: int, of_seed: float, of_class: float) -> None:
    """The true difference is 0: of 200 experiments about 10 miss it; the bootstrap of ten seeds is a little narrow."""
    base, missed = runs(seeds, classes), 0
    for chance in range(200):
        low, high = paired(runs(seeds, classes, 0.0, of_seed, of_class, chance), base)["recall@1"]["interval"]
        missed += not low <= 0 <= high
    assert missed <= 32


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 99))
def test_the_sign_turns_with_the_sides(seeds: int, classes: int, chance: int) -> None:
    ours, theirs = runs(seeds, classes, of_seed=0.1, of_class=0.1, chance=chance), runs(seeds, classes)
    there, back = paired(ours, theirs)["map@r"], paired(theirs, ours)["map@r"]
    assert there["mean"] == pytest.approx(-back["mean"])
    assert there["interval"] == pytest.approx(tuple(-end for end in reversed(back["interval"])))
    assert there["interval"][0] - 1e-9 <= there["mean"] <= there["interval"][1] + 1e-9 or seeds * classes > 1


def test_other_seeds_or_queries_cannot_be_compared() -> None:
    for theirs in (runs(4, 40), runs(5, 39)):
        with pytest.raises(ValueError, match="same seeds and queries"):
            paired(runs(5, 40), theirs)
