"""What does SoftTriple cost? Memory of a step, time by the number of classes, and what the regulariser saves.

A step is the loss of a batch, forward and backward. Memory is what a process of its own needs at most beside the centres and
Adam's state; the gradient of the centres is part of it, and is given on its own too. Training on a processor keeps freed
memory, which is quicker and needs a little more, so a step is also measured that way, and times are. Times of all sizes take
turns in one process, so that a slow minute of the machine falls on everybody. The regulariser has one small product a class;
the authors' code has one Gram matrix of all C·K centres, and a mask for the pairs that count.
Run, on Linux: python -m bench.loss [--rounds 7] [--json FILE]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from training.cpu import keep_freed_memory
from training.losses import SoftTriple, cosines, spread

PRODUCTS = 11_318  # classes of Stanford Online Products' training half
CLASSES = (10_000, 20_000, 50_000, 100_000)
SHAPES = ((2, 64), (10, 64))  # centres and dimensions
BATCH, STEPS = 64, 4


def measure(rounds: int = 7) -> dict[str, Any]:
    """All figures: seconds, and gigabytes of 10⁹ bytes."""
    shape = {"classes": PRODUCTS, "centers": 10, "dim": 512}
    return {
        "memory": shape | {"batch": BATCH} | {name: _alone(name, *shape.values()) for name in ("step", "step_of_training")},
        "growth": [{"centers": centers, "dim": dim} | _alone("growth", centers, dim, rounds) for centers, dim in SHAPES],
        "regulariser": {"classes": PRODUCTS, "centers": 2, "dim": 64} | _regulariser(PRODUCTS, 2, 64, min(rounds, 3)),
    }


def growth(centers: int, dim: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step by the number of classes, and the exponent b of the fit seconds = a · classes^b: to the medians, and
    to the quickest, which a busy machine changes least. One thread, for several would wait for one another there.
    """
    torch.set_num_threads(1)
    losses = {classes: SoftTriple(classes, dim, centers) for classes in CLASSES}
    embeddings, labels = torch.randn(BATCH, dim, requires_grad=True), torch.randint(min(CLASSES), (BATCH,))
    seconds: dict[int, list[float]] = {classes: [] for classes in CLASSES}
    keep_freed_memory()
    for turn in range(rounds + 1):
        for classes, loss_of in losses.items():
            loss_of.weight.grad = None
            started = time.perf_counter()
            loss_of(embeddings, labels).backward()
            if turn:  # the first one warms up
                seconds[classes].append(time.perf_counter() - started)
    summaries = {classes: _summary(each) for classes, each in seconds.items()}
    exponents = {key: _exponent([each[key] for each in summaries.values()]) for key in ("median", "least")}
    return {"seconds": summaries, "exponent": exponents["median"], "exponent_of_least": exponents["least"]}


def _exponent(seconds: list[float]) -> float:
    return float(np.polyfit(np.log(CLASSES), np.log(seconds), 1)[0])


def step(classes: int, centers: int, dim: int) -> dict[str, float]:
    """Of several steps: the seconds of all, and the memory of the one that needed most."""
    loss_of = SoftTriple(classes, dim, centers)
    adam = [torch.ones_like(loss_of.weight) for _ in range(2)]
    embeddings, labels = torch.randn(BATCH, dim, requires_grad=True), torch.randint(classes, (BATCH,))

    def steps() -> None:
        for _ in range(STEPS):
            loss_of.weight.grad = None
            loss_of(embeddings, labels).backward()

    found = _cost(steps)
    gradient = adam[0].nbytes / 1e9
    return found | {"gradient_gigabytes": gradient, "gigabytes_without_gradient": found["gigabytes"] - gradient}


def step_of_training(classes: int, centers: int, dim: int) -> dict[str, float]:
    keep_freed_memory()
    return step(classes, centers, dim)


def per_class(classes: int, centers: int, dim: int) -> dict[str, float]:
    weight = torch.randn(classes, centers, dim, requires_grad=True)
    nothing = torch.empty(0, dim)
    return _cost(lambda: spread(cosines(nothing, weight)[1]).backward())


def dense(classes: int, centers: int, dim: int) -> dict[str, float]:
    """The authors' way; their mask is made once a training, so it costs memory but no time."""
    weight = torch.randn(classes, centers, dim, requires_grad=True)
    mask = torch.block_diag(*torch.ones(classes, centers, centers, dtype=torch.bool).triu(1))

    def regulariser() -> Tensor:
        unit = functional.normalize(weight, dim=2).flatten(0, 1)
        return torch.sqrt(2.0 + 1e-5 - 2.0 * (unit @ unit.T)[mask]).sum() / (classes * centers * (centers - 1))

    found = _cost(lambda: regulariser().backward())
    return found | {"gigabytes": found["gigabytes"] + mask.nbytes / 1e9}


RUNS: dict[str, Callable[..., dict[str, Any]]] = {
    run.__name__: run for run in (step, step_of_training, growth, per_class, dense)
}


def _regulariser(classes: int, centers: int, dim: int, rounds: int) -> dict[str, Any]:
    turns = [{name: _alone(name, classes, centers, dim) for name in ("per_class", "dense")} for _ in range(rounds)]
    found: dict[str, Any] = {}
    for name in ("per_class", "dense"):
        seconds = _summary([turn[name]["seconds"] for turn in turns])
        found[name] = {"seconds": seconds, "gigabytes": max(turn[name]["gigabytes"] for turn in turns)}
    ratios = [turn["dense"]["seconds"] / turn["per_class"]["seconds"] for turn in turns]
    return found | {"times_quicker": _summary(ratios)}


def _cost(run: Callable[[], None]) -> dict[str, float]:
    small = SoftTriple(50, 16)
    small(torch.randn(8, 16, requires_grad=True), torch.arange(8)).backward()  # loads the libraries
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held now (man 5 proc)
    before, started = _peak(), time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - started, "gigabytes": _peak() - before}


def _peak() -> float:
    """Not getrusage's figure: that one is never below what the parent held when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def _alone(name: str, *numbers: int) -> dict[str, Any]:
    """``RUNS[name]`` in a process of its own."""
    command = [sys.executable, "-m", "bench.loss", "--run", name, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def show(found: dict[str, Any]) -> None:
    memory, regulariser = found["memory"], found["regulariser"]
    shape = f"C = {memory['classes']:,}, K = {memory['centers']}, D = {memory['dim']}, batch {memory['batch']}"
    table = Table(shape, "peak GB", "without the gradient")
    for name, title in (("step", "a step"), ("step_of_training", "a step that keeps freed memory")):
        table.add_row(title, *(f"{memory[name][key]:.2f}" for key in ("gigabytes", "gigabytes_without_gradient")))
    times = Table("seconds, one thread", *(f"{classes:,}" for classes in CLASSES), "exponent", "of the least")
    for each in found["growth"]:
        cells = [_cell(seconds) for seconds in each["seconds"].values()]
        cells += [f"{each[key]:.2f}" for key in ("exponent", "exponent_of_least")]
        times.add_row(f"K = {each['centers']}, D = {each['dim']}", *cells)
    ways = Table(f"regulariser at K = {regulariser['centers']}, D = {regulariser['dim']}", "seconds", "peak GB")
    for name in ("per_class", "dense"):
        ways.add_row(name, _cell(regulariser[name]["seconds"]), f"{regulariser[name]['gigabytes']:.3f}")
    ways.add_row("times quicker", _cell(regulariser["times_quicker"]), "")
    for each in (table, times, ways):
        Console(width=128).print(each)


def _cell(summary: dict[str, float]) -> str:
    return f"{summary['median']:.3g} ({summary['least']:.3g}–{summary['most']:.3g})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--run", nargs="+", metavar=("NAME", "NUMBER"))
    asked = parser.parse_args()
    if asked.run:
        name, *numbers = asked.run
        print(json.dumps(RUNS[name](*map(int, numbers))))
    else:
        results = measure(asked.rounds)
        show(results)
        if asked.json:
            asked.json.write_text(json.dumps(results, indent=2))
