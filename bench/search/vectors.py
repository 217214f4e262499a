"""A million vectors to search, and queries: real ones, and synthetic ones.

``real``: augmented pictures of emoji and icons through the demo's bundle. Queries like the items are other augmentations of
the same pictures; queries unlike them are augmented stamps of Debian's tuxpaint-stamps-default. Kept in build/bench in parts,
so that a killed run goes on. ``synthetic``: points around 10,000 centres of very different popularity, on the sphere.
Run: python -m bench.search.vectors [--count 1000000]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from bench.photos import STAMPS
from bench.training import sets
from bench.training.cells import BUILD
from model.bundle import load
from model.encoder import Encoder, open_encoder
from training.augment import augment, draws
from training.config import Augmentation, TrainingConfig

FOLDER = BUILD / "vectors"
QUERIES = 2_000
DIM = 128
_PART = 20_000  # vectors a file
_BATCH = 256
_STRONG = Augmentation(zoom=(0.6, 1.1), rotation=25, shift=0.15, aspect=1.3, flip=0.5, erase=0.0)
_ITEMS, _LIKE, _UNLIKE = 1, 2, 3  # seeds


@dataclass(frozen=True)
class Vectors:
    """Unit float32: ``items`` [N, D], and queries ``like`` and ``unlike`` them [Q, D]. ``pictures`` [N]: which picture an item
    is made of; the first ``emoji`` of them are emoji, the others icons."""

    items: np.ndarray
    like: np.ndarray
    unlike: np.ndarray
    pictures: np.ndarray
    emoji: int


def real(count: int, bundle: Path = Path("demo/bundle")) -> Vectors:
    """Made where they are not there yet: 40 minutes of one core for a million."""
    encoder = open_encoder(load(bundle), precision="bf16")
    folder = FOLDER / encoder.fingerprint[:16]
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainingConfig(image_size=encoder.transform.size)
    known = [sets.load(name, config).pixels for name in ("emoji", "icons")]
    pixels, emoji = np.concatenate(known), len(known[0])
    with Progress() as progress:
        task = progress.add_task("Vectors", total=count + 2 * QUERIES)

        def made(name: str, pixels: np.ndarray, seed: int, wanted: int) -> np.ndarray:
            return _made(folder, name, pixels, seed, wanted, encoder, lambda n: progress.advance(task, n))

        items = made("items", pixels, _ITEMS, count)
        like, unlike = made("like", pixels, _LIKE, QUERIES), made("unlike", _stamps(encoder), _UNLIKE, QUERIES)
    return Vectors(items, like, unlike, _chosen(len(pixels), _ITEMS, count), emoji)


def synthetic(count: int, dim: int = DIM, centres: int = 10_000, seed: int = 0) -> Vectors:
    """Queries unlike the items are around centres of their own."""
    random = np.random.default_rng(seed)

    def around(chosen: np.ndarray) -> np.ndarray:
        points = chosen + random.normal(0, 0.7, chosen.shape).astype(np.float32) / np.sqrt(dim, dtype=np.float32)
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    def unit(rows: int) -> np.ndarray:
        found = random.standard_normal((rows, dim), np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    middle = unit(centres)
    popularity = 1 / np.arange(1, centres + 1) ** 0.5
    drawn = random.choice(centres, count + QUERIES, p=popularity / popularity.sum())
    points = around(middle[drawn])
    return Vectors(points[:count], points[count:], around(unit(QUERIES)), drawn[:count], centres)


def _chosen(pictures: int, seed: int, count: int) -> np.ndarray:
    """Every picture as often as every other, in a random order."""
    rounds = -(-count // pictures)
    random = np.random.default_rng(seed)
    return np.concatenate([random.permutation(pictures) for _ in range(rounds)])[:count]


def _made(
    folder: Path, name: str, pixels: np.ndarray, seed: int, count: int, encoder: Encoder, advance: Callable[[int], None]
) -> np.ndarray:
    chosen, parts = _chosen(len(pixels), seed, count), []
    for start in range(0, count, _PART):
        rows = chosen[start : start + _PART]
        file = folder / f"{name}-{start // _PART:04d}-{len(rows)}.npy"
        if not file.exists():
            draft = file.with_suffix(".tmp")
            with draft.open("wb") as written:
                np.save(written, _encoded(pixels, rows, draws(seed, start // _PART, len(rows)), encoder))
            draft.rename(file)
        parts.append(np.load(file))
        advance(len(rows))
    return np.concatenate(parts)


def _encoded(pixels: np.ndarray, rows: np.ndarray, drawn: torch.Tensor, encoder: Encoder) -> np.ndarray:
    size, found = encoder.transform.size, []
    for start in range(0, len(rows), _BATCH):
        some = torch.from_numpy(pixels[rows[start : start + _BATCH]])
        changed = augment(some, drawn[start : start + _BATCH], _STRONG, size)
        found.append(encoder.encode((changed.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()))
    return np.concatenate(found)


def _stamps(encoder: Encoder) -> np.ndarray:
    files = sorted(file for file in STAMPS.rglob("*.png") if not file.stem.endswith(("_mirror", "_flip")))
    return np.stack([encoder.transform(file.read_bytes()) for file in files])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    found = real(parser.parse_args().count)
    print(f"{FOLDER}: {len(found.items):,} vectors, {len(found.like):,} and {len(found.unlike):,} queries")
