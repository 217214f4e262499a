"""A batch of pictures in, the batch with every picture changed in its own way out.

The random numbers of a picture depend on (seed, epoch, row) only, not on the batch it lands in.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .config import Augmentation

DRAWS = 16  # random numbers a picture


def draws(seed: int, epoch: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 [count, DRAWS]: one row a picture."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return torch.from_numpy(generator.random((count, DRAWS), dtype=np.float32))


def augment(pixels: Tensor, draws: Tensor, options: Augmentation, size: int) -> Tensor:
    """uint8 [B, H, W, 3] and [B, DRAWS] → float32 [B, 3, size, size] in [0, 1]."""
    images = pixels.permute(0, 3, 1, 2).float() / 255
    images = _warp(images, draws[:, :6], options, size)
    images = _recolour(images, draws[:, 6:10], options)
    return _erase(images, draws[:, 10:16], options).clamp(0, 1)


def _warp(images: Tensor, draws: Tensor, options: Augmentation, size: int) -> Tensor:
    """Zoom, aspect, rotation and shift in one resampling. Beyond the border its last pixels go on."""
    low, high = options.zoom
    zoom = low + (high - low) * draws[:, 0]
    stretch = options.aspect ** (draws[:, 1] - 0.5)
    angle = math.radians(options.rotation) * _signed(draws[:, 2])
    free = (1 - zoom).clamp_min(0) + options.shift
    theta = torch.stack(
        [
            torch.stack([zoom * stretch * angle.cos(), -zoom / stretch * angle.sin(), free * _signed(draws[:, 3])], dim=1),
            torch.stack([zoom * stretch * angle.sin(), zoom / stretch * angle.cos(), free * _signed(draws[:, 4])], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _recolour(images: Tensor, draws: Tensor, options: Augmentation) -> Tensor:
    grey = images.mul(images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    saturation = 1 + options.saturation * _signed(draws[:, 0])
    saturation = torch.where(draws[:, 1] < options.grey, 0.0, saturation).view(-1, 1, 1, 1)
    images = torch.lerp(grey.expand_as(images), images, saturation)
    contrast = (1 + options.contrast * _signed(draws[:, 2])).view(-1, 1, 1, 1)
    brightness = (options.brightness * _signed(draws[:, 3])).view(-1, 1, 1, 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * contrast + mean + brightness


def _erase(images: Tensor, draws: Tensor, options: Augmentation) -> Tensor:
    size = images.shape[-1]
    half = 0.1 + 0.15 * draws[:, 1:3]
    middle = draws[:, 3:5]
    line = (torch.arange(size, device=images.device) + 0.5) / size
    inside = (line[None, None, :] - middle[:, :, None]).abs() < half[:, :, None]
    hidden = inside[:, 0, None, :, None] & inside[:, 1, None, None, :] & (draws[:, 0] < options.erase).view(-1, 1, 1, 1)
    return torch.where(hidden, images.mean(dim=(2, 3), keepdim=True), images)


def _signed(draws: Tensor) -> Tensor:
    return 2 * draws - 1
