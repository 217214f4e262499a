"""``/items/{id}``: the items themselves. ``/images/{id}``: their pictures. An id may hold slashes and any other text."""

import io
import unicodedata
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from PIL import Image
from pydantic import ValidationError
from starlette.convertors import PathConvertor, register_url_convertor

from index.catalog import Item
from model.image import decode, media_type

from .. import bodies
from ..engine import Engine
from ..errors import Problem
from ..schemas import METADATA, ItemOut, Metadata
from .context import OF_BODIES, Context, Here, item_out, problems

SIZES = {"small": 240, "medium": 640, "large": 1600}  # pixels of the longer side
MAX_ID_BYTES = 1024
MAX_METADATA_BYTES = 64 * 2**10

_METADATA_FIELD = {"type": "string", "contentMediaType": "application/json", "description": "an object of plain values"}


class _AnyText(PathConvertor):
    """Starlette's own `path` ends at a line break, and file names may hold one."""

    regex = "(?s:.*)"


register_url_convertor("text", _AnyText())
router = APIRouter(tags=["items"], responses=problems(404, 422, 429, 503))

Id = Annotated[str, Path(description="the item's id, percent-encoded; slashes may stay as they are")]


@router.get("/items/{id:text}")
async def read_item(id: Id, request: Request, here: Here) -> ItemOut:
    """An item as it is now."""
    return item_out(await here.pictures.work(request, _found, here.engine, id))


@router.put(
    "/items/{id:text}",
    openapi_extra=bodies.description("image", metadata=_METADATA_FIELD),
    responses=problems(*OF_BODIES, 403, 507),
)
async def put_item(id: Id, request: Request, here: Here) -> ItemOut:
    """Add or replace an item: the picture as the form field `image` (beside `metadata`, a JSON object), or as the body."""
    _check_writes(here)
    _check_id(id)
    return item_out(await here.work_on_body(request, "image", lambda body: _put(here.engine, id, body)))


@router.delete("/items/{id:text}", status_code=204, responses=problems(403))
async def delete_item(id: Id, request: Request, here: Here) -> None:
    """Take an item away; no search finds it from now on."""
    _check_writes(here)
    if not await here.searches.work(request, here.engine.delete, id):
        raise _no_such_item(id)


@router.get("/images/{id:text}", response_class=Response, responses={200: {"content": {"image/*": {}}}, 304: {}})
async def read_image(id: Id, request: Request, here: Here, size: Literal["small", "medium", "large"] | None = None) -> Response:
    """The picture as it was indexed, or a smaller copy of it (WebP, on white)."""
    known = ",".join(request.headers.getlist("if-none-match"))
    return await here.pictures.work(request, _image, here.engine, id, size, known)


def _put(engine: Engine, id: str, body: bodies.Body) -> Item:
    return engine.put(id, body.picture, _metadata(body.fields.get("metadata", "{}")))


def _image(engine: Engine, id: str, size: str | None, known: str) -> Response:
    item = _found(engine, id)
    tag = f'"{item.content}-{size or "original"}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    if known.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in known.split(",")):
        return Response(status_code=304, headers=headers)
    data = engine.picture(item)
    if data is None:
        raise Problem(404, "image-gone", f"The picture of {id!r} is not what was indexed any more. Index again.")
    if size is None:
        return Response(data, media_type=media_type(data), headers=headers)
    return Response(_smaller(data, SIZES[size]), media_type="image/webp", headers=headers)


def _smaller(data: bytes, longer_side: int) -> bytes:
    picture = decode(data, shorter_side=longer_side)
    picture.thumbnail((longer_side, longer_side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=85, method=2)
    return encoded.getvalue()


def _found(engine: Engine, id: str) -> Item:
    item = engine.item(id)
    if item is None:
        raise _no_such_item(id)
    return item


def _no_such_item(id: str) -> Problem:
    return Problem(404, "no-such-item", f"There is no item {id!r}.")


def _check_writes(here: Context) -> None:
    if not here.settings.may_write:
        raise Problem(
            403,
            "writes-off",
            "This server takes no changes, because it listens beyond this machine. Where the network is trusted, start it "
            "with --writes (LOOKALIKE_WRITES=true).",
        )


def _check_id(id: str) -> None:
    faults = {
        "is empty": not id,
        f"is longer than {MAX_ID_BYTES} bytes": len(id.encode(errors="replace")) > MAX_ID_BYTES,
        "holds control characters": any(unicodedata.category(character) == "Cc" for character in id),
        "is not UTF-8": "\N{REPLACEMENT CHARACTER}" in id,
        "has a part that is . or ..": bool({".", ".."} & set(id.split("/"))),  # clients take such parts out of an address
    }
    wrong = [fault for fault, present in faults.items() if present]
    if wrong:
        raise Problem(422, "bad-id", f"The id {' and '.join(wrong)}. Choose another one.")


def _metadata(text: str) -> Metadata:
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise Problem(422, "bad-metadata", f"The field metadata is larger than {MAX_METADATA_BYTES:,} bytes. Send less.")
    try:
        return METADATA.validate_json(text)
    except ValidationError as error:
        detail = f"The field metadata is no JSON object of plain values ({error.errors()[0]['msg']}). Send one."
        raise Problem(422, "bad-metadata", detail) from error
