"""Where a picture's content lands, and what is around it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from model.image import ImageTooLarge
from model.transform import Transform

SIDES = st.integers(1, 700)


def content(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not white."""
    rows, columns = (np.flatnonzero((pixels < 255).any(axis=(2, axis))) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@given(width=SIDES, height=SIDES, size=st.integers(8, 130))
@settings(deadline=None)
def test_pad_keeps_the_whole_picture_in_the_middle_of_white(width: int, height: int, size: int) -> None:
    pixels = Transform(size=size).apply(Image.new("RGB", (width, height), (10, 20, 30)))
    assert pixels.shape == (size, size, 3) and pixels.dtype == np.uint8
    left, top, right, bottom = content(pixels)
    assert (pixels[top:bottom, left:right] == (10, 20, 30)).all()  # nothing else but white and the picture
    for start, end, length in ((left, right, width), (top, bottom, height)):
        assert abs((end - start) - max(1, size * length / max(width, height))) <= 0.5
        assert 0 <= (size - end) - start <= 1


@given(width=SIDES, height=SIDES, size=st.integers(8, 130))
@settings(deadline=None)
def test_crop_is_the_middle_of_the_shorter_side(width: int, height: int, size: int) -> None:
    side = min(width, height) * 7 / 8
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = np.stack([255 * (x + 0.5) / width, 255 * (y + 0.5) / height, 0 * x], axis=2)  # tells where each pixel was
    pixels = Transform(size=size, fit="crop").apply(Image.fromarray(ramp.round().astype(np.uint8)))
    assert pixels.shape == (size, size, 3)
    within = (np.arange(size) + 0.5) / size * side
    for channel, axis, length in ((0, 0, width), (1, 1, height)):
        expected = 255 * ((length - side) / 2 + within) / length
        pixel = 255 / length * max(1, side / size)  # the larger of source and target
        assert np.abs(pixels[..., channel].mean(axis=axis) - expected).max() <= pixel + 1


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 4_000_000), (3, 7), (224, 224)])
def test_extreme_shapes(fit: str, shape: tuple[int, int]) -> None:
    pixels = Transform(size=96, fit=fit).apply(Image.new("RGB", shape, "black"))
    assert pixels.shape == (96, 96, 3)
    thickness = {"pad": max(1, round(96 * min(shape) / max(shape))), "crop": 96}[fit]
    assert (pixels == 0).all(axis=2).sum() == 96 * thickness


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_an_enlarged_picture_keeps_its_colours(fit: str) -> None:
    quarters = Image.fromarray(np.array([[[0] * 3, [80] * 3], [[160] * 3, [240] * 3]], np.uint8))
    pixels = Transform(size=100, fit=fit).apply(quarters)
    corners = pixels[[5, 5, -6, -6], [5, -6, 5, -6], 0].astype(int)
    assert np.abs(corners - [0, 80, 160, 240]).max() <= 16


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    return file.getvalue()


@given(width=st.integers(30, 900), height=st.integers(30, 900), fit=st.sampled_from(["pad", "crop"]))
@settings(max_examples=25, deadline=None)
def test_a_jpeg_decoded_at_a_smaller_scale_gives_the_same_input(width: int, height: int, fit: str) -> None:
    noise = np.random.default_rng(width).integers(0, 256, (6, 6, 3), np.uint8)
    data = jpeg(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    transform = Transform(size=64, fit=fit)
    fast, thorough = transform(data), transform.apply(Image.open(io.BytesIO(data)))
    assert np.abs(fast.astype(int) - thorough).mean() < 12  # a scaled side is rounded up; another picture differs by 60
    assert np.array_equal(fast, transform(data))


def test_the_limit_of_pixels_is_passed_on() -> None:
    with pytest.raises(ImageTooLarge):
        Transform()(jpeg(Image.new("RGB", (40, 40))), max_pixels=1599)


def test_a_transform_is_a_value() -> None:
    assert Transform.model_validate_json(Transform(size=96, fit="crop").model_dump_json()) == Transform(size=96, fit="crop")
    with pytest.raises(ValidationError):
        Transform(fit="stretch")
    with pytest.raises(ValidationError):
        Transform().size = 5
