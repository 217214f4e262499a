"""What survives a death at every write, a power cut, and kills under load?

Each scenario runs once while strace records its system calls. Then its process is killed on entering each call that changes the
collection, in a copy of what there was before; and the power is cut in a replay of the record, before and after every sync
and at some places between, with all that was not synced lost, and with a part of it kept by chance. Each time the collection is
opened and compared with what was acknowledged, every search with comparing all, and the same is done once more to its end.
Failures are told with the command that repeats them, and make the exit status 1.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model import Failure

from . import load
from .campaign import Campaign, Tried, attempt
from .scenarios import ALL, Scenario
from .shop import Broken

LOAD = "load"
_HEAD = "| scenario | calls | crashes tried | cuts tried | failures | seconds |\n| --- | --- | --- | --- | --- | --- |"


def main() -> int:
    asked = _arguments()
    scenarios = [scenario for scenario in ALL if scenario.name in asked.scenarios]
    if asked.at or asked.cut:
        return _repeat(scenarios[0], asked)
    found: dict[str, dict[str, Any]] = {}
    for scenario in scenarios:
        found[scenario.name] = _measured(scenario, asked)
    if LOAD in asked.scenarios:
        found[LOAD] = load.measure(asked.kills, asked.seed, _tells)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))
    print(_HEAD)
    for name, figures in found.items():
        print(f"| {name} | {' | '.join(str(figures[column]) for column in ('calls', 'crashes', 'cuts'))} |", end=" ")
        print(f"{len(figures['failures'])} | {figures['seconds']} |")
    failures = {again: wrong for figures in found.values() for again, wrong in figures["failures"].items()}
    for again, wrong in failures.items():
        print(f"\n{again}\n  {wrong}")
    return 1 if failures else 0


def _measured(scenario: Scenario, asked: argparse.Namespace) -> dict[str, Any]:
    began, tried = time.monotonic(), Tried()
    again = f"python -m bench.crashes {scenario.name} --seed {asked.seed}"
    with TemporaryDirectory() as folder:
        try:
            campaign = Campaign(scenario, Path(folder))
            attempt(campaign, tried, again, lambda text: _tells(f"{scenario.name}: {text}"), asked.every, asked.seed)
        except Broken as error:
            tried.failures[again] = str(error)
    return {**asdict(tried), "seconds": round(time.monotonic() - began)}


def _repeat(scenario: Scenario, asked: argparse.Namespace) -> int:
    with TemporaryDirectory() as folder:
        campaign = Campaign(scenario, Path(folder))
        try:
            if asked.at:
                name, nth = asked.at.split(":")
                died = campaign.crash(name, int(nth))
                wrong = None if died else "it came to its end before that call"
            else:
                place, how = asked.cut.split(":")
                ((_, wrong),) = campaign.cut([int(place)], how)
        except Broken as error:
            wrong = str(error)
    print(wrong or "nothing is wrong")
    return 0 if wrong is None else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.crashes", description=__doc__.splitlines()[0])
    names = [*(scenario.name for scenario in ALL), LOAD]
    parser.add_argument("scenarios", nargs="*", default=names, metavar="scenario", help=f"{', '.join(names)}; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the cuts between syncs, of what they keep, and of kills")
    parser.add_argument("--every", type=int, default=1, help="try one in so many crashes and cuts only")
    parser.add_argument("--kills", type=int, default=200, help="kills under load, of a job and two writers")
    parser.add_argument("--at", help="repeat one crash, CALL:NTH")
    parser.add_argument("--cut", help="repeat one power cut, PLACE:loses or PLACE:SEED")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    asked = parser.parse_args()
    if unknown := set(asked.scenarios) - set(names):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return asked


def _tells(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(str(error))
