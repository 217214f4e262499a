"""The images that are learnt from: their pixels, in memory or mapped from a file, and their classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .augment import augment
from .config import Augmentation


@dataclass(frozen=True)
class Examples:
    """N images. ``rows`` [N] are theirs in ``pixels`` uint8 [M, S, S, 3] and ``aspects`` (width ÷ height) [M]; ``labels`` int64
    [N] count the ``classes`` from 0; ``files`` are named when something is wrong."""

    pixels: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    files: Sequence[str]
    aspects: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, chosen: np.ndarray, changes: Tensor, options: Augmentation, size: int, device: torch.device) -> Tensor:
        """The ``chosen`` examples, augmented by their rows of ``changes``: float32 [B, 3, size, size] in [0, 1]."""
        rows = self.rows[chosen]
        pixels = torch.from_numpy(self.pixels[rows]).to(device, non_blocking=True)
        aspects = None if self.aspects is None else torch.from_numpy(self.aspects[rows]).to(device)
        images = augment(pixels, changes[torch.from_numpy(chosen)].to(device), options, size, aspects)
        return images.contiguous(memory_format=torch.channels_last)

    def some(self, chosen: np.ndarray) -> "Examples":
        """Only the ``chosen`` ones, with their classes counted anew."""
        names = [self.classes[label] for label in self.labels[chosen]]
        return of(self.pixels, names, [self.files[place] for place in chosen], self.rows[chosen], self.aspects)


def of(
    pixels: np.ndarray,
    labels: Sequence[str],
    files: Sequence[str] = (),
    rows: np.ndarray | None = None,
    aspects: np.ndarray | None = None,
) -> Examples:
    """Images by the names of their classes; ``rows``: theirs in ``pixels``, by default all."""
    classes, numbers = np.unique(np.asarray(labels), return_inverse=True)
    rows = np.arange(len(pixels)) if rows is None else rows
    files = files or [f"row {row}" for row in rows]
    return Examples(pixels, rows, numbers.astype(np.int64), tuple(map(str, classes)), files, aspects)
