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
from starlette.types import ASGIApp, Receive, Scope, Send

from . import contract, errors
from .admission import Admission, Uploads
from .engine import Engine, NotReady
from .routes import facets, items, operations, search
from .routes.context import Context
from .settings import Settings
from .telemetry import Metrics, Telemetry

WEB = Path(__file__).parent / "web"
PICTURE_QUEUE = 1024
PAGE_POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
RETRY_SECONDS = 2.0  # what could not be taken up is looked at again, but loading it is work


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """``engine`` is made from the settings unless given."""
    metrics = Metrics()
    context = Context(
        settings=settings,
        engine=engine or Engine(settings.collection, settings.runtime, settings.precision, settings.max_pixels),
        searches=Admission(settings.threads, settings.queue, metrics, _one_faiss_thread),
        pictures=Admission(settings.threads, PICTURE_QUEUE, metrics),
        uploads=Uploads(settings.max_body_bytes, settings.max_upload_bytes, settings.upload_seconds),
        metrics=metrics,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(_follow(context))
        yield
        following.cancel()
        for pool in (context.searches, context.pictures):
            pool.close()
        context.engine.close()

    app = FastAPI(
        title="Lookalike",
        version=version("lookalike"),
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,  # FastAPI's own pages load their scripts from elsewhere: see `contract`
    )
    app.state.context = context
    errors.install(app)
    app.add_middleware(Telemetry, metrics=metrics)
    app.add_middleware(HeadIsGet)
    for router in (search.router, facets.router, items.router, operations.router):
        app.include_router(router)
    contract.install(app)
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/web", _Unversioned(directory=WEB))
    return app


class HeadIsGet:
    """ASGI middleware: HEAD is answered like GET; the server itself leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope, receive, send)


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
        following = await asyncio.to_thread(engine.follow)
        keeps_up = following
        with contextlib.suppress(NotReady):
            serving, keeps_up = engine.serving, engine.lags is None
            metrics.items.set(engine.count)
            metrics.pending.set(serving.searcher.pending)
            metrics.generation.set(serving.searcher.generation.number)
        metrics.following.set(keeps_up)
        await asyncio.sleep(context.settings.follow_seconds if following else RETRY_SECONDS)


def _one_faiss_thread() -> None:
    """Each worker thread searches alone: as many OpenMP threads again for each would only fight for the cores."""
    faiss.omp_set_num_threads(1)
