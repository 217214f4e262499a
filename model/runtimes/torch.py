"""The torch runtime: CUDA where there is a device, else the CPU, through the same code. Needs the extra ``train``."""

import numpy as np
import torch
from safetensors.torch import load_file

from ..bundle import Bundle
from ..encoder import Precision
from ..network import EmbeddingNetwork

BATCH = 64


class TorchEncoder:
    """See ``model.encoder.Encoder``."""

    runtime = "torch"

    def __init__(self, bundle: Bundle, precision: Precision) -> None:
        self.fingerprint = bundle.fingerprint
        self.dim = bundle.manifest.architecture.dim
        self.transform = bundle.manifest.transform
        self.precision = precision
        self._device = torch.device("cuda" if sees_cuda() else "cpu")
        network = EmbeddingNetwork(bundle.manifest.architecture, pretrained=False)
        network.load_state_dict(load_file(bundle.weights))
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)

    def encode(self, images: np.ndarray) -> np.ndarray:
        vectors = [self._encode(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return np.concatenate(vectors) if vectors else np.empty((0, self.dim), np.float32)

    def _encode(self, images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self._device)
        autocast = torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with torch.inference_mode(), autocast:
            return self._network(pixels).float().cpu().numpy()


def sees_cuda() -> bool:
    return torch.cuda.is_available()
