"""A picture in, the network's input out: the one definition of resizing and cropping.

Normalising belongs to the network's graph, so that it runs compiled and cannot differ between runtimes.
"""

import math
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict

from .image import MAX_PIXELS, Box, decode, upright_size

RULES = 1  # raise when decoding or resizing changes what a vector would be: it is part of every fingerprint


class Transform(BaseModel):
    """How a picture becomes ``size`` × ``size`` pixels.

    ``pad``: the longer side fits and white fills the rest, so nothing of the picture is lost.
    ``crop``: the centre square of 7/8 of the shorter side (256 → 224, as in the literature).
    """

    model_config = ConfigDict(frozen=True)

    size: int = 224
    fit: Literal["pad", "crop"] = "pad"

    def __call__(self, data: bytes, max_pixels: int = MAX_PIXELS, box: Box | None = None) -> np.ndarray:
        """Encoded bytes → uint8 [size, size, 3]; with ``box``, of that part alone. Raises ``model.image.ImageError``."""
        return self.apply(self.decode(data, max_pixels, box))

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS, box: Box | None = None) -> Image.Image:
        """The picture, or what lies in ``box``, no larger than ``apply`` can use. Raises ``model.image.ImageError``."""
        if box is None:
            return decode(data, shorter_side=self._scaled, max_pixels=max_pixels)
        whole = upright_size(data)
        part = min(box[2] - box[0], box[3] - box[1])
        picture = decode(data, shorter_side=math.ceil(self._scaled * min(whole) / part), max_pixels=max_pixels)
        across, down = (have / had for have, had in zip(picture.size, whole, strict=True))
        left, top = min(picture.width - 1, round(box[0] * across)), min(picture.height - 1, round(box[1] * down))
        return picture.crop((left, top, max(left + 1, round(box[2] * across)), max(top + 1, round(box[3] * down))))

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
