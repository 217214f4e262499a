"""What every route needs of the running service."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request

from index.catalog import Item

from .. import bodies
from ..admission import Admission, Uploads
from ..engine import Engine, Serving
from ..schemas import IndexInfo, ItemOut, ModelInfo, ProblemOut
from ..settings import Settings
from ..telemetry import Metrics

R = TypeVar("R")

_PROBLEMS = {
    400: "Malformed",
    403: "Not allowed",
    404: "Not found",
    408: "Too slow",
    413: "Too large",
    415: "Not a picture",
    422: "Wrong values",
    429: "Busy",
    500: "Broken",
    503: "Not ready",
    507: "Disk full",
}
OF_BODIES = (400, 408, 413, 415, 422, 429)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI description."""
    return {status: {"model": ProblemOut, "description": _PROBLEMS[status]} for status in (*statuses, 500)}


@dataclass(frozen=True)
class Context:
    settings: Settings
    engine: Engine
    searches: Admission  # and changes
    pictures: Admission  # a page shows hundreds at once: they must not crowd out searches
    uploads: Uploads
    metrics: Metrics

    async def work_on_body(self, request: Request, field: str, function: Callable[[bodies.Body], R]) -> R:
        """Read the body, whose pictures are in the form field ``field``, then ``function(body)`` when its turn comes."""
        content_type = request.headers.get("content-type", "")
        bodies.check_type(content_type, field)
        self.searches.check()
        async with self.uploads.body(request) as data:
            return await self.searches.work(request, lambda: function(bodies.parse(content_type, data, field)))


async def _context(request: Request) -> Context:
    return request.app.state.context


Here = Annotated[Context, Depends(_context)]


def image_url(id: str) -> str:
    return f"/images/{quote(id)}"


def model_info(serving: Serving) -> ModelInfo:
    return ModelInfo(name=serving.bundle.manifest.name, fingerprint=serving.bundle.fingerprint)


def index_info(serving: Serving, count: int) -> IndexInfo:
    return IndexInfo(generation=serving.searcher.generation.number, count=count)


def item_out(item: Item) -> ItemOut:
    return ItemOut(id=item.id, origin=item.origin, content=item.content, metadata=item.metadata, image_url=image_url(item.id))
