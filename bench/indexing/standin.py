"""An encoder that stands in for the real one: it takes a given time an image, and its vectors are made of the bytes.

So a job over very many items shows what it costs itself.
"""

import hashlib
import time
from typing import cast

import numpy as np

from model.bundle import Bundle
from model.encoder import Precision
from model.transform import Transform

from . import made


class StandIn:
    """``seconds`` an image. Follows ``model.encoder.Encoder``, but any bytes are a picture."""

    runtime: str = "none"
    precision: Precision = "f32"

    def __init__(self, bundle: Bundle, dim: int, seconds: float = 0.0) -> None:
        self.fingerprint, self.dim, self._seconds = bundle.fingerprint, dim, seconds
        self.transform = cast(Transform, _digest)

    def encode(self, images: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds * len(images))
        return np.concatenate([made.drawn(np.random.default_rng(image), 1, self.dim) for image in images])


def _digest(data: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
