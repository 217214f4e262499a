"""What a training will be, and how long it takes: arithmetic on measured seconds a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import plan as planning
from training.config import TrainingConfig
from training.examples import Examples, of
from training.plan import Costs, plan
from training.processes import alone

CONFIG = TrainingConfig(
    backbone="efficientnet_lite0", image_size=64, train_size=64, first_size=None, dim=16, centers=3, batch=10, epochs=4,
    center_start="random", head_start="random", head_epochs=0,
)  # fmt: skip


def examples(count: int = 100) -> Examples:
    return of(np.zeros((count, 8, 8, 3), np.uint8), [str(row % 5) for row in range(count)])


def costs(config: TrainingConfig = CONFIG, by_size: dict[int, float] | None = None, judged: int = 0) -> Costs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "seconds_a_step", lambda *_: by_size or {64: 2.0})
        return Costs(examples(), config, judged, alone(), exact=False)


def changed(**values: object) -> TrainingConfig:
    return CONFIG.model_copy(update=values)


def test_an_epoch_costs_its_steps() -> None:
    assert costs().seconds(1) == pytest.approx(10 * 2.0)
    assert costs().seconds(4) == pytest.approx(80)
    assert costs().seconds(4, images=200) == pytest.approx(160)
    assert costs().images_per_second == pytest.approx(5)


def test_validation_costs_a_forward_pass_of_its_images_before_the_first_epoch_too() -> None:
    assert costs(judged=30).seconds(4) == pytest.approx(80 + 5 * 30 * 0.2 / 3)
    assert costs(changed(train_size=32), {32: 2.0}, judged=30).seconds(4) == pytest.approx(80 + 5 * 30 * 0.2 / 3 * 4)
    assert costs(judged=30).seconds(4, images=100) == pytest.approx(80)  # a final run has none


def test_smaller_pictures_cost_what_they_were_measured_at() -> None:
    config = changed(first_size=32, epochs=10)
    assert (
        costs(config, {32: 0.5, 48: 1.0, 64: 2.0}).seconds(10) < costs(config, {32: 2.0, 48: 2.0, 64: 2.0}).seconds(10) == 200
    )


def test_a_size_that_was_not_measured_is_taken_to_cost_its_area() -> None:
    assert costs(CONFIG, {32: 0.5}).seconds(1) == pytest.approx(20)


def test_the_head_alone_costs_a_look_at_every_view() -> None:
    plain, headed = costs().seconds(1), costs(changed(head_epochs=1, views=2)).seconds(1)
    assert headed - plain == pytest.approx(200 * 0.2 / 3 + 10 * planning._HEAD_STEP)


@given(st.floats(0, 2000), st.sampled_from([None, 50, 200]), st.integers(0, 100))
def test_the_most_epochs_that_fit_are_taken(seconds: float, final: int | None, judged: int) -> None:
    known = costs(judged=judged)
    epochs = known.epochs_in(seconds, final)
    assert epochs >= 1
    assert epochs == 1 or known._with_final(epochs, final) <= seconds
    assert known._with_final(epochs + 1, final) > seconds


def test_steps_are_really_timed_at_every_size() -> None:
    found = Costs(examples(20), changed(first_size=16, train_size=32, image_size=32), 0, alone(), exact=False).by_size
    assert set(found) == {16, 32} and all(0 < seconds < 60 for seconds in found.values())


def test_the_plan_says_what_it_will_be() -> None:
    counts = {
        "train": {"images": 100, "classes": 5},
        "validation": {"images": 0, "classes": 0},
        "test": {"images": 7, "classes": 2},
    }
    found = plan("shop", counts, examples(), CONFIG, costs(), None)
    measured = {name: found.pop(name) for name in ("parameters", "memory_gb", "memory_available_gb")}
    assert all(value > 0 for value in measured.values()) and 3e6 < measured["parameters"] < 5e6
    assert found == {
        "name": "shop", "classes": 5, "images": 100, "validation_images": 0, "validation_classes": 0, "test_images": 7,
        "test_classes": 2, "center_parameters": 5 * 3 * 16, "backbone": "efficientnet_lite0", "dim": 16, "epochs": 4,
        "steps": 40, "batch": 10, "processes": 1, "device": "cpu", "pixels": "in memory", "pixels_gb": 0.0,
        "images_per_second": 5.0, "minutes": 1.3,
    }  # fmt: skip
    assert plan("shop", counts, examples(), CONFIG, costs(), 300)["minutes"] == pytest.approx((80 + 240) / 60, abs=0.05)


def test_pixels_in_a_file_are_told(tmp_path) -> None:
    np.save(tmp_path / "pixels.npy", np.zeros((10, 8, 8, 3), np.uint8))
    mapped = of(np.load(tmp_path / "pixels.npy", mmap_mode="r"), [str(row % 5) for row in range(10)])
    counts = {split: {"images": 0, "classes": 0} for split in ("train", "validation", "test")}
    assert plan("shop", counts, mapped, CONFIG, costs(), None)["pixels"] == "in a file"
