"""Does `lookalike up` find a picture again after it was cropped, resized or recompressed?

The gallery: 500 pictures of Debian's tuxpaint-stamps-default, re-encoded as PNG, JPEG and WebP of many sizes. Queries:
three altered copies of 50 of them. Measured: seconds from the command to the first answer, and the share of the copies
whose original comes first. Run: python -m bench.photos
"""

import io
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

STAMPS = Path("/usr/share/tuxpaint/stamps")
PICTURES, QUERIES = 500, 50
FORMATS = ("png", "jpeg", "webp")


def write_gallery(folder: Path) -> list[Path]:
    """Re-encode PICTURES stamps, spread over the whole package; longer sides from 120 to 900 pixels."""
    rng = np.random.default_rng(0)
    stamps = sorted(STAMPS.rglob("*.png"))
    stamps = [stamp for stamp in stamps if not stamp.stem.endswith(("_mirror", "_flip"))]
    chosen = [stamps[row] for row in np.linspace(0, len(stamps) - 1, PICTURES).astype(int)]
    return [_reencoded(stamp, folder, number, int(rng.integers(120, 900))) for number, stamp in enumerate(chosen)]


def _reencoded(stamp: Path, folder: Path, number: int, side: int) -> Path:
    kind = FORMATS[number % len(FORMATS)]
    place = folder / stamp.parent.relative_to(STAMPS) / f"{number:03d} {stamp.stem}.{kind}"
    place.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.open(stamp).convert("RGBA")
    scale = side / max(picture.size)
    picture = picture.resize([max(1, round(length * scale)) for length in picture.size], Image.Resampling.LANCZOS)
    on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    (on_white if kind == "jpeg" else picture).save(place)
    return place


def altered(picture: Path) -> Iterator[tuple[str, bytes]]:
    """A copy cropped to 80 % of each side, one resized to 160 pixels, one recompressed at JPEG quality 30."""
    opened = Image.open(picture).convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")
    width, height = whole.size
    cropped = whole.crop((width // 10, height // 10, width - width // 10, height - height // 10))
    yield "cropped", _jpeg(cropped, 90)
    small = whole.copy()
    small.thumbnail((160, 160))
    yield "resized", _jpeg(small, 90)
    yield "recompressed", _jpeg(whole, 30)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return data.getvalue()


def found_first(url: str, gallery: Path, pictures: list[Path]) -> dict[str, float]:
    """Share of altered copies whose original is the first hit, by alteration."""
    right: dict[str, list[bool]] = {}
    for picture in pictures[:: len(pictures) // QUERIES][:QUERIES]:
        for name, data in altered(picture):
            answer = httpx.post(f"{url}/search", files={"image": data}, params={"k": 1}).raise_for_status().json()
            right.setdefault(name, []).append(answer["results"][0]["id"] == picture.relative_to(gallery).as_posix())
    return {name: sum(values) / len(values) for name, values in right.items()}


def start(gallery: Path, collection: Path) -> tuple[subprocess.Popen[str], str, float]:
    """Run `lookalike up`; → the process, its address, and the seconds until it was ready to answer."""
    started = time.monotonic()
    command = [sys.executable, "-m", "lookalike", "up", str(gallery), "--to", str(collection), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = next(found[0] for line in process.stderr if (found := re.search(r"http://[\w.:]+", line)))
    while httpx.get(f"{url}/readyz").status_code != 200:
        time.sleep(0.05)
    return process, url, time.monotonic() - started


def main() -> None:
    if not STAMPS.is_dir():
        sys.exit("The pictures are missing. Debian has them: apt-get install tuxpaint-stamps-default")
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "stamps"
        pictures = write_gallery(gallery)
        process, url, seconds = start(gallery, Path(folder) / "collection")
        try:
            shares = found_first(url, gallery, pictures)
        finally:
            process.terminate()
            process.wait()
    print(f"{len(pictures)} pictures, {seconds:.1f} s from the command to ready")
    for name, share in {**shares, "mean": sum(shares.values()) / len(shares)}.items():
        print(f"{name}: original first for {share:.1%}")


if __name__ == "__main__":
    main()
