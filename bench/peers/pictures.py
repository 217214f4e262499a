"""The name of a data set in, a folder out that all contenders read alike: ``labels.csv`` and RGB pictures on white.

What is transparent in a picture would be white to one library and black to another, and an advantage that is none of training.
"""

import csv
import hashlib
from pathlib import Path

from bench.training.sets import folder
from model.image import decode

BUILD = Path("build/peers")
_EVERY = 12  # classes, of which tiny takes one


def opaque(name: str, tiny: bool) -> Path:
    """Made once; ``tiny``: a twelfth of the classes."""
    source, to = folder(name), BUILD / (f"{name}-tiny" if tiny else name)
    if (to / "labels.csv").exists():
        return to
    with (source / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    chosen = set(sorted({row["label"] for row in rows})[:: _EVERY if tiny else 1])
    rows = [row for row in rows if row["label"] in chosen]
    for row in rows:
        path = Path(row["path"]).with_suffix(".png")
        (to / path).parent.mkdir(parents=True, exist_ok=True)
        decode((source / row["path"]).read_bytes()).save(to / path)
        row["path"] = path.as_posix()
    draft = to / "labels.csv.draft"
    with draft.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)
    draft.replace(to / "labels.csv")  # last, so that what was interrupted is made again
    return to


def digest(data: Path) -> str:
    return hashlib.sha256((data / "labels.csv").read_bytes()).hexdigest()[:12]


def columns(data: Path, split: str) -> dict[str, list[str]]:
    """The table of one split, by column."""
    with (data / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return {name: [row[name] for row in rows] for name in rows[0]}
