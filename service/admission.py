"""What is let in: bodies up to a size, and only as many requests at once as the machine can work on and a queue holds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from fastapi import Request

from .errors import Problem
from .telemetry import Metrics

P = ParamSpec("P")
R = TypeVar("R")


class Admission:
    """Runs work in a bounded pool of threads; more than ``threads + queue`` at once are turned away with 429."""

    def __init__(self, threads: int, queue: int, metrics: Metrics, initializer: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, "work", initializer)
        self._free = threads + queue
        self._metrics = metrics

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Held while a request's body is read and worked on: memory is bounded by the places. Raises ``Problem`` 429."""
        if self._free == 0:
            raise Problem(429, "too-many-requests", "The server is busy. Try again in a second.", {"Retry-After": "1"})
        self._free -= 1
        self._metrics.waiting.inc()
        try:
            yield
        finally:
            self._free += 1
            self._metrics.waiting.dec()

    async def work(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown(wait=True)


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises ``Problem`` 413 as soon as it is known to be larger than ``limit`` bytes."""
    too_large = Problem(413, "body-too-large", f"The request's body is larger than the limit of {limit:,} bytes. Send less.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)
