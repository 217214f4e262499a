"""Photographs of things, each to be found again in composed pictures.

In: the photographic cut-outs among Debian's tuxpaint-stamps-default, and the photographs of Debian's mate-backgrounds.
(Debian's gnome-backgrounds was looked at too: in version 43 nothing in it is a photograph.)
Out: a folder with ``gallery/`` (each thing on white: one picture, one label), ``queries/`` (the thing, warped and lit
differently, pasted on a part of a photograph), ``labels.csv`` and ``ATTRIBUTION.md``. ``backgrounds`` gives the photographs
alone: queries that match nothing.

The same seed gives the same pictures, whichever others are made. A folder that is whole is left as it is.
Run: python -m bench.data.objects [TO] [--queries N] [--seed SEED]
"""

import argparse
import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

STAMPS = Path("/usr/share/tuxpaint/stamps")
PHOTOGRAPHS = Path("/usr/share/backgrounds/mate/nature")  # mate-backgrounds keeps drawings in the folders beside it
PACKAGES = {STAMPS: "tuxpaint-stamps-default", PHOTOGRAPHS: "mate-backgrounds"}

# What a cut-out needs to count as a photograph: see ``is_photograph``
DRAWN_FOLDERS = {"cartoon", "alphabets", "math", "chess", "faces", "shapes", "easter", "hanukkah", "newyears", "naturalforces"}
LEFT_OUT = {  # the drawings that the other rules let through, and a car whose white parts are transparent
    "clothes/button",
    "seasonal/christmas/Santa",
    "seasonal/christmas/santahat",
    "seasonal/christmas/stocking",
    "town/monuments/inukshuk-outline",
    "vehicles/emergency/sedan_police",
}
SMOOTH_SHARE = 0.32
SMALLEST_SIDE, FEWEST_PIXELS = 50, 400  # below that a query shows a blot

FORM = 1  # goes up when the pictures of a seed change
WIDTH, HEIGHT = 640, 427
SEED, QUERIES = 0, 2
COLUMNS = ("path", "label", "split", "role", "background", "licence")
LICENCE = "tuxpaint-stamps-default: GPL-2+"
LICENCE_COMPOSED = f"{LICENCE}; mate-backgrounds: GPL-2+"
ATTRIBUTION = """# Where these pictures come from

The pictures under `queries/` are **composed**: nobody photographed these scenes. A program (`bench/data/objects.py`) cut,
warped, lit and pasted the things of `gallery/` onto parts of photographs, and drew the shadows. The pictures under `gallery/`
are cut-outs on white, otherwise unchanged but for their size.

| what | Debian package | licences and authors |
| --- | --- | --- |
| the things | tuxpaint-stamps-default | /usr/share/doc/tuxpaint-stamps-default/copyright (GPL-2 or later) |
| the photographs behind them | mate-backgrounds | /usr/share/doc/mate-backgrounds/copyright (GPL-2 or later) |

`labels.csv` names the photograph behind each query; a label is the path of the stamp in its package.
"""


@dataclass(frozen=True)
class Thing:
    """A cut-out. ``name``: its path below STAMPS without suffix, which is its label."""

    name: str
    path: Path

    def open(self) -> Image.Image:
        """RGBA, without the transparent margin."""
        picture = Image.open(self.path).convert("RGBA")
        return picture.crop(picture.getchannel("A").getbbox())


def backgrounds() -> list[Path]:
    """The photographs, sorted. Ends the program when their package is missing."""
    _need(PHOTOGRAPHS)
    return sorted(PHOTOGRAPHS.glob("*.jpg"))


def things() -> list[Thing]:
    """The photographic cut-outs, sorted by name, none twice. Ends the program when their package is missing."""
    _need(STAMPS)
    kept: dict[str, Thing] = {}
    for path in sorted(STAMPS.rglob("*.png")):
        thing = Thing(path.relative_to(STAMPS).with_suffix("").as_posix(), path)
        if not path.stem.endswith(("_mirror", "_flip")) and is_photograph(thing):
            kept.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), thing)
    return list(kept.values())


def is_photograph(thing: Thing) -> bool:
    """Grain tells: in a photograph hardly any pixel equals the mean of its neighbours, in a drawing most do.

    Measured well inside the outline, where the edge's smoothing does not count. Drawings with a pattern pass that, so the
    folders where the package keeps drawings are left out first, and the few that remain by name.
    """
    if thing.name in LEFT_OUT or DRAWN_FOLDERS & set(thing.path.parts):
        return False
    pixels = np.asarray(thing.open(), np.float32)
    if max(pixels.shape[:2]) < SMALLEST_SIDE or min(pixels.shape[:2]) < 3:
        return False
    opaque = np.lib.stride_tricks.sliding_window_view(pixels[..., 3] >= 250, (3, 3)).all((2, 3))
    grey = pixels[..., :3].mean(2)
    around = (grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]) / 4
    grain = np.abs(grey[1:-1, 1:-1] - around)[opaque]
    return grain.size >= FEWEST_PIXELS and bool((grain < 0.25).mean() < SMOOTH_SHARE)


def _need(folder: Path) -> None:
    if not folder.is_dir():
        package = PACKAGES[folder]
        sys.exit(f"Pictures of Debian's package {package} are missing: apt-get install --no-install-recommends {package}")


def on_white(thing: Thing) -> Image.Image:
    """The gallery's picture: at most WIDTH pixels a side, with a margin of a twelfth."""
    picture = thing.open()
    picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    margin = max(picture.size) // 12
    sheet = Image.new("RGBA", (picture.width + 2 * margin, picture.height + 2 * margin), "white")
    sheet.alpha_composite(picture, (margin, margin))
    return sheet.convert("RGB")


def compose(thing: Thing, number: int, seed: int = SEED) -> tuple[Image.Image, Path]:
    """Query ``number`` of a thing, WIDTH x HEIGHT → the picture, and the photograph that it was pasted on."""
    rng = _rng(thing, number, seed)
    behind = backgrounds()
    chosen = behind[int(rng.integers(len(behind)))]
    scene = _part(_photograph(chosen), rng)
    pasted = _lit(_warped(thing.open(), rng), rng)
    scene = _shaded(scene, pasted.getchannel("A"), rng)
    scene.paste(pasted, (0, 0), pasted)
    return _taken(scene, rng), chosen


def _rng(thing: Thing, number: int, seed: int) -> np.random.Generator:
    """Depends on these three alone, so that no picture changes when others come or go."""
    name = int.from_bytes(hashlib.sha256(thing.name.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, name, number])


@cache
def _photograph(path: Path) -> Image.Image:
    """At a size from which ``_part`` never enlarges much; decoded once for all queries."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((2 * WIDTH, 2 * WIDTH), Image.Resampling.LANCZOS)
    return picture


def _part(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random part of the photograph, mirrored half of the time, sometimes out of focus as behind a near thing."""
    share = rng.uniform(0.5, 1.0) * min(photograph.width / WIDTH, photograph.height / HEIGHT)
    width, height = WIDTH * share, HEIGHT * share
    left, top = rng.uniform(0, photograph.width - width), rng.uniform(0, photograph.height - height)
    part = photograph.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS, (left, top, left + width, top + height))
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    return part.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2.5))) if rng.random() < 0.5 else part


def _warped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The cut-out on a transparent WIDTH x HEIGHT: scaled, turned, seen from one side, at a random place."""
    size = np.array(picture.size, float)
    # a long thing gets longer and a compact one does not fill the picture: the area counts
    scale = min(rng.uniform(0.38, 0.62) * HEIGHT / np.sqrt(size.prod()), 0.8 * HEIGHT / size.max())
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    size = np.array(picture.size, float)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
    angle = np.radians(rng.uniform(-35, 35))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    placed = (corners - size / 2 + rng.uniform(-0.1, 0.1, (4, 2)) * size) @ turn
    low, high = -placed.min(0), np.array([WIDTH, HEIGHT]) - placed.max(0)
    placed += np.where(low < high, rng.uniform(np.minimum(low, high), np.maximum(low, high)), (low + high) / 2)
    warp = _perspective(placed, corners)
    return picture.transform((WIDTH, HEIGHT), Image.Transform.PERSPECTIVE, warp, Image.Resampling.BICUBIC)


def _perspective(origin: np.ndarray, to: np.ndarray) -> list[float]:
    """The eight numbers of the perspective that takes four points ``origin`` to four points ``to``."""
    rows = []
    for (x, y), (u, v) in zip(origin, to, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return [float(number) for number in np.linalg.solve(np.array(rows), to.ravel())]


def _lit(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Other brightness, contrast and colour, and light that falls from one side. The outline stays."""
    alpha = picture.getchannel("A")
    colours = np.asarray(ImageEnhance.Color(picture.convert("RGB")).enhance(rng.uniform(0.75, 1.15)), np.float32)
    mean = np.average(colours.mean(2), weights=np.asarray(alpha, np.float32) + 1e-6)  # of the thing, not of what is clear
    colours = mean + (colours - mean) * rng.uniform(0.8, 1.2)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.25)
    across, down = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-1, 1, HEIGHT))
    light = rng.uniform(0.75, 1.2) * (1 + strength * (np.cos(angle) * across + np.sin(angle) * down))
    cast = rng.uniform(0.93, 1.07, 3)
    shone = Image.fromarray(np.clip(colours * light[..., None] * cast, 0, 255).astype(np.uint8))
    shone.putalpha(alpha)
    return shone


def _shaded(scene: Image.Image, outline: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The scene with the thing's soft shadow on it, a little below and to one side."""
    shift = int(rng.integers(-18, 19)), int(rng.integers(4, 20))
    shadow = Image.new("L", outline.size)
    shadow.paste(outline, shift)
    shadow = shadow.filter(ImageFilter.GaussianBlur(rng.uniform(4, 12)))
    darkness = rng.uniform(0.3, 0.6)
    remaining = shadow.point([round(255 - darkness * value) for value in range(256)])
    return ImageChops.multiply(scene, Image.merge("RGB", [remaining] * 3))


def _taken(scene: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What a camera does to all of it: white balance, a little blur, then noise."""
    scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.1)))
    noise = rng.normal(0, rng.uniform(1, 5), (HEIGHT, WIDTH, 3))
    pixels = np.asarray(scene) * rng.uniform(0.94, 1.06, 3) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(folder: Path, queries: int = QUERIES, seed: int = SEED) -> Path:
    """Make the data set; → ``folder``. Does nothing when it is there, ends the program when something else is."""
    made_as = {"form": FORM, "queries": queries, "seed": seed}
    if folder.exists():
        if not is_whole(folder, made_as):
            sys.exit(f"{folder} exists and is not this data set, or not all of it: remove it, or name another folder.")
        return folder
    chosen = things()
    backgrounds()  # says before the work begins when they are missing
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with ThreadPoolExecutor(2) as workers:
        rows = [
            row for made in workers.map(lambda thing: list(_pictures(unfinished, thing, queries, seed)), chosen) for row in made
        ]
    with (unfinished / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    (unfinished / "ATTRIBUTION.md").write_text(ATTRIBUTION, encoding="utf-8")
    (unfinished / "made.json").write_text(json.dumps(made_as) + "\n", encoding="utf-8")
    return unfinished.rename(folder)


def _pictures(folder: Path, thing: Thing, queries: int, seed: int) -> Iterator[tuple[str, ...]]:
    """Write the pictures of one thing; → their rows of labels.csv."""
    place = f"gallery/{thing.name}.png"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    on_white(thing).save(folder / place)
    yield place, thing.name, "test", "gallery", "", LICENCE
    for number in range(queries):
        picture, behind = compose(thing, number, seed)
        place = f"queries/{thing.name}-{number}.jpg"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / place, quality=85)
        yield place, thing.name, "test", "query", behind.stem, LICENCE_COMPOSED


def is_whole(folder: Path, made_as: dict[str, int]) -> bool:
    """Was it made in this way, and is every file that its labels.csv names still there?"""
    try:
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
            paths = [row["path"] for row in csv.DictReader(file)]
        return json.loads((folder / "made.json").read_text()) == made_as and all((folder / path).is_file() for path in paths)
    except (OSError, ValueError, KeyError):
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the data set of composed photographs.")
    parser.add_argument("to", type=Path, nargs="?", default=Path("build/objects"))
    parser.add_argument("--queries", type=int, default=QUERIES, help="composed pictures of each thing")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    folder = write(asked.to, asked.queries, asked.seed)
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        roles = [row["role"] for row in csv.DictReader(file)]
    counts = f"{roles.count('gallery')} things, {roles.count('query')} queries, {len(backgrounds())} photographs behind them"
    print(f"{folder}: {counts}")


if __name__ == "__main__":
    main()
