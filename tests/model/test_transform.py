"""Where a picture's content lands, and what is around it."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
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


# Boxes


def clouds(width: int, height: int) -> Image.Image:
    noise = np.random.default_rng(width).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("fit", ["pad", "crop"])
@given(data=st.data(), width=st.integers(1, 60), height=st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_a_box_is_the_same_as_the_part_cut_out_by_hand(data: st.DataObject, fit: str, width: int, height: int) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = (left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    picture, transform = clouds(width, height), Transform(size=24, fit=fit)
    np.testing.assert_array_equal(transform(encoded(picture, "PNG"), box=box), transform.apply(picture.crop(box)))


@pytest.mark.parametrize("fit", ["pad", "crop"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("box", [(0, 0, 640, 480), (304, 40, 624, 440), (0, 296, 104, 480)])
def test_a_box_of_a_turned_jpeg_that_is_decoded_at_a_smaller_scale(fit: str, orientation: int, box: tuple) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = clouds(640, 480) if orientation < 5 else clouds(480, 640)
    file, transform = encoded(stored, "JPEG", quality=95, exif=exif), Transform(size=24, fit=fit)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file)))
    expected = transform.apply(upright.crop(box)).astype(int)
    assert upright.size == (640, 480)
    assert np.abs(transform(file, box=box) - expected).mean() < 6  # another part differs by 30 and more


@pytest.mark.parametrize("box", [(0.4, 0.4, 1.4, 1.4), (46.9, 34.9, 47.9, 35.9), (47.5, 0, 48, 36), (0, 0, 48, 0.25)])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_box_of_parts_of_pixels_holds_a_pixel_at_least(box: tuple, form: str) -> None:
    assert Transform(size=24)(encoded(clouds(48, 36), form), box=box).shape == (24, 24, 3)


def test_the_limit_of_pixels_holds_for_the_whole_picture() -> None:
    with pytest.raises(ImageTooLarge):
        Transform()(jpeg(Image.new("RGB", (40, 40))), max_pixels=1599, box=(0, 0, 5, 5))
