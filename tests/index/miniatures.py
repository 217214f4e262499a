"""What index/ needs of the world, small: a bundle of a few bytes, an encoder that counts, pictures, and the service's part."""

import hashlib
import io
import os
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from index import blobs
from index.catalog import Catalog, Item, NewItem, Upkeep
from index.job import Report, job
from index.search.searcher import Searcher
from model import bundle as bundles
from model.bundle import Architecture, Bundle, Manifest
from model.transform import Transform

DIM = 16
TRANSFORM = Transform(size=32)


def make_bundle(folder: Path, seed: int = 0) -> Bundle:
    """A whole bundle whose network is one number."""
    tensors = {"weight": np.array([seed], np.float32)}
    architecture, transform = Architecture(dim=DIM), TRANSFORM
    fingerprint = bundles.fingerprint(tensors, architecture, transform)
    with bundles.writing(folder) as draft:
        save_file(tensors, draft / "weights.safetensors")
        manifest = Manifest(
            name="mini", fingerprint=fingerprint, architecture=architecture, transform=transform, origin="a test"
        )
        bundles.seal(draft, manifest)
    return bundles.load(folder)


class CountingEncoder:
    """Mean colours of 4 × 4 fields, projected. Follows ``model.encoder.Encoder``."""

    runtime = "none"
    precision = "f32"
    dim = DIM

    def __init__(self, bundle: Bundle) -> None:
        self.fingerprint = bundle.fingerprint
        self.transform = TRANSFORM
        self.images: Counter[bytes] = Counter()
        self.meanwhile = lambda: None  # what others do while a batch is encoded
        self._projection = np.random.default_rng(int(bundle.fingerprint[:8], 16)).normal(size=(49, DIM))

    @property
    def encoded(self) -> int:
        return self.images.total()

    def encode(self, images: np.ndarray) -> np.ndarray:
        self.meanwhile()
        self.images.update(image.tobytes() for image in images)
        return self.vectors(images)

    def vectors(self, images: np.ndarray) -> np.ndarray:
        """The same, not counted: for what the service encodes."""
        fields = images.reshape(-1, 4, 8, 4, 8, 3).mean(axis=(2, 4)).reshape(-1, 48) / 255
        vectors = np.hstack([fields, np.ones((len(fields), 1))]) @ self._projection
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def picture(number: int) -> bytes:
    """A PNG; another number, another picture."""
    colours = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    data = io.BytesIO()
    Image.fromarray(colours).resize((32, 32), Image.Resampling.NEAREST).save(data, "PNG")
    return data.getvalue()


def write(path: Path, data: bytes | int) -> None:
    """Write a file, a picture where ``data`` is its number, always with a new time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(picture(data) if isinstance(data, int) else data)
    if path.stat().st_mtime_ns <= before:
        os.utime(path, ns=(before + 1, before + 1))


class Shop:
    """A gallery, a bundle and a collection in one folder, and all that is done with them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gallery, self.collection = folder, folder / "gallery", folder / "collection"
        self.gallery.mkdir()
        self.use(make_bundle(folder / "bundle"))

    def use(self, bundle: Bundle) -> None:
        self.bundle, self.encoder = bundle, CountingEncoder(bundle)

    def fill(self, numbers, folder: str = "") -> None:
        for number in numbers:
            write(self.gallery / folder / f"{number}.png", number)

    def index(self, gallery: Path | None = None, **options) -> Report:
        return job.run(gallery or self.gallery, self.bundle, self.encoder, self.collection, **options)

    def catalog(self) -> Upkeep:
        return Upkeep(self.collection)

    def upload(self, catalog: Catalog, id: str, number: int, metadata: dict | None = None, encoder=None) -> Item:
        """What the service does on PUT."""
        encoder, data = encoder or self.encoder, picture(number)
        vector = encoder.vectors(TRANSFORM(data)[None])[0]
        blobs.write(self.collection, content(number), data)
        return catalog.put(NewItem(id, content(number), metadata or {}, len(data), 0), encoder.fingerprint, vector)

    def searcher(self, catalog: Catalog) -> Searcher:
        return Searcher(self.collection, catalog, catalog.state().generation, DIM)

    def found(self, number: int = 0, k: int = 1000) -> dict[str, Item]:
        """The items that a new searcher finds, nearest to a picture first."""
        catalog = self.catalog()
        try:
            return self.look(self.searcher(catalog), number, k)
        finally:
            catalog.close()

    def look(self, searcher: Searcher, number: int = 0, k: int = 1000) -> dict[str, Item]:
        query = self.encoder.vectors(TRANSFORM(picture(number))[None])[0]
        hits = searcher.search(query, k)
        found = {hit.item.id: hit.item for hit in hits}
        assert len(found) == len(hits), "an id was found twice"
        return found


def content(number: int) -> str:
    """The content hash of a picture."""
    return hashlib.sha256(picture(number)).hexdigest()
