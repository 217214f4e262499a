"""What does a job cost, and what do live changes? Each question small, to see that it runs, or full.

encoding: a first job beside a bare loop. again: a second job where nothing and where a hundredth changed, with an encoder
that stands in for the real one and is as slow. photographs: how long a first job over millions would take. rows: two million
rows, jobs beside searches. live: a thousand changes a second while four processes search. Keeps
build/bench/indexing-SIZE.json.
Run: python -m bench.indexing [encoding again photographs rows live] [--full]
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from index.search.planner import Aim
from model.bundle import Bundle, load
from model.encoder import Encoder, open_encoder

from . import encoding, live, made, photographs, rows
from .standin import StandIn

BUILD = Path("build/bench")
BUNDLE = Path("demo/bundle")
DIM = 64


@dataclass(frozen=True)
class Size:
    pictures: int
    files: int
    photographs: int
    rows: int
    changed: int
    searched: int  # items under live changes
    seconds: float
    held: int  # live items of a follower
    turns: int


SIZES = {
    "small": Size(
        pictures=256, files=2_000, photographs=32, rows=20_000, changed=100, searched=5_000, seconds=5, held=2_000, turns=10
    ),
    "full": Size(
        pictures=10**6,
        files=100_000,
        photographs=512,
        rows=2_000_000,
        changed=10_000,
        searched=100_000,
        seconds=60,
        held=60_000,
        turns=50,
    ),
}
RATE = 1_000  # changes a second


@dataclass(frozen=True)
class Bench:
    """``place``: an empty folder on the disk that is measured."""

    place: Path
    bundle: Bundle
    size: Size

    @property
    def encoder(self) -> Encoder:
        return open_encoder(self.bundle)

    def encoding(self) -> dict[str, Any]:
        return encoding.beside_a_bare_loop(self.place, self.bundle, self.encoder, self.size.pictures)

    def again(self) -> dict[str, Any]:
        seconds = encoding.seconds_an_image(self.encoder, list(encoding.distinct(min(1_000, self.size.pictures))))
        return encoding.again(self.place, self.bundle, seconds, self.size.files)

    def photographs(self) -> dict[str, Any]:
        return photographs.rates(self.place, self.size.photographs)

    def rows(self) -> dict[str, Any]:
        stand_in = StandIn(self.bundle, DIM)
        return rows.night(self.place, self.bundle, stand_in, self.size.rows, self.size.changed, Aim())

    def live(self) -> dict[str, Any]:
        stand_in, collection = StandIn(self.bundle, DIM), self.place / "live"
        made.collection(collection, self.place, self.size.searched, self.bundle, stand_in, Aim())
        changing = live.changing(collection, stand_in, self.size.searched, RATE, self.size.seconds)
        made.collection(collection, self.place, self.size.searched, self.bundle, stand_in, Aim())
        return {
            "changing": changing,
            "following": live.followed(collection, self.bundle, stand_in, self.size.held, self.size.turns),
        }


QUESTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "encoding": Bench.encoding,
    "again": Bench.again,
    "photographs": Bench.photographs,
    "rows": Bench.rows,
    "live": Bench.live,
}


def main(questions: list[str], size: str) -> None:
    kept = BUILD / f"indexing-{size}.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    for question in questions or QUESTIONS:
        with TemporaryDirectory(dir=BUILD, prefix="indexing-") as folder:
            figures[question] = QUESTIONS[question](Bench(Path(folder), load(BUNDLE), SIZES[size]))
        kept.write_text(json.dumps(figures | {"size": asdict(SIZES[size])}, indent=1))
        _print(question, figures[question])


def _print(question: str, figures: dict[str, Any]) -> None:
    table = Table(question, "")
    for name, value in _flat(figures):
        table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
    Console(width=128).print(table)


def _flat(figures: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in figures.items():
        found += _flat(value, f"{above}{name}: ") if isinstance(value, dict) else [(above + name, value)]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("questions", nargs="*", choices=[*QUESTIONS, []])
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    main(given.questions, "full" if given.full else "small")
