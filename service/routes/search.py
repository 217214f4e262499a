"""``POST /search``: a picture in, the nearest items out. ``POST /embed``: pictures in, vectors out."""

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from .. import bodies
from ..engine import Answer
from ..schemas import EmbedAnswer, HitOut, SearchAnswer, SearchOptions
from .context import PROBLEMS, Here, image_url, index_info, model_info

router = APIRouter(tags=["search"], responses={status: PROBLEMS[status] for status in (400, 413, 415, 422, 429, 503)})

_OPTIONS = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.get("description", "")}
    for name, schema in SearchOptions.model_json_schema()["properties"].items()
]


@router.post("/search", openapi_extra=bodies.DESCRIPTION | {"parameters": _OPTIONS})
async def search(request: Request, response: Response, here: Here) -> SearchAnswer:
    """Send the picture as the multipart field `image`, or as the raw body; options as query parameters or form fields."""
    async with here.admission.place():
        asked = _options(dict(request.query_params))  # wrong options are told before the picture is uploaded and decoded
        body = await bodies.read(request, here.settings.max_body_bytes)
        options = _options(asked.model_dump(exclude_unset=True) | body.fields)
        answer = await here.admission.work(here.engine.search, body.pictures[0], options.k)
    for phase, seconds in answer.seconds.items():
        here.metrics.phases.labels(phase).observe(seconds)
    timings = [f"{phase};dur={1000 * seconds:.2f}" for phase, seconds in answer.seconds.items()]
    response.headers["Server-Timing"] = ", ".join(timings)
    return _answer(answer)


@router.post("/embed", openapi_extra=bodies.DESCRIPTION)
async def embed(request: Request, here: Here) -> EmbedAnswer:
    """Send pictures as the multipart field `images`, or one as the raw body."""
    async with here.admission.place():
        body = await bodies.read(request, here.settings.max_body_bytes, field="images")
        vectors, serving = await here.admission.work(here.engine.embed, body.pictures)
    return EmbedAnswer(vectors=vectors.tolist(), model=model_info(serving))


def _options(values: dict[str, str]) -> SearchOptions:
    try:
        return SearchOptions.model_validate(values)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _answer(answer: Answer) -> SearchAnswer:
    hits = [
        HitOut(id=hit.item.id, score=hit.score, metadata=hit.item.metadata, image_url=image_url(hit.item.id))
        for hit in answer.hits
    ]
    return SearchAnswer(
        results=hits,
        model=model_info(answer.serving),
        index=index_info(answer.serving, answer.count),
        took_ms={phase: round(1000 * seconds, 3) for phase, seconds in answer.seconds.items()},
    )
