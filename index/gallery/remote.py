"""The URL of a folder in, the picture files below it out, as ``folder`` has them of a folder on this machine."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from model.image import SUFFIXES

from . import files
from .entry import Entry, GalleryError, Metadata, Unreadable, printable
from .folder import LABELS, labels


class RemoteFolder:
    """``name`` and ``root`` are the URL, without its last slash. One folder's names are in memory at a time."""

    far = True

    def __init__(self, url: str) -> None:
        self._system, self._path, self.name = files.named(url)
        self.root = self.name
        self._of_pages = self.name.startswith(("http://", "https://"))

    def count(self, skip: Path | None = None) -> int | None:
        """None: to count would be to list everything twice."""
        return None

    def scan(self, skip: Path | None = None) -> Iterator[Entry | Unreadable]:
        """In a constant order. Raises ``GalleryError`` when the place does not answer, before or amid."""
        waiting = [""]
        while waiting:
            below = waiting.pop()
            try:
                found = self._list(below)
            except PermissionError as error:
                if not below:
                    raise GalleryError(f"{self.name} may not be listed. See that its keys are right.") from error
                yield Unreadable(below, "The folder may not be listed. What was in it is kept.")
                continue
            folders = []
            for name, info in found:
                if not name:
                    yield Unreadable(f"{below}/", "A folder without a name cannot be listed. Rename it.")
                elif info["type"] == "directory" and not name.startswith("."):
                    folders.append(f"{below}{name}/")
                elif name.lower().endswith(SUFFIXES) and not name.startswith("."):
                    yield self._entry(below + name, info)
            waiting += reversed(folders)

    def _list(self, below: str) -> list[tuple[str, dict[str, Any]]]:
        """The names in a folder. In S3 a file and a folder may have the same one."""
        folder = f"{self._path.rstrip('/')}/{below}".rstrip("/")
        try:
            found = self._system.ls(folder, detail=True)
        except PermissionError:
            raise
        except FileNotFoundError as error:
            if not below:
                raise GalleryError(f"{self.name} is not there. Give the URL of a folder that holds pictures.") from error
            return []
        except Exception as error:  # network libraries have errors of their own
            raise GalleryError(f"{self.name}/{below} cannot be listed ({error}). Run again when it answers.") from error
        inside = {(info["name"], info["type"]): info for info in found if info["name"].startswith(f"{folder}/")}
        if not below and not inside and (found or self._of_pages):
            raise GalleryError(f"{self.name} is no folder, nor a list of pictures. Give a folder, a .csv, .jsonl or .parquet.")
        names = [
            (name[len(folder) + 1 :].removesuffix("/"), inside[name, kind])
            for name, kind in sorted(inside)
            if kind == "directory" or not name.endswith("/")
        ]
        # A page may link to itself, and to what is in the folders that it links to.
        return [(name, info) for name, info in names if name and "/" not in name] if self._of_pages else names

    def _entry(self, id: str, info: dict[str, Any]) -> Entry | Unreadable:
        if printable(id) != id:
            return Unreadable(printable(id), "The file's name is not UTF-8. Rename it.")
        return Entry(id, *files.told(info), self._metadata.get(id, {}))

    @cached_property
    def _metadata(self) -> dict[str, Metadata]:
        path = f"{self._path.rstrip('/')}/{LABELS}"
        try:
            return labels(self._system.cat_file(path).decode("utf-8-sig"), f"{self.name}/{LABELS}")
        except FileNotFoundError:
            return {}
        except GalleryError:
            raise
        except UnicodeDecodeError as error:
            raise GalleryError(f"{self.name}/{LABELS} cannot be read as UTF-8 CSV ({error}). Save it again.") from error
        except Exception as error:  # network libraries have errors of their own
            raise GalleryError(f"{self.name}/{LABELS} cannot be read ({error}). Run again when it answers.") from error
