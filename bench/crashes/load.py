"""A number of kills and a seed in, what was tried and what failed out: a job and two writers die while they all work.

They share one collection and are killed together, after a random time. Writers acknowledge every change of their own ids; the
gallery changes before every job. Nothing is undone between kills: each finds what all before it left. A seed repeats the
changes, and the moments as shares of the seconds that a job takes; what exactly is hit then, the machine decides.
"""

import random
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.index.miniatures import content, write

from .campaign import Tried
from .process import KILLED, Process, Told
from .shop import GALLERY, PICTURES, Broken, Shop, State, apart, check_encoded, encoded, look, strays

_WRITERS = 2
_IDS = 6  # of each writer
_FILES = 40
_CHANGED = 8  # files before every job
_PLANNED = 300  # changes of a writer: more than it lives to make
_FINISH_EVERY = 5  # kills; in between, jobs die on top of what dead jobs left

Items = dict[str, str]  # id → content
Plan = list[tuple[str, int | None]]  # what a writer will do: id and picture, or None for its deletion


class Life:
    """A shop that lives through many kills, and what it must hold."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.collection, self.chance = folder, folder / "collection", random.Random(seed)
        self.files: dict[str, int] = {}
        self.published: Items = {}
        self.written: list[Items] = [{} for _ in range(_WRITERS)]
        apart(_prepare, folder)
        self._change(_FILES)
        self.seconds = self.finish()  # of a whole job

    def kill(self) -> int:
        """One round → how many of the processes were still at work. Raises ``Broken``."""
        self._change(_CHANGED)
        plans = [self._plan(writer) for writer in range(_WRITERS)]
        work = [partial(_job, self.folder), *(partial(_write, self.folder, plan) for plan in plans)]
        processes = [Process(each) for each in work]
        for process in processes:
            process.go()
        time.sleep(self.chance.random() * 1.2 * self.seconds)
        for process in processes:
            process.kill()
        (finished, _), *acknowledged = ended = [process.end() for process in processes]
        if {status for _, status in ended} - {0, KILLED}:
            raise Broken("a process failed before it was killed; its error is above")
        state = apart(look, self.collection)
        self._check_gallery(state, must_be_new=finished == 1)
        for writer, (plan, (count, _)) in enumerate(zip(plans, acknowledged, strict=True)):
            self._check_written(state, writer, plan, count)
        return sum(status == KILLED for _, status in ended)

    def finish(self) -> float:
        """A job that nobody kills brings all to its end → its seconds. Raises ``Broken``."""
        began = time.monotonic()
        apart(_whole_job, self.folder)
        took = time.monotonic() - began
        self._check_gallery(apart(look, self.collection), must_be_new=True)
        if left := apart(strays, self.collection):
            raise Broken(f"files are left that nothing needs: {left}")
        return took

    def _change(self, count: int) -> None:
        """Files come, change and go."""
        for id in self.chance.sample([f"{number}.png" for number in range(_FILES)], count):
            if id in self.files and self.chance.random() < 0.2:
                (self.folder / "gallery" / id).unlink()
                del self.files[id]
            else:
                self.files[id] = self.chance.randrange(PICTURES)
                write(self.folder / "gallery" / id, self.files[id])

    def _plan(self, writer: int) -> Plan:
        ids = [f"writer-{writer}-{number}" for number in range(_IDS)]
        pictures = [self.chance.randrange(PICTURES) for _ in range(_PLANNED)]
        return [(self.chance.choice(ids), picture if self.chance.random() < 0.8 else None) for picture in pictures]

    def _check_gallery(self, state: State, *, must_be_new: bool) -> None:
        found = {id: held for id, origin, held, _ in state.items if origin == GALLERY}
        latest = {id: content(number) for id, number in self.files.items()}
        if found != latest and (must_be_new or found != self.published):
            raise Broken(f"the gallery's items are neither as they were nor as they are now: {found}")
        self.published = found

    def _check_written(self, state: State, writer: int, plan: Plan, acknowledged: int) -> None:
        found = {id: held for id, _, held, _ in state.items if id.startswith(f"writer-{writer}-")}
        allowed = [_after(self.written[writer], plan[: acknowledged + more]) for more in (0, 1)]
        if found not in allowed:
            raise Broken(f"after {acknowledged} acknowledgements of writer {writer} there is {found}, not one of {allowed}")
        self.written[writer] = found


def measure(kills: int, seed: int, tells: Callable[[str], None]) -> dict[str, Any]:
    """Figures of so many kills. It ends with the first failure: nothing can be said about what comes after it."""
    began, tried, at_work = time.monotonic(), Tried(), 0
    with TemporaryDirectory() as folder:
        try:
            life = Life(Path(folder), seed)
            for tried.crashes in range(1, kills + 1):
                at_work += life.kill()
                if tried.crashes % _FINISH_EVERY == 0:
                    life.finish()
                tells(f"load: {tried.crashes} kills")
            life.finish()
        except Broken as error:
            tried.failures[f"python -m bench.crashes load --kills {tried.crashes} --seed {seed}"] = str(error)
    return {**asdict(tried), "at work": at_work, "seconds": round(time.monotonic() - began)}


def _prepare(folder: Path) -> None:
    Shop(folder)


def _job(folder: Path, tell: Told) -> None:
    Shop(folder).index(allow_shrink=True)
    tell()


def _whole_job(folder: Path) -> None:
    shop = Shop(folder)
    before = encoded(shop.collection)
    shop.index(allow_shrink=True)
    check_encoded(shop.encoder, before)


def _write(folder: Path, plan: Plan, tell: Told) -> None:
    shop = Shop(folder)
    catalog = shop.catalog()
    for id, number in plan:
        if number is None:
            catalog.delete(id)
        else:
            shop.upload(catalog, id, number)
        tell()


def _after(items: Items, plan: Plan) -> Items:
    after = dict(items)
    for id, number in plan:
        if number is None:
            after.pop(id, None)
        else:
            after[id] = content(number)
    return after
