"""How many threads a search may have: all callers share the machine's cores, and together never take more than there are.

Threads that outnumber the cores only push each other aside, so a search waits for a core; one that can be split takes those
that nobody uses as well.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

_NICER = 10  # of 19


class Cores:
    """``count`` cores. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: SimpleQueue[None] = SimpleQueue()  # a token a core: its waiting costs less than a condition's
        self._own = threading.local()
        for _ in range(count):
            self._free.put(None)

    @contextmanager
    def some(self, most: int = 1) -> Iterator[int]:
        """Wait for a core, and hold up to ``most`` of those that are free then, with those that this thread holds already."""
        before = held = getattr(self._own, "count", 0)
        if not held:
            self._free.get()
            held = 1
        with suppress(Empty):
            while held < most:
                self._free.get_nowait()
                held += 1
        self._own.count = held
        try:
            yield held
        finally:
            self._own.count = before
            for _ in range(held - before):
                self._free.put(None)


CORES = Cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def give_way() -> None:
    """What a job computes can wait, a search cannot: other processes of the machine go first, as long as this one lives."""
    os.nice(_NICER)
