"""The progress of a training in, its learning rate and its picture size out."""

import math

from .config import TrainingConfig

_SIZE_STEP = 16
_FULL_SIZE_FROM = 0.6  # of the epochs


def rate(config: TrainingConfig, step: int, steps_an_epoch: int) -> float:
    """Share of the full learning rates at ``step``, counted from 0.

    ``one_cycle``: a linear rise, then a cosine to zero. ``steps``: a tenth after each milestone.
    """
    if config.schedule == "steps":
        return 0.1 ** sum(step >= milestone * steps_an_epoch for milestone in config.milestones)
    progress = (step + 1) / (max(1, config.epochs) * steps_an_epoch)  # without epochs, steps are timed all the same
    if progress < config.warm_up:
        return progress / config.warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - config.warm_up) / (1 - config.warm_up)))


def size(config: TrainingConfig, epoch: int) -> int:
    """Side of the pictures in ``epoch``, counted from 0: small and quick at first, the full size for the last epochs."""
    if config.first_size is None or config.first_size >= config.train_size:
        return config.train_size
    grown = min(1.0, epoch / max(1.0, _FULL_SIZE_FROM * (config.epochs - 1)))
    wanted = config.first_size + grown * (config.train_size - config.first_size)
    return config.train_size if grown == 1 else min(config.train_size, int(wanted // _SIZE_STEP * _SIZE_STEP))
