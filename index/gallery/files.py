"""A root and a path in, the bytes of the file out, or what tells cheaply that it did not change.

The root is a folder or its URL. A path is below it, or absolute, or a URL of its own. URLs are fsspec's; keys and endpoints
come from its configuration and the environment, never from a gallery.
"""

import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from .entry import GalleryError, ReadError, Unreachable, stamp

T = TypeVar("T")

PAUSES = (0.2, 1.0)  # seconds before a place that did not answer is asked again
_LOCAL = ("file://", "local://")
_TELLING = ("ETag", "etag", "version_id", "mtime", "LastModified", "last_modified", "updated", "created")


def is_url(place: str) -> bool:
    return "://" in place


def local(place: str) -> str:
    """``file:///srv/pictures`` as ``/srv/pictures``; everything else as it is."""
    found = next((place[len(prefix) :] for prefix in _LOCAL if place.startswith(prefix)), place)
    return found if found.startswith("/") else place


def locate(root: str, path: str) -> str:
    """The whole place of a file. Raises ``ReadError`` where a gallery at a URL names a file of this machine."""
    if is_url(path):
        place = local(path)
    elif is_url(root):
        place = f"{root.rstrip('/')}/{path}" if not path.startswith("/") else path
    else:
        place = str(Path(root) / path)
    # Who can write to a bucket must not have this machine's files read for it.
    if is_url(place) and "::" in place:
        raise ReadError("A name with :: in it cannot be told from a chain of URLs. Rename the file.")
    if is_url(root) and (not is_url(place) or place.startswith(_LOCAL)):
        raise ReadError("A list at a URL cannot name files of this machine. Name a path below the list's folder, or a URL.")
    return place


def read(root: str, path: str, pauses: tuple[float, ...] | None = None) -> bytes:
    """Raises ``ReadError``; ``Unreachable`` after each of ``pauses`` (seconds; by default ``PAUSES``) in vain."""
    place = locate(root, path)
    if is_url(place):
        return _asked(place, PAUSES if pauses is None else pauses, lambda system, name: bytes(system.cat_file(name)))
    try:
        if not Path(place).is_file():  # a pipe would be waited for for ever
            raise ReadError("The file is not there.")
        return Path(place).read_bytes()
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read ({_why(error)}).") from error


def look(root: str, path: str) -> tuple[int, int]:
    """Size in bytes, and mtime_ns or what stands for it. Raises ``ReadError``."""
    place = locate(root, path)
    if is_url(place):
        return told(_asked(place, PAUSES, lambda system, name: dict(system.info(name))))
    try:
        found = Path(place).stat()
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read ({_why(error)}).") from error
    if not stat.S_ISREG(found.st_mode):
        raise ReadError("This is no file but something that is called like one. Rename it.")
    return found.st_size, found.st_mtime_ns


def told(info: Mapping[str, Any]) -> tuple[int, int]:
    """Size and what stands for mtime_ns, from what fsspec says of a file. Where it says nothing, each look is a new one."""
    if info.get("type") == "directory":
        raise ReadError("This is no file but something that is called like one. Rename it.")
    telling = next((info[name] for name in _TELLING if info.get(name) is not None), None)
    size = info.get("size")
    return (-1 if size is None else int(size)), (time.time_ns() if telling is None else stamp(telling))


def system(url: str) -> tuple[Any, str]:
    """The file system of a URL and the name of the file in it. Raises ``GalleryError``."""
    from fsspec.core import url_to_fs

    try:
        # What was listed once must not hide what came since.
        return url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        advice = " pip install 'lookalike[s3]'" if url.startswith(("s3://", "s3a://")) else ""
        raise GalleryError(f"{url} needs a package that is not installed ({error}).{advice}") from error
    except Exception as error:  # each file system raises what it likes
        raise GalleryError(f"{url} cannot be opened ({_why(error)}). See that the URL is right.") from error


def _asked(place: str, pauses: tuple[float, ...], question: Callable[[Any, str], T]) -> T:
    """An answer, or an error that says whether it is the file's fault or that of the way to it."""
    for pause in (*pauses, None):
        try:
            return question(*system(place))
        except GalleryError as error:
            raise ReadError(str(error)) from error
        except FileNotFoundError as error:
            raise ReadError("The file is not there.") from error
        except (PermissionError, IsADirectoryError) as error:
            raise ReadError(f"The file cannot be read ({_why(error)}).") from error
        except Exception as error:  # network libraries have errors of their own
            if pause is None:
                raise Unreachable(f"The file cannot be had now ({_why(error)}). It is tried again in the next run.") from error
            time.sleep(pause)
    raise AssertionError


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
