"""``POST /search``: a picture in, the nearest items out. ``POST /embed``: pictures in, vectors out."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from .. import bodies
from ..engine import Answer, Engine
from ..schemas import EmbedAnswer, HitOut, SearchAnswer, SearchOptions
from .context import OF_BODIES, Here, image_url, index_info, model_info, problems

router = APIRouter(tags=["search"], responses=problems(*OF_BODIES, 503))

NOTHING_SIMILAR = "Nothing similar here: no item is likely to show the same kind of thing."

_OPTIONS = SearchOptions.model_json_schema()["properties"]
_PARAMETERS = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
    for name, schema in _OPTIONS.items()
]


@router.post("/search", openapi_extra=bodies.description("image", **_OPTIONS) | {"parameters": _PARAMETERS})
async def search(request: Request, response: Response, here: Here) -> SearchAnswer:
    """The items nearest to a picture: the form field `image`, or the body. Options as query parameters or form fields."""
    asked = _options(dict(request.query_params))  # wrong options are told before the picture is sent
    answer = await here.work_on_body(request, "image", lambda body: _search(here.engine, body, asked))
    for phase, seconds in answer.seconds.items():
        here.metrics.phases.labels(phase).observe(seconds)
    timings = [f"{phase};dur={1000 * seconds:.2f}" for phase, seconds in answer.seconds.items()]
    response.headers["Server-Timing"] = ", ".join(timings)
    return _answer(answer)


@router.post("/embed", openapi_extra=bodies.description("images", many=True))
async def embed(request: Request, here: Here) -> EmbedAnswer:
    """The vectors of pictures: the form field `images`, once for each, or the body for a single one."""
    vectors, serving = await here.work_on_body(request, "images", lambda body: here.engine.embed(body.pictures))
    return EmbedAnswer(vectors=vectors.tolist(), model=model_info(serving))


def _search(engine: Engine, body: bodies.Body, asked: SearchOptions) -> Answer:
    said = _options(body.fields)
    options = asked.model_copy(update={name: getattr(said, name) for name in said.model_fields_set})
    return engine.search(body.picture, options.k, filter=options.filter, group_by=options.group_by, effort=options.effort)


def _options(values: dict[str, Any]) -> SearchOptions:
    try:
        return SearchOptions.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _answer(answer: Answer) -> SearchAnswer:
    confidences: Sequence[float | None] = answer.confidences or [None] * len(answer.hits)
    hits = [
        HitOut(
            id=hit.item.id,
            score=hit.score,
            confidence=confidence,
            metadata=hit.item.metadata,
            image_url=image_url(hit.item.id),
        )
        for hit, confidence in zip(answer.hits, confidences, strict=True)
    ]
    return SearchAnswer(
        results=hits,
        similar=answer.similar,
        message=NOTHING_SIMILAR if answer.similar is False else None,
        model=model_info(answer.serving),
        index=index_info(answer.serving, answer.count),
        took_ms={phase: round(1000 * seconds, 3) for phase, seconds in answer.seconds.items()},
    )
