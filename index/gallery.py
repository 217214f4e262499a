"""A folder in, its picture files out, with an id and metadata each.

The id of a picture is its path below the gallery, with ``/`` between the parts. A ``labels.csv`` in the folder gives
metadata: its other columns, for the picture that its column ``path`` names.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from model import Failure

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
LABELS = "labels.csv"


class GalleryError(Failure):
    """The gallery cannot be read; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """A picture file of a gallery: ``size`` in bytes and ``mtime_ns`` tell cheaply that it did not change."""

    id: str
    path: Path
    size: int
    mtime_ns: int
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot become an item, and why."""

    id: str
    reason: str


def scan(root: Path) -> Iterator[Entry | Unreadable]:
    """Every picture file below ``root``, in order of its path. Hidden files and links to folders are passed over.

    Raises ``GalleryError`` when the folder or its labels.csv cannot be read.
    """
    if not root.is_dir():
        raise GalleryError(f"{root} is not a folder. Give the folder that holds the pictures.")
    metadata = _read_metadata(root / LABELS)
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES:
                yield _entry(path, path.relative_to(root).as_posix(), metadata)


def _entry(path: Path, id: str, metadata: dict[str, dict[str, str]]) -> Entry | Unreadable:
    try:
        id.encode()
        stat = path.stat()
    except UnicodeEncodeError:
        shown = os.fsencode(id).decode(errors="backslashreplace")
        return Unreadable(shown, "The file's name is not UTF-8. Rename it.")
    except OSError as error:
        return Unreadable(id, f"The file cannot be read ({error.strerror}).")
    return Entry(id, path, stat.st_size, stat.st_mtime_ns, metadata.get(id, {}))


def _read_metadata(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GalleryError(f"{path} cannot be read as UTF-8 CSV ({error}). Save it again, or take it away.") from error
    if "path" not in (reader.fieldnames or []):
        raise GalleryError(f"{path} has no column named path. Name it in the first line, or take the file away.")
    return {row["path"]: {name: value for name, value in row.items() if name and name != "path" and value} for row in rows}
