"""What requests may ask and what answers hold."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_K = 1000


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
    metadata: dict[str, Any]
    image_url: str


class SearchAnswer(BaseModel):
    results: list[HitOut]
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
