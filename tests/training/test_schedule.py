"""Learning rates rise and fall, pictures grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import TrainingConfig
from training.schedule import rate, size

CYCLE = TrainingConfig(schedule="one_cycle", warm_up=0.1, epochs=10, first_size=None)
STEPS = TrainingConfig(schedule="steps", milestones=(20, 40), epochs=50)


def rates(config: TrainingConfig, steps_an_epoch: int) -> list[float]:
    return [rate(config, step, steps_an_epoch) for step in range(config.epochs * steps_an_epoch)]


@given(st.integers(1, 20), st.integers(1, 30), st.floats(0, 0.9))
def test_one_cycle_starts_above_nothing_and_ends_there(epochs: int, steps: int, warm_up: float) -> None:
    found = rates(CYCLE.model_copy(update={"epochs": epochs, "warm_up": warm_up}), steps)
    assert all(0 <= value <= 1 for value in found)
    assert found[-1] == pytest.approx(0, abs=1e-9)
    assert len(found) == 1 or found[0] > 0
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1]) and found[top:] == sorted(found[top:], reverse=True)


def test_one_cycle_is_full_after_the_warm_up() -> None:
    found = rates(CYCLE, 10)
    assert found[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert found[54] == pytest.approx(0.5)  # in the middle of the fall


def test_without_epochs_a_step_can_be_timed() -> None:
    assert 0 <= rate(CYCLE.model_copy(update={"epochs": 0}), 0, 1) <= 1


def test_steps_divide_by_ten_after_their_epochs() -> None:
    found = rates(STEPS, 3)
    assert found[: 20 * 3] == [1.0] * 60
    assert found[20 * 3 : 40 * 3] == pytest.approx([0.1] * 60)
    assert found[40 * 3 :] == pytest.approx([0.01] * 30)


@given(st.integers(1, 30), st.integers(16, 200), st.integers(16, 200))
def test_pictures_grow_in_steps_to_the_full_size(epochs: int, first: int, last: int) -> None:
    config = CYCLE.model_copy(update={"epochs": epochs, "first_size": first, "train_size": last})
    sizes = [size(config, epoch) for epoch in range(epochs)]
    assert sizes == sorted(sizes)
    assert all(side == last or side % 16 == 0 for side in sizes)
    assert max(sizes) <= last and (epochs == 1 or sizes[-1] == last)
    assert min(sizes) > min(first, last) - 16 and sizes[0] <= max(first, last)


def test_the_last_epochs_have_the_full_size_and_the_first_the_first() -> None:
    sizes = [size(CYCLE.model_copy(update={"first_size": 64, "train_size": 112}), epoch) for epoch in range(10)]
    assert sizes[0] == 64 and sizes[6:] == [112] * 4 and 64 < sizes[3] < 112


@pytest.mark.parametrize("first", [None, 96, 200])
def test_without_a_smaller_first_size_all_are_equal(first: int | None) -> None:
    config = CYCLE.model_copy(update={"first_size": first, "train_size": 96})
    assert {size(config, epoch) for epoch in range(10)} == {96}
