"""Settings and pictures in, a trained network out; a network and pictures in, retrieval figures out.

Figures are flat numbers by name, those without hits of the query's own hand under ``masked …``. The network is always measured
in float32 at ``image_size``.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from model.network import EmbeddingNetwork
from model.network import architecture as architecture_of
from training.config import TrainingConfig, resolve
from training.evaluate import measure
from training.examples import Examples
from training.trainer import Listener, fit

from .cells import Asked
from .sets import Pictures

_BATCH = 64
_NAMES = ("recall@1", "recall@2", "recall@4", "recall@8", "map@r", "r_precision", "mrr")
RETRIEVAL = {"R@1": "recall@1", "MAP@R": "map@r", "R@1 masked": "masked recall@1", "MAP@R masked": "masked map@r"}
_DEEPER = {"R@2": "recall@2", "R@4": "recall@4", "R@8": "recall@8", "R-precision": "r_precision", "MRR": "mrr"}
EVERY_RETRIEVAL = RETRIEVAL | _DEEPER


def preset(asked: Asked, seed: int = 0, **changes: Any) -> TrainingConfig:
    """The settings of ``best``, with ``changes`` and what was asked for."""
    config = resolve("best", seed=seed).model_copy(update=changes)
    if asked.epochs is not None and config.epochs:
        config = config.model_copy(update={"epochs": asked.epochs})
    if asked.tiny:
        sizes = {"image_size": 64, "train_size": 48, "first_size": config.first_size and 32}
        least = {name: min(value, 1) for name, value in (("epochs", config.epochs), ("views", config.views))}
        config = config.model_copy(update={**sizes, **least, "head_epochs": min(config.head_epochs, 3)})
    return config


def settings(config: TrainingConfig, *names: str) -> dict[str, Any]:
    """As a record keeps them; with ``names``, only these."""
    return config.model_dump(mode="json", exclude={"seed"}, include=set(names) or None)


def trained(examples: Examples, config: TrainingConfig) -> tuple[EmbeddingNetwork, dict[str, Any]]:
    """The network after the last epoch, and what its training took."""
    started = time.monotonic()
    found = fit(examples, config, listener=_Told())
    return found.network, {"fit_minutes": round((time.monotonic() - started) / 60, 3), "run": found.record}


class _Told(Listener):
    def epoch(self, record: dict[str, Any]) -> None:
        loss, pace = record["loss"] or 0.0, record["images_per_second"]
        print(f"  epoch {record['epoch']} of {record['epochs']}, loss {loss:.3f}, {pace} images/s", file=sys.stderr, flush=True)


def backbone(config: TrainingConfig) -> EmbeddingNetwork:
    """As it is, without a head."""
    architecture = architecture_of(config.backbone, dim=None, pooling=config.pooling, image_size=config.image_size)
    return EmbeddingNetwork(architecture, pretrained=True, weights=config.weights).eval()


@torch.inference_mode()
def vectors(network: EmbeddingNetwork, pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, S, S, 3] → unit float32 [N, D]."""
    network.eval()
    starts = range(0, len(pixels), _BATCH)
    return np.concatenate([network(torch.from_numpy(pixels[start : start + _BATCH])).numpy() for start in starts])


def unit(features: np.ndarray) -> np.ndarray:
    return functional.normalize(torch.from_numpy(np.asarray(features, np.float32)), dim=1).numpy()


def figures(found: np.ndarray, columns: Mapping[str, Sequence[str]], mask: str | None) -> dict[str, float]:
    """Of unit vectors, whose rows are those of ``columns``."""
    measured = measure(found, columns, mask).figures
    named = {name: measured[name] for name in _NAMES}
    named |= {f"masked {name}": measured["masked"][name] for name in _NAMES} if mask else {}
    return {name: round(value, 6) for name, value in named.items()}


def of_network(network: EmbeddingNetwork, pictures: Pictures, rows: np.ndarray) -> dict[str, float]:
    return figures(vectors(network, pictures.pixels[rows]), pictures.columns(rows), pictures.mask)
