"""What every route needs of the running service."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from index.catalog import Item

from ..admission import Admission
from ..engine import Engine, Serving
from ..schemas import IndexInfo, ItemOut, ModelInfo, ProblemOut
from ..settings import Settings
from ..telemetry import Metrics

PROBLEMS = {
    status: {"model": ProblemOut, "content": {"application/problem+json": {}}, "description": description}
    for status, description in {
        400: "Malformed",
        403: "Not allowed",
        404: "Not found",
        413: "Too large",
        415: "Not a picture",
        422: "Wrong values",
        429: "Busy",
        503: "Not ready",
    }.items()
}


@dataclass(frozen=True)
class Context:
    settings: Settings
    engine: Engine
    admission: Admission  # of searches and changes
    pictures: Admission  # a page shows hundreds at once: they must not crowd out searches
    metrics: Metrics


def _context(request: Request) -> Context:
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
