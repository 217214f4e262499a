"""``/items/{id}``: the items themselves. ``/images/{id}``: their pictures. An id may hold slashes and anything printable."""

import io
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response
from PIL import Image

from index.catalog import Item
from model.image import decode, media_type

from .. import bodies
from ..engine import parse_metadata
from ..errors import Problem
from ..schemas import ItemOut
from .context import PROBLEMS, Context, Here, item_out

router = APIRouter(tags=["items"], responses={status: PROBLEMS[status] for status in (404, 422, 503)})

SIZES = {"small": 240, "medium": 640, "large": 1600}  # pixels of the longer side
MAX_ID_BYTES = 1024

Id = Annotated[str, Path(description="the item's id, percent-encoded; slashes may stay as they are")]


@router.get("/items/{id:path}")
async def read_item(id: Id, here: Here) -> ItemOut:
    return item_out(await _found(id, here))


@router.put("/items/{id:path}", openapi_extra=bodies.DESCRIPTION, responses={s: PROBLEMS[s] for s in (400, 403, 413, 415, 429)})
async def put_item(id: Id, request: Request, here: Here) -> ItemOut:
    """Add or replace an item: the picture as the form field `image` (beside `metadata`, a JSON object), or as the body."""
    _check_writes(here)
    _check_id(id)
    async with here.admission.place():
        body = await bodies.read(request, here.settings.max_body_bytes)
        metadata = _metadata(body.fields.get("metadata", "{}"))
        return item_out(await here.admission.work(here.engine.put, id, body.pictures[0], metadata))


@router.delete("/items/{id:path}", status_code=204, responses={403: PROBLEMS[403]})
async def delete_item(id: Id, here: Here) -> None:
    _check_writes(here)
    if not await here.admission.work(here.engine.delete, id):
        raise _no_such_item(id)


@router.get("/images/{id:path}", response_class=Response, responses={200: {"content": {"image/*": {}}}})
async def read_image(id: Id, request: Request, here: Here, size: Literal["small", "medium", "large"] | None = None) -> Response:
    """The picture as it was indexed, or a smaller copy of it (WebP, on white)."""
    item = await _found(id, here)
    tag = f'"{item.content}-{size or "original"}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    async with here.pictures.place():
        data, kind = await here.pictures.work(_picture, here, item, size)
    return Response(data, media_type=kind, headers=headers)


def _picture(here: Context, item: Item, size: str | None) -> tuple[bytes, str]:
    data = here.engine.picture(item)
    if data is None:
        raise Problem(404, "image-gone", f"The picture of {item.id!r} is not where it was when it was indexed. Index again.")
    if size is None:
        return data, media_type(data)
    return _smaller(data, SIZES[size]), "image/webp"


def _smaller(data: bytes, longer_side: int) -> bytes:
    picture = decode(data, shorter_side=longer_side)
    picture.thumbnail((longer_side, longer_side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=85, method=2)
    return encoded.getvalue()


async def _found(id: str, here: Context) -> Item:
    item = await here.pictures.work(here.engine.item, id)
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
        "holds characters that cannot be printed": not id.isprintable(),
        "has a part that is . or ..": bool({".", ".."} & set(id.split("/"))),
    }
    wrong = [fault for fault, present in faults.items() if present]
    if wrong:
        raise Problem(422, "bad-id", f"The id {' and '.join(wrong)}. Choose another one.")


def _metadata(text: str) -> dict[str, Any]:
    try:
        return parse_metadata(text)
    except ValueError as error:
        raise Problem(422, "bad-metadata", f"The field metadata is not a JSON object ({error}).") from error
