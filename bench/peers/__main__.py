"""Default against default, and tuned against equally tuned; what is already measured with equal settings is not measured again.

Run: python -m bench.peers [CONTENDER …] [--minutes 6] [--trials 4] [--seed 0] [--table] [--tiny]
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.training.cells import BUILD, Cell, Figures, Record, Row, known, records, run
from bench.training.figures import RETRIEVAL
from bench.training.tables import table
from model import Failure

from . import process
from .contenders import CONTENDERS, Contender, Settings, tune
from .pictures import digest, opaque

DATA = "emoji"
_COSTS = {"minutes learnt": "learnt_minutes", "images learnt": "images", "minutes in all": "minutes", "GB": "gigabytes"}
_USER = {"lines": "lines", "minutes to tune": "tuning_minutes", "changed": "changed"}


def _none(*_: object) -> tuple[()]:
    """Cells hang on those before them, so they are made one by one."""
    return ()


FINALS = Row(
    "peers",
    "Trained on the train and validation classes, measured on the test classes: how good are trainers, and what do they take?",
    _none,
    RETRIEVAL | _COSTS | _USER,
)
TRIALS = Row(
    "peers tuned",
    "Trained on the train classes, measured on the validation classes: what was tried of each?",
    _none,
    {"MAP@R": "map@r", "R@1": "recall@1", "minutes learnt": "learnt_minutes", "changed": "changed"},
)
console = Console(stderr=True, highlight=False, emoji=False)


class Comparison:
    """What all cells share."""

    def __init__(self, minutes: float, trials: int, seed: int, tiny: bool, file: Path) -> None:
        self.minutes, self.trials, self.seed, self.file = minutes, trials, seed, file
        self.data = opaque(DATA, tiny)

    def both(self, contender: Contender) -> None:
        """As documented, and after tuning."""
        if not contender.learns:
            self._final(contender, contender.name, {})
            return
        default = self._final(contender, f"{contender.name}, default", {})
        spent: list[float] = []

        def judge(number: int, settings: Settings) -> float:
            found = self._cell(
                TRIALS, contender, f"{contender.name}, trial {number + 1}", "train", "validation", self.minutes / 2, settings
            )
            spent.append(found["figures"]["minutes"])
            return found["figures"]["map@r"]

        best = tune(contender.changes, self.trials, judge)
        told: Figures = {"trials": self.trials, "tuning_minutes": round(sum(spent), 1)}
        if not best:  # a second run of the same would differ by chance only
            told = default["figures"] | told
        self._final(contender, f"{contender.name}, tuned", best, told)

    def _final(self, contender: Contender, variant: str, settings: Settings, told: Figures | None = None) -> Record:
        return self._cell(FINALS, contender, variant, "train,validation", "test", self.minutes, settings, told)

    def _cell(
        self,
        row: Row,
        contender: Contender,
        variant: str,
        learn: str,
        embed: str,
        minutes: float,
        settings: Settings,
        told: Figures | None = None,
    ) -> Record:
        """Measured, or as it is known; ``told``: figures that are known; where retrieval is, nothing is measured."""
        told = told or {}
        kept = {"data": digest(self.data), "with": contender.version, "minutes": minutes, "settings": settings}
        kept |= {name: told[name] for name in ("trials",) if name in told}
        changed = " ".join(f"{name}={value}" for name, value in settings.items())

        def measure() -> Figures:
            if "map@r" in told:
                return told
            found = process.run(contender, self.data, learn, embed, minutes, self.seed, settings)
            return found | told | {"changed": changed}

        cell = Cell(variant, self.seed, kept, measure)
        record = known(row, cell, self.file)
        if record is None:
            console.print(f"[bold]{variant}[/bold] {changed or 'as documented'} …")
            record = run(row, cell, self.file)
        figures = {name: record["figures"][name] for name in ("recall@1", "map@r", "learnt_minutes", "minutes", "gigabytes")}
        console.print(f"{variant}: {figures}, {record['date']}", markup=False, soft_wrap=True)
        return record


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="Trainers side by side.")
    parser.add_argument("contenders", nargs="*", metavar="CONTENDER", help=f"of {', '.join(CONTENDERS)}; by default all")
    parser.add_argument("--minutes", type=float, help="of learning, in a final run; a trial has half of them")
    parser.add_argument("--trials", type=int, default=4, help="of each contender that learns")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true", help="print what was measured as Markdown")
    parser.add_argument("--tiny", action="store_true", help="a twelfth of the classes, into a file of its own: does it run?")
    given = parser.parse_args()
    if unknown := [name for name in given.contenders if name not in CONTENDERS]:
        parser.error(f"there is no contender {unknown[0]}; there are {', '.join(CONTENDERS)}")
    most = 1 + min(len(each.changes) for each in CONTENDERS.values() if each.learns)
    if not 1 <= given.trials <= most:
        parser.error(f"there can be 1 to {most} trials")
    file = BUILD / ("peers-tiny.jsonl" if given.tiny else "peers.jsonl")
    if given.table:
        print("\n\n".join(table(row, found) for row in (FINALS, TRIALS) if (found := _of(row, file))))
        return 0
    minutes = given.minutes or (0.2 if given.tiny else 6.0)
    comparison = Comparison(minutes, given.trials, given.seed, given.tiny, file)
    status = 0
    for name in given.contenders or CONTENDERS:
        try:
            comparison.both(CONTENDERS[name])
        except Failure as failure:  # the others shall not be lost with it
            console.print(str(failure), markup=False, soft_wrap=True)
            status = 1
    return status


def _of(row: Row, file: Path) -> list[Record]:
    return [each for each in records(file) if each["row"] == row.name]


if __name__ == "__main__":
    sys.exit(main())
