"""A request's body in, its pictures and form fields out: multipart or a raw picture, through one door."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .admission import read_body
from .errors import Problem

RAW_TYPES = ("image/", "application/octet-stream")
DESCRIPTION = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "string", "format": "binary"}},
                    "required": ["image"],
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class Body:
    pictures: list[bytes]
    fields: dict[str, str]


async def read(request: Request, limit: int, field: str = "image") -> Body:
    """The pictures of the multipart field ``field``, or the one raw picture. Raises ``Problem``."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _multipart(request, await read_body(request, limit), field)
    if kind.startswith(RAW_TYPES):
        data = await read_body(request, limit)
        if not data:
            raise Problem(400, "no-image", "The body is empty. Send the picture's bytes.")
        return Body([data], {})
    raise Problem(
        415,
        "unsupported-content-type",
        f"The content type {kind or 'of this request is missing and'} cannot be read here. "
        f"Send multipart/form-data with a file field {field!r}, or the picture itself as image/jpeg, image/png, …",
    )


async def _multipart(request: Request, data: bytes, field: str) -> Body:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield data

    parser = MultiPartParser(request.headers, stream(), max_files=64, max_fields=64)
    parser.spool_max_size = len(data) + 1  # pictures stay in memory: a query is never written to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = getattr(error, "message", None) or "it cannot be taken apart"
        raise Problem(400, "malformed-multipart", f"The multipart body is malformed: {reason}.") from error
    pictures = [await part.read() for part in form.getlist(field) if isinstance(part, UploadFile)]
    if not pictures:
        raise Problem(422, "no-image", f"The form has no file in the field {field!r}. Send the picture there, as a file.")
    fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    return Body(pictures, fields)
