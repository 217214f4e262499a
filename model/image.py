"""Encoded picture bytes in, an upright RGB picture out: the one decoder of training, indexing and serving.

Reads JPEG, PNG, WebP, GIF, BMP and TIFF; the first frame of an animation; EXIF orientation applied; alpha laid on white;
CMYK, palette, 16-bit and greyscale turned to 8-bit RGB. A picture is refused whole or decoded whole, never in part.
"""

import io
import re

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from . import Failure

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")  # how picture files are called
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # the JPEGs of many phones; Pillow finds it by itself among the JPEGs
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright picture
MAX_PIXELS = 80_000_000  # below Pillow's own alarm; a plain RGB copy of this many takes 240 MB

# What libjpeg only warns of when it made up a part of the picture.
_INCOMPLETE = re.compile("premature end|bad Huffman code|instead of RST", re.IGNORECASE)
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(Failure):
    """These bytes cannot become a picture; the message says why in a sentence."""


class NotAnImage(ImageError):
    """The bytes are of no format that is read here."""


class DamagedImage(ImageError):
    """The format is known, but the picture is truncated or broken."""


class ImageTooLarge(ImageError):
    """The picture has more pixels than allowed."""


def decode(data: bytes, *, shorter_side: int = 0, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode ``data`` to an upright RGB picture.

    ``shorter_side`` > 0 lets a JPEG be decoded at the smallest of its native scales (n/8) whose shorter side still has
    that many pixels: several times faster for photographs. Raises an ``ImageError``.
    """
    header = _open(data)
    width, height = header.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"The picture has {width} × {height} pixels; the limit is {max_pixels:,}. Send a smaller one.")
    try:
        picture = _scaled_jpeg(data, header, shorter_side) or _rgb(_loaded(header))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file makes them trip over
        raise DamagedImage(f"The {header.format} picture is damaged or cut short ({error}).") from error
    turn = _UPRIGHT.get(_orientation(header))
    return picture.transpose(turn) if turn is not None else picture


def upright_size(data: bytes) -> tuple[int, int]:
    """Width and height of the upright picture, from its header alone. Raises an ``ImageError``."""
    header = _open(data)
    width, height = header.size
    turned = header.format != "TIFF" and _orientation(header) in (5, 6, 7, 8)  # of a TIFF, Pillow tells the upright size
    return (height, width) if turned else (width, height)


def media_type(data: bytes) -> str:
    """The media type that the bytes really have, whatever their name claims. Raises an ``ImageError``."""
    return MEDIA_TYPES[_open(data).format or ""]


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"The picture is far too large ({error}). Send a smaller one.") from error
    except UnidentifiedImageError as error:
        kind = "The file is empty" if not data else "The file is not a JPEG, PNG, WebP, GIF, BMP or TIFF picture"
        raise NotAnImage(f"{kind}.") from error
    except Exception as error:  # a header that begins like a picture and then lies
        raise DamagedImage(f"The picture's header is damaged ({error}).") from error


def _scaled_jpeg(data: bytes, header: Image.Image, shorter_side: int) -> Image.Image | None:
    """The fast way for ordinary JPEGs. None leaves what is odd to Pillow, but never what it would fill with grey."""
    if header.format not in ("JPEG", "MPO"):
        return None
    colours = "CMYK" if header.mode == "CMYK" else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=shorter_side, min_width=shorter_side, strict=True)
    except ValueError as error:
        if _INCOMPLETE.search(str(error)):
            raise DamagedImage(f"The JPEG picture is damaged or cut short ({error}).") from error
        return None
    return Image.fromarray(pixels) if colours == "RGB" else None


def _loaded(header: Image.Image) -> Image.Image:
    header.load()
    return header


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Image.fromarray(_eight_bit(np.asarray(picture), picture.mode)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return picture.convert("RGB")


def _eight_bit(values: np.ndarray, mode: str) -> np.ndarray:
    """16-bit, 32-bit and float greyscale to 8 bits; the wider modes do not tell their range, so the values do."""
    values = np.nan_to_num(values.astype(np.float32))
    top = 65535.0 if mode.startswith("I;16") else next(t for t in (1.0, 255.0, 65535.0, np.inf) if values.max() <= t)
    if np.isinf(top):
        top = float(values.max())
    return np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)


def _orientation(header: Image.Image) -> int:
    try:
        return int(header.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # broken EXIF is no reason to refuse a whole picture
        return 1
