"""How many threads a search may have: all callers share the machine's cores, and together never take more than there are.

Threads that outnumber the cores only push each other aside, so a search waits for a core; one that can be split takes those
that nobody uses as well.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_NICER = 10  # of 19


class Cores:
    """``count`` cores. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._changed = threading.Condition()
        self._own = threading.local()

    @contextmanager
    def some(self, most: int = 1) -> Iterator[int]:
        """Wait for a core, and hold up to ``most`` of those that are free then, with those that this thread holds already."""
        held = getattr(self._own, "count", 0)
        with self._changed:
            while not held and self._free == 0:
                self._changed.wait()
            taken = max(0 if held else 1, min(most - held, self._free))
            self._free -= taken
        self._own.count = held + taken
        try:
            yield held + taken
        finally:
            self._own.count = held
            with self._changed:
                self._free += taken
                self._changed.notify(taken)


CORES = Cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def give_way() -> None:
    """What a job computes can wait, a search cannot: other processes of the machine go first, as long as this one lives."""
    os.nice(_NICER)
