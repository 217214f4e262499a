"""What copying does to a picture, and what makes it another one."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from index.duplicates.alikeness import OVERLAP, SAME, differences, inner, look, overlaps
from model.image import DamagedImage


def scene(number: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Soft shapes of many colours; another number, another picture."""
    colours = np.random.default_rng(number).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC)


def encoded(picture: Image.Image, kind: str = "JPEG", **options) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def difference(one: bytes, other: bytes) -> float:
    """Infinite where the coarse look refuses. Whichever of the two comes first, the verdict is the same."""
    looks = np.stack([look(one)[0], look(other)[0]])
    found = overlaps(looks, np.array([[0, 1], [1, 0]]))
    values = np.where(found.fit >= OVERLAP, differences(looks, found), np.inf)
    assert (values[0] <= SAME) == (values[1] <= SAME)
    return float(values[0])


def cropped(picture: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    width, height = picture.size
    return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def with_glow(picture: Image.Image) -> Image.Image:
    """The picture in the middle of a transparent canvas."""
    canvas = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    canvas.paste(picture, (40, 80))
    return canvas


COPIES = {
    "resized": lambda picture: encoded(picture.resize((160, 120)), quality=90),
    "squeezed": lambda picture: encoded(picture.resize((200, 240)), quality=90),
    "recompressed": lambda picture: encoded(picture, quality=30),
    "another format": lambda picture: encoded(picture, "WEBP", quality=60),
    "black border": lambda picture: encoded(ImageOps.expand(picture, 30, "black"), quality=80),
    "bars": lambda picture: encoded(ImageOps.expand(picture, (0, 60), "white"), quality=80),
    "border in a border": lambda picture: encoded(ImageOps.expand(ImageOps.expand(picture, 20, "white"), 10, "black")),
    "transparent border": lambda picture: encoded(with_glow(picture), "PNG"),
    "cropped in the middle": lambda picture: encoded(cropped(picture, 0.1, 0.1, 0.9, 0.9), quality=90),
    "cropped at a corner": lambda picture: encoded(cropped(picture, 0, 0.2, 0.8, 1), quality=90),
    "cropped at one side": lambda picture: encoded(cropped(picture, 0.17, 0, 1, 1), quality=90),
    "cropped and smaller": lambda picture: encoded(cropped(picture, 0.05, 0.1, 0.95, 0.9).resize((200, 133)), quality=70),
    "brighter": lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(1.2), quality=90),
    "darker": lambda picture: encoded(ImageEnhance.Brightness(picture).enhance(0.7), quality=90),
    "less contrast": lambda picture: encoded(ImageEnhance.Contrast(picture).enhance(0.6), quality=90),
}


def disc() -> Image.Image:
    picture = Image.new("RGB", (240, 240), "white")
    ImageDraw.Draw(picture).ellipse((20, 20, 220, 220), "gold")
    return picture


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_copy_differs_little(how, number):
    picture = scene(number)
    assert difference(encoded(picture, "PNG"), COPIES[how](picture)) < SAME


def spotted(picture: Image.Image) -> Image.Image:
    changed = picture.copy()
    changed.paste((255, 0, 255), (140, 90, 190, 140))
    return changed


def recoloured(picture: Image.Image) -> Image.Image:
    red, green, blue = picture.split()
    return Image.merge("RGB", (blue, red, green))


OTHERS = {
    "another picture": lambda picture: scene(99),
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "negative": ImageOps.invert,
    "other colours": recoloured,
    "no colours": lambda picture: picture.convert("L"),
    "one detail": spotted,
    "a small part": lambda picture: cropped(picture, 0, 0, 0.5, 0.5),
}


@pytest.mark.parametrize("how", OTHERS)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_picture_differs_much(how, number):
    picture = scene(number)
    assert difference(encoded(picture, "PNG"), encoded(OTHERS[how](picture), "PNG")) > SAME


def test_what_has_a_border_is_no_crop_of_what_goes_on_there():
    """A heart is no crop of a heart with rays; but cut off at the rays, it would be one."""
    heart = Image.new("RGB", (300, 300), "white")
    heart.paste(scene(5, (200, 200)), (50, 80))
    rays = heart.copy()
    rays.paste("red", (100, 20, 200, 50))
    assert difference(encoded(heart, "PNG"), encoded(rays, "PNG")) > SAME
    assert difference(encoded(cropped(heart, 0.1, 0.265, 1, 1), "PNG"), encoded(rays, "PNG")) < SAME


def test_pictures_without_contrast():
    grey, light = (encoded(Image.new("RGB", (100, 80), colour), "PNG") for colour in ("grey", "white"))
    assert difference(grey, encoded(Image.new("RGB", (60, 60), "grey"))) < SAME
    assert difference(grey, light) > SAME
    assert difference(grey, encoded(scene(1))) > SAME


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (900, 3)])
def test_odd_sizes_are_looked_at(size):
    seen, found = look(encoded(scene(1, size), "PNG"))
    assert found == size
    assert seen["pixels"].shape == (48, 48, 3)


def test_the_size_is_that_of_the_upright_picture():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert look(encoded(scene(1), exif=turned.tobytes()))[1] == (240, 320)


def test_the_border_is_found():
    pixels = np.asarray(ImageOps.expand(scene(1), (10, 20, 30, 40), "white"))
    assert inner(pixels) == (10, 20, 330, 260)
    assert inner(np.zeros((20, 30, 3), np.uint8)) == (0, 0, 30, 20), "of a picture of one colour all is left"


def test_a_broken_picture_is_refused():
    with pytest.raises(DamagedImage):
        look(encoded(scene(1))[:2000])


def test_no_pairs():
    looks = np.stack([look(encoded(scene(1)))[0]])
    found = overlaps(looks, np.empty((0, 2), np.int64))
    assert len(found.fit) == len(differences(looks, found)) == 0


def test_pairs_are_counted_once_each():
    looks = np.stack([look(encoded(scene(number)))[0] for number in range(4)])
    done = []
    overlaps(looks, np.array([[0, 1], [2, 1], [3, 0], [1, 3]]), done.append)
    assert sum(done) == 4


def test_a_tile_of_one_colour_is_part_of_nothing_and_still_itself():
    tile = Image.new("RGB", (240, 240), "gold")
    assert difference(encoded(tile, "PNG"), encoded(disc(), "PNG")) == np.inf
    assert difference(encoded(tile, "PNG"), encoded(tile.resize((100, 100)), quality=60)) <= SAME
    assert difference(encoded(disc(), "PNG"), encoded(disc().resize((100, 100)), quality=60)) <= SAME
