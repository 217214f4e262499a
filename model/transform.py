"""A picture in, the network's input out: the one definition of resizing and cropping.

Normalising belongs to the network's graph, so that it runs compiled and cannot differ between runtimes.
"""

from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from .image import MAX_PIXELS, decode

RULES = 1  # raise when decoding or resizing changes what a vector would be: it is part of every fingerprint


class Transform(BaseModel):
    """How a picture becomes ``size`` × ``size`` pixels.

    ``pad``: the longer side fits and white fills the rest, so nothing of the picture is lost.
    ``crop``: the centre square of 7/8 of the shorter side (256 → 224, as in the literature).
    """

    model_config = ConfigDict(frozen=True)

    size: int = 224
    fit: Literal["pad", "crop"] = "pad"

    def __call__(self, data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Encoded bytes → uint8 [size, size, 3]. Raises ``model.image.ImageError``."""
        return self.apply(decode(data, shorter_side=self._scaled, max_pixels=max_pixels))

    def apply(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture → uint8 [size, size, 3]."""
        if self.fit == "pad":
            box, scale = None, self.size / max(picture.size)
            width, height = (max(1, round(length * scale)) for length in picture.size)
        else:  # cut out before resizing: the resized whole of a long narrow picture could fill the memory
            side = min(picture.size) * 7 / 8
            left, top = ((length - side) / 2 for length in picture.size)
            box, width, height = (left, top, left + side, top + side), self.size, self.size
        resized = picture.resize((width, height), Image.Resampling.BICUBIC, box, reducing_gap=3.0)
        canvas = Image.new("RGB", (self.size, self.size), "white")
        canvas.paste(resized, ((self.size - width) // 2, (self.size - height) // 2))
        return np.asarray(canvas)

    @property
    def _scaled(self) -> int:
        return self.size if self.fit == "pad" else round(self.size * 8 / 7)
