"""What makes a step quick on a processor? Each variant adds one thing to the one before it.

Each runs in a process of its own, as the allocator and the flushing of denormal numbers are the whole process's; the variants
take turns. A process trains on emoji as the preset says. ``early``: the median of the first steps; ``late``: of steps after
some seconds of real training, when gradients may have begun to fade into denormal numbers. Training does not flush them.
Run by the row ``steps``: python -m bench.training.steps NUMBER TINY
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from training import cpu
from training.augment import draws
from training.config import TrainingConfig
from training.processes import alone
from training.trainer import Training, freeze_batch_norm

from . import sets
from .cells import Asked, Cell, Figures, Row
from .figures import preset, settings

VARIANTS = ("bf16 autocast throughout", "depthwise in float32", "freed memory kept", "denormal numbers flushed")
_SKIPPED, _EARLY, _LATE_FROM, _LATE = 3, 12, 70, 20  # steps


def alone_in_process(number: int, tiny: bool) -> dict[str, Any]:
    """Variant ``number`` and all before it: milliseconds of steps."""
    config = _config(Asked(tiny=tiny), 0)
    pictures = sets.load("emoji", config, tiny)
    if number < 1:
        cpu.depthwise_in_float32 = lambda network: None
    if number >= 2:
        cpu.keep_freed_memory()
    torch.set_flush_denormal(number >= 3)
    training = Training(pictures.examples(pictures.rows("train")), config, alone())
    training.network.train()
    freeze_batch_norm(training.network)
    changes, batches = draws(config.seed, 0, len(training.examples)), training._batches(0)[:-1]  # the last one is smaller
    times = []
    for step in range(8 if tiny else _LATE_FROM + _LATE):
        before = training.seconds
        training.step(batches[step % len(batches)], changes, 0)
        times.append(1000 * (training.seconds - before))
    late = times[-3:] if tiny else times[-_LATE:]
    return {"early ms": float(np.median(times[_SKIPPED:_EARLY])), "late ms": float(np.median(late)), "steps": times}


def measure(number: int, tiny: bool) -> Figures:
    command = [sys.executable, "-m", "bench.training.steps", str(number), str(int(tiny))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {name: value for name, value in json.loads(done.stdout.splitlines()[-1]).items() if name != "steps"}


def _config(asked: Asked, seed: int) -> TrainingConfig:
    return preset(asked, seed, first_size=None, precision="bf16")


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    config = _config(asked, seed)
    pictures = sets.load("emoji", config, asked.tiny)
    kept = {"data": pictures.settings, "config": settings(config), "late": (_LATE_FROM, _LATE)}
    for number, variant in enumerate(VARIANTS):
        yield Cell(variant, seed, kept, partial(measure, number, asked.tiny))


ROWS = (
    Row(
        "steps",
        "What makes a step quick on a processor? Each line adds to the one above; seeds are turns.",
        cells,
        {"first steps, ms": "early ms", "after 70 steps, ms": "late ms"},
        seeds=5,
    ),
)

if __name__ == "__main__":
    print(json.dumps(alone_in_process(int(sys.argv[1]), bool(int(sys.argv[2])))))
