"""What is each lever worth? Each that the preset uses is switched off alone, and some that it does not use are switched on.

Chosen on validation classes: trained on the train classes, measured on the validation classes after the last epoch.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from training.config import TrainingConfig

from . import sets
from .cells import Asked, Cell, Figures, Row
from .figures import RETRIEVAL, of_network, preset, settings, trained
from .sets import Pictures

ALL = "preset"
_WITHOUT: dict[str, dict[str, Any]] = {
    "nothing before the first step": {"head_epochs": 0, "center_start": "random", "head_start": "random"},
    "no epochs of the head alone": {"head_epochs": 0},
    "head from random axes": {"head_start": "random"},
    "centres at random": {"center_start": "random"},
    "one centre": {"centers": 1},
    "no pull between centres": {"tau": 0.0},
}
_WITHOUT_IN_AUGMENTATION: dict[str, dict[str, Any]] = {
    "no erasing": {"erase": 0.0},
    "no grey": {"grey": 0.0},
    "colours as they are": {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "grey": 0.0},
    "no zoom, turn or shift": {"window": "zoom", "zoom": (1.0, 1.0), "aspect": 1.0, "rotation": 0.0, "shift": 0.0},
}
_WITH: dict[str, dict[str, Any]] = {
    "64 dimensions": {"dim": 64},
    "512 dimensions": {"dim": 512},
    "with a running mean of the weights": {"ema": 0.99},
    "with pictures that grow from 64 pixels": {"first_size": 64},
    "with average + maximum pooling": {"pooling": "avg+max"},
    "with clipping at 1": {"clip": 1.0},
}


def variants(config: TrainingConfig) -> dict[str, TrainingConfig]:
    changed = {name: config.model_copy(update=values) for name, values in _WITHOUT.items()}
    for name, values in _WITHOUT_IN_AUGMENTATION.items():
        changed[name] = config.model_copy(update={"augmentation": config.augmentation.model_copy(update=values)})
    changed |= {name: config.model_copy(update=values) for name, values in _WITH.items()}
    changed["half the learning rate"] = config.model_copy(update={"learning_rate": config.learning_rate / 2})
    return {ALL: config} | {name: each for name, each in changed.items() if each != config}


def figures(pictures: Pictures, config: TrainingConfig) -> Figures:
    network, cost = trained(pictures.examples(pictures.rows("train")), config)
    return of_network(network, pictures, pictures.rows("validation")) | cost


def cells(asked: Asked, seed: int) -> Iterator[Cell]:
    for variant, config in variants(preset(asked, seed)).items():
        pictures = sets.load("emoji", config, asked.tiny)
        kept = {"data": pictures.settings, "learnt": ("train",), "config": settings(config)}
        yield Cell(variant, seed, kept, partial(figures, pictures, config))


ROWS = (
    Row(
        "ablation",
        "What is each lever of the preset worth, on the emoji's validation classes?",
        cells,
        RETRIEVAL | {"minutes to train": "fit_minutes"},
        seeds=2,
    ),
)
