"""``GET /facets``: a field in, its values and how many items have each out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from ..schemas import FacetsAnswer, FacetsOptions, ValueCount
from .context import Here, index_info, problems

router = APIRouter(tags=["search"], responses=problems(422, 429, 503))


@router.get("/facets")
async def facets(options: Annotated[FacetsOptions, Query()], request: Request, here: Here) -> FacetsAnswer:
    """The values of a field and how many items have each, of those for which the filter holds."""
    found, serving = await here.searches.work(request, here.engine.facets, options.field, options.limit, options.filter)
    values = [ValueCount(value=value, count=count) for value, count in found]
    return FacetsAnswer(field=options.field, values=values, index=index_info(serving, here.engine.count))
