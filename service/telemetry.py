"""What the service tells about itself: Prometheus metrics, and a request id for every answer."""

import time
import uuid

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"}
CLIENT_LEFT = 499  # no status of HTTP: what web servers write in their logs


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("lookalike_requests", "Answers", ["route", "method", "status"], registry=self.registry)
        self.seconds = Histogram(
            "lookalike_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.phases = Histogram(
            "lookalike_phase_seconds",
            "Time in a phase of a search",
            ["phase"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.items = Gauge("lookalike_items", "Items that can be found", registry=self.registry)
        self.pending = Gauge("lookalike_items_pending", "Items that lack a vector", registry=self.registry)
        self.generation = Gauge("lookalike_generation", "The generation that is searched", registry=self.registry)
        self.following = Gauge(
            "lookalike_following", "1 while the server keeps up with its collection, 0 when it cannot", registry=self.registry
        )
        self.waiting = Gauge("lookalike_requests_in_work", "Requests admitted and not yet answered", registry=self.registry)


class Telemetry:
    """ASGI middleware: gives each request an id, returns it as ``X-Request-ID``, and counts the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), CLIENT_LEFT

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            route = scope.get("route")
            # Labels come from here, never from what a client wrote: each new one is a time series for good.
            path = getattr(route, "path_format", None) or scope.get("root_path") or "none"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self.metrics.requests.labels(path, method, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)
        return None
