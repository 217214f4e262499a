"""How many threads a search may have: all callers share the machine's cores, and together never take more than there are.

Threads that outnumber the cores only push each other aside, so a search waits for a core; one that can be split takes those
that nobody uses as well.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """``count`` cores. Safe to use from several threads; whoever holds some must not ask for more."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._changed = threading.Condition()

    @contextmanager
    def some(self, most: int = 1) -> Iterator[int]:
        """Wait for a core, and hold up to ``most`` of those that are free then."""
        with self._changed:
            while self._free == 0:
                self._changed.wait()
            taken = max(1, min(most, self._free))
            self._free -= taken
        try:
            yield taken
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify(taken)


CORES = Cores(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
