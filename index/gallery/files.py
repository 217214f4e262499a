"""A root and a path in, the bytes of the file out, or what tells cheaply that it did not change.

The root is a folder or its URL. A path is below it, or absolute, or a URL of its own. URLs are fsspec's; keys and endpoints
come from its configuration and the environment, never from a gallery.
"""

import os
import stat
import time
from collections.abc import Callable, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

from .entry import GalleryError, ReadError, Unreachable, stamp

T = TypeVar("T")
Rest = Callable[[float], object]  # lets so many seconds go by; true: nobody waits any more

MAX_FILE = 256 * 2**20  # bytes; of a larger one no more is read than tells that it is
PAUSES = (0.2, 1.0)  # seconds before a place that did not answer is asked again
# Files in a row that may not be had from a network before it is taken for gone. One that answers, if only to say that there is
# no such file, begins anew; so a place that fails now and then is read to its end, and nobody waits for two million time-outs.
SILENT = 64
# fsspec has more, which read this machine's files, or unpack what they read.
PROTOCOLS = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https"),
    *("ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs", "memory"),
)
_PORTION = 2**20  # bytes of a file that grows while it is read
_CONNECTING, _ANSWERING = 10, 30  # seconds, of http: aiohttp itself waits for five minutes
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
        place = path if path.startswith("/") else f"{root}/{path}"
    if is_url(place) and "::" in place:
        raise ReadError("A name with :: in it cannot be told from a chain of URLs. Rename the file.")
    # Who can write to a bucket must not have this machine's files read for it.
    if is_url(root) and not is_url(place):
        raise ReadError("A list at a URL cannot name files of this machine. Name a path below the list's folder, or a URL.")
    return place


def read(root: str, path: str, pauses: tuple[float, ...] | None = None, rest: Rest = time.sleep) -> bytes:
    """The whole file, or the first ``MAX_FILE`` bytes and one more.

    Raises ``ReadError``; ``Unreachable`` after each of ``pauses`` (seconds; by default ``PAUSES``) in vain.
    """
    place = locate(root, path)
    if is_url(place):
        return _asked(place, PAUSES if pauses is None else pauses, rest, _beginning)
    try:
        found = os.stat(place)  # noqa: PTH116  # as in ``look``
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for for ever
            raise ReadError("The file is not there.")
        with Path(place).open("rb", buffering=0) as file:
            return _all_of(file, found.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError("The file is not there.") from error
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read ({why(error)}).") from error


def _all_of(file: FileIO, size: int) -> bytes:
    """Python makes room for as much as it is asked for, so that is not ``MAX_FILE``; a file may have grown or shrunk."""
    data = file.read(min(size, MAX_FILE) + 1)
    while len(data) != size and len(data) <= MAX_FILE and (more := file.read(_PORTION)):
        data += more
    return data[: MAX_FILE + 1]


def look(root: str, path: str, rest: Rest = time.sleep) -> tuple[int, int]:
    """Size in bytes, and mtime_ns or what stands for it. Raises ``ReadError``, as ``read`` does."""
    place = locate(root, path)
    if is_url(place):
        return told(_asked(place, PAUSES, rest, lambda system, name: dict(system.info(name))))
    try:
        found = os.stat(place)  # noqa: PTH116  # of every file of every job; a Path takes three times as long
    except (OSError, ValueError) as error:
        raise ReadError(f"The file cannot be read ({why(error)}).") from error
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
    protocol = url.partition("://")[0]
    if protocol not in PROTOCOLS:
        raise GalleryError(f"{protocol}:// is nowhere that pictures can be read from. Give one of {', '.join(PROTOCOLS)}.")
    from fsspec.core import url_to_fs

    try:
        # What was listed once must not hide what came since.
        return url_to_fs(url, use_listings_cache=False, **_patience(protocol))
    except ImportError as error:
        advice = " pip install 'lookalike[s3]'" if url.startswith(("s3://", "s3a://")) else ""
        raise GalleryError(f"{url} needs a package that is not installed ({error}).{advice}") from error
    except Exception as error:  # each file system raises what it likes
        raise GalleryError(f"{url} cannot be opened ({why(error)}). See that the URL is right.") from error


def named(url: str) -> tuple[Any, str, str]:
    """As ``system``, and the canonical URL, without its last slash."""
    found, path = system(url)
    name, kind = str(found.unstrip_protocol(path)), type(found)
    if kind._get_kwargs_from_urls(name) != kind._get_kwargs_from_urls(url):  # some forget the host
        name = url
    return found, path, name.rstrip("/")


def _patience(protocol: str) -> dict[str, Any]:
    """Options of a file system: how long it waits for an answer, unless that is configured."""
    if protocol not in ("http", "https"):
        return {}
    from aiohttp import ClientTimeout
    from fsspec.config import conf

    configured = (conf.get("http", {}) | conf.get("https", {})).get("client_kwargs", {})
    return {"client_kwargs": {"timeout": ClientTimeout(None, sock_connect=_CONNECTING, sock_read=_ANSWERING)} | configured}


def _beginning(system: Any, name: str) -> bytes:
    try:
        return bytes(system.cat_file(name, start=0, end=MAX_FILE + 1))
    except Exception as error:  # network libraries have errors of their own
        if "not satisfiable" in str(error).lower():  # so some say when asked for a part of an empty file
            return b""
        raise


def _asked(place: str, pauses: tuple[float, ...], rest: Rest, question: Callable[[Any, str], T]) -> T:
    """An answer, or an error that says whether it is the file's fault or that of the way to it."""
    for pause in (*pauses, None):
        try:
            return question(*system(place))
        except GalleryError as error:
            if error.__cause__ is None or isinstance(error.__cause__, ImportError | ValueError | TypeError):
                raise ReadError(str(error)) from error
            if pause is None or rest(pause):  # some connect before they are asked anything
                raise Unreachable(str(error)) from error
        except FileNotFoundError as error:
            raise ReadError("The file is not there.") from error
        except (PermissionError, IsADirectoryError) as error:
            raise ReadError(f"The file cannot be read ({why(error)}).") from error
        except Exception as error:  # network libraries have errors of their own
            if pause is None or rest(pause):
                raise Unreachable(f"The file cannot be had now ({why(error)}). It is tried again in the next run.") from error
    raise AssertionError


def why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
