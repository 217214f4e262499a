"""A whole new folder in, and it takes an old one's place in one step: after a crash there is the one or the other."""

import ctypes
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from model import Failure
from model.bundle import sync

_HERE = -100  # AT_FDCWD: paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)  # the system, or this file system, does not know how

_MOUNTED = "Something is mounted at {}, so no other folder can take its place. Give a folder in it, or mount the one above it."

_system = ctypes.CDLL(None, use_errno=True)


class ReplacingError(Failure):
    """The place cannot be written now; the message says what to do."""


@contextmanager
def drafted(place: Path) -> Iterator[Path]:
    """A new folder on the disk of ``place``, for one process at a time. What is in it at the end of the block is removed.

    What a process that died in ``exchange`` had begun is put right first. Raises ``ReplacingError`` while another process has
    one, and where a disk is mounted at ``place``.
    """
    if os.path.ismount(place):
        raise ReplacingError(_MOUNTED.format(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    around = _beside(place, "draft")
    around.mkdir(exist_ok=True)
    handle = os.open(around, os.O_RDONLY)
    try:
        if not _locked(handle, around):
            raise ReplacingError(f"Another process is writing {place}. Wait for it to end, then run again.")
        try:
            _put_right(place)
            draft = around / place.name
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            yield draft
        finally:
            shutil.rmtree(around, ignore_errors=True)
    finally:
        os.close(handle)


def _locked(handle: int, folder: Path) -> bool:
    """Whether this process has the folder to itself. Who had it before may have removed it, and another one made it anew."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), folder.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def settle(place: Path) -> None:
    """For who only reads what is at ``place``: it may be missing after a death where ``exchange`` takes three renames.

    Raises ``ReplacingError``.
    """
    if _beside(place, "aside").exists():
        with drafted(place):
            pass


def put(draft: Path, place: Path) -> bool:
    """``draft`` becomes ``place``. True: what was there is now where the draft was. All of it is on disk when it returns.

    Raises ``ReplacingError`` where a folder is mounted at ``place``; nothing was replaced.
    """
    flush(draft)
    there = place.exists() and any(place.iterdir())
    with _told(place):
        if there:
            exchange(draft, place)
        else:
            draft.rename(place)
    sync(place.parent)
    return there


def put_new(draft: Path, place: Path) -> bool:
    """The same where nothing but an empty folder may be there: False, and nothing is done, where something came meanwhile."""
    flush(draft)
    try:
        with _told(place):
            draft.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    sync(place.parent)
    return True


@contextmanager
def _told(place: Path) -> Iterator[None]:
    """Where a folder of the same disk is mounted, only renaming shows it."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise ReplacingError(_MOUNTED.format(place)) from error


def exchange(one: Path, other: Path) -> None:
    """Two folders of one disk change their places in one step; in three on a file system that cannot, see ``settle``.

    The caller is in ``drafted`` of the ``other``.
    """
    if _system.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    if (code := ctypes.get_errno()) not in _CANNOT:
        raise OSError(code, os.strerror(code), str(other))
    aside = _beside(other, "aside")
    for old, new in ((other, aside), (one, other), (aside, one)):
        old.rename(new)
        sync(new.parent)  # or a power cut could leave the last without the first


def kept_name(place: Path) -> Path:
    """A new name beside ``place``, for what was there and is kept."""
    name = f"{place.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
    return next(path for n in count(1) if not (path := place.with_name(name if n == 1 else f"{name}-{n}")).exists())


def flush(folder: Path) -> None:
    """Force all that was written to the folder's disk: once for a hundred thousand files, not once for each."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _system.syncfs(handle):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(handle)


def _put_right(place: Path) -> None:
    """After a death between three renames: nothing is at ``place``, or the new folder, and then the old one is kept."""
    aside = _beside(place, "aside")
    if aside.exists():
        aside.rename(kept_name(place) if place.exists() else place)
        sync(place.parent)


def _beside(place: Path, what: str) -> Path:
    return place.with_name(f".{place.name}.{what}")
