"""How long would a first job take over millions of photographs? Computed from what decoding and encoding some take.

They are JPEGs of 640 × 427 pixels: drawings before coarse and fine noise, which makes them about as large as photographs are.
The network is the one of `lookalike up`: EfficientNet-Lite0 as it is, at 224 pixels.
"""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.encoder import open_encoder
from model.transform import Transform
from training.export import untrained

from . import encoding

_WIDTH, _HEIGHT, _QUALITY = 640, 427, 85
_DRAWINGS, _SIDE = 6, 160


def rates(place: Path, count: int) -> dict[str, Any]:
    """The hours are those of a bare loop; of a job's share of its speed, see ``encoding``."""
    encoder = open_encoder(untrained(place / "backbone", Transform()))
    paths = [place / f"{number:05d}.jpg" for number in range(count)]
    drawings = list(encoding.distinct(_DRAWINGS * count))
    for number, path in enumerate(paths):
        path.write_bytes(_photograph(number, drawings[_DRAWINGS * number : _DRAWINGS * (number + 1)]))
    pixels = [encoder.transform(path.read_bytes()) for path in paths]  # and all is warm
    began = time.perf_counter()
    for path in paths:
        encoder.transform(path.read_bytes())
    decoded = time.perf_counter()
    encoder.encode(np.stack(pixels))
    encoded = time.perf_counter()
    rate = 1 / encoding.seconds_an_image(encoder, paths)
    return {
        "photographs": count,
        "kilobytes": round(sum(path.stat().st_size for path in paths) / count / 1000, 1),
        "decode_ms_one_core": round(1000 * (decoded - began) / count, 2),
        "encode_ms_all_cores": round(1000 * (encoded - decoded) / count, 2),
        "bare_per_second": round(rate, 1),
        "hours_of_a_million": round(1e6 / rate / 3600, 2),
    }


def _photograph(number: int, drawings: list[Path]) -> bytes:
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (7, 10, 3), np.uint8)).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
    fine = random.normal(0, 8, (_HEIGHT, _WIDTH, 1))
    image = Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))
    for path in drawings:
        with Image.open(path) as drawing:
            small = drawing.convert("RGBA").resize((_SIDE, _SIDE))
        image.paste(small, (int(random.integers(_WIDTH - _SIDE)), int(random.integers(_HEIGHT - _SIDE))), small)
    data = io.BytesIO()
    image.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()
