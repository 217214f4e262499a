"""How quick the last job was, for the next one's estimate: a small file in the collection, and no harm where it is lost."""

from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

FILE = "pace.json"
ENOUGH = 128  # images; fewer tell little of many


class Pace(BaseModel):
    """Of reading, encoding and committing with one bundle, while there was something to encode."""

    fingerprint: str
    precision: str
    images_per_second: float


def keep(collection: Path, fingerprint: str, precision: str, images: int, seconds: float) -> None:
    if images < ENOUGH or seconds <= 0:
        return
    pace = Pace(fingerprint=fingerprint, precision=precision, images_per_second=images / seconds)
    with suppress(OSError):  # a full disk is no reason to end a job that has published
        (collection / FILE).write_text(pace.model_dump_json())


def known(collection: Path, fingerprint: str, precision: str) -> float | None:
    """Images a second, where the last job that encoded many did so with this bundle and precision."""
    try:
        pace = Pace.model_validate_json((collection / FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return pace.images_per_second if (pace.fingerprint, pace.precision) == (fingerprint, precision) else None
