"""What no generation needs any more, off the disk: after every job files alone, with ``collect`` rows and vectors too.

The order makes it safe to be killed: first the descriptions of generations go, so nobody can go back to one that lacks
something; then rows, in small transactions beside which the service writes; and the files of rows that are gone last.
"""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.bundle import sync

from .. import blobs
from .. import generation as generations
from ..catalog import Catalog, Upkeep, batched
from ..generation import Generation, GenerationError
from ..lock import only_job
from ..search import segment as segments

KEPT = 2  # generations: the current one, and the one before for servers that have not followed yet
YOUNG = 3600  # seconds: the service writes a picture before the row that needs it
_AT_ONCE = 1000  # files or rows


@dataclass
class Freed:
    """What was taken away, or would be. ``bytes``: of files; what rows took stays with the catalog for new ones."""

    generations: list[int] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)
    bundles: list[str] = field(default_factory=list)
    versions: int = 0
    vectors: int = 0
    changes: int = 0
    pictures: int = 0
    bytes: int = 0


def sweep(catalog: Catalog, collection: Path, keep: int = KEPT) -> None:
    """Remove what jobs that died left behind, and generations that are past: the newest ``keep`` stay.

    The caller holds the collection's job lock, and what was rolled back is undone.
    """
    newest = catalog.state().generation or 0  # those above were never published, or are undone
    kept = [each for each in generations.readable(collection) if each.number <= newest][-keep:]
    _keep_only(collection / "generations", {f"{generation.number}.json" for generation in kept})
    _keep_only(collection / "segments", {name for generation in kept for name in generation.segments})
    for draft in (collection / "bundles").glob(".*"):
        shutil.rmtree(draft)
    blobs.sweep(collection)
    _put_back(collection)


def collect(catalog: Upkeep, collection: Path, keep: int = KEPT, *, dry_run: bool = False) -> Freed:
    """Free what neither the newest ``keep`` generations up to the current one need, nor those that were rolled back.

    Safe beside servers and their writes: a server follows within a second, and files that it has mapped stay its own. With
    ``dry_run``, only say what would be. Raises ``Busy``, or ``GenerationError`` where the current one cannot be read.
    """
    with only_job(collection):
        if keep == 1 and not dry_run:  # of the one before, nothing is left then
            current = catalog.done().get(catalog.state().generation or 0)
            catalog.until_followed(0.0 if current is None else current.finished)
        return _Collection(catalog, collection, keep, dry_run).run()


class _Collection:
    def __init__(self, catalog: Upkeep, collection: Path, keep: int, dry_run: bool) -> None:
        self.catalog, self.collection, self.dry_run = catalog, collection, dry_run
        self.kept = _kept(catalog, collection, keep)
        self.freed = Freed()

    def run(self) -> Freed:
        names = {f"{generation.number}.json" for generation in self.kept}
        gone = self._remove_all_but("generations", names)
        self.freed.generations = sorted(int(name.removesuffix(".json")) for name in gone if re.fullmatch(r"\d+\.json", name))
        self._forget()
        self.freed.segments = self._remove_all_but("segments", {name for each in self.kept for name in each.segments})
        self.freed.bundles = self._remove_all_but("bundles", self._fingerprints())
        return self.freed

    def _fingerprints(self) -> set[str]:
        """A job that died with another bundle has vectors that the next one takes up."""
        return {each.fingerprint for each in self.kept} | self.catalog.unfinished()

    def _forget(self) -> None:
        """Rows, then the pictures that only they named."""
        oldest, since = self.kept[0].number, min(each.change for each in self.kept)
        unneeded = np.setdiff1d(self.catalog.unneeded(oldest, since), self._in_segments())
        doomed = unneeded.tolist()
        self.freed.versions = len(doomed)
        if self.dry_run:
            self.freed.vectors = self.catalog.count_unneeded_vectors(self._fingerprints(), doomed)
            self.freed.changes = self.catalog.count_changes(since)
        else:
            for some in batched(doomed, _AT_ONCE):
                self.catalog.forget(some)
            self.freed.vectors = self.catalog.forget_vectors(self._fingerprints())
            self.freed.changes = self.catalog.forget_changes(since)
        self._remove_pictures(set(doomed) if self.dry_run else set())

    def _in_segments(self) -> np.ndarray:
        """int64, sorted: who counts a generation's items by their values takes the dead among these keys away."""
        folders = {self.collection / "segments" / name for each in self.kept for name in each.segments}
        return np.unique(np.concatenate([np.empty(0, np.int64), *(segments.keys(folder) for folder in sorted(folders))]))

    def _remove_pictures(self, doomed: set[int]) -> None:
        _put_back(self.collection)
        for files in batched((self.collection / "blobs").glob("[!.]*"), _AT_ONCE):
            named = self.catalog.named([file.name for file in files], doomed)
            for file in files:
                if file.name not in named:
                    self._remove_picture(file)

    def _remove_picture(self, file: Path) -> None:
        """Not one that the service wrote, or wrote once more, a moment ago: its row may be on the way.

        Looked at under another name, so that whoever comes now writes it anew; ``blobs.write`` makes one that is there young.
        """
        size, aside = file.stat().st_size, file.with_name(f".{file.name}.aside")
        if _is_young(file):
            return
        if not self.dry_run:
            file.rename(aside)
            if _is_young(aside):
                aside.rename(file)
                return
            aside.unlink()
        self.freed.pictures += 1
        self.freed.bytes += size

    def _remove_all_but(self, folder: str, names: set[str]) -> list[str]:
        """Returns the names of what went."""
        gone = [path for path in sorted((self.collection / folder).glob("*")) if path.name not in names]
        self.freed.bytes += sum(_size(path) for path in gone)
        if not self.dry_run:
            _remove(gone)
        return [path.name for path in gone]


def _kept(catalog: Catalog, collection: Path, keep: int) -> list[Generation]:
    """From the oldest to the newest."""
    current, done = catalog.state().generation, catalog.done()
    there = [each for each in generations.readable(collection) if each.number in done]
    up_to = [each for each in there if current is not None and each.number <= current]
    if not up_to or up_to[-1].number != current:
        raise GenerationError(f"{collection} has no current generation that can be read. Run `lookalike index` first.")
    return up_to[-keep:] + [each for each in there if done[each.number].rolled_back]


def _keep_only(folder: Path, names: set[str]) -> None:
    _remove([path for path in folder.glob("*") if path.name not in names])


def _remove(paths: Sequence[Path]) -> None:
    """Gone for good on return, also after a power cut: what goes next may have been needed by these."""
    for path in paths:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in {path.parent for path in paths}:
        sync(folder)


def _put_back(collection: Path) -> None:
    """Pictures that were put aside to be looked at when the process died: somebody may need them."""
    for aside in (collection / "blobs").glob(".*.aside"):
        aside.rename(aside.with_name(aside.name.removeprefix(".").removesuffix(".aside")))


def _is_young(file: Path) -> bool:
    return file.stat().st_mtime > time.time() - YOUNG


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
