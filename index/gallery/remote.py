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

    def __init__(self, url: str) -> None:
        system, path = files.system(url)
        self.name = self.root = str(system.unstrip_protocol(path)).rstrip("/")
        self._system, self._path = system, path

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
            for name, info in sorted(found.items()):
                if not name:
                    yield Unreadable(f"{below}/", "A folder without a name cannot be listed. Rename it.")
                elif info["type"] == "directory" and not name.startswith("."):
                    folders.append(f"{below}{name}/")
                elif name.lower().endswith(SUFFIXES) and not name.startswith("."):
                    yield self._entry(below + name, info)
            waiting += reversed(folders)

    def _list(self, below: str) -> dict[str, dict[str, Any]]:
        folder = f"{self._path.rstrip('/')}/{below}".rstrip("/")
        try:
            found = self._system.ls(folder, detail=True)
        except PermissionError:
            raise
        except FileNotFoundError as error:
            if not below:
                raise GalleryError(f"{self.name} is not there. Give the URL of a folder that holds pictures.") from error
            return {}
        except Exception as error:  # network libraries have errors of their own
            raise GalleryError(f"{self.name}/{below} cannot be listed ({error}). Run again when it answers.") from error
        infos = {info["name"]: info for info in found if info["name"].rstrip("/") != folder or info["type"] == "directory"}
        return {name[len(folder) + 1 :].removesuffix("/"): info for name, info in infos.items()}

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
