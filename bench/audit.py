"""Are wrong labels found? A share of the labels of the emoji's training classes is changed at random, and audited.

Two kinds of mistake: ``any`` other label, and a ``similar`` one, of the five classes whose mean features are nearest. Counted:
the share of wrong labels among the first N, where N were changed (P@N), AUROC, how many the audit expects, how many it
holds for likelier wrong than right and how many of these were changed, and of how many changed ones it tells the true class.
Images of classes of which nothing else is left are not judged. ``none``: labels as they are. Keeps build/bench/audit.json.
Run: python -m bench.audit [--seeds 3] [--share 0.05] [--every 1]
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from bench.training import sets
from model.network import EmbeddingNetwork
from training.audit import FOLDS, ROUNDS, STEPS, Audit, features, judge, on_features
from training.config import TrainingConfig, resolve
from training.datasets.labels import Dataset
from training.trainer import architecture

FILE = Path("build/bench/audit.json")
KINDS = ("any", "similar")
NEAREST = 5
TOLD = {
    "P@N": "precision_at_n",
    "AUROC": "auroc",
    "changed": "changed",
    "expected": "expected",
    "likely": "likely",
    "of these changed": "likely_changed",
    "true class told": "true_class_told",
}


def main(seeds: int, share: float, every: int) -> None:
    config, pictures = resolve("best"), sets.load("emoji", resolve("best"))
    chosen = set(sorted(set(pictures.data.split("train").labels))[::every])
    rows = [row for row in pictures.data.rows_of("train") if pictures.data.labels[row] in chosen]
    data, found = pictures.data.rows(rows), []
    with Progress() as progress:
        looking = progress.add_task("Features", total=len(data))
        network = EmbeddingNetwork(architecture(config), pretrained=True, weights=config.weights)
        seen = features(pictures.pixels[rows], network, lambda n: progress.advance(looking, n))
        judging = progress.add_task("Audits", total=STEPS * (len(KINDS) * seeds + 1))
        for kind, seed in [("none", 0), *((kind, seed) for kind in KINDS for seed in range(seeds))]:
            found.append(_audited(data, seen, config, kind, seed, share, lambda n: progress.advance(judging, n)))
    settings = {"share": share, "seeds": seeds, "images": len(data), "classes": len(chosen), "folds": FOLDS, "rounds": ROUNDS}
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({"settings": settings, "audits": found}, indent=2))
    _show(found)


def _audited(
    data: Dataset, seen: Tensor, config: TrainingConfig, kind: str, seed: int, share: float, advance: Callable[[int], None]
) -> dict[str, Any]:
    """Change labels, look for them, and count."""
    classes, labels = np.unique(data.labels, return_inverse=True)
    changed = _drawn(len(labels), 0.0 if kind == "none" else share, seed)
    given = classes[_changed(labels, changed, seen, kind, seed)].tolist()
    started = time.monotonic()
    found = judge(replace(data, table=data.table | {"label": given}), on_features(seen, config), seed, advance)
    took = {"kind": kind, "seed": seed, "seconds": round(time.monotonic() - started, 1)}
    return took | _figures(found, changed, data.labels)


def _drawn(images: int, share: float, seed: int) -> np.ndarray:
    """bool [N]: whose labels are changed."""
    changed = np.zeros(images, bool)
    changed[np.random.default_rng(seed).choice(images, round(share * images), replace=False)] = True
    return changed


def _changed(labels: np.ndarray, changed: np.ndarray, seen: Tensor, kind: str, seed: int) -> np.ndarray:
    """The labels, those that are ``changed`` replaced by another."""
    random, classes = np.random.default_rng((seed, 1)), int(labels.max()) + 1
    rows, given = np.flatnonzero(changed), labels.copy()
    if kind == "similar":
        means = torch.zeros(classes, seen.shape[1]).index_add_(0, torch.from_numpy(labels), seen.float())
        unit = functional.normalize(means, dim=1)
        near = (unit @ unit.T).fill_diagonal_(-1).topk(NEAREST).indices.numpy()
        given[rows] = near[labels[rows], random.integers(0, NEAREST, len(rows))]
    else:
        given[rows] = (labels[rows] + random.integers(1, classes, len(rows))) % classes
    return given


def _figures(found: Audit, changed: np.ndarray, true: list[str]) -> dict[str, Any]:
    """Of the labels that were judged; those of classes of one image cannot be."""
    wrong = changed[found.ranked]
    right = [each.looks_like == true[each.row] for each in found.suspects(None) if changed[each.row]]
    figures: dict[str, Any] = {
        "changed": int(wrong.sum()),
        "expected": round(found.expected, 1),
        "scale": round(found.scale, 2),
        "likely": found.likely,
        "likely_changed": int(wrong[: found.likely].sum()),
    }
    if wrong.any():
        figures["precision_at_n"] = float(wrong[: wrong.sum()].mean())
        figures["auroc"] = float(roc_auc_score(wrong, np.arange(len(wrong), 0, -1)))
        figures["true_class_told"] = float(np.mean(right))
    return figures


def _show(found: list[dict[str, Any]]) -> None:
    table = Table("changed to", "seed", *TOLD, "seconds")
    for kind in ("none", *KINDS):
        each = [one for one in found if one["kind"] == kind]
        for one in each:
            told = [_told(one.get(name)) for name in TOLD.values()]
            table.add_row(kind, str(one["seed"]), *told, f"{one['seconds']:.0f}")
        if len(each) > 1:
            table.add_row("", "mean", *(_told(float(np.mean([one[name] for one in each]))) for name in TOLD.values()), "")
        table.add_section()
    Console().print(table)


def _told(value: float | None) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if value <= 1 else f"{value:.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--every", type=int, default=1, help="only every so many classes, to see that it runs")
    asked = parser.parse_args()
    main(asked.seeds, asked.share, asked.every)
