"""Every choice that a training run makes, as one typed record; it is kept in the bundle, and repeats the run.

``preset`` and ``resolve`` make one out of a name and of ``key=value`` texts.
"""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from model import Failure

Share = NonNegativeFloat


class ConfigError(Failure):
    """A setting that does not exist or cannot have this value; the message says which ones there are."""


class Augmentation(BaseModel):
    """Ranges that each picture's own random change is drawn from. By default no flip: it turns an arrow into another arrow.

    ``window``: ``zoom`` moves, zooms and turns the picture; ``crop`` is the field's RandomResizedCrop, a window of ``area``
    (share of the picture) and ``ratio`` (width ÷ height) somewhere inside.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Literal["zoom", "crop"] = "zoom"
    zoom: tuple[PositiveFloat, PositiveFloat] = (0.65, 1.1)  # side of the window over the side of the picture
    aspect: PositiveFloat = 1.2
    rotation: float = 15.0  # degrees, both ways
    shift: float = 0.1  # of half the picture's side, beside what the zoom leaves free
    area: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0)
    ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: Share = Field(0.0, le=1)  # probability that left and right change places
    brightness: float = 0.25
    contrast: float = 0.4
    saturation: float = 0.8
    grey: Share = Field(0.25, le=1)  # probability
    erase: Share = Field(0.3, le=1)  # probability that a rectangle is replaced by the picture's mean


class TrainingConfig(BaseModel):
    """The defaults are the preset ``best``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # network
    backbone: str = "efficientnet_lite0"
    weights: str = ""  # a file with the backbone's weights; else those of a package, or of timm's hub
    pooling: Literal["avg", "avg+max", "cls"] = "avg"
    dim: PositiveInt = 128
    image_size: PositiveInt = 112
    fit: Literal["pad", "crop"] = "pad"

    # loss
    centers: PositiveInt = 2
    center_start: Literal["random", "data"] = "data"
    scale: PositiveFloat = 20.0
    gamma: PositiveFloat = 0.1
    tau: NonNegativeFloat = 0.2
    margin: NonNegativeFloat = 0.01

    # first the head and the centres alone, on features of the frozen backbone that are computed once
    head_start: Literal["random", "pca"] = "pca"  # or that of an earlier bundle; pca: the features' axes, half whitened
    head_epochs: NonNegativeInt = 5
    views: PositiveInt = 1  # of each picture, augmented

    # then the whole network
    epochs: NonNegativeInt = 10
    batch: PositiveInt = 64  # a process
    train_size: PositiveInt = 96  # smaller than image_size: crops show things larger than whole pictures do
    first_size: PositiveInt | None = None  # the size grows from here to train_size
    schedule: Literal["one_cycle", "steps"] = "one_cycle"
    warm_up: Share = Field(0.1, lt=1)  # of all steps, in one_cycle
    milestones: tuple[NonNegativeInt, ...] = ()  # epochs after which, in steps, the rates are divided by 10
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    head_learning_rate: PositiveFloat = 3e-3
    center_learning_rate: PositiveFloat = 1e-2
    epsilon: PositiveFloat = 1e-8
    # The authors' eps: with Adam's usual 1e-8 the regulariser's tiny gradients act like a switch.
    center_epsilon: PositiveFloat = 1e-2
    weight_decay: NonNegativeFloat = 1e-4
    center_weight_decay: NonNegativeFloat = 0.0
    clip: NonNegativeFloat = 0.0  # largest norm of the network's gradient; 0: any
    precision: Literal["bf16", "f32"] = "bf16"  # of the network; the loss is always in f32
    ema: Share = Field(0.0, lt=1)  # of the running mean of the weights; 0: the weights themselves
    balance: Share = Field(0.0, le=1)  # 0: every image once an epoch; 1: every class as often as any other
    singles: Literal["keep", "leave", "auto"] = "keep"  # classes of one image; auto: what validates better on frozen features
    augmentation: Augmentation = Augmentation()
    seed: int = Field(0, ge=0, lt=2**63)

    @property
    def starts_with_head(self) -> bool:
        """Whether the frozen backbone has to look at all pictures before the first step."""
        return self.head_epochs > 0 or self.center_start == "data" or self.head_start == "pca"


_PAPER: dict[str, Any] = {
    # Qian et al., ICCV 2019, and the authors' code. Their BN-Inception is not in timm; ResNet-50 is what later papers use.
    "backbone": "resnet50",
    "dim": 512,
    "image_size": 224,
    "train_size": 224,
    "fit": "crop",
    "centers": 10,
    "center_start": "random",
    "head_start": "random",
    "head_epochs": 0,
    "epochs": 50,
    "batch": 32,
    "schedule": "steps",
    "milestones": (20, 40),
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "head_learning_rate": 1e-4,
    "epsilon": 1e-2,
    "center_weight_decay": 1e-4,
    "precision": "f32",
    "augmentation": {
        "window": "crop",
        "flip": 0.5,
        "brightness": 0.0,
        "contrast": 0.0,
        "saturation": 0.0,
        "grey": 0.0,
        "erase": 0.0,
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"epochs": 3},
    "best": {},
    "paper:cub": _PAPER,
    "paper:cars": _PAPER,
    "paper:sop": _PAPER | {"centers": 2},
    "paper:inshop": _PAPER | {"centers": 2},  # not in the paper; products, like SOP
}


def resolve(preset: str = "best", settings: Iterable[str] = (), **more: Any) -> TrainingConfig:
    """``preset``: a name out of PRESETS, a bundle, or a JSON file; ``settings``: like ``augmentation.flip=0.5``; ``more``
    wins over both where it is not None. Raises ``ConfigError``.
    """
    values = _base(preset)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise ConfigError(f"{setting!r} sets nothing. Write --set key=value, like --set dim=64.")
        *path, last = _known(key.strip())
        place = values
        for name in path:
            place[name] = dict(place.get(name, {}))
            place = place[name]
        place[last] = _value(text.strip())
    values |= {key: value for key, value in more.items() if value is not None}
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            _known(name)
        raise ConfigError(f"The setting {name} cannot be {first['input']!r}: {first['msg'].lower()}.") from error


def _base(preset: str) -> dict[str, Any]:
    if preset in PRESETS:
        return dict(PRESETS[preset])
    path = Path(preset)
    file = path / "bundle.json" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"There is no preset {preset!r}. Choose {', '.join(PRESETS)}, a bundle, or a JSON file of settings.")
    try:
        found = json.loads(file.read_text())
        return dict(found["training"]["config"] if path.is_dir() else found)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file} holds no settings of a training.") from error


def _known(key: str) -> list[str]:
    """The parts of a setting's name, which must exist."""
    names = [name for name in TrainingConfig.model_fields if name != "augmentation"]
    names += [f"augmentation.{name}" for name in Augmentation.model_fields]
    if key not in names:
        near = [name for name in names if name.endswith(f".{key}")] or difflib.get_close_matches(key, names, 3, 0.5) or names
        raise ConfigError(f"There is no setting {key!r}. {'Near it' if len(near) <= 3 else 'There'} are: {', '.join(near)}.")
    return key.split(".")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
