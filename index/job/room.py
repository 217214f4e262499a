"""How much a job is going to write in, whether the disk has room for it out."""

import shutil
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from model.encoder import Precision

from ..generation import Generation
from ..lifecycle.publish import MERGE_ABOVE
from ..search import planner
from ..search import segment as segments
from ..search.planner import Aim
from ..search.segment import COLUMNS, SegmentError
from .report import JobError

# Bytes, measured on 60,000 rows whose ids have 34 letters.
_VERSION = 420  # of an item in the catalog, with its places in the indexes and a little metadata
_NAMED = 150  # the two hashes beside a vector in the catalog
_INDEXED = 220  # and once more in its index, whose pages are two thirds full
_PAGE = 4096
_LONGEST = _PAGE - 35  # a row that a page can hold; of a longer one it keeps at most _KEPT, the rest takes pages of its own
_KEPT = 512
_LOG = 8 * 2**20  # the catalog's log, until it is taken over
_ROW = 100  # of a segment, beside its vector: key, id, a little metadata; where there are segments already they are looked at
_SLACK = 1.1  # ids are longer elsewhere, files end in the middle of a block


@dataclass(frozen=True)
class Room:
    """Where a job stands when it begins: ``live`` items; ``base`` and ``since``, the rows of the two segments that it can go on
    from, 0 where it has to write all anew; ``row``: bytes of a segment's row beside its vector."""

    collection: Path
    dim: int
    aim: Aim
    live: int
    base: int = 0
    since: int = 0
    row: float = _ROW

    def needed(self, vectors: int, versions: int, *, staged: int = 0, replacing: int = 0) -> int:
        """Bytes that a job still writes: ``vectors`` of contents that have none, and ``versions`` of items beside those that it
        ``staged`` already; ``replacing`` of all of them take others' places."""
        catalog = vectors * of_vector(self.dim) + versions * _VERSION + (_LOG if vectors or versions else 0)
        return round(_SLACK * catalog) + self.of_segment(self._rows(staged + versions, replacing))

    def of_segment(self, rows: int) -> int:
        """Bytes of a new segment and its index. Those before stay until the job after, so nothing is given back meanwhile."""
        return round(_SLACK * (rows * (4 * self.dim + self.row) + planner.plan(rows, self.dim, self.aim).bytes))

    def check(self, needed: int) -> None:
        """Raises ``JobError`` where the disk has not as many bytes."""
        free = shutil.disk_usage(self.collection).free
        if free < needed:
            raise JobError(
                f"The disk of {self.collection} is too full: the job needs about {_told(needed)}, and {_told(free)} are free. "
                "Make room, or free some with `lookalike gc`, then run again: what was encoded is kept."
            )

    def _rows(self, versions: int, replacing: int) -> int:
        """Of the segment that is written when so many versions came; as ``publish.plan`` has it, from numbers alone."""
        if versions == 0 and self.base + self.since == self.live:
            return 0
        count, new = self.live + versions - replacing, max(self.since, self.live - self.base) + versions
        dead = max(0, self.base + self.since - self.live) + replacing
        return count if new + dead > MERGE_ABOVE * count else new


def of_vector(dim: int) -> float:
    """Bytes in the catalog: whole rows on whole pages, so that long vectors leave much of a page empty."""
    row = 4 * dim + _NAMED
    if row <= _LONGEST:
        return _PAGE / (_LONGEST // row) + _INDEXED
    return _PAGE * ceil((row - _KEPT) / _PAGE) + _KEPT + _INDEXED


def look(
    collection: Path, live: int, current: Generation | None, fingerprint: str, precision: Precision, dim: int, aim: Aim
) -> Room:
    """``current``: the generation that is searched, of use where it is of this fingerprint and precision."""
    plain = Room(collection, dim, aim, live)
    if current is None or (current.fingerprint, current.precision) != (fingerprint, precision):
        return plain
    folders = [collection / "segments" / name for name in current.segments]
    try:
        rows = [len(segments.keys(folder)) for folder in folders]
        if not all(segments.serves(folder, aim) for folder in folders):
            return plain
        described = sum((folder / COLUMNS).stat().st_size for folder in folders)
    except (SegmentError, OSError):
        return plain
    row = 8 + described / sum(rows) if sum(rows) else _ROW
    return Room(collection, dim, aim, live, rows[0] if rows else 0, sum(rows[1:]), row)


def _told(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
