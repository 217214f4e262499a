"""Everything that can go wrong in, an RFC 9457 problem out: the one map from errors to HTTP statuses."""

import errno
import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index.catalog import CatalogError, DiskFull, ReadOnly
from index.search.filters import FilterError, UnknownField, WrongType
from model.image import DamagedImage, ImageError, ImageTooLarge, NotAnImage

from .engine import NotReady

log = logging.getLogger("lookalike.service")

MEDIA_TYPE = "application/problem+json"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")


class Problem(Exception):
    """``kind`` is stable and for programs; ``detail`` is a sentence for people that says what to do.

    ``field``: that of the items which is to blame, where there is one.
    """

    def __init__(
        self, status: int, kind: str, detail: str, headers: dict[str, str] | None = None, field: str | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail, self.headers, self.field = status, kind, detail, headers or {}, field


_FULL = Problem(507, "disk-full", "The server's disk is full; nothing was changed. Make room there, then try again.")


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
        case UnknownField():
            return Problem(422, "unknown-field", str(error), field=error.field)
        case WrongType():
            return Problem(422, "wrong-type", str(error), field=error.field)
        case FilterError():
            return Problem(422, "bad-filter", str(error), field=error.field)
        case RequestValidationError():
            return Problem(422, "wrong-values", _what_is_wrong(error))
        case HTTPException():
            return Problem(error.status_code, _slug(error.status_code), _sentence(error), dict(error.headers or {}))
        case NotReady():
            return Problem(503, "not-ready", str(error))
        case ReadOnly():
            return Problem(403, "read-only", "The server's collection cannot be written, so it takes no changes.")
        case DiskFull():
            return _FULL
        case CatalogError():
            return Problem(
                503, "catalog-unavailable", "The collection cannot be read or written now; the server's log says why."
            )
        case OSError(errno=errno.ENOSPC):
            return _FULL
    return Problem(500, "internal", "Something broke in the server; its log has the request id. Please report it.")


class Problems:
    """ASGI middleware: an exception becomes its problem. Once an answer has begun it can only be cut off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noticing(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noticing)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception as error:
            if begun or scope["type"] != "http":
                raise
            await response(error, scope["state"]["request_id"])(scope, receive, send)


def response(error: Exception, request_id: str) -> Response:
    problem = problem_of(error)
    if problem is not error and problem.status >= 500 and not isinstance(error, NotReady):
        log.error("request %s failed", request_id, exc_info=error)
    body: dict[str, Any] = {
        "type": f"urn:lookalike:{problem.kind}",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.field is not None:
        body["field"] = problem.field
    # In ASCII: a field's name may be half a character, which UTF-8 cannot have.
    return Response(json.dumps(body, separators=(",", ":")), problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """FastAPI answers these two by itself unless told otherwise; all others reach ``Problems``."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and error.status_code == 405:
            error = HTTPException(405, headers={"Allow": _allowed(request)})
        return response(error, request.state.request_id)

    for kind in (RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_middleware(Problems)


def _allowed(request: Request) -> str:
    """All methods of an address: each route knows its own only. What is mounted serves files."""
    asked = {method: {**request.scope, "method": "GET" if method == "HEAD" else method} for method in METHODS}
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    found = [method for method, scope in asked.items() if any(r.matches(scope)[0] is Match.FULL for r in routes)]
    return ", ".join(found or METHODS[:2])


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
