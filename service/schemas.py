"""What requests may ask and what answers hold."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema

from index.search import filters
from index.search.columns import Value
from index.search.filters import Filter, FilterError

MAX_K = 1000
MAX_EF = 4096
MAX_FACETS = 1000
MAX_FILTER = 2**20  # characters

# Numbers that a segment's typed columns and JSON can hold: 64 bits, no NaN.
Number = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Annotated[float, Field(allow_inf_nan=False)]
Plain = str | bool | Number | None
Metadata = dict[str, Plain | list[Plain]]
METADATA: TypeAdapter[Metadata] = TypeAdapter(Metadata)


def _filter(text: str) -> Filter:
    if len(text) > MAX_FILTER:
        raise FilterError(f"The filter has more than {MAX_FILTER:,} characters. Give a shorter one.")
    return filters.read(text)


# Raises `FilterError`, which pydantic lets through: it is a problem of its own, not one of the wrong values.
FilterText = Annotated[Filter, PlainValidator(_filter), WithJsonSchema({"type": "string"})]
FILTER = Field(
    None,
    description="only items for which this holds: a JSON object, see docs/filters.md",
    examples=['{"colour": ["red", "blue"], "price": {"<": 20}}'],
)


class SearchOptions(BaseModel):
    """The options of a search, however the picture came: query parameters or form fields."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, le=MAX_K, description="how many hits at most")
    filter: FilterText | None = FILTER
    group_by: str | None = Field(
        None, description="a field: of items that have the same in it only the nearest comes", examples=["product"]
    )
    exact: bool = Field(False, description="compare with every item, however long that takes")
    ef: int | None = Field(
        None,
        ge=1,
        le=MAX_EF,
        description="how hard to search, for more recall or more speed than the collection was indexed for: nodes that a walk "
        "through the graph keeps in mind, or cells that are looked into",
    )

    @property
    def effort(self) -> int | None:
        """As ``index.search.searcher`` takes it."""
        return 0 if self.exact else self.ef


class FacetsOptions(BaseModel):
    """The query parameters of ``GET /facets``."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="whose values are counted", examples=["colour"])
    limit: int = Field(20, ge=1, le=MAX_FACETS, description="how many values at most")
    filter: FilterText | None = FILTER


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


class ValueCount(BaseModel):
    value: Value
    count: int = Field(description="items that have it; one that has several values is counted for each")


class FacetsAnswer(BaseModel):
    field: str = Field(description="as it was asked for")
    values: list[ValueCount] = Field(description="the most frequent first, then in the order of the values")
    index: IndexInfo


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


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """``following``: whether what is served keeps up with the collection; if not, ``detail`` says why."""

    status: Literal["ready"] = "ready"
    following: bool
    detail: str | None = None


class ProblemOut(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str = Field(description="what is wrong and what to do")
    request_id: str
    field: str | None = Field(None, description="the field of the items that is to blame; only where there is one")
