"""The order of an epoch: a function of seed and epoch, fair to images or to classes, in parts that can be shared out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.sampler import batches, order

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=12)
seeds = st.integers(0, 2**31)


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


@given(sizes, seeds, seeds)
def test_unbalanced_every_image_comes_once(sizes: list[int], seed: int, epoch: int) -> None:
    rows = order(labels_of(sizes), seed, epoch)
    assert sorted(rows) == list(range(sum(sizes)))


@given(sizes, seeds, seeds, st.sampled_from([0.0, 0.3, 1.0]))
def test_it_is_a_function_of_seed_and_epoch(sizes: list[int], seed: int, epoch: int, balance: float) -> None:
    labels = labels_of(sizes)
    np.testing.assert_array_equal(order(labels, seed, epoch, balance), order(labels, seed, epoch, balance))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_another_seed_or_epoch_is_another_order(balance: float) -> None:
    labels = labels_of([20, 30])
    orders = {tuple(order(labels, seed, epoch, balance)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(sizes, seeds, st.floats(0.01, 1))
def test_an_image_comes_as_often_as_expected_rounded_up_or_down(sizes: list[int], seed: int, balance: float) -> None:
    labels = labels_of(sizes)
    shares = np.array(sizes)[labels] ** -balance
    expected = len(labels) * shares / shares.sum()
    rows = order(labels, seed, 0, balance)
    counts = np.bincount(rows, minlength=len(labels))
    assert len(rows) == len(labels)
    assert (counts >= np.floor(expected - 1e-6)).all() and (counts <= np.ceil(expected + 1e-6)).all()


@pytest.mark.parametrize(("balance", "expected"), [(0.0, [2, 8, 20]), (0.5, None), (1.0, [10, 10, 10])])
def test_balance_moves_from_images_to_classes(balance: float, expected: list[int] | None) -> None:
    sizes = np.array([2, 8, 20])
    labels = labels_of(sizes.tolist())
    counts = sum(np.bincount(labels[order(labels, 0, epoch, balance)], minlength=3) for epoch in range(400)) / 400
    wanted = sizes ** (1 - balance) / (sizes ** (1 - balance)).sum() * 30 if expected is None else expected
    np.testing.assert_allclose(counts, wanted, atol=0.15)


def test_over_the_epochs_every_image_of_a_large_class_has_its_turn() -> None:
    labels = labels_of([1, 1, 60])
    seen = np.bincount(np.concatenate([order(labels, 0, epoch, 1.0) for epoch in range(60)]), minlength=62)
    assert seen.min() > 0 and seen[2:].max() < 4 * seen[2:].mean()


@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 4))
def test_batches_hold_every_row_but_a_rest_too_small_to_share(count: int, batch: int, at_least: int) -> None:
    rows = np.arange(count)
    parts = batches(rows, batch, at_least)
    left_out = count - sum(map(len, parts))
    np.testing.assert_array_equal(np.concatenate([*parts, np.array([], int)]), rows[: count - left_out])
    assert all(len(part) == batch for part in parts[:-1]) and all(len(part) >= at_least for part in parts)
    assert left_out == (count % batch if count % batch < at_least else 0) or batch < at_least
