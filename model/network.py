"""Pixels in, unit vectors out, as a torch module: normalise → backbone → average pooling → linear head → L2.

Needs the extra ``train``. Pixels are uint8 [N, H, W, 3], so that every runtime gets the whole graph, normalising included.
"""

import logging
from pathlib import Path

import openvino
import torch
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder
from torch import Tensor, nn

from . import backbones
from .bundle import Architecture


class EmbeddingNetwork(nn.Module):
    """uint8 [N, H, W, 3] → float32 [N, ``architecture.dim``], rows of length 1."""

    def __init__(self, architecture: Architecture, *, pretrained: bool) -> None:
        super().__init__()
        backbone = backbones.get(architecture.backbone)
        self.mean, self.std = backbone.mean, backbone.std
        self.backbone = backbones.create(architecture.backbone, pretrained=pretrained)
        # Without bias, a score is a sum over the picture's cells and can be explained by them.
        self.head = nn.Linear(backbone.features, architecture.dim, bias=False) if architecture.head else nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.embed(pixels.permute(0, 3, 1, 2).float() / 255)

    def embed(self, images: Tensor) -> Tensor:
        """float [N, 3, H, W] in [0, 1] → unit rows [N, dim] in float32. Training enters here, after augmentation."""
        features: Tensor = self.backbone.forward_features(  # type: ignore[operator]
            (images - self.mean) / self.std
        )
        embeddings = self.head(features.mean(dim=(2, 3)))
        return nn.functional.normalize(embeddings.float(), dim=1)


def feature_count(backbone: str) -> int:
    """Channels that ``backbone`` gives before any head."""
    return backbones.get(backbone).features


def export_openvino(network: EmbeddingNetwork, size: int, to: Path) -> None:
    """Write ``to``/model.xml and .bin in float32 for one image [1, size, size, 3] at a time.

    A static batch of one: on a CPU several requests side by side beat batches.
    """
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    program = torch.export.export(network.eval(), (example,))
    # The frontend itself, because openvino.convert_model reports each conversion to its maker without asking.
    frontend = FrontEndManager().load_by_framework("pytorch")
    logging.disable(logging.WARNING)  # it warns at length of operations that this network does not have
    try:
        decoder = TorchFXPythonDecoder.from_exported_program(program, dynamic_shapes=False)
        model = frontend.convert(frontend.load(decoder))
    finally:
        logging.disable(logging.NOTSET)
    to.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, to / "model.xml", compress_to_fp16=False)
