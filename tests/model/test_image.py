"""Bytes of every kind, honest and broken, become an upright RGB picture or an ImageError."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.image import DamagedImage, ImageError, ImageTooLarge, NotAnImage, decode, media_type, upright_size

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of what it then raises for

WIDTH, HEIGHT = 48, 36
# Each corner has its own colour, so that no turn or mirroring goes unseen.
GRADIENT = np.stack(
    [
        np.tile(np.linspace(0, 255, WIDTH), (HEIGHT, 1)),
        np.tile(np.linspace(0, 255, HEIGHT), (WIDTH, 1)).T,
        np.full((HEIGHT, WIDTH), 90),
    ],
    axis=2,
).astype(np.uint8)
PICTURE = Image.fromarray(GRADIENT)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def encoded(picture: Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    picture.copy().save(file, form, **options)  # saving a JPEG leaves its settings in the picture
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colours: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def difference(picture: Image.Image, expected) -> float:
    """The largest over channels of the mean difference."""
    found, wanted = np.asarray(picture, np.float32), np.asarray(expected, np.float32)
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).mean(axis=(0, 1)).max())


LOSSLESS = {
    "png": ("PNG", {}),
    "webp lossless": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff packbits": ("TIFF", {"compression": "packbits"}),
}
LOSSY = {
    "jpeg": ("JPEG", {"quality": 95}),
    "jpeg progressive": ("JPEG", {"quality": 95, "progressive": True}),
    "jpeg with restarts": ("JPEG", {"quality": 95, "restart_marker_blocks": 3}),
    "webp": ("WEBP", {"quality": 95}),
    "gif": ("GIF", {}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg", "quality": 95}),
}
FORMS = LOSSLESS | LOSSY
# Noise makes the files long, so that a cut falls into the pixels.
FILES = {name: encoded(NOISE, form, **options) for name, (form, options) in FORMS.items()} | {
    "jpeg grey": encoded(NOISE.convert("L"), "JPEG"),
    "jpeg cmyk": encoded(NOISE.convert("CMYK"), "JPEG"),
    "png palette": encoded(NOISE.quantize(64), "PNG"),
    "png 16 bits": encoded(Image.fromarray(np.asarray(NOISE.convert("L")).astype(np.uint16) * 257), "PNG"),
    "webp alpha": encoded(NOISE.convert("RGBA"), "WEBP"),
}


# What each format becomes


@pytest.mark.parametrize("name", FORMS)
def test_every_format(name: str) -> None:
    form, options = FORMS[name]
    picture = decode(encoded(PICTURE, form, **options))
    assert picture.mode == "RGB"
    assert difference(picture, GRADIENT) <= (0 if name in LOSSLESS else 6)
    assert media_type(encoded(PICTURE, form, **options)) == f"image/{form.lower()}"


def test_the_jpegs_of_a_phone_that_hold_a_second_picture() -> None:
    data = encoded(PICTURE, "MPO", save_all=True, append_images=[NOISE], quality=95)
    assert media_type(data) == "image/jpeg"
    assert difference(decode(data), GRADIENT) < 3


# In EXIF's words: which side of the upright picture the first stored row is, and which the first stored column.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright: np.ndarray, orientation: int) -> Image.Image:
    row, column = SIDES[orientation]
    pixels = upright if row in ("top", "bottom") else upright.transpose(1, 0, 2)
    pixels = pixels[::-1] if row in ("bottom", "right") else pixels
    return Image.fromarray(np.ascontiguousarray(pixels[:, ::-1] if column in ("bottom", "right") else pixels))


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "png", "webp lossless", "tiff", "tiff lzw"])
def test_orientation(name: str, orientation: int) -> None:
    form, options = FORMS[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(encoded(stored(GRADIENT, orientation), form, exif=exif, **options))
    assert difference(upright, GRADIENT) <= (0 if name in LOSSLESS else 3)


@pytest.mark.parametrize("orientation", SIDES)
def test_orientation_of_grey_and_scaled_jpegs(orientation: int) -> None:
    large = np.kron(GRADIENT, np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    scaled = decode(encoded(stored(large, orientation), "JPEG", exif=exif, quality=95), shorter_side=HEIGHT)
    assert difference(scaled, GRADIENT) < 3
    grey = decode(encoded(stored(GRADIENT, orientation).convert("L"), "JPEG", exif=exif, quality=95))
    assert difference(grey, PICTURE.convert("L").convert("RGB")) < 3


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("name", FORMS)
def test_the_size_is_that_of_the_upright_picture(name: str, orientation: int) -> None:
    form, options = FORMS[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = encoded(stored(GRADIENT, orientation), form, **options, **({} if form == "GIF" else {"exif": exif}))
    assert upright_size(turned) == decode(turned).size
    if form not in ("GIF", "BMP"):  # which have no place for an orientation
        assert upright_size(turned) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_makes_no_sense_is_passed_over(form: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(encoded(PICTURE, form, exif=exif)).size == (WIDTH, HEIGHT)


TEXT = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI4sI", 0x0112, 2, 3, b"up", 0)
TOO_LONG = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIII", 0x0112, 3, 2**31, 2**31, 0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"", b"\xff" * 40, b"II*\0\xff\xff\xff\xff", b"II*\0\x08", TEXT, TOO_LONG])
def test_broken_exif_spoils_no_picture(form: str, exif: bytes) -> None:
    assert difference(decode(encoded(PICTURE, form, exif=b"Exif\0\0" + exif)), GRADIENT) < 6


# Colours


RED, HALF_RED = (255, 0, 0), (255, 127, 127)


def plain(mode: str, *colour: int) -> Image.Image:
    return Image.new(mode, (4, 4), colour if len(colour) > 1 else colour[0])


def palette(mode: str, *colour: int) -> Image.Image:
    picture = plain(mode, *colour)
    picture.putpalette([0, 0, 0, *RED])
    return picture


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(plain("RGBA", *RED, 0), "PNG"), (255, 255, 255)),
        (encoded(plain("RGBA", *RED, 128), "PNG"), HALF_RED),
        (encoded(plain("RGBA", *RED, 128), "WEBP", lossless=True), HALF_RED),
        (encoded(plain("RGBA", *RED, 128), "TIFF"), HALF_RED),
        (encoded(plain("LA", 0, 128), "PNG"), (127, 127, 127)),
        (encoded(plain("LA", 0, 128), "TIFF"), (127, 127, 127)),
        (encoded(palette("PA", 1, 128), "TIFF"), HALF_RED),
        (encoded(palette("P", 1), "PNG", transparency=1), (255, 255, 255)),
        (encoded(palette("P", 1), "PNG", transparency=0), RED),
        (encoded(palette("P", 1), "PNG", transparency=b"\xff\x80"), HALF_RED),
        (encoded(palette("P", 1), "GIF", transparency=1), (255, 255, 255)),
        (encoded(plain("RGB", *RED), "PNG", transparency=RED), (255, 255, 255)),
        (encoded(plain("RGB", *RED), "PNG", transparency=(0, 0, 0)), RED),
        (encoded(plain("L", 7), "PNG", transparency=7), (255, 255, 255)),
        (encoded(plain("L", 7), "PNG", transparency=8), (7, 7, 7)),
        (encoded(plain("1", 0), "PNG", transparency=0), (255, 255, 255)),
    ],
)
def test_what_is_transparent_lies_on_white(data: bytes, expected: tuple[int, int, int]) -> None:
    assert np.abs(np.asarray(decode(data), int) - expected).max() <= 1


def sixteen_bits(value: int, kind: str = "<u2") -> Image.Image:
    return Image.fromarray(np.full((4, 4), value, kind))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(palette("P", 1), "PNG"), RED),
        (encoded(palette("P", 1), "GIF"), RED),
        (encoded(palette("P", 1), "BMP"), RED),
        (encoded(palette("P", 1), "TIFF"), RED),
        (encoded(plain("L", 90), "PNG"), (90, 90, 90)),
        (encoded(plain("L", 90), "BMP"), (90, 90, 90)),
        (encoded(plain("1", 1), "PNG"), (255, 255, 255)),
        (encoded(plain("1", 1), "BMP"), (255, 255, 255)),
        (encoded(plain("1", 0), "TIFF", compression="group4"), (0, 0, 0)),
        (encoded(plain("1", 1), "TIFF", compression="group4"), (255, 255, 255)),
        (encoded(plain("CMYK", 0, 255, 255, 0), "TIFF"), RED),
        (encoded(sixteen_bits(90 * 257), "PNG"), (90, 90, 90)),
        (encoded(sixteen_bits(65535), "PNG"), (255, 255, 255)),
        (encoded(sixteen_bits(1), "PNG"), (0, 0, 0)),
        (encoded(sixteen_bits(90 * 257), "TIFF"), (90, 90, 90)),
        (encoded(sixteen_bits(90 * 257, ">u2"), "TIFF"), (90, 90, 90)),
        (encoded(Image.fromarray(np.full((4, 4), 90 * 257, np.int32)), "TIFF"), (90, 90, 90)),
        (encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"), (128, 128, 128)),
        (encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"), (0, 0, 0)),
        (png(2, 1, 16, 2, b"\0" + b"\xff\xff\0\0\0\0" * 2), RED),
        (png(2, 1, 16, 4, b"\0" + b"\0\0\x80\x80" * 2), (127, 127, 127)),
        (png(8, 1, 2, 0, b"\0\xff\xff"), (255, 255, 255)),
    ],
)
def test_other_colours_become_rgb(data: bytes, expected: tuple[int, int, int]) -> None:
    assert (np.asarray(decode(data)) == expected).all()


@pytest.mark.parametrize("shorter_side", [0, HEIGHT])
def test_cmyk_jpeg(shorter_side: int) -> None:
    data = encoded(PICTURE.convert("CMYK"), "JPEG", quality=95)
    assert difference(decode(data, shorter_side=shorter_side), PICTURE.convert("CMYK").convert("RGB")) < 3


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_several(form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    several = encoded(PICTURE, form, save_all=True, append_images=[NOISE.copy()], **options)
    assert difference(decode(several), decode(encoded(PICTURE, form, **options))) == 0


# Scaled decoding


@given(shorter_side=st.integers(1, 900), width=st.integers(300, 700), height=st.integers(300, 700))
@settings(max_examples=25, deadline=None)
def test_a_jpeg_is_never_decoded_smaller_than_asked(shorter_side: int, width: int, height: int) -> None:
    data = encoded(PICTURE.resize((width, height)), "JPEG", quality=95)
    whole, scaled = decode(data), decode(data, shorter_side=shorter_side)
    assert min(scaled.size) >= min(shorter_side, width, height)
    if shorter_side * 8 <= min(width, height):
        assert max(scaled.size) <= max(width, height) // 8 + 1
    assert difference(scaled.resize((32, 32)), whole.resize((32, 32))) < 5


# Limits


@pytest.mark.parametrize("name", FILES)
def test_the_limit_of_pixels(name: str) -> None:
    assert decode(FILES[name], max_pixels=WIDTH * HEIGHT).size == (WIDTH, HEIGHT)
    with pytest.raises(ImageTooLarge, match="Send a smaller one"):
        decode(FILES[name], max_pixels=WIDTH * HEIGHT - 1)


@pytest.mark.parametrize("side", [9_000, 50_000, 2**31 - 1])
def test_a_bomb_is_refused_before_anything_is_decoded(side: int) -> None:
    bomb = png(side, side, 8, 2, b"")  # whoever tries to decode these pixels finds them missing, not too many
    with pytest.raises(ImageTooLarge):
        decode(bomb)


# Damage


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("shorter_side", [0, 9])
def test_a_picture_cut_short_is_refused_wherever_the_cut_is(name: str, shorter_side: int) -> None:
    data = FILES[name]
    for part in range(1, 40):
        with pytest.raises(ImageError):
            decode(data[: len(data) * part // 40], shorter_side=shorter_side)


JPEGS = [name for name in FILES if name.startswith("jpeg")]


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("shorter_side", [0, 9])
def test_a_jpeg_cut_short_is_refused_though_it_claims_to_end(name: str, shorter_side: int) -> None:
    data = FILES[name]
    for part in range(60, 98):  # a progressive JPEG's first scans are a whole picture, only a coarse one
        cut = len(data) * part // 100
        for rest in (b"\xff\xd9", b"\0" * (len(data) - cut)):
            with pytest.raises(DamagedImage):
                decode(data[:cut] + rest, shorter_side=shorter_side)


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("extra", [b"\0" * 9, b"\xff" * 9, b"vendor's notes"])
def test_a_jpeg_with_bytes_too_many_is_whole(name: str, extra: bytes) -> None:
    data = FILES[name]
    for longer in (data + extra, data[:-2] + extra + data[-2:]):
        assert difference(decode(longer), decode(data)) == 0


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The file is empty."),
        (b"Dear Sir or Madam,\n" * 99, "is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture"),
        (b"<!doctype html><html><body><img src='cat.jpg'></body></html>", "is not a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>", "is not a JPEG"),
        (b"P6 1 1 255 abc", "is not a JPEG"),
        (b"%PDF-1.7\n", "is not a JPEG"),
        (b"\0" * 999, "is not a JPEG"),
    ],
)
def test_what_is_no_picture_is_told_apart(data: bytes, sentence: str) -> None:
    for read in (decode, media_type, upright_size):
        with pytest.raises(NotAnImage, match=sentence):
            read(data)


PNG = FILES["png"]
MIDDLE = PNG.index(b"IDAT") - 4


@pytest.mark.parametrize(
    "data",
    [
        PNG[:8] + chunk(b"IHDR", bytes(5)) + PNG[33:],
        PNG[:8] + PNG[33:],
        PNG[:MIDDLE] + chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(10**7))) + PNG[MIDDLE:],
        PNG[:MIDDLE] + b"\0\0\0\x09IDAT" + PNG[MIDDLE + 8 : MIDDLE + 40],
        PNG[:-60] + bytes(60),
    ],
    ids=["short header", "no header", "bomb in a text", "no chunk after the first", "end of zeros"],
)
def test_errors_of_every_kind_are_image_errors(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode(data)


@pytest.mark.parametrize(
    "magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"RIFF\x99\0\0\0WEBPVP8 "]
)
@pytest.mark.parametrize("rest", [b"", b"\0" * 200, b"\xff" * 200, b"<html>no picture at all</html>" * 9])
def test_bytes_that_only_begin_like_a_picture(magic: bytes, rest: bytes) -> None:
    with pytest.raises(ImageError):
        decode(magic + rest)


PLACES = st.integers(0, 999)  # thousandths of a file
EDITS = st.lists(st.tuples(PLACES, st.integers(0, 12), st.binary(max_size=12)), max_size=6)  # where, bytes out, bytes in


@given(name=st.sampled_from(sorted(FILES)), edits=EDITS, end=st.none() | PLACES)
@settings(max_examples=600, deadline=None)
def test_whatever_happens_to_a_file_it_is_a_picture_or_an_image_error(name: str, edits: list, end: int | None) -> None:
    data = FILES[name]
    for where, gone, come in edits:
        place = len(data) * where // 1000
        data = data[:place] + come + data[place + gone :]
    data = data if end is None else data[: len(data) * end // 1000]
    try:
        picture = decode(data, shorter_side=9, max_pixels=10**6)
    except ImageError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        return
    assert picture.mode == "RGB" and min(picture.size) > 0
    assert media_type(data).startswith("image/")
    assert upright_size(data)[0] > 0
    assert np.array_equal(decode(data, shorter_side=9, max_pixels=10**6), picture)
