"""Rows of images in, their pixels out: each file is read once, and decoded on all cores."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model.image import Box, ImageError, upright_size
from model.transform import Transform

from . import DataError
from .labels import Dataset

Advance = Callable[[int], None]

PREVIEW_SIZE = 16
DETAIL = Transform(size=96)  # what a preview is made of: with fewer pixels, copies of other sizes get other previews
_NOTHING = np.empty((0, 0, 3), np.uint8)
_ROWS = 32  # a thread takes at a time: enough that handing them out costs nothing, few enough that progress is seen


@dataclass(frozen=True)
class Pictures:
    """What was seen of N images, in the order of their rows.

    ``pixels`` uint8 [N, size, size, 3], of size 0 where only checks are wanted; ``previews`` uint8 [N, 16, 16, 3]: each
    picture, or the part in its box, squeezed into a square; ``contents``: SHA-256 of each file and its box; ``faults``: kind
    of problem and message by row, for those that could not be read and whose pixels are black.
    """

    pixels: np.ndarray
    previews: np.ndarray
    contents: list[str]
    faults: dict[int, tuple[str, str]]


class _Fault(Exception):
    """Kind of problem and message."""


def look(data: Dataset, transform: Transform | None, advance: Advance = lambda _: None) -> Pictures:
    """Without ``transform`` only what checks need. ``advance`` hears of every image that is done, readable or not.

    Raises ``DataError`` when they do not fit in memory.
    """
    boxes = data.boxes
    pixels, previews = _black(len(data), transform.size if transform else 0), _black(len(data), PREVIEW_SIZE)
    contents, faults = [""] * len(data), {}

    def read(rows: range) -> None:
        for row in rows:
            try:
                contents[row], pixels[row], previews[row] = _read(data.root / data.table["path"][row], boxes[row], transform)
            except _Fault as fault:
                kind, message = fault.args
                faults[row] = (kind, f"{data.table['path'][row]}: {message}")
            advance(1)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, (range(len(data))[start : start + _ROWS] for start in range(0, len(data), _ROWS))):
            pass
    return Pictures(pixels, previews, contents, faults)


def _black(images: int, size: int) -> np.ndarray:
    try:
        return np.zeros((images, size, size, 3), np.uint8)
    except MemoryError as error:
        needed = f"{images:,} images of {size} × {size} pixels need {images * size * size * 3 / 1e9:,.0f} GB of memory"
        raise DataError(f"{needed}, more than there is. Give fewer of them, or a smaller size.") from error


def _read(path: Path, box: Box | None, transform: Transform | None) -> tuple[str, np.ndarray, np.ndarray]:
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


def _pixels(file: bytes, box: Box | None, transform: Transform | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and preview, of one decoding where that has enough detail for both."""
    picture = (transform or DETAIL).decode(file, box=box)
    pixels = _NOTHING if transform is None else transform.apply(picture)
    if transform is not None and transform.size < DETAIL.size:
        picture = DETAIL.decode(file, box=box)
    # Squeezed: the width of bars or margins would hang on how a side is rounded.
    return pixels, np.asarray(picture.resize((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BILINEAR))


def _check_box(box: Box, width: int, height: int) -> None:
    left, top, right, bottom = box
    if left < 0 or top < 0 or right > width or bottom > height:
        corners = ",".join(f"{corner:g}" for corner in box)
        raise _Fault("box-outside", f"the box {corners} leaves the picture of {width} × {height} pixels")
