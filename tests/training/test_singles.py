"""Classes of one image: found, and tried with and without."""

from typing import Any

import numpy as np
import pytest

from training import singles
from training.config import TrainingConfig
from training.examples import Examples, of
from training.processes import alone
from training.trainer import Embed

CONFIG = TrainingConfig(
    backbone="efficientnet_lite0", image_size=32, train_size=32, first_size=None, dim=8, batch=8, views=1, head_epochs=1,
    precision="f32",
)  # fmt: skip


@pytest.fixture
def examples() -> Examples:
    return of(np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8), list("abacbdb"))


def test_those_that_are_not_the_only_one_of_their_class(examples: Examples) -> None:
    assert singles.several(examples).tolist() == [0, 1, 2, 4, 6]


def test_both_are_tried_on_a_frozen_backbone(examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, int, int, int]] = []
    fit = singles.fit

    def fitting(part: Examples, config: TrainingConfig, **options: Any) -> Any:
        tried.append((len(part), len(part.classes), config.epochs, config.head_epochs))
        return fit(part, config, **options)

    def validate(_: Embed) -> dict[str, float]:
        return {"map@r": 0.1 * len(tried), "recall@1": 0.0}

    monkeypatch.setattr(singles, "fit", fitting)
    found = singles.compared(examples, CONFIG, validate, None, alone())
    assert found == pytest.approx({"keep": 0.1, "leave": 0.2})
    assert tried == [(7, 4, 0, 10), (5, 2, 0, 10)]
