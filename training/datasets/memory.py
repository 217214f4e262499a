"""How many pictures of which size in, where their pixels are kept out: in memory, or in a file that is mapped into it.

The file is a NumPy array, uint8 [N, size, size, 3]. Its space is taken before the first pixel is written, for a mapped page
that finds the disk full ends the process without a word; and it has its name only once it is whole.
"""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.bundle import sync

from . import DataError

# A control group's files of its limit and of what it uses, and which line of its statistics counts what can be dropped.
_VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = ("memory.max", "memory.current", "inactive_file")
_BLOCK = 2**24  # bytes
_NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # by the file system


def fits(images: int, size: int, limit: int) -> bool:
    return pixel_bytes(images, size) <= limit


def pixel_bytes(images: int, size: int) -> int:
    return images * size * size * 3


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process can still take: of the machine, and of the control groups (version 1 and 2) that it is in."""
    return max(0, min([_of_the_machine(root), *_of_groups(root)]))


def _of_the_machine(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):  # no Linux, or one from before 2014
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_groups(root: Path) -> Iterator[int]:
    """What each group and each group around it leaves. Without groups, nothing."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root / "sys/fs/cgroup", _VERSION_2
        elif "memory" in controllers.split(","):
            top, names = root / "sys/fs/cgroup/memory", _VERSION_1
        else:
            continue
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top):  # in a container the path can be the host's: then only the top is there
                yield from _of_group(folder, *names)


def _of_group(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    """The limit less what is used; files that were read count as used, but make room when it is needed."""
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())  # "max" where there is no limit
        lines = (folder / "memory.stat").read_text().splitlines()
        yield most - used + sum(int(line.split()[1]) for line in lines if line.split()[0] == cache)
    except (OSError, ValueError, IndexError):
        return


@contextlib.contextmanager
def new_store(path: Path, images: int, size: int) -> Iterator[np.memmap]:
    """An array to be filled, black so far; afterwards ``path`` holds it. When filling fails, no file remains.

    Raises ``DataError`` where the disk has no room for it.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        yield (pixels := _allocated(draft, images, size))
        pixels.flush()
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        raise DataError(f"The pixels cannot be kept in {path} ({error.strerror or error}). Give another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _allocated(path: Path, images: int, size: int) -> np.memmap:
    path.parent.mkdir(parents=True, exist_ok=True)
    needed, free = pixel_bytes(images, size), shutil.disk_usage(path.parent).free
    if needed > free:
        raise DataError(
            f"The pixels need {_gigabytes(needed)} in {path.parent}, and {_gigabytes(free)} are free. "
            "Make room there, allow more memory, or take a smaller size."
        )
    pixels = np.lib.format.open_memmap(path, "w+", np.uint8, (images, size, size, 3))
    with path.open("r+b") as file:
        _take(file.fileno(), pixels.offset, pixels.nbytes)
    return pixels


def _take(file: int, start: int, count: int) -> None:
    """Take the disk's space for ``count`` zeros from ``start`` on. Raises ``OSError`` where there is none."""
    try:
        os.posix_fallocate(file, start, max(1, count))
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NOT_SUPPORTED:
            raise
        for at in range(start, start + count, _BLOCK):
            os.pwrite(file, bytes(min(_BLOCK, start + count - at)), at)


def open_store(path: Path, images: int, size: int) -> np.memmap:
    """The pixels that ``new_store`` left, uint8 [images, size, size, 3], to be read only. Raises ``DataError``."""
    anew = "Remove it and start anew: the pictures are then decoded again."
    try:
        pixels = np.lib.format.open_memmap(path, "r")
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there. Start anew: the pictures are then decoded again.") from error
    except (OSError, ValueError) as error:  # a broken header, or a file shorter than it says
        raise DataError(f"{path} cannot be read ({error}). {anew}") from error
    if pixels.dtype != np.uint8 or pixels.shape != (images, size, size, 3):
        has = " × ".join(map(str, pixels.shape))
        raise DataError(f"{path} holds {has} values of {pixels.dtype}, not {images} pictures of {size} × {size} pixels. {anew}")
    return pixels


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.0f} GB" if count >= 10e9 else f"{count / 1e9:.2g} GB"
