"""How many threads a search may have: all callers share the machine's cores, and together never take more than there are.

Threads that outnumber the cores only push each other aside, so a search waits for a core; one that can be split takes those
that nobody uses as well.
"""

import os
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue

_NICER = 10  # of 19


class Cores:
    """``count`` cores; ``free``: a token for each that nobody holds; ``own``: how many this thread does. Safe to use from
    several threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.free: SimpleQueue[None] = SimpleQueue()  # a token a core: its waiting costs less than a condition's
        self.own = threading.local()
        for _ in range(count):
            self.free.put(None)

    def some(self, most: int = 1) -> "_Held":
        """Wait for a core, and hold up to ``most`` of those that are free then, with those that this thread holds already."""
        return _Held(self, most)


class _Held:
    """Every search begins and ends with it, so it is no generator: these take three times as long."""

    __slots__ = ("_before", "_cores", "_held", "_most")

    def __init__(self, cores: Cores, most: int) -> None:
        self._cores, self._most = cores, most

    def __enter__(self) -> int:
        free, own = self._cores.free, self._cores.own
        self._before = held = getattr(own, "count", 0)
        if not held:
            free.get()
            held = 1
        if held < self._most:
            with suppress(Empty):
                while held < self._most:
                    free.get_nowait()
                    held += 1
        own.count = self._held = held
        return held

    def __exit__(self, *raised: object) -> None:
        self._cores.own.count = self._before
        for _ in range(self._held - self._before):
            self._cores.free.put(None)


CORES = Cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def give_way() -> None:
    """What a job computes can wait, a search cannot: other processes of the machine go first, as long as this one lives."""
    os.nice(_NICER)
