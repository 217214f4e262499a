"""A collection in use in, a whole copy of one moment out (``backup.json`` lists it), and the way back.

The copy is shaped like a collection. A further backup into the same folder links what has not changed from the one before,
which it replaces in one step. ``restore`` checks every checksum before anything takes the place of anything.
"""

import errno
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from model import Failure
from model import bundle as bundles
from model.bundle import file_digest

from .. import generation as generations
from ..catalog import FILE, CatalogError, Numbers, Upkeep
from ..generation import GenerationError
from ..lock import only_job
from ..search import segment
from . import replacing

MANIFEST = "backup.json"
_TRIES = 5  # a job may sweep away what was about to be copied
_BLOCK = 2**20  # bytes
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTS = {MANIFEST, FILE, f"{FILE}-wal", f"{FILE}-shm", "job.lock", "pace.json", "blobs", "bundles", "generations", "segments"}
_BROKEN = "{} is no whole backup: {}. Use another one."

Advance = Callable[[int, int], None]  # bytes done now, bytes in all


class BackupError(Failure):
    """Nothing was replaced; the message says why, and what to do."""


class _Swept(Exception):
    """A file went while it was wanted."""


class File(BaseModel):
    size: int  # bytes
    sha256: str


class Manifest(BaseModel):
    """What ``backup.json`` says. ``born``: tells its collection from others; ``numbers``: the last ones that were given out;
    ``missing``: pictures that the collection itself had lost, though the backup before may have had them."""

    format: Literal[1] = 1
    created: datetime = Field(default_factory=lambda: datetime.now(UTC))
    collection: str
    born: float | None = None
    generation: int | None
    numbers: Numbers
    count: int  # live items
    files: dict[str, File] = {}
    missing: list[str] = []

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


@dataclass(frozen=True)
class Backup:
    """``copied`` and ``linked``: bytes."""

    manifest: Manifest
    copied: int
    linked: int
    seconds: float

    def figures(self) -> dict[str, Any]:
        told = self.manifest.model_dump(mode="json", exclude={"files"})
        sizes = {"files": len(self.manifest.files), "size": self.manifest.size, "copied": self.copied, "linked": self.linked}
        return told | sizes | {"seconds": self.seconds}


@dataclass(frozen=True)
class Restored:
    """``aside``: where the old collection is now; ``lost``: what came after the backup, None where that cannot be read."""

    manifest: Manifest
    seconds: float
    aside: Path | None = None
    lost: dict[str, Any] | None = None
    unreadable: str = ""

    def figures(self) -> dict[str, Any]:
        told = self.manifest.model_dump(mode="json", exclude={"files"})
        aside = None if self.aside is None else str(self.aside)
        return told | {"seconds": self.seconds, "set_aside": aside, "lost": self.lost, "old_unreadable": self.unreadable}


def read(folder: Path) -> Manifest:
    """Raises ``BackupError``."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise BackupError(f"{folder} is no backup: it has no {MANIFEST}. `lookalike backup` makes one.") from error
    except (OSError, ValidationError) as error:
        raise BackupError(_BROKEN.format(folder, f"{MANIFEST} cannot be read")) from error


# --- backup ---


def backup(collection: Path, to: Path, advance: Advance = lambda done, total: None) -> Backup:
    """Copy ``collection`` while it is searched, changed and indexed. ``to``: a new folder, or the backup to be replaced.

    Raises ``BackupError``, ``ReplacingError`` or ``CatalogError``; the backup before is then as it was.
    """
    started, source, place = time.monotonic(), collection.resolve(), to.resolve()
    _check_places(source, place, "Give a folder outside of it with --to.")
    with _enough_disk(place), closing(Upkeep(source)) as catalog:
        for _ in range(_TRIES):
            with suppress(_Swept), replacing.drafted(place) as draft:
                copy = _Copy(catalog, source, draft, place, _former(place, catalog.born()), advance)
                manifest = copy.run()
                _former(place, catalog.born())  # nothing that is not its own goes, even if it came meanwhile
                replacing.put(draft, place)
                return Backup(manifest, copy.copied, copy.linked, time.monotonic() - started)
    raise BackupError(f"Files of {collection} vanish while they are copied. Run `lookalike verify {collection}`.")


def _former(place: Path, born: float) -> dict[str, File]:
    """The files of the backup that is there, as far as it can be used. Raises ``BackupError`` where it must not be replaced."""
    if place.is_dir() and any(place.iterdir()) and not (place / MANIFEST).exists():
        raise BackupError(f"{place} holds something that is no backup. Choose another folder with --to.")
    if place.exists() and not place.is_dir():
        raise BackupError(f"{place} is no folder. Choose another one with --to.")
    if place.exists() and (others := sorted({path.name for path in place.iterdir()} - _PARTS)):
        raise BackupError(
            f"{place} holds {others[0]}, which is no part of a backup and would go with the one before. Move it away, or "
            "choose another folder with --to."
        )
    try:
        former = read(place)
    except BackupError:
        return {}
    if former.born not in (None, born):
        raise BackupError(
            f"{place} is the backup of another collection, {former.collection}. Choose another folder with --to, or move this "
            "one away."
        )
    return former.files


class _Copy:
    """One try. ``copied`` and ``linked``: bytes."""

    def __init__(
        self, catalog: Upkeep, source: Path, draft: Path, place: Path, former: dict[str, File], advance: Advance
    ) -> None:
        self.catalog, self.source, self.draft, self.place = catalog, source, draft, place
        self.former, self.advance = former, advance
        self.copied = self.linked = 0

    def run(self) -> Manifest:
        _check_room(self.draft, self.catalog.path.stat().st_size)
        self.catalog.copy(self.draft / FILE)
        with closing(Upkeep(self.draft)) as copy:
            self._check(copy)
            state, born, numbers = copy.state(), copy.born(), copy.numbers()
            manifest = Manifest(
                collection=str(self.source), born=born, generation=state.generation, numbers=numbers, count=state.count
            )
            wanted = self._wanted(copy)
            pictures = {f"blobs/{content}": content for content in copy.uploaded()}
        manifest.missing = [path for path in pictures if not (self.source / path).is_file()]
        # Of these the only copy may lie in the backup before, and must not go with it.
        gone = {path for path in manifest.missing if path not in self.former or not _holds(self.place / path, pictures[path])}
        wanted |= {path: content for path, content in pictures.items() if path not in gone}
        catalog = File(size=(self.draft / FILE).stat().st_size, sha256=file_digest(self.draft / FILE))
        manifest.files = {FILE: catalog} | self._take(wanted)
        self.copied += catalog.size
        (self.draft / MANIFEST).write_text(manifest.model_dump_json(indent=1))
        return manifest

    def _check(self, copy: Upkeep) -> None:
        """All of the catalog is as it was written: the backup before may be the only one that is."""
        found = copy.damage(quick=True)
        found = found or [f"the row of {id!r}" for id in copy.damaged_items() if id is not None]
        found = found or [f"the vector of {content}" for content in copy.damaged_vectors() if content is not None]
        if found:
            raise BackupError(
                f"The catalog is damaged ({found[0]}). Run `lookalike verify {self.source}`. The backup before is as it was."
            )

    def _wanted(self, copy: Upkeep) -> dict[str, str]:
        """What the copied catalog's generations name, and the SHA-256 that each file should have."""
        wanted: dict[str, str] = {}
        state = copy.state()
        for number in copy.done():
            place = generations.path(self.source, number)
            if not place.exists():
                if number == state.generation:
                    raise _Swept
                continue
            try:
                generation, digest = generations.read(self.source, number), file_digest(place)
            except (GenerationError, FileNotFoundError) as error:
                if place.exists():
                    raise
                raise _Swept from error
            wanted[f"generations/{number}.json"] = digest
            for name in generation.segments:
                wanted |= self._described(f"segments/{name}", segment.MANIFEST, segment.Manifest)
            wanted |= self._described(f"bundles/{generation.fingerprint}", "bundle.json", bundles.Manifest)
        return wanted

    def _described(self, folder: str, manifest: str, kind: type[segment.Manifest] | type[bundles.Manifest]) -> dict[str, str]:
        """The files of a segment or bundle, by its own manifest."""
        place = self.source / folder / manifest
        try:
            data = place.read_bytes()
            files = kind.model_validate_json(data).files
        except FileNotFoundError as error:
            raise _Swept from error
        except ValidationError as error:
            raise BackupError(f"{place} is damaged. Run `lookalike index` again, then make the backup.") from error
        files = {f"{folder}/{name}": digest for name, digest in files.items()}
        return files | {f"{folder}/{manifest}": hashlib.sha256(data).hexdigest()}

    def _take(self, wanted: dict[str, str]) -> dict[str, File]:
        new = [path for path, digest in wanted.items() if not self._link(path, digest)]
        with _swept():
            total = sum(self._place(path).stat().st_size for path in new)
        _check_room(self.draft, total)
        for path in new:
            self._copy(path, wanted, total)
        return {path: File(size=(self.draft / path).stat().st_size, sha256=digest) for path, digest in wanted.items()}

    def _link(self, path: str, digest: str) -> bool:
        """Whether the backup before has this file, and on a file system that can share it."""
        known, old = self.former.get(path), self.place / path
        if known is None or known.sha256 != digest:
            return False
        try:
            if not _holds(old, digest):  # what rotted there would be handed on for ever
                return False
            (self.draft / path).parent.mkdir(parents=True, exist_ok=True)
            os.link(old, self.draft / path)
        except OSError:
            return False
        self.linked += known.size
        return True

    def _place(self, path: str) -> Path:
        """Where a file is to be had: in the collection, or in the backup before where only that has it any more."""
        return self.source / path if (self.source / path).exists() or path not in self.former else self.place / path

    def _copy(self, path: str, wanted: dict[str, str], total: int) -> None:
        place = self._place(path)
        with _swept():
            if _copied(place, self.draft / path, lambda done: self.advance(done, total)) == wanted[path]:
                self.copied += (self.draft / path).stat().st_size
            elif path.startswith("bundles/") and self._is_another("/".join(path.split("/")[:2]), wanted):
                raise _Swept
            else:
                raise BackupError(
                    f"{place} is damaged: its checksum is another one. Run `lookalike verify {self.source}`, it says what to "
                    "do. The backup before is as it was."
                )

    def _is_another(self, bundle: str, wanted: dict[str, str]) -> bool:
        """Whether one of the same fingerprint, with another calibration, took the place of the bundle that was described."""
        return file_digest(self.source / bundle / "bundle.json") != wanted[f"{bundle}/bundle.json"]


@contextmanager
def _swept() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise _Swept from error


# --- restore ---


def restore(backup: Path, to: Path, *, replace: bool = False, advance: Advance = lambda done, total: None) -> Restored:
    """Make a collection of a backup. With ``replace``, the one that is at ``to`` is set aside, never deleted.

    Raises ``BackupError`` or ``ReplacingError``; what was at ``to`` is then as it was.
    """
    started, source, place = time.monotonic(), backup.resolve(), to.resolve()
    _check_places(source, place, "Give a folder outside of it.")
    replacing.settle(source)
    manifest = read(source)
    with _enough_disk(place), replacing.drafted(place) as draft:
        old = place.exists() and (not place.is_dir() or any(place.iterdir()))
        if old and not (replace and place.is_dir()):
            raise BackupError(
                f"{to} exists and is not empty. Choose another folder, or say --replace: the old one is set aside."
            )
        _check_room(draft, manifest.size)
        _copy_all(source, manifest, draft, advance)
        with only_job(place) if old else nullcontext():
            restored = _compare(place, manifest) if old else {}
            _go_on_above(draft, manifest, place)
            aside = _set_aside(draft, place) if old else None
            if not old and not replacing.put_new(draft, place):
                raise BackupError(f"Something came to {to} while the backup was copied, and stays. See what it is.")
    return Restored(manifest, time.monotonic() - started, aside, **restored)


def _copy_all(source: Path, manifest: Manifest, draft: Path, advance: Advance) -> None:
    bad = []
    for path, file in manifest.files.items():
        if not (draft / path).resolve().is_relative_to(draft.resolve()):
            raise BackupError(_BROKEN.format(source, f"{MANIFEST} names {path}, which lies outside"))
        try:
            if _copied(source / path, draft / path, lambda done: advance(done, manifest.size)) != file.sha256:
                bad.append(f"{path} holds something else than was written")
        except FileNotFoundError:
            bad.append(f"{path} is missing")
        except OSError as error:
            if error.errno in _FULL:
                raise
            bad.append(f"{path} cannot be copied ({error.strerror})")
    if FILE not in manifest.files:
        bad.append(f"{MANIFEST} names no {FILE}")
    if bad and read(source) != manifest:
        raise BackupError(f"{source} was replaced by a newer backup meanwhile. Run again.")
    if bad:
        more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise BackupError(_BROKEN.format(source, bad[0] + more))


def _compare(place: Path, manifest: Manifest) -> dict[str, Any]:
    """What the collection has that the backup has not: all of it, where it is another one."""
    try:
        with closing(Upkeep(place)) as catalog:
            same = manifest.born in (None, catalog.born())
            return {"lost": catalog.came_after(manifest.numbers if same else Numbers(0, 0, 0))}
    except Failure as error:
        return {"unreadable": str(error)}


def _go_on_above(draft: Path, manifest: Manifest, place: Path) -> None:
    """No number is given out a second time, for clients and servers may know the first: not even where nobody can tell any more
    how far they went."""
    with closing(Upkeep(draft)) as catalog:
        if not _told_by(place, catalog):
            catalog.go_on_above(manifest.numbers.far_above())


def _told_by(place: Path, catalog: Upkeep) -> bool:
    """Go on above the numbers of the collection at ``place``. False where it cannot be read, or is another one than this
    catalog's: nobody knows then how far that one went."""
    try:
        with closing(Upkeep(place)) as old:
            catalog.go_on_above(old.numbers())
            return old.born() == catalog.born()
    except CatalogError:
        return False


def _set_aside(draft: Path, place: Path) -> Path:
    """The draft becomes the collection, and the old one lies beside it: never in the draft's folder, which is removed."""
    aside, mine = replacing.kept_name(place), draft.stat()
    replacing.flush(draft)  # or a power cut could keep this name and not the files: it would pass for the old collection
    draft.rename(aside)
    try:
        replacing.put(aside, place)
    except BaseException:
        if os.path.samestat(aside.stat(), mine):  # they were not exchanged
            aside.rename(draft)
        raise
    return aside


# --- both ---


def _check_places(source: Path, place: Path, todo: str) -> None:
    if place.is_relative_to(source) or source.is_relative_to(place):
        raise BackupError(f"{place} and {source} lie in each other. {todo}")


def _holds(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False


def _copied(source: Path, target: Path, advance: Callable[[int], None]) -> str:
    """Copy a file; the SHA-256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        while block := reading.read(_BLOCK):
            digest.update(block)
            writing.write(block)
            advance(len(block))
    return digest.hexdigest()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise BackupError(
            f"The disk of {folder.parent.parent} has {free / 1e9:.2f} GB left, and {needed / 1e9:.2f} GB are needed. "
            "Make room, or choose another disk. Nothing was replaced."
        )


@contextmanager
def _enough_disk(place: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise BackupError(
            f"The catalog cannot be copied ({error}). See that the disk of {place} is not full and can be written. "
            "Nothing was replaced."
        ) from error
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise BackupError(f"The disk of {place} is full. Make room, or choose another disk. Nothing was replaced.") from error
