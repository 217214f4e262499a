"""What the scripts of all contenders are handed, so that they differ in nothing else: the table, the weights, the clock, and
the file that the vectors go to.

``asked`` reads the command line: ``--data FOLDER --learn SPLITS --embed SPLIT --minutes N --seed N --to FILE``, and settings of
the script like ``rate=0.001``.
"""

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from model import backbones

SIZE, FEATURES, DIM, BATCH = 96, 1280, 128, 32  # pixels; of the backbone and of the vectors; images a step
BACKBONE = "efficientnet_lite0"
MEAN, STD = backbones.get(BACKBONE).mean, backbones.get(BACKBONE).std


class Clock:
    """Counts from the first time that it is asked, and the images that were learnt from."""

    def __init__(self, minutes: float) -> None:
        self.minutes, self.images = minutes, 0
        self.started: float | None = None
        self.stopped = 0.0

    def goes_on(self, images: int = 0) -> bool:
        """Whether there is time to learn from more than these ``images``."""
        self.stopped = time.monotonic()
        self.started = self.stopped if self.started is None else self.started
        self.images += images
        return self.seconds < 60 * self.minutes

    @property
    def seconds(self) -> float:
        return 0.0 if self.started is None else self.stopped - self.started


@dataclass
class Asked:
    """``learn`` and ``embed``: splits of the table; ``settings``: those of the script."""

    data: Path
    learn: list[str]
    embed: list[str]
    seed: int
    to: Path
    clock: Clock
    settings: SimpleNamespace

    def rows(self, splits: list[str]) -> list[dict[str, str]]:
        """Of the table, in its order; ``path`` is that of the picture's file, ``label`` the name of its class."""
        with (self.data / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] in splits]
        return [row | {"path": str(self.data / row["path"])} for row in rows]

    def write(self, vectors: Any) -> None:
        """float [N, D], in the order of the rows that were to be embedded."""
        found = np.asarray(vectors, np.float32)
        np.savez(self.to, vectors=found, learnt_seconds=self.clock.seconds, learnt_images=self.clock.images)


def asked(**defaults: Any) -> Asked:
    """What the command line asks for; settings that it does not name are ``defaults``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--learn", required=True, help="comma-separated splits")
    parser.add_argument("--embed", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("settings", nargs="*", help=f"key=value; by default {defaults}")
    given = parser.parse_args()
    changed = dict(setting.split("=", 1) for setting in given.settings)
    if unknown := changed.keys() - defaults.keys():
        parser.error(f"there is no setting {', '.join(unknown)}; there are {', '.join(defaults)}")
    # As numbers where the default is one; a yes or no is a number too: 0 or 1.
    values = defaults | {name: type(defaults[name])(text) for name, text in changed.items()}
    torch.manual_seed(given.seed)
    np.random.seed(given.seed)  # the samplers of both libraries draw from it
    clock, settings = Clock(given.minutes), SimpleNamespace(**values)
    return Asked(given.data, given.learn.split(","), given.embed.split(","), given.seed, given.to, clock, settings)


class Trunk(nn.Module):
    """Normalised pixels [N, 3, S, S] → pooled features [N, 1280], pretrained as Lookalike's backbone is."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone: Any = backbones.create(BACKBONE, pretrained=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone.forward_features(images).mean(dim=(2, 3))
