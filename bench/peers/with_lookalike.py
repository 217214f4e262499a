"""Lookalike, as ``lookalike train`` does it, but that it learns from all the given splits and keeps the network after the last
epoch, as the others do. Its minutes include reading the pictures, timing some steps, and the head's start.

The user writes one line: ``lookalike train --data FOLDER --to BUNDLE --minutes N --set image_size=96``.
"""

from typing import Any

import numpy as np

from bench.peers import given
from bench.training.figures import vectors
from model.transform import Transform
from training.config import TrainingConfig
from training.datasets.check import decode
from training.datasets.labels import Dataset, read
from training.examples import of
from training.plan import Costs
from training.processes import alone
from training.trainer import Listener, fit

_PRESET = TrainingConfig(image_size=given.SIZE, train_size=given.SIZE)
_TUNED = ("learning_rate", "head_learning_rate", "batch", "scale", "balance", "centers")


class _Counting(Listener):
    def __init__(self, clock: given.Clock, images: int) -> None:
        self.clock, self.images = clock, images

    def epoch(self, record: dict[str, Any]) -> None:
        self.clock.goes_on(self.images)


def main() -> None:
    asked = given.asked(**{name: getattr(_PRESET, name) for name in _TUNED})
    config = _PRESET.model_copy(update={**vars(asked.settings), "seed": asked.seed})
    data, transform = read(asked.data), Transform(size=config.image_size, fit=config.fit)
    clock = asked.clock
    clock.goes_on()
    learnt = _of(data, asked.learn)
    examples = of(decode(learnt, transform)[0].pixels, learnt.labels)
    costs = Costs(examples, config, 0, alone(), exact=True)
    clock.goes_on()
    epochs = costs.epochs_in(60 * clock.minutes - clock.seconds, None)
    network = fit(examples, config.model_copy(update={"epochs": epochs}), listener=_Counting(clock, len(examples))).network
    asked.write(vectors(network, decode(_of(data, asked.embed), transform)[0].pixels))


def _of(data: Dataset, splits: list[str]) -> Dataset:
    return data.rows(np.flatnonzero(np.isin(data.table["split"], splits)).tolist())


if __name__ == "__main__":
    main()
