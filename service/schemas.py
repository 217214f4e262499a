"""What requests may ask and what answers hold."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MAX_K = 1000

# Numbers that a segment's typed columns and JSON can hold: 64 bits, no NaN.
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)]
Plain = str | bool | Number | None
Metadata = dict[str, Plain | list[Plain]]
METADATA: TypeAdapter[Metadata] = TypeAdapter(Metadata)


class SearchOptions(BaseModel):
    """The options of a search, however the picture came: query parameters or form fields."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, le=MAX_K, description="how many hits at most")


class ModelInfo(BaseModel):
    name: str
    fingerprint: str


class IndexInfo(BaseModel):
    generation: int
    count: int


class HitOut(BaseModel):
    id: str
    score: float = Field(description="cosine of the query's and the item's vectors, −1 to 1")
    confidence: float | None = Field(
        description="probability that item and query show the same kind of thing; null where the model was not calibrated"
    )
    metadata: dict[str, Any]
    image_url: str


class SearchAnswer(BaseModel):
    results: list[HitOut] = Field(description="best first")
    similar: bool | None = Field(
        description="false: nothing similar here, even the best hit is unlikely to show the same kind of thing; null: unknown"
    )
    message: str | None = Field(description="a sentence for people, where there is something to say")
    model: ModelInfo
    index: IndexInfo
    took_ms: dict[str, float]


class EmbedAnswer(BaseModel):
    vectors: list[list[float]]
    model: ModelInfo


class ItemOut(BaseModel):
    id: str
    origin: str
    content: str = Field(description="SHA-256 of the picture's bytes")
    metadata: dict[str, Any]
    image_url: str


class ModelDetails(ModelInfo):
    dim: int
    image_size: int
    runtime: str
    precision: str
    calibrated: bool = Field(description="hits carry a confidence")


class IndexDetails(IndexInfo):
    pending: int


class Limits(BaseModel):
    max_k: int
    max_body_bytes: int
    max_pixels: int


class Info(BaseModel):
    version: str
    model: ModelDetails | None
    index: IndexDetails | None
    writes: bool
    limits: Limits


class Status(BaseModel):
    status: Literal["alive", "ready"]


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do")
    request_id: str
