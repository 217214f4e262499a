"""How many centres, how many dimensions, and from where do centres start? With the backbone frozen, on emoji.

Heads alone are trained on features of the train classes that are computed once, and measured on the validation classes.
Draws docs/training-curves.png.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from training import cpu
from training.centers import distinct
from training.config import TrainingConfig
from training.head import learn_on_features, views
from training.method import soft_triple
from training.plots import COLOURS
from training.processes import alone

from . import sets
from .cells import BUILD, Asked, Cell, Figures, Record, Row
from .figures import RETRIEVAL, backbone, figures, preset, settings, unit, vectors
from .sets import Pictures
from .tables import newest, summary

CENTERS, DIMENSIONS = (1, 2, 5, 10), (32, 64, 128, 256, 512)
_HEAD_EPOCHS = 20
_PLOT = Path("docs/training-curves.png")
_OF_FEATURES = ("backbone", "weights", "pooling", "image_size", "fit", "train_size", "views", "precision", "augmentation")
_OF_HEADS = (
    *("dim", "centers", "center_start", "head_start", "scale", "gamma", "tau", "margin"),
    *("head_epochs", "batch", "balance", "warm_up", "optimizer", "head_learning_rate", "center_learning_rate"),
    *("epsilon", "center_epsilon", "weight_decay", "center_weight_decay"),
)


def lines(config: TrainingConfig) -> dict[str, dict[str, list[tuple[int, TrainingConfig]]]]:
    """The panels of the plot and their lines: what is on the axis, with the settings of the point."""

    def over_centers(**more: Any) -> list[tuple[int, TrainingConfig]]:
        return [(centers, config.model_copy(update={"centers": centers} | more)) for centers in CENTERS]

    dims = [(dim, config.model_copy(update={"dim": dim})) for dim in DIMENSIONS]
    starts = {start: over_centers(center_start=start) for start in ("data", "random")}
    return {
        "centres a class": {f"tau = {tau:g}": over_centers(tau=tau) for tau in dict.fromkeys((config.tau, 0.0))},
        "centres a class ": {f"{start} start": line for start, line in starts.items()},
        "dimensions": {name(config, "{centers}{pull}, {start}"): dims},
    }


def name(config: TrainingConfig, form: str = "{centers}{pull}, D = {dim}, {start}") -> str:
    pull = f", tau = {config.tau:g}" if config.centers > 1 else ""
    return form.format(centers=f"K = {config.centers}", pull=pull, dim=config.dim, start=f"{config.center_start} start")


def base(asked: Asked, seed: int) -> TrainingConfig:
    config = preset(asked, seed)
    return config.model_copy(update={"head_epochs": 2 if asked.tiny else max(_HEAD_EPOCHS, config.head_epochs)})


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    points = [point for panel in lines(base(asked, seed)).values() for line in panel.values() for point in line]
    for variant, config in {name(config): config for _, config in points}.items():
        pictures = sets.load("emoji", config, asked.tiny)
        kept = {"data": pictures.settings, "learnt": ("train",), "config": settings(config, *_OF_FEATURES, *_OF_HEADS)}
        yield Cell(variant, seed, kept, partial(head_alone, pictures, config))


def head_alone(pictures: Pictures, config: TrainingConfig) -> Figures:
    learnt, judged = features(pictures, config)
    labels, rows = pictures.examples(pictures.rows("train")).labels, pictures.rows("validation")
    torch.manual_seed(config.seed)
    head = nn.Linear(learnt.shape[2], config.dim, bias=False)
    loss_of = soft_triple(int(labels.max()) + 1, config)
    learn_on_features(learnt, labels, head, loss_of, config)
    with torch.inference_mode():
        found = unit(head(judged).numpy())
    counts = distinct(loss_of.weight.detach()).double()
    return figures(found, pictures.columns(rows), pictures.mask) | {"distinct centres": round(counts.mean().item(), 3)}


def features(pictures: Pictures, config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Augmented views of the train images [V, N, F], and the validation images as they are [M, F]; kept in build/bench."""
    config = config.model_copy(update={"seed": 0})  # the same views for every seed
    known = json.dumps([pictures.settings, settings(config, *_OF_FEATURES)])
    digest = hashlib.sha256(known.encode()).hexdigest()[:12]
    learnt, judged = (BUILD / f"{pictures.name}-{part}-{digest}.npy" for part in ("views", "validation"))
    if not judged.exists():
        network = backbone(config)
        cpu.depthwise_in_float32(network)  # as a training has it
        np.save(learnt, views(network, pictures.examples(pictures.rows("train")), config, alone()).numpy())
        np.save(judged, vectors(network, pictures.pixels[pictures.rows("validation")]))
    return _kept(learnt), _kept(judged)


@cache
def _kept(place: Path) -> Tensor:
    return torch.from_numpy(np.load(place))


def draw(asked: Asked, records: list[Record]) -> None:
    found = {variant: [each["figures"] for each in those] for variant, those in newest(records).items()}
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    panels = lines(base(asked, 0))
    grid = figure.subplots(2, len(panels), sharey="row", squeeze=False)
    for place, (title, panel) in enumerate(panels.items()):
        for axes, (label, key) in zip(grid[:, place], list(RETRIEVAL.items())[:2], strict=True):
            for (line, points), colour in zip(panel.items(), COLOURS, strict=False):
                _line(axes, [(at, found.get(name(config), [])) for at, config in points], key, line, colour)
            axes.set(xscale="log", xlabel=title, ylabel="" if place else label)
            ticks = [at for at, _ in next(iter(panel.values()))]
            axes.set_xticks(ticks, labels=list(map(str, ticks)))
            axes.minorticks_off()
            axes.grid(alpha=0.25)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(loc="best", frameon=False, fontsize=9)
    figure.suptitle("Heads on a frozen backbone, emoji of the validation classes; 95 % intervals over seeds", fontsize=11)
    figure.savefig(BUILD / "curves-tiny.png" if asked.tiny else _PLOT, dpi=110)


def _line(axes: Axes, points: list[tuple[int, list[Mapping[str, float]]]], key: str, label: str, colour: str) -> None:
    there = [(at, summary([each[key] for each in found])) for at, found in points if found]
    if not there:
        return
    depths = [at for at, _ in there]
    axes.plot(depths, [each.mean for _, each in there], color=colour, marker="o", markersize=4, label=label)
    low, high = zip(*(each.interval or (each.mean, each.mean) for _, each in there), strict=True)
    axes.fill_between(depths, low, high, color=colour, alpha=0.15, linewidth=0)


ROWS = (
    Row(
        "curves",
        "How many centres and dimensions, and centres from where? The backbone frozen, the emoji's validation classes.",
        cells,
        RETRIEVAL | {"distinct centres": "distinct centres"},
        seeds=5,
        finish=draw,
    ),
)
