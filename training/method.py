"""How a network learns from labels: which loss, and which images come together in a batch. By default SoftTriple, shuffled.

What stands beside SoftTriple in a comparison is in ``baselines``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .config import TrainingConfig
from .losses import Loss, SoftTriple
from .sampler import order

Build = Callable[[int, TrainingConfig], Loss]
Order = Callable[[np.ndarray, int, TrainingConfig], np.ndarray]


def soft_triple(num_classes: int, config: TrainingConfig) -> SoftTriple:
    """The loss that the settings ask for, its centres at random."""
    return SoftTriple(num_classes, config.dim, config.centers, config.scale, config.gamma, config.tau, config.margin)


def shuffled(labels: np.ndarray, epoch: int, config: TrainingConfig) -> np.ndarray:
    """The rows of an epoch, in their order."""
    return order(labels, config.seed, epoch, config.balance)


@dataclass(frozen=True)
class Method:
    """``loss``: number of classes, settings → a loss. ``order``: labels [N], epoch, settings → the rows of the epoch."""

    loss: Build = soft_triple
    order: Order = shuffled


SOFT_TRIPLE = Method()
