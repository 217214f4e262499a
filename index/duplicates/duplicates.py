"""A collection in, its clusters of copies out: items of one content, and pictures that show the same thing pixel for pixel.

Which pictures may be copies, their vectors say: only the nearest neighbours are compared (``_candidates``). Whether they are,
their pixels say (``alikeness``). Copies of copies may drift apart, so what counts is not the chain: every member of a cluster
matches the picture that is to be kept: the one with the most pixels inside its border, then the least border, then the largest
file, then the oldest item. Nothing is changed or removed.
"""

import hashlib
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from typing import IO, Any, Literal

import faiss
import numpy as np

from model import Failure
from model import bundle as bundles
from model.image import ImageError, upright_size

from .. import blobs
from .. import generation as generations
from ..catalog import BARE, Catalog, Item, batched
from ..search import segment as segments
from . import alikeness
from .alikeness import BATCH, LOOK, OVERLAP, SAME, Overlaps, differences

COSINE = 0.6  # vectors of a picture and of its copy are nearer
NEIGHBOURS = 16  # of a picture that are compared with it: what bounds the time where thousands of pictures are alike

Progress = Callable[[str, int, int], None]  # a phase, how much of it was done just now, and how much it is in all
_Pair = tuple[int, int]
_Measured = dict[_Pair, float]
_Asking = Generator[list[_Pair], _Measured, list["_Group"]]

_BLOCK = 4096  # vectors that are compared with as many others at once
_READ = 512  # pictures that are read ahead


class DuplicatesError(Failure):
    """There is nothing to look through; the message says what to do."""


@dataclass(frozen=True)
class Picture:
    """An item whose file was read just now. ``size``: width and height in pixels."""

    item: Item
    size: tuple[int, int]


@dataclass(frozen=True)
class Copy:
    """``difference``: 0 for the same file, else up to ``alikeness.SAME``."""

    picture: Picture
    why: Literal["same file", "same picture"]
    difference: float


@dataclass(frozen=True)
class Cluster:
    keep: Picture
    copies: list[Copy]  # one at least; those of the same file first, then the most alike

    @property
    def bytes(self) -> int:
        """What the copies take on the disk."""
        return sum(copy.picture.item.size for copy in self.copies)


@dataclass(frozen=True)
class Duplicates:
    """``clusters``: those that take the most room first. ``unreadable`` maps the id of an item to the reason."""

    items: int
    clusters: list[Cluster]
    compared: int = 0  # pairs, by their pixels
    pending: int = 0  # items that have no vector yet: of these only copies of the file are found
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def copies(self) -> int:
        return sum(len(cluster.copies) for cluster in self.clusters)

    @property
    def bytes(self) -> int:
        return sum(cluster.bytes for cluster in self.clusters)

    def figures(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        counts = {"items": self.items, "copies": self.copies, "bytes": self.bytes}
        clusters = [
            {
                "keep": _described(cluster.keep),
                "copies": [
                    _described(copy.picture) | {"why": copy.why, "difference": round(copy.difference, 3)}
                    for copy in cluster.copies
                ],
            }
            for cluster in self.clusters
        ]
        more = {"compared": self.compared, "pending": self.pending, "unreadable": self.unreadable}
        return {**counts, "clusters": clusters, **more}


def find(
    collection: Path,
    *,
    cosine: float = COSINE,
    neighbours: int = NEIGHBOURS,
    progress: Progress = lambda *_: None,
) -> Duplicates:
    """Look through the live items of a collection; while it goes on being searched and served.

    Two pictures are compared if their vectors' ``cosine`` is above the limit and one of them is among the other's nearest
    ``neighbours``. Raises ``CatalogError``, ``DuplicatesError``, ``GenerationError``, ``SegmentError`` or ``BundleError``.
    """
    with closing(Catalog(collection)) as catalog:
        contents = _Contents(catalog)
        space = _Space(collection, catalog, contents)
        pairs = _candidates(space, cosine, neighbours, progress)
        files = _Files(collection, catalog, contents)
        with tempfile.TemporaryFile() as store:
            looks = files.looks(np.unique(space.contents[pairs]), store, progress)
            pairs = looks.rows(space.contents[pairs])
            groups = _groups(looks, pairs, progress)
        clusters = files.clusters(groups, progress)
        return Duplicates(len(contents.keys), clusters, len(pairs), space.pending, files.unreadable)


def _described(picture: Picture) -> dict[str, Any]:
    width, height = picture.size
    item = picture.item
    return {"id": item.id, "origin": item.origin, "width": width, "height": height, "bytes": item.size}


# Which items are there, and where are their vectors?


class _Contents:
    """Every live item's key, oldest first, and the number of its content; but for those that came as vectors, without a
    picture. Memory: 48 bytes an item."""

    def __init__(self, catalog: Catalog) -> None:
        keys, digests = [], []
        for some in batched(catalog.live_keys().tolist(), _READ):
            items = {key: item for key, item in catalog.live(some).items() if not item.content.startswith(BARE)}
            keys += sorted(items)
            digests += [bytes.fromhex(items[key].content) for key in sorted(items)]
        self.keys = np.array(keys, np.int64)
        _, first, self.numbers = np.unique(np.frombuffer(b"".join(digests), "V32"), return_index=True, return_inverse=True)
        self.first = self.keys[first]  # the oldest key of each content
        self._order = np.argsort(self.numbers, kind="stable")
        self._ends = np.cumsum(np.bincount(self.numbers, minlength=len(first)))

    def of(self, number: int) -> list[int]:
        """The keys of one content's items, oldest first."""
        return self.keys[self._order[self._ends[number - 1] if number else 0 : self._ends[number]]].tolist()

    def repeated(self) -> list[int]:
        """Contents that several items have."""
        return np.flatnonzero(np.diff(self._ends, prepend=0) > 1).tolist()


class _Space:
    """The vectors of the current generation, one a content, left on the disk: row → content. Raises as ``find``."""

    def __init__(self, collection: Path, catalog: Catalog, contents: _Contents) -> None:
        number = catalog.state().generation
        if number is None:
            raise DuplicatesError(f"{collection} holds nothing that is searched yet. Fill it with `lookalike index` first.")
        generation = generations.read(collection, number)
        dim = bundles.load(collection / "bundles" / generation.fingerprint).manifest.architecture.dim
        keys, self._parts = [np.empty(0, np.int64)], []
        for name in generation.segments:
            segment = segments.open(collection / "segments" / name, generation.fingerprint)
            wanted = np.isin(segment.keys, contents.first)
            keys.append(segment.keys[wanted])
            self._parts.append((segment.vectors, np.flatnonzero(wanted)))
        since = np.setdiff1d(contents.first, np.concatenate(keys)).tolist()  # what the service took in
        found = list(catalog.vectors(since, generation.fingerprint, dim))
        keys.append(np.array([item.key for item, _ in found], np.int64))
        self._parts.append((np.stack([vector for _, vector in found]) if found else np.empty((0, dim)), np.arange(len(found))))
        order = np.argsort(contents.first)
        self.contents = order[np.searchsorted(contents.first, np.concatenate(keys), sorter=order)]
        self.pending = len(contents.keys) - int(np.isin(contents.numbers, self.contents).sum())

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The number of a first row, and the float32 vectors [_BLOCK, D] at most that begin there."""
        first = 0
        for vectors, rows in self._parts:
            for start in range(0, len(rows), _BLOCK):
                block = np.ascontiguousarray(vectors[rows[start : start + _BLOCK]], np.float32)
                yield first, block
                first += len(block)


def _candidates(space: _Space, cosine: float, neighbours: int, progress: Progress) -> np.ndarray:
    """Pairs of rows of ``space`` that may be copies, int64 [P, 2], the smaller row first. Memory grows with P only."""
    pairs = [np.empty((0, 2), np.int64)]
    for start, asked in space.blocks():
        rows = np.empty((len(asked), 0), np.int64)
        scores = np.empty((len(asked), 0), np.float32)
        for first, block in space.blocks():
            near, found = faiss.knn(asked, block, min(neighbours + 1, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            rows, scores = np.hstack([rows, found + first]), np.hstack([scores, near])
            best = np.argsort(-scores, axis=1, kind="stable")[:, : neighbours + 1]  # a picture is its own neighbour
            rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
        own = start + np.arange(len(asked))[:, None]
        both = np.sort(np.stack([np.broadcast_to(own, rows.shape), rows], axis=2)[(scores >= cosine) & (rows != own)], axis=1)
        pairs.append(both)
        progress("Comparing vectors", len(asked), len(space.contents))
    return np.unique(np.concatenate(pairs), axis=0)


# What do the files hold?


@dataclass(frozen=True)
class _Looks:
    """The looks of M contents: numbers ``contents`` [M], ascending; ``looks`` ``LOOK`` [M]; ``sizes`` [M] of the pictures;
    ``files`` [M], 0 for the largest file, of equal ones for the oldest item."""

    contents: np.ndarray
    looks: np.ndarray
    sizes: list[tuple[int, int]]
    files: np.ndarray

    def rows(self, pairs: np.ndarray) -> np.ndarray:
        """Pairs of contents → pairs of rows, without those of contents that could not be looked at."""
        readable = np.isin(pairs, self.contents).all(axis=1)
        return np.searchsorted(self.contents, pairs[readable])

    def ordered(self, chain: Collection[int]) -> list[int]:
        """Rows of pictures that are connected, the one to keep first. Those of one size are taken to have one border: it is
        found a little wider in some, and that must not decide between a file and its recompressed copy.
        """
        inside: dict[tuple[int, int], float] = defaultdict(float)
        for row in chain:
            size = self.sizes[row]
            inside[size] = max(inside[size], _inside(self.looks[row], size))
        return sorted(chain, key=lambda row: (-inside[self.sizes[row]], math.prod(self.sizes[row]), self.files[row]))


def _inside(look: np.void, size: tuple[int, int]) -> float:
    """How many pixels of a picture of this size its border leaves, less ``INEXACT`` for each side that has a border."""
    left, top, right, bottom = look["frame"].tolist()
    bordered = sum((left < 0, top < 0, right > 1, bottom > 1))
    across, down = round(size[0] / (right - left)), round(size[1] / (bottom - top))
    return float(across * down * (1 - alikeness.INEXACT) ** bordered)


class _Files:
    """Reads the files of items, each once; ``unreadable`` gathers those that are not what they were."""

    def __init__(self, collection: Path, catalog: Catalog, contents: _Contents) -> None:
        self._collection, self._catalog, self._contents = collection, catalog, contents
        self._looked: dict[int, tuple[int, tuple[int, int]]] = {}  # content → key of the item that was read, size
        self.unreadable: dict[str, str] = {}

    def looks(self, numbers: np.ndarray, store: IO[bytes], progress: Progress) -> _Looks:
        """Look at one picture of each of these contents; the looks are kept in ``store``."""
        looks = np.memmap(store, LOOK, "w+", shape=len(numbers)) if len(numbers) else np.empty(0, LOOK)
        readable: list[int] = []
        sizes, files = [], []
        with ThreadPoolExecutor(cpu_count()) as pool:
            for some in batched(numbers.tolist(), _READ):
                for number, found in zip(some, pool.map(self._look, some), strict=True):
                    if found is not None:
                        item, looks[len(readable)], size = found
                        readable.append(number)
                        sizes.append(size)
                        files.append((-item.size, item.key))
                        self._looked[number] = item.key, size
                progress("Reading pictures", len(some), len(numbers))
        place = np.empty(len(readable), np.int64)
        place[sorted(range(len(readable)), key=files.__getitem__)] = np.arange(len(readable))
        return _Looks(np.array(readable, np.int64), looks, sizes, place)

    def _look(self, number: int) -> tuple[Item, np.ndarray, tuple[int, int]] | None:
        """Runs in a thread. The oldest item whose file is still there stands for all of the same content."""
        for key in self._contents.of(number):
            item, data = self._read(key)
            if item is not None and data is not None:
                try:
                    return item, *alikeness.look(data)
                except ImageError as error:
                    self.unreadable[item.id] = str(error)
                    return None
        return None

    def _read(self, key: int) -> tuple[Item | None, bytes | None]:
        """No item where it went meanwhile; no bytes where the file is not the one that was indexed."""
        item = self._catalog.live([key]).get(key)
        if item is None:
            return None, None
        data = blobs.read(self._collection, self._catalog, item)
        if data is not None and hashlib.sha256(data).hexdigest() == item.content:
            return item, data
        self.unreadable[item.id] = _GONE if data is None else _CHANGED
        return item, None

    def clusters(self, groups: "Iterable[_Group]", progress: Progress) -> list[Cluster]:
        """Clusters of items from groups of contents, and from contents that several items have."""
        groups = list(groups)
        grouped = {number for group in groups for number in (group.keep, *group.members)}
        groups += [_Group(number, {}) for number in self._contents.repeated() if number not in grouped]
        found = []
        for group in groups:
            cluster = self._cluster(group)
            found += [] if cluster is None else [cluster]
            progress("Reading copies", 1, len(groups))
        return sorted(found, key=lambda cluster: (-cluster.bytes, cluster.keep.item.key))

    def _cluster(self, group: "_Group") -> Cluster | None:
        """None where no copy is left, or what is to be kept is not there any more."""
        same = self._pictures(group.keep)
        copies = [Copy(twin, "same file", 0.0) for twin in same[1:]]
        for number, difference in sorted(group.members.items(), key=lambda member: member[1]):
            copies += [Copy(picture, "same picture", difference) for picture in self._pictures(number)]
        return Cluster(same[0], copies) if same and copies else None

    def _pictures(self, number: int) -> list[Picture]:
        """The items of a content whose files are there, oldest first."""
        looked, size = self._looked.get(number, (None, None))
        found = []
        for key in self._contents.of(number):
            if key == looked and size is not None and (item := self._catalog.live([key]).get(key)):
                found.append(Picture(item, size))
            elif key != looked:
                item, data = self._read(key)
                if item is not None and data is not None:
                    size = size or upright_size(data)
                    found.append(Picture(item, size))
        return found


_GONE = "The file is not there any more. Run `lookalike index` again, once its disk is mounted."
_CHANGED = "The file changed since it was indexed. Run `lookalike index` again."


# Which of them belong together?


@dataclass(frozen=True)
class _Group:
    """``keep`` and the members that match it, with their differences."""

    keep: int
    members: dict[int, float]


def _groups(looks: _Looks, pairs: np.ndarray, progress: Progress) -> list[_Group]:
    """Pairs of rows → groups of contents, each member of which matches the picture that is kept."""
    fitting = alikeness.overlaps(looks.looks, pairs, lambda n: progress("Comparing pictures", n, len(pairs)))
    fitting = fitting[fitting.fit >= OVERLAP]
    sets, measured = _verified(looks.looks, fitting, progress)
    near: dict[int, list[int]] = defaultdict(list)
    chains: dict[int, set[int]] = defaultdict(set)
    for one, other in fitting.rows.tolist():
        if sets.root(one) == sets.root(other):
            near[one].append(other)
            near[other].append(one)
            chains[sets.root(one)] |= {one, other}
    asking = [_gathered(looks.ordered(chain), near) for chain in chains.values()]
    groups = _answered(asking, looks.looks, measured)
    numbers = looks.contents.tolist()
    return [_Group(numbers[each.keep], {numbers[row]: found for row, found in each.members.items()}) for each in groups]


def _verified(looks: np.ndarray, fitting: Overlaps, progress: Progress) -> "tuple[_Sets, _Measured]":
    """Which rows are connected by pairs that are the same picture, and what was measured: no pair that is connected already."""
    sets, measured = _Sets(len(looks)), {}
    order = np.argsort(-fitting.fit, kind="stable")  # the surest first: they spare the others
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        apart = [sets.root(one) != sets.root(other) for one, other in fitting.rows[some].tolist()]
        pairs = fitting[some[apart]]
        for pair, difference in zip(pairs.rows.tolist(), differences(looks, pairs).tolist(), strict=True):
            measured[min(pair), max(pair)] = difference
            if difference <= SAME:
                sets.join(*pair)
        progress("Aligning pictures", len(some), len(order))
    return sets, measured


def _gathered(chain: Sequence[int], near: dict[int, list[int]]) -> _Asking:
    """Split a chain, the best picture first, into groups. Asks for differences from the best one, and goes on from what matches
    it: so a long chain of pictures that drift apart is not compared each with each.
    """
    left, groups = dict.fromkeys(chain), []
    while left:
        keep = next(iter(left))
        del left[keep]
        members: dict[int, float] = {}
        asked, edge = set(), {row for row in near[keep] if row in left}
        while edge:
            measured = yield [(keep, row) for row in sorted(edge)]
            matching = {row: measured[keep, row] for row in sorted(edge) if measured[keep, row] <= SAME}
            members |= matching
            asked |= edge
            edge = {row for member in matching for row in near[member] if row in left} - asked
        for row in members:
            del left[row]
        if members:
            groups.append(_Group(keep, members))
    return groups


def _answered(asking: list[_Asking], looks: np.ndarray, measured: _Measured) -> list[_Group]:
    """Let all of them ask at once, as often as they want: many pairs together are compared quickly."""
    groups: list[_Group] = []
    waiting = _asked([(each, None) for each in asking], groups)
    while waiting:
        pairs = {(min(pair), max(pair)) for _, wanted in waiting for pair in wanted} - measured.keys()
        if pairs:
            rows = np.array(sorted(pairs), np.int64)
            fitting = alikeness.overlaps(looks, rows)
            found = np.where(fitting.fit >= OVERLAP, differences(looks, fitting), np.inf)
            measured |= {
                (one, other): difference for (one, other), difference in zip(rows.tolist(), found.tolist(), strict=True)
            }
        answers = [(each, {pair: measured[min(pair), max(pair)] for pair in wanted}) for each, wanted in waiting]
        waiting = _asked(answers, groups)
    return groups


def _asked(answers: Iterable[tuple[_Asking, _Measured | None]], groups: list[_Group]) -> list[tuple[_Asking, list[_Pair]]]:
    """Hand out answers; → who asks on, and for which pairs. The groups of those who are done are added to ``groups``."""
    waiting = []
    for each, answer in answers:
        try:
            waiting.append((each, next(each) if answer is None else each.send(answer)))
        except StopIteration as done:
            groups += done.value
    return waiting


class _Sets:
    """Which rows are connected (union-find)."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def root(self, row: int) -> int:
        while self._above[row] != row:
            self._above[row] = self._above[self._above[row]]
            row = self._above[row]
        return row

    def join(self, one: int, other: int) -> None:
        self._above[self.root(one)] = self.root(other)
