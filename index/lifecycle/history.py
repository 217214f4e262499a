"""The generations that a collection keeps, and the way back to one of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model import bundle as bundles
from model.bundle import Manifest

from .. import generation as generations
from ..catalog import Catalog, Done
from ..generation import Generation, GenerationError
from ..lock import only_job
from ..search import segment as segments
from ..search.segment import SegmentError


@dataclass(frozen=True)
class Kept:
    """A generation that is on disk.

    ``published``: seconds since 1970. ``items``: how many were live when it was published; ``added`` and ``removed``: what
    its job did; None where that was not written down, in format 1 of the catalog. ``recall``: of its segments' indexes the
    lowest that was measured, 1 where search is exact, None where one is damaged. ``bundle``: its name, None where it is gone.
    """

    number: int
    state: Literal["current", "kept", "rolled back"]
    published: float
    origin: str
    bundle: str | None
    fingerprint: str
    precision: str
    items: int | None
    added: int | None
    removed: int | None
    segments: list[str]
    recall: float | None


def kept(catalog: Catalog, collection: Path) -> list[Kept]:
    """From the oldest to the newest."""
    current, done = catalog.state().generation, catalog.done()
    return [
        _kept(collection, generation, done[generation.number], current)
        for generation in generations.readable(collection)
        if generation.number in done
    ]


def roll_back(catalog: Catalog, collection: Path, number: int | None = None) -> Generation:
    """Make generation ``number`` the current one, by default the one before. All of it is read back first.

    What jobs did since is undone and what the service did stays; until the next job begins, the way forward is the same call.
    Raises ``Busy``, ``GenerationError``, ``SegmentError`` or ``BundleError``; all stays as it was then.
    """
    with only_job(collection):
        generation = _wanted(catalog, collection, number)
        for name in generation.segments:
            segments.verify(collection / "segments" / name)
        bundles.load(collection / "bundles" / generation.fingerprint)
        catalog.roll_back(generation.number)
        return generation


def _wanted(catalog: Catalog, collection: Path, number: int | None) -> Generation:
    current, done = catalog.state().generation, catalog.done()
    there = {each.number: each for each in generations.readable(collection) if each.number in done}
    if number is None:
        before = [each for each in there if current is not None and each < current]
        if not before:
            raise GenerationError(f"{collection} keeps no generation before the current one: there is no way back.")
        number = max(before)
    if number not in there:
        known = ", ".join(map(str, sorted(there))) or "none"
        raise GenerationError(f"Generation {number} is not kept in {collection}. Choose one that is: {known}.")
    return there[number]


def _kept(collection: Path, generation: Generation, job: Done, current: int | None) -> Kept:
    number = generation.number
    return Kept(
        number=number,
        state="rolled back" if job.rolled_back else "current" if number == current else "kept",
        published=job.finished,
        origin=job.origin,
        bundle=_name(collection / "bundles" / generation.fingerprint),
        fingerprint=generation.fingerprint,
        precision=generation.precision,
        items=job.live,
        added=job.added,
        removed=job.removed,
        segments=generation.segments,
        recall=_recall([collection / "segments" / name for name in generation.segments]),
    )


def _recall(folders: list[Path]) -> float | None:
    try:
        return min((segments.worth(folder).recall for folder in folders), default=1.0)
    except SegmentError:
        return None


def _name(bundle: Path) -> str | None:
    """Not verified: a list of generations has no need to read all weights."""
    try:
        return Manifest.model_validate_json((bundle / "bundle.json").read_bytes()).name
    except (OSError, ValueError):
        return None
