"""What a gallery hands out and what the catalog knows of it in, what becomes of each file out: by size and time alone."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from ..catalog import API_ORIGIN, Catalog, Fault, Item, Known, batched
from ..gallery import Entry, Gallery, Listing, Unreadable, files

LOOKED_UP = 1_000  # files that the catalog is asked for at once
SHRINK_LIMIT = 0.2  # share of the items that may vanish at once, unless told so
SHRINK_FROM = 20  # items: below, only the loss of all of them is taken for an unmounted disk

_CLAIMED = (
    "The id belongs to the gallery {0} already. Rename one of the two files; or, if it is the same gallery at another place, "
    "run with --origin {0}"
)


class Fate(Enum):
    READ = auto()  # new, or it may have changed, or its content has no vector
    RENEWED = auto()  # the file is the same, its metadata is not
    UNCHANGED = auto()
    OF_SERVICE = auto()  # the service took its item over
    DELETED = auto()  # the service took it away, and the file did not change since


@dataclass(frozen=True)
class LookedUp:
    """Files that were found, what is known of their ids, and the contents among these that have no vector."""

    files: list[Entry | Unreadable]
    known: Known
    lacking: set[str]


def looked_up(catalog: Catalog | None, found: Iterable[Entry | Unreadable], fingerprint: str) -> Iterator[LookedUp]:
    """Many files at a time; without a catalog nothing is known of them."""
    for some in batched(found, LOOKED_UP):
        if catalog is None:
            yield LookedUp(some, Known({}, {}, 0), set())
            continue
        known = catalog.look_up([file.id for file in some])
        lacking = catalog.without_vector({item.content for item in known.items.values()}, fingerprint)
        yield LookedUp(some, known, lacking)


def fate(
    file: Entry | Unreadable, known: Known, lacking: set[str], origin: str, quarantine: Mapping[str, Fault]
) -> Fate | Fault:
    """What a job of this ``origin`` has to do with a file, or why it can do nothing. ``quarantine``: faults of jobs before."""
    if isinstance(file, Unreadable):
        return Fault(file.id, file.reason)
    item, grave, fault = known.items.get(file.id), known.graves.get(file.id), quarantine.get(file.id)
    if item is not None and item.origin == API_ORIGIN:
        return Fate.OF_SERVICE
    if item is not None and item.origin != origin:
        return Fault(file.id, _CLAIMED.format(item.origin))
    if file.size > files.MAX_FILE:
        return Fault(file.id, too_large())
    if fault is not None and _same_file(fault, file):
        return fault
    if item is None:
        return Fate.DELETED if grave is not None and _same_file(grave, file) else Fate.READ
    if not _same_file(item, file) or item.content in lacking:
        return Fate.READ
    return Fate.UNCHANGED if item.metadata == file.metadata else Fate.RENEWED


def last_good(catalog: Catalog | None, fault: Fault, known: Known, gallery: Gallery, origin: str) -> list[int]:
    """Keys of what cannot be read again, which a job never loses: a broken file's last version, all of a closed folder."""
    if fault.id in known.items:
        return [known.items[fault.id].key]
    if catalog is None or not fault.id.endswith("/") or isinstance(gallery, Listing):  # a list has no folders, only names
        return []
    return list(catalog.live_keys(origin=origin, below=fault.id).tolist())


def too_large() -> str:
    return f"The file has more than {files.MAX_FILE:,} bytes, which is the limit."


def too_many(gone: int, live: int) -> bool:
    """Whether so many items of ``live`` vanish at once that a disk may not be mounted."""
    return gone > (SHRINK_LIMIT * live if live >= SHRINK_FROM else max(live - 1, 0))


def _same_file(known: Item | Fault, file: Entry) -> bool:
    moved = isinstance(known, Item) and known.path != file.path
    return not moved and (known.size, known.mtime_ns) == (file.size, file.mtime_ns)
