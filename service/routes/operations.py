"""How the service is: ``/livez``, ``/readyz``, ``/info``, ``/metrics``."""

from importlib.metadata import version

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from ..engine import NotReady
from ..schemas import MAX_K, Alive, IndexDetails, Info, Limits, ModelDetails, Ready
from .context import Here, index_info, model_info, problems

router = APIRouter(tags=["operations"], responses=problems())


@router.get("/livez")
async def livez() -> Alive:
    """The process answers. An empty collection is alive, but not ready."""
    return Alive()


@router.get("/readyz", responses=problems(503))
async def readyz(here: Here) -> Ready:
    """A search would be answered; if not, the problem says what to do. It may be an answer of yesterday: see `following`."""
    lags = here.engine.lags
    return Ready(following=lags is None, detail=lags)


@router.get("/info")
async def info(here: Here) -> Info:
    """What is served, and the limits of requests."""
    settings = here.settings
    limits = Limits(max_k=MAX_K, max_body_bytes=settings.max_body_bytes, max_pixels=settings.max_pixels)
    found = Info(version=version("lookalike"), model=None, index=None, writes=settings.may_write, limits=limits)
    try:
        serving = here.engine.serving
    except NotReady:
        return found
    encoder = serving.encoder
    found.model = ModelDetails(
        **model_info(serving).model_dump(),
        dim=encoder.dim,
        image_size=encoder.transform.size,
        runtime=encoder.runtime,
        precision=encoder.precision,
        calibrated=serving.calibration is not None,
    )
    count = here.engine.count
    found.index = IndexDetails(**index_info(serving, count).model_dump(), pending=serving.searcher.pending)
    return found


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(here: Here) -> Response:
    """For Prometheus."""
    return Response(generate_latest(here.metrics.registry), media_type=CONTENT_TYPE_LATEST)
