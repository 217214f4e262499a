"""Does `lookalike duplicates` find altered copies, and nothing but copies?

The gallery: the 500 pictures of bench.photos, and five altered copies of each of 100 of them: cropped to 80 % of each side,
resized to 160 pixels, recompressed at JPEG quality 30, with a border of a tenth, brighter by a fifth. Measured: the share of
copies in one cluster with their original, the clusters that hold different stamps, and how near the vectors of copies are.
Then 480 emoji by seven artists, or whatever labelled pictures with a column family: which of different artists' drawings are
taken for the same. Bundle: the ImageNet backbone as it is. Run: python -m bench.duplicates [EMOJI]
"""

import csv
import io
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from bench.photos import STAMPS, altered, write_gallery
from index.catalog import Catalog
from index.duplicates import Duplicates, duplicates
from index.duplicates.duplicates import COSINE, NEIGHBOURS
from index.job import job
from model.bundle import Bundle
from model.encoder import open_encoder
from model.transform import Transform
from training.export import untrained

COPIED = 100  # of the stamps
EMOJI = 480


def main(emoji: Path) -> None:
    if not STAMPS.is_dir():
        sys.exit("The pictures are missing. Debian has them: apt-get install tuxpaint-stamps-default")
    with tempfile.TemporaryDirectory() as folder:
        bundle = untrained(Path(folder) / "bundle", Transform())
        figures = {"stamps": _stamps(Path(folder) / "stamps", bundle)}
        if emoji.is_dir():
            figures["emoji"] = _emoji(emoji, Path(folder) / "emoji", bundle)
    print(json.dumps(figures, indent=2, ensure_ascii=False))


def _stamps(folder: Path, bundle: Bundle) -> dict[str, object]:
    pictures = write_gallery(folder / "gallery")
    originals = {picture.relative_to(folder / "gallery").as_posix() for picture in pictures}
    copies: dict[str, str] = {}  # id → that of the original
    for number, picture in enumerate(pictures[:: len(pictures) // COPIED][:COPIED]):
        for name, data in _altered(picture):
            place = folder / "gallery" / "copies" / f"{number} {name}.jpg"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(data)
            copies[f"copies/{place.name}"] = picture.relative_to(folder / "gallery").as_posix()
    found, seconds = _found(folder, bundle)
    cluster = {id: number for number, ids in enumerate(_ids(found)) for id in ids}
    right: dict[str, list[bool]] = {}
    for copy, original in copies.items():
        name = copy.split()[1].removesuffix(".jpg")
        right.setdefault(name, []).append(cluster.get(copy, -1) == cluster.get(original, -2))
    shares = {name: sum(values) / len(values) for name, values in right.items()}
    mixed = [sorted(ids & originals) for ids in _ids(found) if len({copies.get(id, id) for id in ids}) > 1]
    return {
        "pictures": found.items,
        "found": {**shares, "mean": sum(shares.values()) / len(shares)},
        "clusters": len(found.clusters),
        "with a border": _bordered(found),
        "of different stamps": mixed,
        "compared": found.compared,
        "seconds": seconds,
        **_nearness(folder, bundle, copies),
    }


def _bordered(found: Duplicates) -> dict[str, int]:
    """Clusters of an original and its copy with a border, and in how many of them the copy is to be kept."""
    both = [
        cluster
        for cluster, ids in zip(found.clusters, _ids(found), strict=True)
        if any("bordered" in id for id in ids) and any(not id.startswith("copies/") for id in ids)
    ]
    return {"clusters": len(both), "keep the copy": sum("bordered" in cluster.keep.item.id for cluster in both)}


def _altered(picture: Path) -> Iterator[tuple[str, bytes]]:
    yield from altered(picture)
    opened = Image.open(picture).convert("RGBA")
    whole = Image.alpha_composite(Image.new("RGBA", opened.size, "white"), opened).convert("RGB")
    yield "bordered", _jpeg(ImageOps.expand(whole, max(whole.size) // 10, "black"))
    yield "brighter", _jpeg(ImageEnhance.Brightness(whole).enhance(1.2))


def _jpeg(picture: Image.Image) -> bytes:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return data.getvalue()


def _nearness(folder: Path, bundle: Bundle, copies: dict[str, str]) -> dict[str, object]:
    """How near the vectors of copies and originals are: what the limits on candidates have to let through."""
    with closing(Catalog(folder / "collection")) as catalog:
        keys = catalog.live_keys().tolist()
        items, vectors = zip(*catalog.vectors(keys, bundle.fingerprint, bundle.manifest.architecture.dim), strict=True)
    rows = {item.id: row for row, item in enumerate(items)}
    cosines = np.stack(vectors) @ np.stack(vectors).T
    pairs = [(rows[copy], rows[original]) for copy, original in copies.items()]
    cosine = np.array([cosines[pair] for pair in pairs])
    nearer = np.array([min((cosines[row] > cosines[pair]).sum() for row in pair) for pair in pairs])
    return {
        "cosines of copies": {f"{share:.0%}": round(float(np.quantile(cosine, share)), 3) for share in (0, 0.01, 0.1, 0.5)},
        "candidates": float(((cosine >= COSINE) & (nearer <= NEIGHBOURS)).mean()),
        "pairs above the limit": int((cosines >= COSINE).sum() - len(cosines)) // 2,
    }


def _emoji(source: Path, folder: Path, bundle: Bundle) -> dict[str, object]:
    with (source / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    each = len(rows) / len(labels)
    chosen = set(labels[:: round(len(labels) * each / EMOJI)])
    families = {row["path"]: row["family"] for row in rows if row["label"] in chosen}
    for path in families:
        (folder / "gallery" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / path, folder / "gallery" / path)
    found, seconds = _found(folder, bundle)
    pairs = [pair for ids in _ids(found) for pair in combinations(sorted(ids), 2)]
    kinds = Counter("one family" if families[one] == families[other] else "two families" for one, other in pairs)
    matches = [(each.keep, copy.picture, copy.difference) for each in found.clusters for copy in each.copies]
    named = [(keep.item.id, other.item.id, round(difference, 3)) for keep, other, difference in matches]
    return {
        "pictures": found.items,
        "pairs in clusters": kinds,
        "of two families": [each for each in named if families[each[0]] != families[each[1]]],
        "compared": found.compared,
        "seconds": seconds,
    }


def _found(folder: Path, bundle: Bundle) -> tuple[Duplicates, float]:
    job.run(folder / "gallery", bundle, open_encoder(bundle, "openvino"), folder / "collection")
    started = time.monotonic()
    found = duplicates.find(folder / "collection")
    return found, round(time.monotonic() - started, 1)


def _ids(found: Duplicates) -> list[set[str]]:
    return [{each.keep.item.id, *(copy.picture.item.id for copy in each.copies)} for each in found.clusters]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/emoji"))
