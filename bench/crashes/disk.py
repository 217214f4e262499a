"""Recorded system calls in, what a disk may hold out when the power fails between two of them.

A file's bytes are safe up to its last fsync, a folder's names up to the folder's own, all of them at a syncfs. Of what came
later the disk has nothing; or any part, each file's writes and each folder's names in their order. A rename within a folder is
one step, and so is an exchange of two names there; syncing a file does not make its name safe. The harshest reading of POSIX:
real file systems keep more.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .strace import Call

_SECTOR = 512  # bytes: a write may be torn between two of these
_SHARED = "-shm"  # SQLite's index of its log: written through mapped memory, never synced, made anew when it is missing
_FOLDERS = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "link", "linkat")


@dataclass(eq=False)
class File:
    """Its bytes as programs see them, as they are safe, and what lies between: (offset, bytes), or (length, None).

    ``mtime_ns``: None where it was written since the beginning.
    """

    seen: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    mtime_ns: int | None = None

    def change(self, place: int, data: bytes | None) -> None:
        self.since.append((place, data))
        self.mtime_ns = None
        _apply(self.seen, place, data)

    def sync(self) -> None:
        self.safe, self.since = bytes(self.seen), []

    def survives(self, chance: random.Random | None) -> bytes:
        data = bytearray(self.safe)
        for place, written in self.since:
            if chance is not None and (fate := chance.random()) < 0.6:
                if fate < 0.1 and written is not None:  # torn
                    written = written[: len(written) // 2 // _SECTOR * _SECTOR]
                _apply(data, place, written)
        return bytes(data)


@dataclass(eq=False)
class Folder:
    """Its names as programs see them, as they are safe, and the steps between: name → what it names then, None for nothing."""

    seen: dict[str, "Node"] = field(default_factory=dict)
    safe: dict[str, "Node"] = field(default_factory=dict)
    since: list[dict[str, "Node | None"]] = field(default_factory=list)

    def change(self, step: dict[str, "Node | None"]) -> None:
        self.since.append(step)
        _name(self.seen, step)

    def sync(self) -> None:
        self.safe, self.since = dict(self.seen), []

    def survives(self, chance: random.Random | None) -> dict[str, "Node"]:
        names = dict(self.safe)
        for step in self.since:
            if chance is not None and chance.random() < 0.6:
                _name(names, step)
        return names


Node = File | Folder


class Disk:
    """What lies in the folder ``root``, from its state before the calls, which is safe, on; ``before`` is a copy of that."""

    def __init__(self, root: Path, before: Path) -> None:
        self.root = root
        self._top = _read(before)
        self._offsets: dict[int, int] = {}

    def apply(self, call: Call) -> None:
        """Raises ``ValueError`` for a call that is not understood: a hole in the record must not pass for a safe disk."""
        if call.result < 0:
            return
        if call.name in ("open", "openat", "creat"):
            self._open(call)
        elif call.name == "lseek":
            self._offsets |= {handle: call.result for handle, _ in call.handles}  # a file without a name has none
        elif call.name == "mmap":
            self._check_mapped(call)
        elif call.name in _FOLDERS:
            self._rename(call)
        elif call.handles and isinstance(node := self._at(call.handles[0][1]), (File, Folder)):
            self._change(call, node)
        elif not call.handles and call.path is not None and self._holds(call.path):
            raise ValueError(f"{call.name} is not understood")

    def write(self, chance: random.Random | None) -> None:
        """Make the root, which is not there, what it is after the power came back: of what is not safe nothing, or a part by
        chance."""
        _write(self._top, self.root, chance)

    def _open(self, call: Call) -> None:
        path = call.names[0]
        self._offsets[call.result] = 0
        if not self._holds(path):
            return
        node = self._at(path)
        if node is None and ("O_CREAT" in call.given or call.name == "creat"):
            self._parent(path).change({path.name: File()})
        elif isinstance(node, File) and ("O_TRUNC" in call.given or call.name == "creat") and node.seen:
            node.change(0, None)
        elif isinstance(node, File) and "O_APPEND" in call.given:
            self._offsets[call.result] = len(node.seen)

    def _change(self, call: Call, node: Node) -> None:
        handle, given = call.handles[0][0], call.given.split(", ")
        if call.name == "syncfs":
            _sync_all(self._top)
        elif call.name in ("fsync", "fdatasync"):
            node.sync()
        elif isinstance(node, Folder):
            raise ValueError(f"{call.name} of a folder is not understood")
        elif call.name == "ftruncate":
            node.change(int(given[1]), None)
        elif call.name == "pwrite64":
            node.change(int(given[-1]), call.data)
        elif call.name in ("write", "writev", "sendfile"):
            data = self._sent(call) if call.name == "sendfile" else call.data
            place = self._offsets[handle]
            node.change(place, data)
            self._offsets[handle] = place + len(data)
        else:
            raise ValueError(f"{call.name} is not understood")

    def _sent(self, call: Call) -> bytes:
        """What sendfile copied; strace tells its offsets only."""
        source, start = call.handles[1][1], int(call.given.split("[")[1].split("]")[0])
        node = self._at(source) if self._holds(source) else None
        data = bytes(node.seen) if isinstance(node, File) else source.read_bytes()
        return data[start : start + call.result]

    def _rename(self, call: Call) -> None:
        paths = [path for path in call.names if self._holds(path)]
        if not paths:
            return
        first = paths[0]
        if call.name in ("mkdir", "mkdirat"):
            self._parent(first).change({first.name: Folder()})
        elif call.name in ("unlink", "unlinkat", "rmdir"):
            self._parent(first).change({first.name: None})
        elif len(paths) < 2:
            raise ValueError(f"{call.name} from or to another place is not understood")
        elif "RENAME_EXCHANGE" in call.given:
            self._exchange(first, paths[1])
        else:
            self._move(first, paths[1], stays=call.name.startswith("link"))

    def _move(self, old: Path, new: Path, *, stays: bool) -> None:
        node = self._at(old)
        if stays:
            self._parent(new).change({new.name: node})
        elif self._parent(old) is self._parent(new):
            self._parent(new).change({old.name: None, new.name: node})
        else:
            self._parent(new).change({new.name: node})
            self._parent(old).change({old.name: None})

    def _exchange(self, one: Path, other: Path) -> None:
        first, second = self._at(one), self._at(other)
        if self._parent(one) is self._parent(other):
            self._parent(one).change({one.name: second, other.name: first})
        else:
            self._parent(other).change({other.name: first})
            self._parent(one).change({one.name: second})

    def _check_mapped(self, call: Call) -> None:
        for _, path in call.handles:
            written = "PROT_WRITE" in call.given and "MAP_SHARED" in call.given
            if written and self._holds(path) and not path.name.endswith(_SHARED):
                raise ValueError(f"{path} is written through mapped memory, which is not seen")

    def _holds(self, path: Path) -> bool:
        return path == self.root or self.root in path.parents

    def _parent(self, path: Path) -> Folder:
        folder = self._at(path.parent)
        if not isinstance(folder, Folder):
            raise ValueError(f"{path.parent} is not known as a folder")
        return folder

    def _at(self, path: Path) -> Node | None:
        if not self._holds(path):
            return None
        node: Node | None = self._top
        for name in path.relative_to(self.root).parts:
            node = node.seen.get(name) if isinstance(node, Folder) else None
        return node


def boundaries(calls: list[Call]) -> list[int]:
    """Places before and after every sync, and the end: the number of calls that were made before the cut."""
    syncs = [place for place, call in enumerate(calls) if call.name in ("fsync", "fdatasync", "syncfs")]
    return sorted({0, len(calls), *syncs, *(place + 1 for place in syncs)})


def _apply(data: bytearray, place: int, written: bytes | None) -> None:
    if written is None:
        del data[place:]
        data.extend(bytes(place - len(data)))
    else:
        data.extend(bytes(max(0, place - len(data))))
        data[place : place + len(written)] = written


def _name(names: dict[str, Node], step: dict[str, Node | None]) -> None:
    for name, node in step.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


def _sync_all(node: Node) -> None:
    node.sync()
    for child in node.seen.values() if isinstance(node, Folder) else ():
        _sync_all(child)


def _read(path: Path) -> Node:
    if path.is_dir():
        names = {child.name: _read(child) for child in path.iterdir()}
        return Folder(names, dict(names))
    data = path.read_bytes()
    return File(bytearray(data), data, mtime_ns=path.stat().st_mtime_ns)


def _write(node: Node, to: Path, chance: random.Random | None) -> None:
    if isinstance(node, File):
        if not to.name.endswith(_SHARED):
            to.write_bytes(node.survives(chance))
            if node.mtime_ns is not None:
                os.utime(to, ns=(node.mtime_ns, node.mtime_ns))
        return
    to.mkdir()
    for name, child in node.survives(chance).items():
        _write(child, to / name, chance)


def replay(disk: Disk, calls: list[Call], cuts: list[int]) -> Iterator[int]:
    """Stop at each of the ``cuts``, in order, with the disk as it was then."""
    done = 0
    for cut in cuts:
        for call in calls[done:cut]:
            disk.apply(call)
        done = cut
        yield cut
