"""A comparison's folder in, what it says out: figures of every loss, what a run cost, and differences to SoftTriple.

``results`` is a plain mapping: by stage ``seeds``, ``queries``, ``classes`` and by loss ``title``, ``choice`` (frozen
parameters and settings), ``trials`` (how many, which one was best, its figures), ``figures`` (mean and deviation over seeds),
``masked`` where hits of the same hand were left out as well, ``cost`` (medians), and for all but SoftTriple ``difference``:
SoftTriple's figures less its own, with intervals (``differences``), also ``masked_difference``.
"""

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from model.metrics import NAMES

from .. import plots
from .baselines import CONTENDERS, SOFT_TRIPLE_NAME
from .differences import Sums, over_seeds, paired
from .protocol import Folder

_COSTS = ("seconds", "images_per_second", "peak_gb", "visited")


def conclude(folder: Folder) -> dict[str, Any]:
    """Write ``comparison.json`` and the plots; → ``stages`` (``results``), and ``plots``, their files."""
    found: dict[str, Any] = {"stages": results(folder)}
    found["plots"] = [str(plots.compared(folder.path / f"{stage}.png", each)) for stage, each in found["stages"].items()]
    folder.write("comparison.json", found)
    return found


def results(folder: Folder) -> dict[str, Any]:
    """Of all that was run. Seeds that some loss lacks yet count for none."""
    runs, trials = folder.lines("runs.jsonl"), folder.lines("trials.jsonl")
    stages = dict.fromkeys(run["stage"] for run in runs)
    return {stage: _of_stage(folder, stage, [run for run in runs if run["stage"] == stage], trials) for stage in stages}


def _of_stage(folder: Folder, stage: str, runs: list[dict[str, Any]], trials: list[dict[str, Any]]) -> dict[str, Any]:
    frozen = folder.read("settings.json")[stage]
    by_loss = {loss: {run["seed"]: run for run in runs if run["loss"] == loss} for loss in frozen}
    seeds = sorted(set.intersection(*map(set, by_loss.values())))
    if not seeds:
        return {"seeds": 0, "losses": {}}
    tested = {loss: [_tested(folder.path / those[seed]["tested"]) for seed in seeds] for loss, those in by_loss.items()}
    first = tested[SOFT_TRIPLE_NAME][0]["plain"]
    found: dict[str, Any] = {"seeds": len(seeds), "queries": int(first.counts.sum()), "classes": len(first.counts)}
    found["losses"] = {
        loss: {
            "title": CONTENDERS[loss].title,
            "choice": frozen[loss],
            "trials": _of_trials([each for each in trials if (each["stage"], each["loss"]) == (stage, loss)], frozen[loss]),
            "cost": _cost([by_loss[loss][seed]["cost"] for seed in seeds]),
            **_compared(tested[loss], tested[SOFT_TRIPLE_NAME], loss != SOFT_TRIPLE_NAME),
        }
        for loss in frozen
    }
    return found


def _tested(file: Path) -> dict[str, Sums]:
    with np.load(file) as kept:
        names = [name.removesuffix("_sums") for name in kept.files if name.endswith("_sums")]
        return {name: Sums(NAMES, kept[f"{name}_sums"], kept[f"{name}_counts"]) for name in names}


def _compared(theirs: list[dict[str, Sums]], ours: list[dict[str, Sums]], other: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind, figures, difference in (("plain", "figures", "difference"), ("masked", "masked", "masked_difference")):
        if kind in theirs[0]:
            found[figures] = over_seeds([each[kind] for each in theirs])
            if other:
                found[difference] = paired([each[kind] for each in ours], [each[kind] for each in theirs])
    return found


def _cost(costs: list[dict[str, Any]]) -> dict[str, float | None]:
    known = {name: [cost[name] for cost in costs if cost[name] is not None] for name in _COSTS}
    return {name: median(values) if values else None for name, values in known.items()}


def _of_trials(trials: list[dict[str, Any]], frozen: dict[str, Any]) -> dict[str, Any]:
    best = next(each for each in trials if each["number"] == frozen["trial"])
    return {"count": len(trials), "best": frozen["trial"], "published": trials[0]["figures"], "figures": best["figures"]}
