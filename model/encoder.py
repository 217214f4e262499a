"""Encoders: a bundle on a runtime. Images in, unit float32 vectors out."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from . import Failure
from .bundle import Bundle
from .transform import Transform

Runtime = Literal["auto", "openvino", "torch"]
Precision = Literal["f32", "bf16"]


class RuntimeUnavailable(Failure):
    """The runtime asked for cannot run this bundle here; the message says what to do."""


class Encoder(Protocol):
    """Safe to call from several threads at once; one call with many images uses the whole machine."""

    fingerprint: str
    dim: int
    transform: Transform
    runtime: str
    precision: Precision

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 [N, size, size, 3] as ``transform`` makes them → float32 [N, dim], rows of length 1."""
        ...


def open_encoder(bundle: Bundle, runtime: Runtime = "auto", precision: Precision = "f32") -> Encoder:
    """Load ``bundle``. ``auto`` is torch where it is installed and sees a CUDA device, else OpenVINO.

    Raises ``RuntimeUnavailable``.
    """
    if runtime == "auto":
        runtime = "torch" if _cuda_is_here() else "openvino"
    if runtime == "torch":
        if find_spec("torch") is None:
            raise RuntimeUnavailable(
                'The torch runtime needs torch: pip install "lookalike[train]", or use --runtime openvino.'
            )
        from .runtimes.torch import TorchEncoder

        return TorchEncoder(bundle, precision)
    from .runtimes.openvino import OpenVinoEncoder

    return OpenVinoEncoder(bundle, precision)


def _cuda_is_here() -> bool:
    """Looks for the driver's device first: importing torch only to learn that there is none costs a second."""
    if not Path("/dev/nvidiactl").exists() or find_spec("torch") is None:
        return False
    from .runtimes.torch import sees_cuda

    return sees_cuda()
