"""A scenario in, what was tried on it and what failed out: deaths at every change of a file, and power cuts between them."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .disk import Disk, boundaries, replay
from .process import KILLED, Told
from .scenarios import Scenario
from .shop import Broken, Shop, State, apart, check_encoded, encoded, look, strays
from .strace import CHANGING, Call, killed, recorded

LOSES = "loses"  # of a power cut: all that was not synced is lost
_SAMPLE = 40  # cuts between the syncs, chosen by the seed


@dataclass
class Tried:
    """``failures``: how to repeat it → what was wrong."""

    calls: int = 0
    crashes: int = 0
    lived: int = 0
    cuts: int = 0
    failures: dict[str, str] = field(default_factory=dict)


class Campaign:
    """One scenario in a folder of its own. Its collections lie at one place in turn: a catalog knows where its files lie."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        """Raises ``Broken`` where the undisturbed run is not what it should be."""
        self.scenario, self._folder, self._now, self._prepared = scenario, folder, folder / "now", folder / "prepared"
        apart(_prepare, scenario, self._now)
        shutil.copytree(self._now, self._prepared)
        self._states = apart(_states, scenario, self._now)
        self._restore()
        run = recorded(partial(_act, scenario, self._now), folder / "trace")
        if (run.acknowledged, run.status) != (len(self._states) - 1, 0):
            raise Broken("the undisturbed run failed while strace recorded it")
        self.check(run.acknowledged)
        self.calls, self._told = run.calls, run.told

    def points(self) -> list[Call]:
        """The calls that changed the collection or what lies beside it."""
        changing = [call for call in self.calls if call.name in CHANGING and call.thread == self.calls[0].thread]
        done = [call for call in changing if call.result >= 0]
        return [call for call in done if call.path is not None and self._now in (call.path, *call.path.parents)]

    def crash(self, name: str, nth: int) -> bool:
        """Die at this call. False where the run came to its end before it. Raises ``Broken``."""
        self._restore()
        ended = killed(partial(_act, self.scenario, self._now), self._folder / "log", name, nth)
        if ended.status not in (0, KILLED):
            raise Broken(f"the process ended with status {ended.status} instead of being killed")
        self.check(ended.acknowledged)
        return ended.status == KILLED

    def cuts(self, seed: int) -> list[int]:
        """Places in the record: before and after every sync, and some between."""
        certain = boundaries(self.calls)
        others = sorted(set(range(len(self.calls))) - set(certain))
        return sorted({*certain, *random.Random(seed).sample(others, min(_SAMPLE, len(others)))})

    def cut(self, cuts: list[int], how: str) -> Iterator[tuple[int, str | None]]:
        """Cut the power at each of these places → what was wrong then. ``how``: ``LOSES``, or the seed of what is kept."""
        disk = Disk(self._now, self._prepared)
        for place in replay(disk, self.calls, cuts):
            shutil.rmtree(self._now)
            disk.write(None if how == LOSES else random.Random(f"{how} {place}"))
            try:
                self.check(sum(self._acknowledges(call) for call in self.calls[:place]))
            except Broken as error:
                yield place, str(error)
            else:
                yield place, None

    def check(self, acknowledged: int) -> None:
        """Open what is there, then act once more to the end.

        Raises ``Broken`` where something acknowledged is missing, something is there that nobody asked for, the collection does
        not agree with itself, or does not come to the same end now.
        """
        place = self._now / self.scenario.folder
        apart(self.scenario.holds, self._now, self._states[0])
        state = apart(look, place)
        allowed = self._states[acknowledged : acknowledged + 2]
        if state not in allowed:
            raise Broken(f"after {acknowledged} acknowledgements there is {state}, not one of {_told(allowed)}")
        apart(_again, self.scenario, self._now)
        apart(self.scenario.holds, self._now, self._states[0])
        if (state := apart(look, place)) != self._states[-1]:
            raise Broken(f"done again, there is {state}, not {self._states[-1]}")
        if left := apart(strays, place):
            raise Broken(f"done again, files are left that nothing needs: {left}")
        apart(self.scenario.ends, self._now)

    def _acknowledges(self, call: Call) -> bool:
        return call.name == "write" and [handle for handle, _ in call.handles] == [self._told]

    def _restore(self) -> None:
        shutil.rmtree(self._now)
        shutil.copytree(self._prepared, self._now)


def attempt(campaign: Campaign, tried: Tried, again: str, tells: Callable[[str], None], every: int, seed: int) -> None:
    """All crashes and cuts, or of each kind one in ``every``, and the cut at the end.

    ``again``: the command that repeats one, less the point.
    """
    points = campaign.points()
    tried.calls = len(points)
    for call in points[seed % every :: every]:
        tried.crashes += 1
        try:
            tried.lived += not campaign.crash(call.name, call.nth)
        except Broken as error:
            tried.failures[f"{again} --at {call.name}:{call.nth}"] = str(error)
        tells(f"{tried.crashes} crashes, {len(tried.failures)} failures")
    all_cuts = campaign.cuts(seed)
    cuts = sorted({*all_cuts[seed % every :: every], all_cuts[-1]})  # at the end everything was promised
    for how in (LOSES, str(seed)):
        for place, wrong in campaign.cut(cuts, how):
            tried.cuts += 1
            if wrong is not None:
                tried.failures[f"{again} --cut {place}:{how}"] = wrong
            tells(f"{tried.cuts} cuts, {len(tried.failures)} failures")


def _prepare(scenario: Scenario, folder: Path) -> None:
    scenario.prepare(Shop(folder))


def _states(scenario: Scenario, folder: Path) -> list[State]:
    shop, place = Shop(folder), folder / scenario.folder
    return [look(place), *(look(place) for _ in scenario.act(shop))]


def _act(scenario: Scenario, folder: Path, tell: Told) -> None:
    for _ in scenario.act(Shop(folder)):
        tell()


def _again(scenario: Scenario, folder: Path) -> None:
    shop = Shop(folder)
    before = encoded(shop.collection)
    for _ in scenario.act(shop):
        pass
    check_encoded(shop.encoder, before)


def _told(states: list[State]) -> str:
    return " or ".join(map(str, states))
