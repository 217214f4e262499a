"""A request's body in, its pictures and form fields out: multipart or a raw picture, through one door."""

from dataclasses import dataclass
from typing import Any

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from .errors import Problem

FORM = "multipart/form-data"
RAW_TYPES = ("image/", "application/octet-stream")
MAX_PARTS = 64

_IN_MEMORY = {"MAX_MEMORY_FILE_SIZE": float("inf")}  # a query is never written to disk


@dataclass(frozen=True)
class Body:
    pictures: list[bytes]
    fields: dict[str, str]

    @property
    def picture(self) -> bytes:
        """The only one. Raises ``Problem`` 422."""
        if len(self.pictures) != 1:
            raise Problem(422, "too-many-images", f"The form has {len(self.pictures)} pictures. Send one a request.")
        return self.pictures[0]


def check_type(content_type: str, field: str) -> None:
    """Raises ``Problem`` 415 for a body that cannot be read here."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != FORM and not kind.startswith(RAW_TYPES):
        raise Problem(
            415,
            "unsupported-content-type",
            f"The content type {kind or 'of this request is missing and'} cannot be read here. "
            f"Send multipart/form-data with a file field {field!r}, or the picture itself as image/png, image/jpeg, etc.",
        )


def parse(content_type: str, data: bytes, field: str) -> Body:
    """The pictures of the form's file field ``field``, or the one raw picture. Raises ``Problem``."""
    kind, parameters = parse_options_header(content_type)
    if kind.decode("latin-1").lower() != FORM:
        if not data:
            raise Problem(400, "no-image", "The body is empty. Send the picture's bytes.")
        return Body([data], {})
    parts = _parts(data, parameters.get(b"boundary", b""))
    pictures = [_content(part) for part in parts if isinstance(part, File) and part.field_name == field.encode()]
    if not pictures:
        raise Problem(422, "no-image", f"The form has no file in the field {field!r}. Send the picture there, as a file.")
    return Body(pictures, {_text(part.field_name): _text(part.value) for part in parts if isinstance(part, Field)})


def _parts(data: bytes, boundary: bytes) -> list[Field | File]:
    parts: list[Field | File] = []
    ends = []

    def keep(part: Field | File) -> None:
        if len(parts) == MAX_PARTS:
            raise FormParserError(f"it has more than {MAX_PARTS} parts")
        parts.append(part)

    try:
        if not boundary:
            raise FormParserError("its content type names no boundary")
        FormParser(FORM, keep, keep, lambda: ends.append(True), boundary, config=_IN_MEMORY).write(data)
        if not ends:
            raise FormParserError("it was cut short")
    except FormParserError as error:
        raise Problem(400, "malformed-multipart", f"The multipart body cannot be taken apart: {error}.") from error
    return parts


def _content(part: File) -> bytes:
    part.file_object.seek(0)
    return part.file_object.read()


def _text(value: bytes | None) -> str:
    try:
        return (value or b"").decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed-multipart", "A field of the form is not UTF-8. Send text as UTF-8.") from error


def description(field: str, *, many: bool = False, **others: dict[str, Any]) -> dict[str, Any]:
    """The body for the OpenAPI description; ``others`` are further fields of the form, by name."""
    picture: dict[str, Any] = {"type": "string", "format": "binary"}
    pictures = {"type": "array", "items": picture, "maxItems": MAX_PARTS}
    form = {"type": "object", "properties": {field: pictures if many else picture, **others}, "required": [field]}
    types = [*RAW_TYPES[1:], "image/*"]
    return {"requestBody": {"required": True, "content": {FORM: {"schema": form}, **{t: {"schema": picture} for t in types}}}}
