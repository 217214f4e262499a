"""A generation: a bundle's fingerprint and the segments that belong together, up to a change of the catalog.

``generations/<number>.json`` is written once and never changed; which one is current, only the catalog says.
"""

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from model import Failure
from model.bundle import sync
from model.encoder import Precision


class GenerationError(Failure):
    """A generation's description cannot be read; the message says what to do."""


class Generation(BaseModel):
    format: Literal[1] = 1
    number: int  # that of the job which made it
    fingerprint: str
    bundle: str = ""  # digest of the bundle.json that was there: figures and calibration have no part in the fingerprint
    runtime: str
    precision: Precision
    segments: list[str]
    change: int  # the catalog's changes up to this one are in the segments
    pending: list[int] = []  # keys of items that are not: no vector of this fingerprint existed


def path(collection: Path, number: int) -> Path:
    return collection / "generations" / f"{number}.json"


def described(collection: Path) -> list[int]:
    """The numbers of those that are on the disk, the newest first; published or not."""
    return sorted((int(file.stem) for file in (collection / "generations").glob("*.json") if file.stem.isdigit()), reverse=True)


def read(collection: Path, number: int) -> Generation:
    """Raises ``GenerationError``."""
    place = path(collection, number)
    try:
        return Generation.model_validate_json(place.read_bytes())
    except (OSError, ValidationError) as error:
        raise GenerationError(f"{place} cannot be read. Run `lookalike index` again to build a new generation.") from error


def write(collection: Path, generation: Generation) -> None:
    final = path(collection, generation.number)
    final.parent.mkdir(parents=True, exist_ok=True)
    draft = final.with_suffix(".tmp")
    with draft.open("wb") as file:
        file.write(generation.model_dump_json(indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.rename(final)
    sync(final.parent)
