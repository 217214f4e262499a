"""Rows of images in, their pixels out: each file is read once, and decoded on all cores."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from model.image import MAX_PIXELS, Box, ImageError, upright_size
from model.transform import Transform

from . import DataError
from .labels import Dataset
from .memory import new_store, pixel_bytes

Advance = Callable[[int], None]

PREVIEW_SIZE = 16
DETAIL = Transform(size=96)  # what a preview is made of: with fewer pixels, copies of other sizes get other previews
_NOTHING = np.empty((0, 0, 3), np.uint8)
_ROWS = 32  # a thread takes at a time: enough that handing them out costs nothing, few enough that progress is seen


@dataclass(frozen=True)
class Squeeze:
    """In the place of a ``Transform``, for crops that are drawn from whole pictures: the picture fills the square, each side
    resized on its own. Its width ÷ height is kept in ``Pictures.aspects``.
    """

    size: int

    def decode(self, data: bytes, max_pixels: int = MAX_PIXELS, box: Box | None = None) -> Image.Image:
        """The picture, or what lies in ``box``, no larger than ``apply`` can use. Raises ``model.image.ImageError``."""
        return Transform(size=self.size).decode(data, max_pixels, box)

    def apply(self, picture: Image.Image) -> np.ndarray:
        """An RGB picture → uint8 [size, size, 3]."""
        return np.asarray(picture.resize((self.size, self.size), Image.Resampling.BICUBIC, reducing_gap=3.0))


@dataclass(frozen=True)
class Pictures:
    """What was seen of N images, in the order of their rows.

    ``pixels`` uint8 [N, size, size, 3], of size 0 where only checks are wanted; ``previews`` uint8 [N, 16, 16, 3]: each
    picture, or the part in its box, squeezed into a square; ``contents``: SHA-256 of each file and its box; ``faults``: kind
    of problem and message by row, for those that could not be read and whose pixels are black; ``aspects`` float32 [N]: width ÷
    height of pictures that ``Squeeze`` made square, else 1.
    """

    pixels: np.ndarray
    previews: np.ndarray
    contents: list[str]
    faults: dict[int, tuple[str, str]]
    aspects: np.ndarray = field(default_factory=lambda: np.ones(0, np.float32))


class _Fault(Exception):
    """Kind of problem and message."""


def look(
    data: Dataset, transform: Transform | Squeeze | None, advance: Advance = lambda _: None, store: Path | None = None
) -> Pictures:
    """Without ``transform`` only what checks need. ``advance`` hears of every image that is done, readable or not.

    ``store``: a file for the pixels, which is then mapped into memory. Raises ``DataError`` when they do not fit where they
    are to be, and when the folder of the pictures is gone.
    """
    size = transform.size if transform else 0
    if store is None:
        return _look(data, transform, advance, _black(len(data), size))
    with new_store(store, len(data), size) as pixels:
        return _look(data, transform, advance, pixels)


def _look(data: Dataset, transform: Transform | Squeeze | None, advance: Advance, pixels: np.ndarray) -> Pictures:
    previews, contents, aspects = _black(len(data), PREVIEW_SIZE), [""] * len(data), np.ones(len(data), np.float32)
    boxes, paths, faults = data.boxes, data.table["path"], {}

    def read(rows: range) -> None:
        for row in rows:
            try:
                seen = _read(data.root / paths[row], boxes[row], transform)
                contents[row], pixels[row], aspects[row], previews[row] = seen
            except _Fault as fault:
                kind, message = fault.args
                faults[row] = (kind, f"{paths[row]}: {message}")
            advance(1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, (range(len(data))[start : start + _ROWS] for start in range(0, len(data), _ROWS))):
            pass
    if faults and not data.root.exists():
        raise DataError(f"{data.root} is gone. Bring the folder back, and start again.")
    return Pictures(pixels, previews, contents, faults, aspects)


def digest(data: Dataset, pictures: Pictures) -> str:
    """SHA-256 of every row's label, split and content: equal only where a run would learn from the same pictures."""
    found = hashlib.sha256()
    for row in zip(data.labels, data.table["split"], pictures.contents, strict=True):
        found.update(json.dumps(row).encode() + b"\n")
    return found.hexdigest()


def _black(images: int, size: int) -> np.ndarray:
    try:
        return np.zeros((images, size, size, 3), np.uint8)
    except MemoryError as error:
        needed = f"{images:,} images of {size} × {size} pixels need {pixel_bytes(images, size) / 1e9:,.0f} GB of memory"
        raise DataError(f"{needed}, more than there is. Give fewer of them, or a smaller size.") from error


def _read(path: Path, box: Box | None, transform: Transform | Squeeze | None) -> tuple[str, np.ndarray, float, np.ndarray]:
    """Content, pixels, aspect and preview."""
    try:
        file = path.read_bytes()
    except FileNotFoundError as error:
        raise _Fault("missing-file", "the file does not exist") from error
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        raise _Fault("unreadable-image", f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from error
    content = hashlib.sha256(file + repr(box).encode() if box else file).hexdigest()
    try:
        if box is not None:
            _check_box(box, *upright_size(file))
        return content, *_pixels(file, box, transform)
    except ImageError as error:
        raise _Fault("unreadable-image", str(error)) from error


def _pixels(file: bytes, box: Box | None, transform: Transform | Squeeze | None) -> tuple[np.ndarray, float, np.ndarray]:
    """Pixels, aspect and preview, of one decoding where that has enough detail for both."""
    picture = (transform or DETAIL).decode(file, box=box)
    pixels = _NOTHING if transform is None else transform.apply(picture)
    aspect = picture.width / picture.height if isinstance(transform, Squeeze) else 1.0
    if transform is not None and transform.size < DETAIL.size:
        picture = DETAIL.decode(file, box=box)
    # Squeezed: the width of bars or margins would hang on how a side is rounded.
    return pixels, aspect, np.asarray(picture.resize((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BILINEAR))


def _check_box(box: Box, width: int, height: int) -> None:
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > width or bottom > height:
        corners = ",".join(f"{corner:g}" for corner in box)
        raise _Fault("box-outside", f"the box {corners} leaves the picture of {width} × {height} pixels")
