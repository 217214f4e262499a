"""What a collection has of its own before anything is in it: a place, folders, and a copy of the bundle, whole or not there."""

import os
from pathlib import Path
from shutil import copy2, rmtree

from model import bundle as bundles
from model.bundle import Bundle, BundleError, Manifest

from ..catalog import API_ORIGIN
from ..gallery import Gallery
from .report import JobError


def place_of(collection: Path, gallery: Gallery, origin: str | None) -> Path:
    """The canonical path of a collection that a gallery is to come into. Raises ``JobError`` where it cannot."""
    if origin == API_ORIGIN:
        raise JobError(f"The origin {API_ORIGIN!r} stands for what comes through the service. Choose another name.")
    place = Path(os.path.realpath(collection))  # resolve() raises on a link that leads to itself
    there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
    if not there.is_dir():
        what = "a link that leads to itself" if there.is_symlink() else "a file"
        raise JobError(f"{there} is {what}. Give the folder of a collection, or one that is to be made.")
    if Path(gallery.name).is_relative_to(place):
        raise JobError(f"{gallery.name} lies in the collection itself. Keep the pictures outside of it.")
    try:
        gallery.name.encode()
    except UnicodeEncodeError as error:
        raise JobError("The path of the gallery is not UTF-8. Rename the folder.") from error
    return place


def lay_out(collection: Path) -> None:
    """Make what is missing of a collection's folders; the names of new ones are on disk when this returns."""
    new = [folder for folder in (collection, *collection.parents) if not folder.exists()]
    for name in ("blobs", "bundles", "generations", "segments"):
        (collection / name).mkdir(parents=True, exist_ok=True)
    for folder in (collection, *(folder.parent for folder in new)):
        bundles.sync(folder)


def keep_bundle(bundle: Bundle, collection: Path) -> None:
    """The collection's own copy of a bundle: whoever searches needs nothing but the collection.

    One of the same fingerprint makes room for it too: the vectors are the same, figures and calibration may not be.
    """
    place = collection / "bundles" / bundle.fingerprint
    if _held(place) == bundle.manifest:
        return
    with bundles.writing(place) as draft:
        for source in sorted(bundle.path.rglob("*")):  # not copytree: its error hides that a disk is full
            copy = draft / source.relative_to(bundle.path)
            if source.is_dir():
                copy.mkdir(exist_ok=True)
            else:
                copy2(source, copy)
        for copy in (*draft.rglob("*"), draft):
            bundles.sync(copy)
        if _held(draft) != bundle.manifest:
            raise JobError(f"{bundle.path} changed while it was copied. Run again.")


def _held(place: Path) -> Manifest | None:
    """None where there is no whole bundle; what is left of one makes room for another."""
    try:
        return bundles.load(place).manifest
    except BundleError:
        if not (place / "bundle.json").exists():
            rmtree(place, ignore_errors=True)
        return None
