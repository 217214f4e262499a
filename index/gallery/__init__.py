"""What ``lookalike index`` is given in, a gallery out: its pictures, with an id and metadata each.

A gallery is a folder (``folder``), the URL of one (``remote``), or a list of files (``listing``), on this machine or at a URL.
"""

import os
from pathlib import Path
from urllib.parse import urlsplit

from . import files
from .entry import Entry, GalleryError, Metadata, ReadError, Unreachable, Unreadable
from .folder import Folder
from .listing import SUFFIXES, Listing
from .remote import RemoteFolder

__all__ = [
    "SUFFIXES",
    "Entry",
    "Gallery",
    "GalleryError",
    "Listing",
    "Metadata",
    "ReadError",
    "Unreachable",
    "Unreadable",
    "open",
]

Gallery = Folder | RemoteFolder | Listing


def open(given: str | os.PathLike[str]) -> Gallery:
    """Its ``name`` is the canonical path or URL; its paths lie below its ``root``; ``far``: to read it
    is to wait for a network. Raises ``GalleryError``."""
    place = files.local(os.fspath(given))
    if files.is_url(place):
        _check_secrets(place)
        return Listing(place) if urlsplit(place).path.lower().endswith(SUFFIXES) else RemoteFolder(place)
    path = Path(place)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, a folder on the way that is closed
        raise GalleryError(f"{given} cannot be read ({files.why(error)}). See that the path is right.") from error
    if is_file and path.name.lower().endswith(SUFFIXES):
        return Listing(place)
    if not is_folder:
        raise GalleryError(
            f"{given} is not a folder, nor a list of pictures. Give the folder that holds the pictures, a file that lists them "
            f"({', '.join(SUFFIXES)}), or the URL of one of these."
        )
    return Folder(path)


def _check_secrets(url: str) -> None:
    """The name of a gallery is kept in the catalog and shown: no place for a secret."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise GalleryError(f"The URL cannot be read ({error}). See that it is right.") from error
    if parts.password is not None or (parts.query and parts.scheme in ("http", "https")):
        raise GalleryError("The URL holds a password or a signature. Give these in fsspec's configuration or the environment.")
