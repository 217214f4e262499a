"""The application: settings in, an ASGI app out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
from fastapi import FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from . import errors
from .admission import Admission
from .engine import Engine, NotReady
from .routes import items, operations, search
from .routes.context import Context
from .settings import Settings
from .telemetry import Metrics, Telemetry

WEB = Path(__file__).parent / "web"
PICTURE_QUEUE = 1024
PAGE_POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """``engine`` is made from the settings unless given."""
    metrics = Metrics()
    engine = engine or Engine(settings.collection, settings.runtime, settings.precision, settings.max_pixels)
    searches = Admission(settings.threads, settings.queue, metrics, _one_faiss_thread)
    pictures = Admission(settings.threads, PICTURE_QUEUE, metrics)
    context = Context(settings, engine, searches, pictures, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(context))
        yield
        following.cancel()
        searches.close()
        pictures.close()

    app = FastAPI(title="Lookalike", version=version("lookalike"), lifespan=lifespan, redirect_slashes=False)
    app.state.context = context
    app.add_middleware(Telemetry, metrics=metrics)
    errors.install(app)
    for router in (search.router, items.router, operations.router):
        app.include_router(router)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/web", _Unversioned(directory=WEB))
    return app


class _Unversioned(StaticFiles):
    """The page's parts; browsers ask each time, so that an upgrade never mixes an old script with a new page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        answer = super().file_response(*args, **kwargs)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


async def _page() -> Response:
    return FileResponse(WEB / "index.html", headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"})


async def _follow(context: Context) -> None:
    """Keep the engine up with the collection for as long as the server runs."""
    engine, metrics = context.engine, context.metrics
    while True:
        await asyncio.to_thread(engine.follow)
        with contextlib.suppress(NotReady):
            serving = engine.serving
            metrics.items.set(engine.count)
            metrics.pending.set(serving.searcher.pending)
            metrics.generation.set(serving.searcher.generation.number)
        await asyncio.sleep(context.settings.follow_seconds)


def _one_faiss_thread() -> None:
    """Each worker thread searches alone: as many OpenMP threads again for each would only fight for the cores."""
    faiss.omp_set_num_threads(1)
