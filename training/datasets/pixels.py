"""Image files in, one uint8 array of decoded pixels out: each picture is decoded once, on all cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from model.image import ImageError
from model.transform import Transform

from . import DataError


def decode_all(paths: Sequence[Path], transform: Transform, advance: Callable[[int], None] = lambda _: None) -> np.ndarray:
    """→ uint8 [N, size, size, 3]; ``advance`` hears of every finished picture.

    Raises ``DataError`` that names every file that cannot be decoded.
    """
    pixels = np.empty((len(paths), transform.size, transform.size, 3), np.uint8)

    def decode(row: int) -> str | None:
        try:
            pixels[row] = transform(paths[row].read_bytes())
        except (ImageError, OSError) as error:
            return f"{paths[row]}: {error}"
        finally:
            advance(1)
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(decode, range(len(paths))) if problem]
    if problems:
        listed = "\n  ".join(problems[:20])
        raise DataError(f"{len(problems)} images cannot be read; repair them or take them out:\n  {listed}")
    return pixels
