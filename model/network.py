"""Pixels in, unit vectors out, as a torch module: normalise → backbone → pooling → linear head → L2.

Needs the extra ``train``. Pixels are uint8 [N, H, W, 3], so that every runtime gets the whole graph, normalising included.
"""

import logging
from pathlib import Path
from typing import Any

import openvino
import torch
from openvino.frontend import FrontEndManager, OpConversionFailure
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from torch import Tensor, nn

from . import backbones
from .backbones import BackboneError
from .bundle import Architecture, Pooling


class EmbeddingNetwork(nn.Module):
    """uint8 [N, H, W, 3] → float32 [N, ``architecture.dim``], rows of length 1.

    ``pretrained`` weights are the file ``weights``, or else what the backbone's name stands for. Raises ``BackboneError``.
    """

    backbone: Any
    architecture: Architecture
    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, *, pretrained: bool, weights: str = "") -> None:
        super().__init__()
        self.architecture = architecture
        known = backbones.get(architecture.backbone)
        for name, values in (("mean", architecture.mean or known.mean), ("std", architecture.std or known.std)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        backbone: Any = backbones.create(
            architecture.backbone, pretrained=pretrained, weights=weights, image_size=architecture.input_size
        )
        self.backbone = backbone
        # Without bias, a score is a sum over the picture's cells and can be explained by them.
        features = backbone.head_hidden_size
        self.head = nn.Linear(features, architecture.dim, bias=False) if architecture.head else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embed(pixels.permute(0, 3, 1, 2).float() / 255)

    def embed(self, images: Tensor) -> Tensor:
        """float [N, 3, H, W] in [0, 1] → unit rows [N, dim] in float32. Training enters here, after augmentation."""
        return nn.functional.normalize(self.head(self.features(images)).float(), dim=1)

    def features(self, images: Tensor) -> Tensor:
        """float [N, 3, H, W] in [0, 1] → float32 [N, F], pooled and of any length: what the head gets."""
        size = self.architecture.input_size
        if size and images.shape[-1] != size:
            raise BackboneError(
                f"{self.architecture.backbone} was built for images of {size} pixels and got {images.shape[-1]}. "
                "Use one size throughout, or a convolutional backbone."
            )
        found = self.backbone.forward_features((images - self.mean) / self.std)
        # What the network does after pooling, like ConvNeXt's norm, it does here to a map of one cell.
        return self.backbone.forward_head(self._pooled(found), pre_logits=True).flatten(1).float()

    def _pooled(self, found: Tensor) -> Tensor:
        """Maps [N, C, H, W] or [N, H, W, C], or tokens [N, L, C]; pooled axes stay, with length 1."""
        if found.ndim == 3:
            if self.architecture.pooling == "cls":
                return found[:, :1]
            found, axes = found[:, prefix_tokens(self.backbone) :], [1]
        else:
            axes = [1, 2] if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC" else [2, 3]
        average = found.mean(dim=axes, keepdim=True)
        return average if self.architecture.pooling == "avg" else average + found.amax(dim=axes, keepdim=True)


def architecture(backbone: str, *, dim: int | None, pooling: Pooling = "avg", image_size: int) -> Architecture:
    """What a bundle says of such a network; ``dim`` None: without head. Raises ``BackboneError`` if it cannot be.

    The network is built on torch's meta device, where tensors have shapes and no memory, and shown one such image.
    """
    known = backbones.get(backbone)
    fits = {"input_size": image_size} if known.fixed_size else {}
    # The names of our own table never change what they stand for, and bundles of before say no more than the name.
    colours = {} if known.wheel else {"mean": known.mean, "std": known.std}
    made = Architecture(backbone=backbone, pooling=pooling, head=dim is not None, dim=dim or 1, **fits, **colours)
    with torch.device("meta"):
        network = _built(made, image_size).eval()
        patch = _patch(network.backbone)
        if rest := image_size % patch:
            near = [str(size) for size in (image_size - rest, image_size - rest + patch) if size]
            raise BackboneError(
                f"{backbone} cuts images into patches of {patch} pixels, and {image_size} is no multiple of {patch}. "
                f"Choose {' or '.join(near)}."
            )
        if pooling == "cls" and not has_class_token(network.backbone):
            raise BackboneError(f"{backbone} has no class token. Use pooling avg or avg+max.")
        try:
            features = network.features(torch.empty(1, 3, image_size, image_size)).shape[1]
        except Exception as error:  # each of timm's networks has its own way to break
            raise BackboneError(
                f"{backbone} gives no features of images of {image_size} pixels ({error}). "
                "Choose another size, like 224, or another backbone."
            ) from error
    return made.model_copy(update={"dim": dim or features})


def _built(made: Architecture, image_size: int) -> EmbeddingNetwork:
    try:
        return EmbeddingNetwork(made, pretrained=False)
    except (AssertionError, ValueError, RuntimeError, TypeError, ZeroDivisionError) as error:
        raise BackboneError(
            f"{made.backbone} cannot be built for images of {image_size} pixels ({error}). Choose another size, like 224."
        ) from error


def _patch(backbone: nn.Module) -> int:
    """Side of the patches that a transformer cuts images into: some cut off what remains, without a word."""
    side = getattr(getattr(backbone, "patch_embed", None), "patch_size", 1)
    return int(max(side) if isinstance(side, tuple) else side)


def feature_count(backbone: str) -> int:
    """Channels that ``backbone`` gives before any head. Raises ``BackboneError``."""
    with torch.device("meta"):
        return int(backbones.create(backbone, pretrained=False).head_hidden_size)  # type: ignore[arg-type]


def prefix_tokens(backbone: nn.Module) -> int:
    """How many tokens stand before those of the picture's patches: the class token, registers."""
    return int(getattr(backbone, "num_prefix_tokens", 0))


def has_class_token(backbone: nn.Module) -> bool:
    # Registers are prefix tokens too.
    token = getattr(backbone, "cls_token", None) is not None or bool(getattr(backbone, "has_class_token", False))
    return token and prefix_tokens(backbone) > 0


def export_openvino(network: EmbeddingNetwork, size: int, to: Path) -> None:
    """Write ``to``/model.xml and .bin in float32 for one image [1, size, size, 3] at a time.

    A static batch of one: on a CPU several requests side by side beat batches. Raises ``BackboneError``.
    """
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    program = torch.export.export(network.eval(), (example,))
    # The frontend itself, because openvino.convert_model reports each conversion to its maker without asking.
    frontend = FrontEndManager().load_by_framework("pytorch")
    logging.disable(logging.WARNING)  # it warns at length of operations that this network does not have
    try:
        decoder = TorchFXPythonDecoder.from_exported_program(program, dynamic_shapes=False)
        model = frontend.convert(frontend.load(decoder))
    except OpConversionFailure as error:
        reason = str(error).strip().splitlines()[-1].lstrip("- ")
        raise BackboneError(
            f"OpenVINO cannot run {network.architecture.backbone} ({reason}). Choose another backbone."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    to.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, to / "model.xml", compress_to_fp16=False)


def export_onnx(network: EmbeddingNetwork, size: int, to: Path) -> None:
    """Write ``to``/model.onnx in float32: ``pixels`` uint8 [N, size, size, 3] → ``vectors`` [N, dim], for any N."""
    # Two, because an example of one would be taken for a batch that is always one.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    shapes = {"pixels": {0: torch.export.Dim("batch")}}
    to.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)
    try:
        torch.onnx.export(
            network.eval(),
            (example,),
            to / "model.onnx",
            input_names=["pixels"],
            output_names=["vectors"],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    finally:
        logging.disable(logging.NOTSET)
