"""A collection in, the right to change its generations out: one job, rollback or collection of garbage at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model import Failure


class Busy(Failure):
    """Another job works on the collection; the message says what to do."""


@contextmanager
def only_job(collection: Path) -> Iterator[None]:
    """Hold the collection's job lock; it falls with its process, however that ends. Raises ``Busy``."""
    with (collection / "job.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"Another job is working on {collection}. Wait for it to end, then run again.") from error
        yield
