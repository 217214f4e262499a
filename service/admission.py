"""What is let in: as many requests as the machine can work on and a queue holds, and so many bytes of their bodies."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from .errors import Problem
from .telemetry import Metrics

P = ParamSpec("P")
R = TypeVar("R")


class Admission:
    """Work in a bounded pool of threads; more than ``threads + queue`` requests at once are turned away."""

    def __init__(self, threads: int, queue: int, metrics: Metrics, initializer: Callable[[], None] | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, "work", initializer)
        self._turns = asyncio.Semaphore(threads)
        self._free = threads + queue
        self._metrics = metrics

    def check(self) -> None:
        """Raises ``Problem`` 429 when there is no place: better told before a body is read than after."""
        if self._free == 0:
            raise Problem(429, "too-many-requests", "The server is busy. Try again in a second.", {"Retry-After": "1"})

    async def work(self, request: Request, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of ``function`` in a thread, when its turn comes.

        Raises ``Problem`` 429, and ``ClientDisconnect`` where the client left meanwhile: then nothing is done in vain.
        """
        with self._place():
            async with self._turns:
                if await request.is_disconnected():
                    raise ClientDisconnect
                return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown(wait=True)

    @contextmanager
    def _place(self) -> Iterator[None]:
        self.check()
        self._free -= 1
        self._metrics.waiting.inc()
        try:
            yield
        finally:
            self._free += 1
            self._metrics.waiting.dec()


class Uploads:
    """Bodies in memory: each up to ``limit`` bytes and ``seconds``, all together up to ``budget`` bytes.

    A body takes no place while it is read: who sends slowly holds nothing but what arrived so far.
    """

    def __init__(self, limit: int, budget: int, seconds: float) -> None:
        self._limit, self._budget, self._seconds = limit, max(limit, budget), seconds
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body; its bytes count until the block ends. Raises ``Problem`` 408, 413 or 429, ``ClientDisconnect``."""
        received = io.BytesIO()
        try:
            await self._receive(request, received)
            yield received.getvalue()
        finally:
            self._held -= received.tell()

    async def _receive(self, request: Request, received: io.BytesIO) -> None:
        announced = request.headers.get("content-length", "")
        self._check(int(announced) if announced.isdecimal() else 0)
        try:
            async with asyncio.timeout(self._seconds):
                async for part in request.stream():
                    self._held += received.write(part)
                    self._check(received.tell())
        except TimeoutError as error:
            detail = f"The body did not arrive within {self._seconds:g} seconds. Send a smaller picture, or over a better line."
            raise Problem(408, "body-too-slow", detail, {"Connection": "close"}) from error

    def _check(self, size: int) -> None:
        if size > self._limit:
            detail = f"The request's body is larger than the limit of {self._limit:,} bytes. Send less."
            raise Problem(413, "body-too-large", detail)
        if self._held > self._budget:
            raise Problem(
                429, "too-many-uploads", "The server has its hands full. Try again in a second.", {"Retry-After": "1"}
            )
