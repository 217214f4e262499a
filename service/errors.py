"""Everything that can go wrong in, an RFC 9457 problem out: the one map from errors to HTTP statuses."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from index.catalog import CatalogError
from model.image import DamagedImage, ImageError, ImageTooLarge, NotAnImage

from .engine import NotReady

log = logging.getLogger("lookalike.service")

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """``kind`` is stable and for programs; ``detail`` is a sentence for people that says what to do."""

    def __init__(self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers or {}


def problem_of(error: Exception) -> Problem:
    """The problem that tells a client about ``error``."""
    match error:
        case Problem():
            return error
        case ImageTooLarge():
            return Problem(413, "image-too-large", str(error))
        case NotAnImage():
            return Problem(415, "not-an-image", str(error))
        case DamagedImage():
            return Problem(422, "damaged-image", str(error))
        case ImageError():
            return Problem(422, "bad-image", str(error))
        case RequestValidationError():
            return Problem(422, "wrong-values", _what_is_wrong(error))
        case HTTPException():
            return Problem(error.status_code, _slug(error.status_code), _sentence(error), dict(error.headers or {}))
        case NotReady():
            return Problem(503, "not-ready", str(error))
        case CatalogError():
            return Problem(503, "catalog-unavailable", str(error))
    return Problem(500, "internal", "Something broke in the server; its log has the request id. Please report it.")


def response(error: Exception, request_id: str) -> JSONResponse:
    problem = problem_of(error)
    if problem.status >= 500 and problem.kind == "internal":
        log.error("request %s failed", request_id, exc_info=error)
    body: dict[str, Any] = {
        "type": f"urn:lookalike:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    return JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        return response(error, request.state.request_id)

    for kind in (Problem, NotReady, ImageError, RequestValidationError, HTTPException, CatalogError, Exception):
        app.add_exception_handler(kind, answer)


def _what_is_wrong(error: RequestValidationError) -> str:
    parts = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"] if part not in ("query", "body", "path", "header"))
        parts.append(f"{place or 'the request'}: {fault['msg']}")
    return "; ".join(parts) + "."


def _sentence(error: HTTPException) -> str:
    if error.status_code == 404:
        return "There is nothing at this address; /docs lists what there is."
    if error.status_code == 405:
        return "This address does not answer this method; /docs lists what it does."
    return str(error.detail)


def _slug(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "-")
