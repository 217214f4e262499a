"""A batch of pictures in, the batch with every picture changed in its own way out.

The random numbers of a picture depend on (seed, epoch, row) only, not on the batch it lands in. Each number decides one
thing, so that a change that is switched off alters no other.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .config import Augmentation

TRIES = 10  # windows that are drawn for a crop until one fits, as in torchvision's RandomResizedCrop
_ZOOM, _ASPECT, _TURN, _ACROSS, _DOWN, _FLIP, _SATURATION, _GREY, _CONTRAST, _BRIGHTNESS, _ERASE = range(11)
_ERASED_SIDES, _ERASED_MIDDLE = slice(11, 13), slice(13, 15)
_AREAS, _RATIOS = slice(15, 15 + TRIES), slice(15 + TRIES, 15 + 2 * TRIES)
DRAWS = 15 + 2 * TRIES  # random numbers a picture
_BRIGHT = (0.299, 0.587, 0.114)  # red, green and blue in the brightness of a pixel, ITU-R BT.601


def draws(seed: int, epoch: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 [count, DRAWS]: one row a picture."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return torch.from_numpy(generator.random((count, DRAWS), dtype=np.float32))


def augment(pixels: Tensor, draws: Tensor, options: Augmentation, size: int, aspects: Tensor | None = None) -> Tensor:
    """uint8 [B, H, W, 3] and [B, DRAWS] → float32 [B, 3, size, size] in [0, 1].

    ``aspects`` [B]: width ÷ height of pictures that were squeezed into their squares; the window ``crop`` undoes it.
    """
    windows = _crop(draws, options, aspects) if options.window == "crop" else _zoom(draws, options)
    mirror = torch.where(draws[:, _FLIP] < options.flip, -1.0, 1.0).view(-1, 1)
    across, down, middle = windows.unbind(dim=2)
    images = _sample(pixels, torch.stack([across * mirror, down, middle], dim=2), size)
    return _erase(_recolour(images, draws, options), draws, options).clamp_(0, 1)


def _zoom(draws: Tensor, options: Augmentation) -> Tensor:
    """Zoom, aspect, rotation and shift as one affine map, [B, 2, 3], from the window's [-1, 1]² to the picture's."""
    low, high = options.zoom
    zoom = low + (high - low) * draws[:, _ZOOM]
    stretch = options.aspect ** (draws[:, _ASPECT] - 0.5)
    angle = math.radians(options.rotation) * _signed(draws[:, _TURN])
    free = (1 - zoom).clamp_min(0) + options.shift
    width, height = zoom * stretch, zoom / stretch
    return _affine(
        (width * angle.cos(), -height * angle.sin(), free * _signed(draws[:, _ACROSS])),
        (width * angle.sin(), height * angle.cos(), free * _signed(draws[:, _DOWN])),
    )


def _crop(draws: Tensor, options: Augmentation, aspects: Tensor | None) -> Tensor:
    """RandomResizedCrop's windows as affine maps: the first of ``TRIES`` that fits into the picture, anywhere inside.

    Where none fits, the largest of the nearest allowed ratio in the middle, as in torchvision.
    """
    aspect = draws.new_ones(len(draws)) if aspects is None else aspects
    (least, most), (narrow, wide) = options.area, options.ratio
    area = least + (most - least) * draws[:, _AREAS]
    ratio = narrow * (wide / narrow) ** draws[:, _RATIOS]
    sides = torch.stack([(area * ratio / aspect[:, None]).sqrt(), (area / ratio * aspect[:, None]).sqrt()], dim=2)
    fits = (sides <= 1).all(dim=2)
    first = fits.int().argmax(dim=1)[:, None, None].expand(-1, 1, 2)
    nearest = aspect.clamp(narrow, wide) / aspect
    largest = torch.stack([nearest.clamp_max(1), nearest.reciprocal().clamp_max(1)], dim=1)
    found = fits.any(dim=1)
    width, height = torch.where(found[:, None], sides.gather(1, first)[:, 0], largest).unbind(dim=1)
    nothing = torch.zeros_like(width)
    return _affine(
        (width, nothing, (1 - width) * _signed(draws[:, _ACROSS]) * found),
        (nothing, height, (1 - height) * _signed(draws[:, _DOWN]) * found),
    )


def _affine(x: tuple[Tensor, Tensor, Tensor], y: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(x, dim=1), torch.stack(y, dim=1)], dim=1)


def _sample(pixels: Tensor, windows: Tensor, size: int) -> Tensor:
    """uint8 [B, H, W, 3] → the windows as float32 [B, 3, size, size] in [0, 1]. Beyond the border its last pixels go on.

    Bilinear sampling looks at two pixels each way. Of pictures of twice ``size`` or more it would pass some over, so there
    the window is sampled finer and averaged. How fine must not hang on the windows of the batch.
    """
    fine = max(1, pixels.shape[1] // size)
    line = (torch.arange(size * fine, device=pixels.device) + 0.5) * (2 / (size * fine)) - 1
    across, down, middle = windows[:, None, None].unbind(dim=4)
    grid = across * line[:, None] + middle + down * line[:, None, None]
    images = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return (functional.avg_pool2d(images, fine) if fine > 1 else images).div_(255)


def _recolour(images: Tensor, draws: Tensor, options: Augmentation) -> Tensor:
    """Saturation, then contrast, then brightness: a pixel's own value, its grey and a constant, each with a weight."""
    red, green, blue = images.unbind(dim=1)
    grey = (red * _BRIGHT[0]).add_(green, alpha=_BRIGHT[1]).add_(blue, alpha=_BRIGHT[2])[:, None]
    saturation = 1 + options.saturation * _signed(draws[:, _SATURATION])
    saturation = _each(torch.where(draws[:, _GREY] < options.grey, 0.0, saturation))
    contrast = _each(1 + options.contrast * _signed(draws[:, _CONTRAST]))
    brightness = _each(options.brightness * _signed(draws[:, _BRIGHTNESS]))
    mean = torch.lerp(_mean(grey), _mean(images).mean(dim=1, keepdim=True), saturation)
    grey.mul_(contrast * (1 - saturation)).add_(mean * (1 - contrast) + brightness)
    return torch.addcmul(grey, images, contrast * saturation)


def _erase(images: Tensor, draws: Tensor, options: Augmentation) -> Tensor:
    """Replace a rectangle by the picture's mean."""
    size = images.shape[-1]
    half, middle = 0.1 + 0.15 * draws[:, _ERASED_SIDES], draws[:, _ERASED_MIDDLE]
    line = (torch.arange(size, device=images.device) + 0.5) / size
    inside = (line - middle[:, :, None]).abs() < half[:, :, None]
    chosen = _each(draws[:, _ERASE] < options.erase)
    return torch.where(inside[:, 0, None, None, :] & inside[:, 1, None, :, None] & chosen, _mean(images), images)


def _mean(images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3), keepdim=True)


def _each(values: Tensor) -> Tensor:
    """One value a picture."""
    return values.view(-1, 1, 1, 1)


def _signed(draws: Tensor) -> Tensor:
    return 2 * draws - 1
