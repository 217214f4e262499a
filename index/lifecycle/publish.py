"""What a job staged in, a new current generation out.

A generation has two segments at most: a base, and what came since. More would cost every search; the second one is
written anew each time and stays small beside the base, because a tenth of change makes a new base.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from model import Failure
from model.encoder import Precision

from .. import generation as generations
from ..catalog import Catalog, Job
from ..generation import Generation, GenerationError
from ..search import segment as segments
from ..search.planner import Aim
from ..search.segment import EXACT, SegmentError

MERGE_ABOVE = 0.1  # share of rows that are new or dead


class Encoding(Protocol):
    """How vectors were made, as far as it is noted: an ``Encoder`` tells it."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def runtime(self) -> str: ...
    @property
    def precision(self) -> Precision: ...


class PublishError(Failure):
    """What a job staged cannot be published; the message says what to do. Search goes on as it was."""


def publish(
    catalog: Catalog,
    collection: Path,
    job: Job,
    encoder: Encoding,
    bundle: str,
    aim: Aim = EXACT,
    drop_vector_only: bool = False,
    writing: Callable[[int], None] = lambda _: None,
    approve: Callable[[Generation, Generation], None] = lambda *_: None,
) -> tuple[int, int]:
    """Make what the job staged visible, with a new generation where anything came or went. Returns items added, removed.

    ``bundle``: digest of its bundle.json. Another one, though its vectors are the same, is a new generation too: so servers
    take up its calibration. ``aim``: what the indexes of segments are made for; others are made anew.
    ``drop_vector_only``: see ``leave_behind``. ``writing`` hears of the rows of a segment before it is written, ``approve`` of
    the current generation and the one that is to take its place, where that is of another fingerprint; what they raise ends
    it, and search goes on as it was. Raises ``PublishError``.
    """
    state = catalog.state()  # before the keys are read: a change in between is then followed once more, not lost
    leave_behind(catalog, job, drop_vector_only)
    pending = [item.key for item in catalog.pending(job.fingerprint, job)]
    keys = np.setdiff1d(catalog.live_keys(job=job), np.array(pending, np.int64))
    previous = current(catalog, collection)
    stored = _stored(collection, previous, encoder, aim)
    kept, new = plan(stored or {}, keys)
    same = previous is not None and previous.bundle == bundle
    if same and stored is not None and kept == list(stored) and len(new) == 0 and catalog.staged(job) == (0, 0):
        return catalog.publish(job, None)
    if len(new):
        writing(len(new))
        kept = [*kept, _write_segment(catalog, collection, job, encoder, new, aim)]
    generation = Generation(
        number=job.number,
        fingerprint=job.fingerprint,
        bundle=bundle,
        runtime=encoder.runtime,
        precision=encoder.precision,
        segments=kept,
        change=state.change,
        pending=pending,
    )
    generations.write(collection, generation)
    if previous is not None and previous.fingerprint != generation.fingerprint:
        approve(previous, generation)
    return catalog.publish(job, job.number)


def leave_behind(catalog: Catalog, job: Job, drop: bool) -> None:
    """Items that came as bare vectors of another bundle cannot follow this one: with ``drop`` the job removes them, as it
    removes others.

    Without, raises ``PublishError`` where there are any. A job does well to ask before it encodes; ``publish`` asks again, for
    those that came meanwhile.
    """
    behind = catalog.pending(job.fingerprint, job, bare=True)
    if behind and not drop:
        raise PublishError(
            f"{len(behind):,} items came as vectors without a picture, e.g. {behind[0].id!r}: they cannot be encoded with "
            "another bundle. Delete them, or run again with --drop-vector-only."
        )
    if behind:
        catalog.remove(job, [item.key for item in behind], [])


def plan(stored: dict[str, np.ndarray], keys: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Segments' names and keys, base first, and the keys to hold → which segments stay, and the keys of a new one."""
    nothing = np.empty(0, np.int64)
    base = next(iter(stored.values()), nothing)
    new, dead = np.setdiff1d(keys, base), np.setdiff1d(base, keys)
    if len(new) + len(dead) > MERGE_ABOVE * len(keys):
        return [], keys
    if len(np.setdiff1d(keys, np.concatenate([nothing, *stored.values()]))) == 0:
        return list(stored), nothing
    return list(stored)[:1], new


def current(catalog: Catalog, collection: Path) -> Generation | None:
    """The current generation; None before the first, and where its description is lost: a new one is built then."""
    number = catalog.state().generation
    try:
        return None if number is None else generations.read(collection, number)
    except GenerationError:
        return None


def _stored(collection: Path, previous: Generation | None, encoder: Encoding, aim: Aim) -> dict[str, np.ndarray] | None:
    """The keys of each segment of the generation before; None where they are of no use to this encoder, not whole, or have an
    index that was not made for as much."""
    if previous is None or (previous.fingerprint, previous.precision) != (encoder.fingerprint, encoder.precision):
        return None
    try:
        for name in previous.segments:
            segments.verify(collection / "segments" / name)
            if not segments.serves(collection / "segments" / name, aim):
                return None
        return {name: segments.open(collection / "segments" / name, encoder.fingerprint).keys for name in previous.segments}
    except SegmentError:
        return None


def _write_segment(catalog: Catalog, collection: Path, job: Job, encoder: Encoding, keys: np.ndarray, aim: Aim) -> str:
    folder = collection / "segments" / f"{job.number:08d}"
    rows = catalog.vectors(keys, job.fingerprint, encoder.dim)
    segments.write(folder, job.fingerprint, encoder.dim, rows, aim)
    segments.verify(folder)
    return folder.name
