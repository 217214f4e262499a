"""Two generations in, out whether the new one may take the other's place: a new bundle is tried before it is searched with.

``itself``: the share of pictures that, read and encoded anew, have no item nearer than their own. ``recall``: what the worst
index of its segments keeps of exact search. ``right``: the share of items whose nearest other item has the same label, where
items have labels; measured on the same pictures in both generations, with the searches that a server would make.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from model import bundle as bundles
from model.bundle import BundleError
from model.encoder import Encoder
from model.image import ImageError

from .. import blobs
from ..catalog import Catalog, Item
from ..generation import Generation, GenerationError
from ..search import segment as segments
from ..search.searcher import Searcher
from ..search.segment import SegmentError

LABEL = "label"  # the field that says what an item shows, where nobody names another
QUERIES = 2_000  # items that are searched with
PICTURES = 64  # that are read and encoded anew

_NEAR = 8  # hits that are looked through for one of another content
_ITSELF = 0.99  # of the pictures; else the encoder does not make what stands in the segments
_ROUNDED = 1e-3  # of a cosine: in another batch the last bits are others, with bf16 more of them
_SURE = 1.645  # deviations: a difference is none unless it is certain with 95 %


@dataclass(frozen=True)
class Trial:
    """What one generation is worth; None what could not be measured."""

    recall: float
    right: float | None = None
    itself: float | None = None


@dataclass(frozen=True)
class Verdict:
    """``queries`` and ``pictures``: how many were measured. ``worse``: a sentence for each thing that is."""

    old: Trial
    new: Trial
    queries: int
    pictures: int
    worse: list[str]

    def figures(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        return asdict(self)


def judge(catalog: Catalog, collection: Path, old: Generation, new: Generation, encoder: Encoder, label: str) -> Verdict | None:
    """None where ``old`` is damaged, so that nothing can be compared with. ``new`` was written and is not published;
    ``encoder`` is the new bundle's. Raises ``SegmentError`` or ``CatalogError``."""
    try:
        before = _Searched(catalog, collection, old)
    except (BundleError, GenerationError, SegmentError):
        return None
    after = _Written(catalog, collection, new, encoder.dim)
    random = np.random.default_rng(new.number)
    some = random.permutation(after.keys)[:QUERIES].tolist()
    asked = _asked(catalog, before, after, some, label)
    was, now = _right(before, asked[0], label), _right(after, asked[1], label)
    itself = _itself(catalog, collection, after, encoder, some)
    old_trial = Trial(_recall(collection, old), _share(was))
    new_trial = Trial(_recall(collection, new), _share(now), _share(itself))
    return Verdict(old_trial, new_trial, len(now), len(itself), list(_worse(was, now, itself)))


class _Searched:
    """The generation that is searched, as a server does it."""

    def __init__(self, catalog: Catalog, collection: Path, generation: Generation) -> None:
        self.fingerprint = generation.fingerprint
        self.dim = bundles.load(collection / "bundles" / generation.fingerprint).manifest.architecture.dim
        self._searcher = Searcher(collection, catalog, generation.number, self.dim)

    def nearest(self, vector: np.ndarray, k: int) -> list[Item]:
        return [hit.item for hit in self._searcher.search(vector, k)]


class _Written:
    """The generation that may be published: its segments hold what will be live then, which the catalog does not say yet."""

    def __init__(self, catalog: Catalog, collection: Path, generation: Generation, dim: int) -> None:
        self._catalog, self.fingerprint, self.dim = catalog, generation.fingerprint, dim
        folders = [collection / "segments" / name for name in generation.segments]
        self._segments = [segments.open(folder, generation.fingerprint) for folder in folders]
        self.keys = np.concatenate([np.empty(0, np.int64), *(each.keys for each in self._segments)])

    def nearest(self, vector: np.ndarray, k: int) -> list[Item]:
        scores = self._scores(vector, k)
        best = sorted(scores, key=lambda key: -scores[key])[:k]
        items = {item.key: item for item, _ in self._catalog.vectors(best, self.fingerprint, self.dim)}
        return [items[key] for key in best]

    def best(self, vector: np.ndarray) -> float:
        """The score of the nearest item."""
        return max(self._scores(vector, 1).values(), default=-1.0)

    def _scores(self, vector: np.ndarray, k: int) -> dict[int, float]:
        scores: dict[int, float] = {}
        for each in self._segments:
            rows, found = each.search(vector, k)
            scores |= dict(zip(each.keys[rows].tolist(), found.tolist(), strict=True))
        return scores


_Asked = list[tuple[Item, np.ndarray]]  # an item and its vector


def _asked(catalog: Catalog, before: _Searched, after: _Written, keys: list[int], label: str) -> tuple[_Asked, _Asked]:
    """The same pictures with the same labels in both, as each has them: one id may be of another version in the new one."""
    new = {item.id: (item, vector) for item, vector in catalog.vectors(keys, after.fingerprint, after.dim)}
    new = {id: asked for id, asked in new.items() if asked[0].metadata.get(label) is not None}
    there = [item.key for item in catalog.find(list(new)).values() if _alike(item, new[item.id][0], label)]
    old = {item.id: (item, vector) for item, vector in catalog.vectors(there, before.fingerprint, before.dim)}
    return list(old.values()), [new[id] for id in old]


def _alike(one: Item, other: Item, label: str) -> bool:
    return (one.content, one.metadata.get(label)) == (other.content, other.metadata[label])


def _right(where: _Searched | _Written, asked: _Asked, label: str) -> np.ndarray:
    """bool [asked]: whether the nearest item of another content has the same label."""
    answers = []
    for item, vector in asked:
        other = next((found for found in where.nearest(vector, _NEAR) if found.content != item.content), None)
        answers.append(other is not None and other.metadata.get(label) == item.metadata[label])
    return np.array(answers, bool)


def _itself(catalog: Catalog, collection: Path, where: _Written, encoder: Encoder, keys: list[int]) -> np.ndarray:
    """bool [pictures]: whether no item is nearer than their own; another copy of the picture may be as near."""
    answers = []
    for vector, pixels in islice(_pictures(catalog, collection, where, encoder, keys[: 2 * PICTURES]), PICTURES):
        anew = encoder.encode(pixels[None])[0]
        answers.append(float(anew @ vector) >= where.best(anew) - _ROUNDED)
    return np.array(answers, bool)


def _pictures(
    catalog: Catalog, collection: Path, where: _Written, encoder: Encoder, keys: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Vectors and pixels of those items that can still be read."""
    for item, vector in catalog.vectors(keys, where.fingerprint, where.dim):
        if (data := blobs.indexed(collection, catalog, item)) is not None:
            with suppress(ImageError):
                yield vector, encoder.transform(data)


def _share(right: np.ndarray) -> float | None:
    return float(right.mean()) if len(right) else None


def _recall(collection: Path, generation: Generation) -> float:
    return min((segments.worth(collection / "segments" / name).recall for name in generation.segments), default=1.0)


def _worse(old: np.ndarray, new: np.ndarray, itself: np.ndarray) -> Iterator[str]:
    if len(itself) and itself.mean() < _ITSELF:
        yield f"{np.count_nonzero(~itself)} of {len(itself)} pictures do not find themselves."
    change = new.astype(int) - old.astype(int)
    if len(change) and change.mean() + _SURE * change.std() / np.sqrt(len(change)) < 0:
        yield f"The nearest item has the same label for {new.mean():.1%} of {len(new):,} items; it was {old.mean():.1%}."
