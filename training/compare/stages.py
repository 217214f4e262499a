"""A contender with its settings in, vectors of the images that judge it out, and what learning them took.

Two stages: ``Heads`` on features of the frozen backbone, computed once, so that a run takes seconds; ``Networks``, in full.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network import EmbeddingNetwork

from .. import cpu
from ..checkpoint import whole
from ..config import TrainingConfig
from ..datasets.labels import Dataset
from ..examples import Examples, of
from ..head import learn_on_features, views
from ..losses import Loss
from ..method import Method
from ..processes import alone
from ..trainer import architecture, fit
from .baselines import CONTENDERS

LEARNT, JUDGED = ("train", "validation"), ("validation", "test")
_BATCH = 64


@dataclass(frozen=True)
class Choice:
    """A contender, the parameters of its loss, and settings of the training that go with it."""

    loss: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def method(self) -> Method:
        return CONTENDERS[self.loss].method(self.parameters)

    def with_rate(self, learning_rate: float) -> "Choice":
        return replace(self, settings={**self.settings, "learning_rate": learning_rate})

    def config(self, base: TrainingConfig, **more: Any) -> TrainingConfig:
        values = {**CONTENDERS[self.loss].settings(self.parameters), **self.settings, **more}
        return TrainingConfig.model_validate(base.model_dump() | values)


@dataclass(frozen=True)
class Material:
    """Labelled images, and ``pixels`` uint8 [N, S, S, 3] of all of them."""

    data: Dataset
    pixels: np.ndarray

    def rows(self, *splits: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.data.table["split"], splits))

    def places(self, among: tuple[str, ...], *splits: str) -> np.ndarray:
        """Where the rows of ``splits`` stand in those of the splits ``among``."""
        return np.flatnonzero(np.isin(self.rows(*among), self.rows(*splits)))

    def examples(self, rows: np.ndarray) -> Examples:
        labels = [self.data.labels[row] for row in rows]
        return of(self.pixels, labels, [self.data.table["path"][row] for row in rows], rows)


@dataclass(frozen=True)
class Learnt:
    """``vectors`` float32 [M, D], of length 1; ``cost``: ``seconds``, ``images_per_second``, ``peak_gb`` (None where the system
    does not tell it), ``visited`` (pairs or triplets; None for losses that need none)."""

    vectors: np.ndarray
    cost: dict[str, Any]


class Heads:
    """A linear head and the loss, on ``config.views`` augmented views of each image."""

    name = "heads"

    def __init__(self, material: Material, config: TrainingConfig, folder: Path) -> None:
        self.material, self.config = material, config
        with np.load(_made(folder / "features.npz", lambda: _features(material, config))) as kept:
            self.seen, self.plain = (torch.from_numpy(kept[name]) for name in ("seen", "plain"))

    def learn(self, choice: Choice, seed: int, learnt: tuple[str, ...], judged: str) -> Learnt:
        config, method = choice.config(self.config, seed=seed), choice.method()
        examples = self.material.examples(self.material.rows(*learnt))
        features = self.seen[:, self.material.places(LEARNT, *learnt)]
        torch.manual_seed(seed)
        head = nn.Linear(features.shape[2], config.dim, bias=False)
        loss_of = method.loss(len(examples.classes), config)
        with _measured(len(examples) * config.head_epochs) as cost:
            learn_on_features(features, examples.labels, head, loss_of, config, order=method.order)
        with torch.inference_mode():
            vectors = functional.normalize(head(self.plain[self.material.places(JUDGED, judged)]), dim=1).numpy()
        return Learnt(vectors, cost | {"visited": loss_of.visited})


class Networks:
    """All of the network, as ``lookalike train`` does it; the network after the last epoch."""

    name = "networks"

    def __init__(self, material: Material, config: TrainingConfig) -> None:
        self.material, self.config = material, config

    def learn(self, choice: Choice, seed: int, learnt: tuple[str, ...], judged: str) -> Learnt:
        examples = self.material.examples(self.material.rows(*learnt))
        config, method = choice.config(self.config, seed=seed), choice.method()
        made: list[Loss] = []

        def loss(classes: int, config: TrainingConfig) -> Loss:
            made.append(method.loss(classes, config))
            return made[-1]

        with _measured(len(examples) * config.epochs) as cost:
            trained = fit(examples, config, method=Method(loss, method.order))
        # Without what comes before the first step.
        cost["images_per_second"] = round(len(examples) * config.epochs / trained.record["seconds"], 1)
        vectors = _of_all(trained.network, self.material.pixels, self.material.rows(judged))
        return Learnt(vectors, cost | {"visited": made[0].visited})


def _features(material: Material, config: TrainingConfig) -> dict[str, np.ndarray]:
    """Of the frozen backbone: augmented views of the images to learn from, ``seen`` float16 [V, N, F], and the images to judge
    by as they are, ``plain`` float32 [M, F]."""
    network = EmbeddingNetwork(architecture(config), pretrained=True, weights=config.weights).eval()
    cpu.depthwise_in_float32(network)
    cpu.keep_freed_memory()
    seen = views(network, material.examples(material.rows(*LEARNT)), config, alone()).numpy()

    def features(pixels: Tensor) -> Tensor:
        return network.features(pixels.permute(0, 3, 1, 2).float() / 255)

    return {"seen": seen, "plain": _of_all(features, material.pixels, material.rows(*JUDGED))}


@torch.inference_mode()
def _of_all(what: Callable[[Tensor], Tensor], pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What ``what`` makes of uint8 [B, S, S, 3], of all ``rows``; in float32."""
    parts = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
    return np.concatenate([what(torch.from_numpy(pixels[part])).numpy() for part in parts])


def _made(path: Path, make: Callable[[], dict[str, Any]]) -> Path:
    """The file of arrays, made where it is not there."""
    if not path.exists():
        with whole(path) as file:
            np.savez(file, **make())
    return path


@contextmanager
def _measured(images: int) -> Iterator[dict[str, Any]]:
    """Filled when the block ends."""
    cost: dict[str, Any] = {}
    _forget_peak()
    started = time.monotonic()
    yield cost
    seconds = time.monotonic() - started
    cost |= {"seconds": round(seconds, 2), "images_per_second": round(images / seconds, 1), "peak_gb": _peak()}


def _forget_peak() -> None:
    """Linux begins anew to look for the most memory that this process held."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float | None:
    """Gigabytes that this process held at most since then."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e9, 3)
    return None
