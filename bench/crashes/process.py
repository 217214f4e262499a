"""A function in; out, what it acknowledged before its process ended, and how that ended."""

import os
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

Told = Callable[[], None]
KILLED = -signal.SIGKILL


class Process:
    """Forked at once, at work after ``go``. ``work`` is given what to call after each thing that it acknowledges.

    What it acknowledged is in a pipe, which outlives it; ``told`` is the pipe's number there.
    """

    def __init__(self, work: Callable[[Told], None]) -> None:
        (may_go, self._go), (self._read, self.told) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._go)
            _live(work, may_go, self.told)
        os.close(may_go)
        os.close(self.told)

    def go(self) -> None:
        os.write(self._go, b".")
        os.close(self._go)

    def kill(self) -> None:
        """Also where it has ended already: it is not forgotten before ``end``."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> tuple[int, int]:
        """Wait for it → how many things it acknowledged, and its exit status."""
        with os.fdopen(self._read, "rb") as read:
            acknowledged = len(read.read())
        _, status = os.waitpid(self.pid, 0)
        return acknowledged, os.waitstatus_to_exitcode(status)


def _live(work: Callable[[Told], None], may_go: int, told: int) -> NoReturn:
    """The child's whole life: nothing that its parent had begun is ended here."""
    status = 1
    try:
        if os.read(may_go, 1):
            work(lambda: _acknowledge(told))
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _acknowledge(told: int) -> None:
    os.write(told, b".")
