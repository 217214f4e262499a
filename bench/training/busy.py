"""Does the network wait for its pictures? Images a second of the real loop, beside a bare one over tensors that are ready.

Real is ``Training.run`` with everything in it: order, augmentation, batches, loss, running mean, listener. Bare is the same
network, loss and optimiser over eight batches that were made before. They take turns of some steps, so that a slow minute of
the machine falls on both; a ratio is of two turns that follow one another. Mapped is real with pixels out of a file.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training import cpu
from training.augment import draws
from training.config import TrainingConfig
from training.examples import Examples
from training.processes import alone
from training.trainer import Listener, Training

from . import sets
from .cells import Asked, Cell, Figures, Row
from .figures import preset, settings
from .sets import Pictures

_STEPS, _ROUNDS, _BATCHES = 15, 12, 8
_ENDLESS = 10_000  # epochs


class _Over(Exception):
    """A turn has had its steps."""


class _Turn(Listener):
    def __init__(self, steps: int) -> None:
        self.left, self.images = steps, 0

    def stop(self) -> bool:
        self.left -= 1
        return self.left == 0

    def stopped(self, step: int) -> BaseException:
        return _Over()


def measure(pictures: Pictures, config: TrainingConfig, steps: int, rounds: int) -> Figures:
    examples = pictures.examples(pictures.rows("train", "validation"))
    in_file = replace(examples, pixels=np.load(pictures.file, mmap_mode="r"))
    training = Training(examples, config, alone())
    training.run(0, None, Listener())  # puts the network into training
    ready = _ready(training)
    paces: dict[str, list[float]] = {name: [] for name in ("real", "bare", "mapped")}
    cpu.keep_freed_memory()
    for turn in range(rounds + 1):
        found = {"real": _real(training, examples, steps), "bare": _bare(training, ready, steps)}
        found["mapped"] = _real(training, in_file, steps)
        if turn:  # the first one warms up
            for name, pace in found.items():
                paces[name].append(pace)
    return _summary(paces) | {"turns": paces}


def _real(training: Training, examples: Examples, steps: int) -> float:
    training.examples, before = examples, training.number
    started = time.perf_counter()
    with suppress(_Over):
        training.run(_ENDLESS, None, _Turn(steps))
    taken = time.perf_counter() - started
    batches = [len(rows) for rows in training._batches(0)]
    images = sum(batches[number % len(batches)] for number in range(before, training.number))
    return images / taken


def _ready(training: Training) -> list[tuple[Tensor, Tensor]]:
    examples, config = training.examples, training.config
    changes = draws(config.seed, 0, len(examples))
    made = []
    for rows in training._batches(0)[:_BATCHES]:
        images = examples.batch(rows, changes, config.augmentation, config.train_size, training.processes.device)
        made.append((images, torch.from_numpy(examples.labels[rows])))
    return [each for each in made if len(each[1]) == config.batch]


def _bare(training: Training, ready: list[tuple[Tensor, Tensor]], steps: int) -> float:
    started, seen = time.perf_counter(), 0
    for step in range(steps):
        images, targets = ready[step % len(ready)]
        loss = training.objective(images, targets)
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if training.config.clip:
            nn.utils.clip_grad_norm_(training.network.parameters(), training.config.clip)
        training.optimizer.step()
        if training.average is not None:
            training.average.update_parameters(training.network)
        seen += len(targets)
    return seen / (time.perf_counter() - started)


def _summary(paces: dict[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {f"{name} images/s": round(float(np.median(turns)), 1) for name, turns in paces.items()}
    for name in ("real", "mapped"):
        ratios = np.array(paces[name]) / np.array(paces["bare"])
        least, middle, most = (round(float(value), 3) for value in np.quantile(ratios, (0, 0.5, 1)))
        found |= {f"{name} ÷ bare": middle, f"{name} ÷ bare, spread": f"{least} to {most}"}
    return found


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    config = preset(asked, seed, first_size=None, epochs=_ENDLESS)
    config = config.model_copy(update={"epochs": _ENDLESS})
    pictures = sets.load("emoji", config, asked.tiny)
    steps, rounds = (3, 3) if asked.tiny else (_STEPS, _ROUNDS)
    kept = {"data": pictures.settings, "config": settings(config), "steps": steps, "rounds": rounds}
    yield Cell("loops", seed, kept, partial(measure, pictures, config, steps, rounds))


_PACES = [f"{name} images/s" for name in ("real", "bare", "mapped")]
_RATIOS = [f"{name} ÷ bare{more}" for name in ("real", "mapped") for more in ("", ", spread")]
ROWS = (
    Row(
        "busy",
        "Does the network wait for its pictures? Target: at least 0.8 of a bare loop's images a second.",
        cells,
        {name: name for name in (*_PACES, *_RATIOS)},
    ),
)
