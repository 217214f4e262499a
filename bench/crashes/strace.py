"""A function in, the system calls with which its process changed files out; or its death at one of them. Needs ``strace``.

The function runs in a process of its own that strace holds from before its first call. A process that is killed at a call dies
on entering it: all calls before it are done, and it is not.
"""

import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model import Failure

from .process import Process, Told

CHANGING = (
    *("write", "pwrite64", "writev", "pwritev", "sendfile", "copy_file_range", "ftruncate", "truncate", "fallocate"),
    *("fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("link", "linkat", "symlink", "symlinkat"),
)
_BY_HANDLE = ("write", "pwrite64", "writev", "pwritev", "sendfile", "ftruncate", "fallocate", "fsync", "fdatasync", "syncfs")
_RECORDED = (*CHANGING, "open", "openat", "creat", "lseek", "mmap")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|0x[0-9a-f]+)")
_BEGUN = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_HANDLE = re.compile(r"(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")


class StraceError(Failure):
    """strace cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Call:
    """A system call: its ``nth`` of that name in its thread, what it was given as strace writes it, and what it returned."""

    name: str
    nth: int
    thread: int
    given: str
    result: int

    @property
    def handles(self) -> list[tuple[int, Path]]:
        """File descriptors that are open, with their paths; -1 is the working folder."""
        found = _HANDLE.findall(self.given)
        return [(-1 if fd == "AT_FDCWD" else int(fd), _path(path)) for fd, path, deleted in found if not deleted]

    @property
    def data(self) -> bytes:
        """What was written."""
        return b"".join(_bytes(text) for text in _TEXT.findall(self.given))[: max(self.result, 0)]

    @property
    def names(self) -> list[Path]:
        """The paths that were given as text, made absolute."""
        folders = [path for _, path in self.handles] or [Path.cwd()]
        texts = [_path(text) for text in _TEXT.findall(self.given)]
        return [folders[min(place, len(folders) - 1)] / text for place, text in enumerate(texts)]

    @property
    def path(self) -> Path | None:
        """The file or folder that it changes, or of which it changes the name."""
        if self.name in _BY_HANDLE:
            return next((path for _, path in self.handles), None)
        return next(iter(self.names), None)


@dataclass(frozen=True)
class Ended:
    """How a process ended: what it acknowledged, its exit status (-9: killed), and what it did where that was recorded.

    ``told``: the descriptor on which it acknowledged.
    """

    acknowledged: int
    status: int
    told: int
    calls: list[Call]


def recorded(work: Callable[[Told], None], log: Path) -> Ended:
    """Run to the end; every change of a file with all that was written. ``work`` calls what it is given to acknowledge."""
    return _run(work, log, "-y", "-xx", "-s", "100000000", "-e", f"trace={','.join(_RECORDED)}")


def killed(work: Callable[[Told], None], log: Path, name: str, nth: int) -> Ended:
    """Run until the ``nth`` call of this name in any thread, or to the end where none makes as many."""
    return _run(work, log, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={nth}")


def _run(work: Callable[[Told], None], log: Path, *options: str) -> Ended:
    process = Process(work)
    try:
        strace = _attach(process.pid, log, *options)
    except StraceError:
        process.kill()
        process.end()
        raise
    process.go()
    acknowledged, status = process.end()
    strace.communicate()
    return Ended(acknowledged, status, process.told, list(_calls(log)))


def _attach(pid: int, log: Path, *options: str) -> "subprocess.Popen[str]":
    if shutil.which("strace") is None:
        raise StraceError("strace is not installed. Install it (Debian: apt install strace), then run again.")
    command = ["strace", "-f", "-o", str(log), *options, "-p", str(pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert strace.stderr is not None
    said = strace.stderr.readline()
    if "attached" not in said:
        strace.kill()
        strace.wait()
        raise StraceError(f"strace cannot watch a process ({said.strip()}). Run as root, or allow ptrace.")
    return strace


def _calls(log: Path) -> Iterator[Call]:
    seen: Counter[tuple[str, str]] = Counter()
    for line in _whole(log.read_text().splitlines()):
        if match := _LINE.match(line):
            thread, name, given, result = match.groups()
            seen[thread, name] += 1
            yield Call(name, seen[thread, name], int(thread), given, int(result, 0))


def _whole(lines: list[str]) -> Iterator[str]:
    """Calls that others ran into are put together again, where they end."""
    begun: dict[str, str] = {}
    for line in lines:
        if match := _BEGUN.match(line):
            begun[match[1]] = f"{match[1]} {match[2]}"
        elif match := _ENDED.match(line):
            yield begun.pop(match[1], "") + match[2]
        else:
            yield line


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


def _path(escaped: str) -> Path:
    return Path(os.fsdecode(_bytes(escaped)))
