"""Every choice that a training run makes, as one typed record; it is kept in the bundle."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt


class Augmentation(BaseModel):
    """Ranges that each picture's own random change is drawn from. No flip: it turns an arrow into another arrow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zoom: tuple[PositiveFloat, PositiveFloat] = (0.65, 1.1)  # side of the window over the side of the picture
    aspect: PositiveFloat = 1.2
    rotation: float = 15.0  # degrees, both ways
    shift: float = 0.1  # of half the picture's side, beside what the zoom leaves free
    brightness: float = 0.25
    contrast: float = 0.4
    saturation: float = 0.8
    grey: float = 0.25  # probability
    erase: float = 0.3  # probability that a rectangle is replaced by the picture's mean


class TrainingConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "efficientnet_lite0"
    dim: PositiveInt = 128
    image_size: PositiveInt = 112
    train_size: PositiveInt = 96  # smaller than image_size: crops show things larger than whole pictures do
    fit: Literal["pad", "crop"] = "pad"

    centers: PositiveInt = 2
    scale: PositiveFloat = 20.0
    gamma: PositiveFloat = 0.1
    tau: float = 0.2
    margin: float = 0.01

    epochs: PositiveInt = 10
    batch: PositiveInt = 64
    warm_up: float = 0.1  # of all steps
    learning_rate: PositiveFloat = 1e-3
    head_learning_rate: PositiveFloat = 3e-3
    center_learning_rate: PositiveFloat = 1e-2
    weight_decay: float = 1e-4
    augmentation: Augmentation = Augmentation()
    seed: int = 0
