"""Every endpoint but POST /predict: feedback, probes, the model, metrics, monitoring and pages, routed by Starlette."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving import dashboard, metrics, openapi
from lifecycle.serving.fallback import PRIOR, FallbackChain
from lifecycle.serving.feedback import FeedbackReader
from lifecycle.serving.guards import SECURITY, Headers
from lifecycle.serving.http import JSON, read_body
from lifecycle.serving.monitor_file import MonitorFile
from lifecycle.serving.request_ids import now
from lifecycle.serving.schema import RequestError
from lifecycle.serving.settings import Settings
from lifecycle.serving.traffic import TrafficHistory


class Service(Protocol):
    """What the endpoints use of `serving.app.Service`."""

    settings: Settings
    chain: FallbackChain
    log: PredictionLog
    metrics: metrics.Metrics
    feedback: FeedbackReader
    monitor: MonitorFile
    traffic: TrafficHistory
    draining: bool

    def find_faults(self) -> list[str]:
        """Return the faults of the champion."""
        ...

    def update_gauges(self) -> None:
        """Update the sampled metrics."""
        ...


# Probes, scrapes and pages need no key: they hold totals and aggregates, and no row.
OPEN_PATHS = {
    "/health", "/ready", "/metrics", "/monitor", "/openapi.json", *openapi.PAGES, *dashboard.PAGES, dashboard.HISTORY,
}  # fmt: skip


def build_router(service: Service) -> Router:
    """Return the router of a service; it raises RequestError for an unknown path or method."""
    endpoints = Endpoints(service)
    pages = (*openapi.PAGES, *dashboard.PAGES)
    return Router(
        routes=[
            Route("/feedback", endpoints.take_feedback, methods=["POST"]),
            Route("/health", endpoints.show_health),
            Route("/ready", endpoints.show_ready),
            Route("/model", endpoints.show_model),
            Route("/metrics", endpoints.show_metrics),
            Route("/monitor", endpoints.show_monitor),
            Route("/openapi.json", endpoints.show_openapi),
            Route(dashboard.HISTORY, endpoints.show_traffic),
            *(Route(path, endpoints.show_page) for path in pages),
        ],
        redirect_slashes=False,
    )


class Endpoints:
    """The endpoints of a service."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def take_feedback(self, request: Request) -> Response:
        """POST /feedback: the label for a request id, the action that was taken or both, or a list of them; all are accepted or none."""
        service = self.service
        body = await read_body(dict(request.scope["headers"]), request.receive, service.settings.max_body_bytes)
        reports, listed = service.feedback.parse(body)
        compared = [service.feedback.compare(report, service.chain.first) for report in reports]
        reply = []
        for report, (model, correct) in zip(reports, compared, strict=True):
            known = {"id": report.request_id, "at": now()}
            if report.label is not None:
                service.log.append({"kind": "feedback", **known, "label": str(report.label)})
            if report.action is not None:
                service.log.append({"kind": "action", **known, "action": report.action})
            if correct is not None and service.feedback.is_first(report.request_id):
                service.metrics.feedback.labels(model, str(correct).lower()).inc()
            reply.append({"request_id": report.request_id, "correct": correct})
        return _respond(orjson.dumps(reply if listed else reply[0]))

    async def show_health(self, request: Request) -> Response:
        """GET /health: the process answers."""
        return _respond(b'{"status":"ok"}')

    async def show_ready(self, request: Request) -> Response:
        """GET /ready: 200 when the champion is loaded and reproduces its golden answers.

        With ?allow=degraded a server that answers with a fallback is ready too.
        """
        service, query = self.service, request.scope["query_string"]
        if query not in (b"", b"allow=degraded"):
            raise RequestError(422, "The query takes allow=degraded.")
        faults = service.find_faults()
        status = "draining" if service.draining else "degraded" if faults else "ready"
        accepted = status == "ready" or (status == "degraded" and query == b"allow=degraded")
        problems = [*service.chain.problems, *(fault for fault in faults if fault not in service.chain.problems)]
        reply = {"status": status, "model": service.chain.name, "problems": problems}
        return _respond(orjson.dumps(reply), status=200 if accepted else 503)

    async def show_model(self, request: Request) -> Response:
        """GET /model: which model is live, since when and why, its metrics, the columns of a request, and those it may have besides."""
        chain = self.service.chain
        first, champion, since = chain.first, chain.champion, chain.since
        reply = {
            "model": champion.model,
            "bundle": champion.bundle,
            "family": champion.family,
            "answering": first.name if first else PRIOR,
            "threshold": first.manifest.threshold if first else None,
            "prior": chain.prior,
            "metrics": champion.metrics,
            "since": since.at if since else None,
            "by": since.by if since else None,
            "because": since.because if since else None,
            "verdict": champion.verdict.because if champion.verdict else None,
            "made_of": first.manifest.hashes if first else None,
            "shadow": chain.shadow.name if chain.shadow else None,
            "columns": list(first.schema.columns.values()) if first else None,
            "ignored": list(filter(None, first.schema.others)) if first else None,
        }
        return _respond(orjson.dumps(reply))

    async def show_metrics(self, request: Request) -> Response:
        """GET /metrics: Prometheus' text format."""
        self.service.update_gauges()
        body = await asyncio.get_running_loop().run_in_executor(None, self.service.metrics.render)
        return _respond(body, [(b"content-type", metrics.TYPE), *SECURITY])

    async def show_monitor(self, request: Request) -> Response:
        """GET /monitor: the report of the last monitoring run that could be read, whichever model it is about."""
        reading = self.service.monitor.last
        if reading is None:
            raise RequestError(404, "There is no report yet: `lifecycle monitor` writes it.")
        written = formatdate(reading.written, usegmt=True).encode()
        return _respond(reading.body, [(b"last-modified", written), *JSON])

    async def show_openapi(self, request: Request) -> Response:
        """GET /openapi.json: the description of the service."""
        return _respond(orjson.dumps(openapi.describe_service(self.service.chain.first, self.service.settings)))

    async def show_traffic(self, request: Request) -> Response:
        """GET the traffic of the last minutes, for the dashboard."""
        self.service.traffic.record()
        history = await asyncio.get_running_loop().run_in_executor(None, self.service.traffic.read)
        return _respond(orjson.dumps(history))

    async def show_page(self, request: Request) -> Response:
        """GET /docs, GET /dashboard and their files."""
        path = request.scope["path"]
        source = dashboard if path in dashboard.PAGES else openapi
        kind, body = source.read_page(path)
        others = [header for header in SECURITY if header[0] != b"content-security-policy"]
        return _respond(body, [(b"content-type", kind), (b"content-security-policy", source.POLICY), *others])


def _respond(body: bytes, headers: Headers = JSON, *, status: int = 200) -> Response:
    """Return a response with exactly these headers and the body's length."""
    response = Response(body, status)
    response.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
    return response
