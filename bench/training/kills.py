"""Is a training that was killed and resumed, bit for bit, the training that was not?

One training runs to its end; then, ``--count`` times, one is killed (SIGKILL) soon after a random step, of the measured or of
the final run, and resumed until it ends. One of them is killed while it writes a checkpoint: the draft is there, its new name
is not. Weights are compared as files. A real ``lookalike train`` on a slice of the emoji with a tiny network of one thread, two
at a time; ``driver`` lets it tell its steps. A figure ``failed`` makes the exit status 1.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import timm
import torch

from . import sets
from .cells import Asked, Cell, Figures, Row

_EVERY = 40  # of so many classes one
_NETWORK = "test_efficientnet"
_SET = (
    *(f"backbone={_NETWORK}", "dim=32", "image_size=64", "train_size=48", "first_size=32", "batch=16", "epochs=3"),
    *("head_epochs=2", "center_start=data", "ema=0.9", "clip=1", "pooling=avg+max"),
)
_DELAY = 0.05  # seconds after a step, at most


class _Runs:
    """Trainings in a folder, equal but for their names."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, sets.part("emoji", _EVERY, folder / "emoji")
        torch.manual_seed(0)
        torch.save(timm.create_model(_NETWORK).state_dict(), folder / "weights.pth")

    def start(self, name: str, *more: str, hold: int = 0) -> subprocess.Popen[str]:
        pairs = [part for value in (*_SET, f"weights={self.folder / 'weights.pth'}") for part in ("--set", value)]
        command = [sys.executable, "-m", "bench.training.driver", "train", "--data", str(self.data), "--json", "--final-fit"]
        # In a folder of its own: the bundle's name is part of it.
        command += ["--to", str(self.folder / name / "bundle"), *pairs, *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "LOOKALIKE_BENCH_HOLD": str(hold)}
        log = (self.folder / f"{name}.log").open("a")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)

    def end(self, name: str, *more: str) -> list[str]:
        """Run to the end; → the steps that it told of."""
        process = self.start(name, *more)
        told, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(
                f"a training ended with status {process.returncode}: {(self.folder / f'{name}.log').read_text()}"
            )
        return [line for line in told.splitlines() if line.startswith("step ")]

    def kill(self, name: str, step: int, delay: float, hold: int) -> bool:
        """Kill a training after its ``step``-th step, or where it holds; False where it had ended already."""
        process, seen = self.start(name, hold=hold), 0
        assert process.stdout is not None
        for line in process.stdout:
            seen += line.startswith("step ")
            if line.startswith("holds") if hold else seen == step:
                break
        time.sleep(delay)
        running = process.poll() is None
        process.kill()
        process.communicate()
        return running

    def digest(self, name: str) -> str:
        return hashlib.sha256((self.folder / name / "bundle" / "weights.safetensors").read_bytes()).hexdigest()

    def killed(self, name: str, step: int, delay: float, hold: int) -> tuple[str, str]:
        """What was killed, and the digest of the weights in the end."""
        if not self.kill(name, step, delay, hold):
            return "had ended already", self.digest(name)
        run = self.folder / name / "bundle.run"
        drafts, kept = list(run.glob(".*.checkpoint.tmp")), list(run.glob("*.checkpoint"))
        what = "while a checkpoint was written" if drafts else "between checkpoints" if kept else "before any checkpoint"
        self.end(name, *(["--resume"] if kept else []))
        digest = self.digest(name)
        shutil.rmtree(self.folder / name)
        return what, digest


def measure(count: int, seed: int) -> Figures:
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        runs = _Runs(Path(folder))
        steps = len(runs.end("whole"))
        wanted = runs.digest("whole")
        moments = [(chance.randint(1, steps), chance.uniform(0, _DELAY), 0) for _ in range(count)]
        moments[0] = (0, 0.0, chance.randint(2, 6))  # in the writing of one of the first checkpoints
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda at: runs.killed(f"run-{at[0]}", *at[1]), enumerate(moments)))
    equal = sum(digest == wanted for _, digest in found)
    kinds = Counter(what for what, _ in found)
    return {
        "killed": count - kinds["had ended already"],
        "equal": equal,
        "differing": count - equal,
        "when": ", ".join(f"{kinds[what]} {what}" for what in sorted(kinds)),
        "steps": steps,
        "after steps": [step for step, _, _ in moments],
        "failed": equal < count,
    }


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    count = 4 if asked.tiny else asked.count
    kept = {"count": count, "set": _SET, "every": _EVERY, "delay": _DELAY}
    yield Cell(f"{count} kills", seed, kept, partial(measure, count, seed))


ROWS = (
    Row(
        "kills",
        "Is a training that was killed and resumed, bit for bit, the training that was not?",
        cells,
        {name: name for name in ("killed", "equal", "differing", "when", "steps")},
    ),
)
