"""The REST service as one ASGI application: predictions on the short path, everything else beside it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving import dashboard, openapi
from lifecycle.serving import metrics as prometheus
from lifecycle.serving.entities import FIELD, complete_rows, open_features, read_entities
from lifecycle.serving.explanations import explain_row
from lifecycle.serving.fallback import PRIOR, Answer, Judge, Lineup, read_lineup, take_stamp
from lifecycle.serving.guards import CLOSE, PROBLEM, SECURITY, Headers, KeyRing, RateLimit
from lifecycle.serving.monitor_file import MonitorFile
from lifecycle.serving.request_ids import Signer, find_key, now
from lifecycle.serving.schema import CUT, RequestError, format_value, reject_shape
from lifecycle.serving.settings import Settings
from lifecycle.serving.shadow import Shadow

Record = dict[str, Any]
Receive = Callable[[], Awaitable[Record]]
Send = Callable[[Record], Awaitable[None]]

logger = logging.getLogger("lifecycle.serving")
TICK = 0.25  # seconds between two looks at what is not measured on the path
JSON: Headers = [(b"content-type", b"application/json"), *SECURITY]
# Probes, scrapes and pages carry no key; /monitor tells in sentences what /metrics tells in numbers, and no row of anybody.
OPEN = {"/health", "/ready", "/metrics", "/monitor", "/openapi.json", *openapi.PAGES, *dashboard.PAGES}


class Truth(BaseModel):
    """What became of a prediction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    request_id: Annotated[str, Field(max_length=100)]
    label: bool | int | float | str


class Service:
    """The ASGI application of one worker.

    root: the folder with models/. Raises ProjectError when there is no champion to serve.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings
        self.lineup = read_lineup(root, settings.max_rows)
        self.judge = Judge(settings.budget_seconds, settings.rest_seconds)
        folder = root / settings.log_folder
        self.log = PredictionLog(
            folder,
            flush_seconds=settings.flush_seconds,
            segment_bytes=settings.segment_bytes,
            segment_seconds=settings.segment_seconds,
        )
        self.signer = Signer(choose_key(settings, folder))
        self.monitor = MonitorFile(root / settings.monitor_file)
        self.monitor.read()
        self.metrics = prometheus.Metrics(self.describe_state)
        self.store = open_features(root, settings, self.metrics.registry)
        self.shadow = Shadow(self.log.append, lambda *told: self.metrics.shadowed.labels(*told[:2]).inc(told[2]))
        self.keys = KeyRing(tuple(key.get_secret_value() for key in settings.api_keys))
        self.limit = RateLimit(settings.rate_limit / settings.workers)
        self.truth = TypeAdapter(Truth)
        self.truths: TypeAdapter[list[Truth]] = TypeAdapter(
            Annotated[list[Truth], Field(min_length=1, max_length=settings.max_rows)]
        )
        self.told: dict[str, None] = {}  # request ids whose truth was counted
        self.counted: dict[str, int] = {}  # of the log's totals, what the metrics have
        self.in_flight = 0
        self.log_healthy = True
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        self.routes: dict[str, dict[str, Callable[..., Awaitable[None]]]] = {
            "/predict": {"POST": self.predict},
            "/feedback": {"POST": self.take_feedback},
            "/health": {"GET": self.describe_health},
            "/ready": {"GET": self.describe_ready},
            "/model": {"GET": self.describe_model_text},
            "/metrics": {"GET": self.describe_metrics},
            "/monitor": {"GET": self.describe_monitor},
            "/openapi.json": {"GET": self.describe_openapi},
            **{path: {"GET": self.describe_page} for path in (*openapi.PAGES, *dashboard.PAGES)},
        }
        for problem in self.lineup.problems:
            logger.error(problem)

    async def __call__(self, scope: Record, receive: Receive, send: Send) -> None:
        """ASGI 3."""
        if scope["type"] == "lifespan":
            await self.live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        began = time.perf_counter()
        self.in_flight += 1
        try:
            headers = dict(scope["headers"])
            self.admit(scope, headers)
            await self.find_route(scope)(scope, headers, receive, send, began)
        except RequestError as rejection:
            await self.send_problem(scope, send, rejection)
        except ClientGoneError:
            self.metrics.errors.labels(scope["path"], "gone").inc()
        except Exception:
            logger.exception("unexpected", extra={"path": self.name_path(scope)})
            await self.send_problem(scope, send, RequestError(500, "Something unexpected happened; the log has it."))
        finally:
            self.in_flight -= 1
            if self.settings.access_log:
                took = time.perf_counter() - began
                logger.info(
                    "request",
                    extra={"path": self.name_path(scope), "method": scope["method"], "seconds": round(took, 6)},
                )

    def name_path(self, scope: Record) -> str:
        """A request's path for log and metrics, which hold nothing that a client made up."""
        return scope["path"] if scope["path"] in self.routes else "(unknown)"

    def find_route(self, scope: Record) -> Callable[..., Awaitable[None]]:
        """What answers a request; raises RequestError where nothing does."""
        methods = self.routes.get(scope["path"])
        if methods is None:
            raise RequestError(404, f"There is no {scope['path'][:100]!r}; there are {', '.join(self.routes)}.")
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if method not in methods:
            raise RequestError(405, f"{scope['path']} takes {', '.join(methods)}, not {scope['method'][:20]}.")
        return methods[method]

    def admit(self, scope: Record, headers: dict[bytes, bytes]) -> None:
        """Refuse (RequestError) who has no key, or asks too often."""
        if scope["path"] in OPEN:
            return
        if not self.keys.admits(headers):
            raise RequestError(401, "A key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if self.limit.rate:
            client = self.keys.read(headers).hex() if self.keys.digests else (scope.get("client") or ("",))[0]
            wait = self.limit.take(client)
            if wait:
                raise RequestError(429, f"Too many requests; the next one is taken in {wait:.2f} s.", [{"wait": wait}])

    # --- predictions

    async def predict(
        self, scope: Record, headers: dict[bytes, bytes], receive: Receive, send: Send, began: float
    ) -> None:
        """POST /predict: one row or a list of rows."""
        explain = bool(scope["query_string"]) and self.wants_explanation(scope["query_string"])
        body = await self.read_body(headers, receive)
        lineup = self.lineup  # one look: no answer mixes two versions
        rows, listed, named = await self.read_rows(body, lineup)
        if explain and len(rows) > self.settings.max_explained:
            raise RequestError(413, f"At most {self.settings.max_explained} rows are explained at once.")
        answer = self.judge.answer(lineup, rows)
        at = now()
        told = self.describe_predictions(lineup, answer, rows, at)
        if named:
            told = [record | entity for record, entity in zip(told, named, strict=True)]
        if explain:
            await self.add_explanations(answer, rows, told)
        model = answer.bundle.name if answer.bundle else PRIOR
        degraded = model != lineup.name
        if degraded:
            self.count_failures(answer, model, len(rows))
        self.keep(lineup, model, rows, told, at)
        shared = {"threshold": answer_threshold(lineup, answer), "model": model, "degraded": degraded}
        reply = {"predictions": told, **shared} if listed else {**told[0], **shared}
        await self.send(scope, send, 200, JSON, orjson.dumps(reply))
        self.metrics.latency.observe(time.perf_counter() - began)

    async def read_rows(self, body: bytes, lineup: Lineup) -> tuple[list[Record], bool, list[Record]]:
        """The rows of a body, whether it was a list, and what the answers say of the entities that rows named, if any did."""
        schema = lineup.first.schema if lineup.first else None
        if schema is None:
            return *self.parse_freely(body), []
        found = read_entities(body, schema)
        if found is None:
            return *schema.parse(body), []
        if self.store is None:
            raise RequestError(
                422, f"{FIELD}: rows name no entity here: LIFECYCLE_FEATURE_STORE names no feature store."
            )
        loop = asyncio.get_running_loop()  # the store may wait for another machine: other requests do not
        rows, named = await loop.run_in_executor(None, complete_rows, *found, schema, self.store)
        return rows, found[1], named

    def wants_explanation(self, query: bytes) -> bool:
        """Whether ?explain=true was asked for; raises RequestError for another query."""
        words = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        if words.keys() - {"explain"} or words.get("explain", "false") not in ("true", "false"):
            raise RequestError(
                422, f"The query takes explain=true or explain=false, got {query[:80].decode('latin-1')!r}."
            )
        return words.get("explain") == "true"

    def parse_freely(self, body: bytes) -> tuple[list[Record], bool]:
        """The rows of a body when no bundle is left that knows their columns: objects are all that can be asked for."""
        try:
            value = orjson.loads(body)
        except ValueError as error:
            raise RequestError(400, f"The body is not JSON: {error}.") from None
        rows = value if isinstance(value, list) else [value]
        if not 1 <= len(rows) <= self.settings.max_rows or not all(isinstance(row, dict) for row in rows):
            raise RequestError(
                422, f"The body is neither an object nor a list of 1 to {self.settings.max_rows} objects."
            )
        return rows, isinstance(value, list)

    def describe_predictions(self, lineup: Lineup, answer: Answer, rows: list[Record], at: int) -> list[Record]:
        """A record for each row: prediction, probability, confidence and request id."""
        bundle = answer.bundle or lineup.first
        name = answer.bundle.name if answer.bundle else lineup.name
        told = []
        for probability in answer.probabilities:
            positive, label = None, None
            if bundle is not None:
                positive = probability >= bundle.manifest.threshold
                label = bundle.manifest.positive if positive else bundle.manifest.negative
            told.append({
                "prediction": label,
                "probability": probability,
                "confidence": 1 - probability if positive is False else probability,
                "request_id": self.signer.sign(at, name, positive),
            })  # fmt: skip
        return told

    async def add_explanations(self, answer: Answer, rows: list[Record], told: list[Record]) -> None:
        """Add to each record what moved it; None where no model answered, or it cannot be told."""
        loop = asyncio.get_running_loop()
        for record, row in zip(told, rows, strict=True):
            record["explanation"] = None
            if answer.bundle is not None:
                try:
                    record["explanation"] = await loop.run_in_executor(None, explain_row, answer.bundle, row)
                except Exception as error:  # noqa: BLE001 - it scores many rows beside this one, each of which may fail
                    self.metrics.failures.labels(answer.bundle.name, "explanation").inc()
                    logger.warning("no explanation", extra={"model": answer.bundle.name, "kind": type(error).__name__})

    def keep(self, lineup: Lineup, model: str, rows: list[Record], told: list[Record], at: int) -> None:
        """Log and count what was predicted, and let the challenger see it."""
        labels: dict[str, int] = {}
        for row, record in zip(rows, told, strict=True):
            label = record["prediction"]
            labels[label] = labels.get(label, 0) + 1
            self.log.append({
                "kind": "prediction", "id": record["request_id"], "at": at, "model": model,
                "probability": record["probability"], "prediction": None if label is None else str(label),
                "degraded": model != lineup.name, "features": row,
            })  # fmt: skip
        for label, count in labels.items():
            self.metrics.count_predictions(model, str(label), count)
        if lineup.first is not None:
            for name in lineup.first.schema.nullable:
                if absent := [row.get(name) for row in rows].count(None):
                    self.metrics.missing.labels(name).inc(absent)
        if lineup.shadow is not None:
            self.shadow.offer(lineup.shadow, [record["request_id"] for record in told], rows, at)

    def count_failures(self, answer: Answer, by: str, rows: int) -> None:
        """Count and tell bundles that could not answer."""
        for model, kind in answer.failures:
            self.metrics.failures.labels(model, kind).inc()
            if kind != "resting":
                logger.warning("a model could not answer", extra={"model": model, "kind": kind})
        self.metrics.degraded.labels(by).inc(rows)

    async def read_body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """The whole body of a JSON request; raises RequestError for another type or too many bytes.

        One that is too slow is given up by the protocol (`server.Protocol`).
        """
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise RequestError(415, f"The body must be application/json, got {kind[:80].decode('latin-1')!r}.")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise RequestError(415, "The body must not be compressed.")
        most, size = self.settings.max_body_bytes, int(headers.get(b"content-length", b"0"))
        body: bytes = b""
        while size <= most:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            size = len(body)
            if not message.get("more_body") and size <= most:
                return body
        raise RequestError(413, f"The body may have at most {most} bytes.")

    # --- the later truth

    async def take_feedback(
        self, scope: Record, headers: dict[bytes, bytes], receive: Receive, send: Send, began: float
    ) -> None:
        """POST /feedback: the truth for a request id, or a list of them; all are taken or none."""
        body = await self.read_body(headers, receive)
        listed = body.lstrip()[:1] == b"["
        try:
            truths = self.truths.validate_json(body) if listed else [self.truth.validate_json(body)]
        except ValidationError as error:
            raise reject_truth(error, listed, self.settings.max_rows) from None
        read = [self.read_truth(truth) for truth in truths]
        for truth, (model, correct) in zip(truths, read, strict=True):
            self.log.append({"kind": "feedback", "id": truth.request_id, "at": now(), "label": str(truth.label)})
            if correct is not None and truth.request_id not in self.told:
                self.told[truth.request_id] = None
                self.metrics.feedback.labels(model, str(correct).lower()).inc()
        while len(self.told) > 100_000:
            self.told.pop(next(iter(self.told)))
        reply = [
            {"request_id": truth.request_id, "correct": correct}
            for truth, (_, correct) in zip(truths, read, strict=True)
        ]
        await self.send(scope, send, 200, JSON, orjson.dumps(reply if listed else reply[0]))

    def read_truth(self, truth: Truth) -> tuple[str, bool | None]:
        """The model that a truth is about, and whether it was right (None where it had not decided)."""
        try:
            prediction = self.signer.read(truth.request_id)
        except ValueError:
            raise RequestError(422, f"request_id: {truth.request_id[:60]!r} is no id that this service gave.") from None
        bundle = self.lineup.first
        if bundle is None:
            return prediction.model, None
        manifest = bundle.manifest
        classes = (manifest.negative, manifest.positive)
        if not any(truth.label == label and type(truth.label) is type(label) for label in classes):
            expected = f"one of {', '.join(map(repr, classes))}"
            raise RequestError(422, f"label: got {format_value(truth.label)}, expected {expected}.")
        if prediction.positive is None:
            return prediction.model, None
        return prediction.model, (truth.label == manifest.positive) == prediction.positive

    # --- what the service tells of itself

    async def describe_health(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /health: the process answers."""
        await self.send(scope, send, 200, JSON, b'{"status":"ok"}')

    async def describe_ready(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /ready: 200 when the champion is loaded and gives its golden answers; ?allow=degraded is content with a stand-in."""
        if scope["query_string"] not in (b"", b"allow=degraded"):
            raise RequestError(422, "The query takes allow=degraded.")
        faults = self.find_faults()
        status = "draining" if self.draining else "degraded" if faults else "ready"
        content = status == "ready" or (status == "degraded" and scope["query_string"] == b"allow=degraded")
        problems = [*self.lineup.problems, *(fault for fault in faults if fault not in self.lineup.problems)]
        reply = {"status": status, "model": self.lineup.name, "problems": problems}
        await self.send(scope, send, 200 if content else 503, JSON, orjson.dumps(reply))

    def find_faults(self) -> list[str]:
        """What keeps the champion from answering as it should, a sentence each.

        That a stand-in or a model in the shadow did not load is a problem, but none of the champion's.
        """
        lineup, first = self.lineup, self.lineup.first
        if first is None or not lineup.whole:
            return list(lineup.problems)
        faults = []
        if self.judge.is_resting(lineup):
            faults.append(f"{first.name} took longer than {self.settings.budget_seconds:g} s.")
        try:
            first.check_golden()
        except Exception as error:  # noqa: BLE001 - a scorer may fail in any way
            faults.append(str(error) or type(error).__name__)
        return faults

    async def describe_model_text(
        self, scope: Record, headers: Any, receive: Receive, send: Send, began: float
    ) -> None:
        """GET /model: which model is live, since when and why, how good it is, and what a request holds."""
        lineup, first = self.lineup, self.lineup.first
        champion = lineup.champion
        reply = {
            "model": champion["model"],
            "bundle": champion.get("bundle"),
            "family": champion.get("family"),
            "answering": first.name if first else PRIOR,
            "threshold": first.manifest.threshold if first else None,
            "prior": lineup.prior,
            "metrics": champion.get("metrics"),
            "since": lineup.since.get("at"),
            "by": lineup.since.get("by"),
            "because": lineup.since.get("because"),
            "verdict": (champion.get("verdict") or {}).get("because"),
            "made_of": first.manifest.hashes if first else None,
            "shadow": lineup.shadow.name if lineup.shadow else None,
            "columns": list(first.schema.columns.values()) if first else None,
        }
        await self.send(scope, send, 200, JSON, orjson.dumps(reply))

    async def describe_metrics(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /metrics: Prometheus' text."""
        self.tick()
        body = await asyncio.get_running_loop().run_in_executor(None, self.metrics.render)
        await self.send(scope, send, 200, [(b"content-type", prometheus.TYPE), *SECURITY], body)

    def describe_state(self) -> Record:
        """What is true of the lineup now, and what the monitor found of the live model, for /metrics."""
        lineup, reading = self.lineup, self.monitor.last
        at = lineup.since.get("at")
        return {
            "store": None if self.store is None else self.store.describe(),
            "monitor": reading if reading and reading.report.model == lineup.name else None,
            "model": lineup.name,
            "bundle": str(lineup.champion.get("bundle"))[:12],
            "family": str(lineup.champion.get("family")),
            "ready": float(not self.draining and not self.find_faults()),
            "prior": lineup.prior,
            "since": datetime.fromisoformat(at).timestamp() if at else None,
        }

    async def describe_monitor(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /monitor: the findings of the last monitoring that could be read, of whichever model they are."""
        reading = self.monitor.last
        if reading is None:
            raise RequestError(404, "There is no report yet: `lifecycle monitor` writes it.")
        written = formatdate(reading.written, usegmt=True).encode()
        await self.send(scope, send, 200, [(b"last-modified", written), *JSON], reading.body)

    async def describe_openapi(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /openapi.json."""
        document = openapi.describe_service(self.lineup.first, self.settings)
        await self.send(scope, send, 200, JSON, orjson.dumps(document))

    async def describe_page(self, scope: Record, headers: Any, receive: Receive, send: Send, began: float) -> None:
        """GET /docs, GET /dashboard and what they are made of."""
        source = dashboard if scope["path"] in dashboard.PAGES else openapi
        kind, body = source.read_page(scope["path"])
        extra = [header for header in SECURITY if header[0] != b"content-security-policy"]
        await self.send(
            scope, send, 200, [(b"content-type", kind), (b"content-security-policy", source.POLICY), *extra], body
        )

    # --- sending

    async def send(self, scope: Record, send: Send, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer in one piece."""
        all_headers = [*headers, (b"content-length", str(len(body)).encode())]
        if self.draining:
            all_headers.append(CLOSE)
        await send({"type": "http.response.start", "status": status, "headers": all_headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def send_problem(self, scope: Record, send: Send, rejection: RequestError) -> None:
        """Send a problem (RFC 9457), and count it."""
        status = rejection.status
        known = self.name_path(scope)
        self.metrics.errors.labels(known, str(status)).inc()
        for error in rejection.errors if status == 422 else []:
            first = self.lineup.first
            column = error["field"] if first and error["field"] in first.schema.columns else "(unknown)"
            self.metrics.rejected.labels(column).inc()
        logger.log(logging.ERROR if status >= 500 else logging.INFO, "refused", extra={"path": known, "status": status})
        problem: Record = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": rejection.detail,
        }
        headers = list(PROBLEM)
        if status == 422 and rejection.errors:
            problem["errors"] = rejection.errors
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if status == 429:
            headers.append((b"retry-after", str(int(rejection.errors[0]["wait"]) + 1).encode()))
        if status == 405:
            taken = self.routes[scope["path"]]
            headers.append((b"allow", ", ".join([*taken, *(["HEAD"] if "GET" in taken else [])]).encode()))
        if status in (408, 413) and not self.draining:
            headers.append(CLOSE)  # the rest of the body is not waited for
        await self.send(scope, send, status, headers, orjson.dumps(problem, default=str))

    # --- living

    async def live(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan: begin to watch, and at the end write what is left."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.judge.budget.arm()
                task = asyncio.create_task(self.watch())
                self.tasks.add(task)
                await send({"type": "lifespan.startup.complete"})
            else:
                for task in self.tasks:
                    task.cancel()
                self.shadow.close()
                await asyncio.get_running_loop().run_in_executor(None, self.log.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def watch(self) -> None:
        """Take up another lineup and other findings when their files change, and measure what the path does not."""
        loop = asyncio.get_running_loop()
        looked, seen = 0.0, self.lineup.stamp
        while True:
            await asyncio.sleep(min(TICK, self.settings.watch_seconds))
            self.tick()
            if time.monotonic() - looked < self.settings.watch_seconds:
                continue
            looked = time.monotonic()
            if self.monitor.has_changed():
                await loop.run_in_executor(None, self.monitor.read)
            stamp = take_stamp(self.root)
            if stamp == seen:
                continue
            try:
                lineup = await loop.run_in_executor(None, read_lineup, self.root, self.settings.max_rows)
            except Exception as error:  # noqa: BLE001 - whatever it is, what answers now goes on, and is watched
                seen = stamp
                self.metrics.swaps.labels("refused").inc()
                logger.error("the lineup stays: %s", error)  # noqa: TRY400 - the sentence is enough
                continue
            seen = lineup.stamp
            self.swap(lineup)

    def swap(self, lineup: Lineup) -> None:
        """Answer with another lineup from the next request on."""
        before, self.lineup = self.lineup, lineup
        self.metrics.swaps.labels("degraded" if lineup.problems else "done").inc()
        logger.info("swapped", extra={"model": lineup.name, "before": before.name})
        for problem in lineup.problems:
            logger.error(problem)

    def tick(self) -> None:
        """Bring up to date what is sampled: requests in flight, and the log's state, of whose changes a line tells."""
        self.metrics.in_flight.set(self.in_flight)
        healthy = self.log.healthy
        self.metrics.log_healthy.set(float(healthy))
        if healthy != self.log_healthy:
            self.log_healthy = healthy
            if healthy:
                logger.info("the prediction log is written again")
            else:
                logger.warning("the prediction log cannot be written, predictions go on: %s", self.log.problem)
        for result, total in (("written", self.log.written), ("dropped", self.log.dropped)):
            done = self.counted.get(result, 0)
            self.metrics.logged.labels(result).inc(total - done)
            self.counted[result] = total


def reject_truth(error: ValidationError, listed: bool, most: int) -> RequestError:
    """Say what is wrong with the body of POST /feedback."""
    problem = error.errors(include_url=False)[0]
    if (refusal := reject_shape(problem, "label", most)) is not None:
        return refusal
    place = list(problem["loc"][1 if listed else 0 :])
    field = str(place[0])[:CUT] if place else "(body)"
    got = "nothing" if problem["type"] == "missing" else format_value(problem["input"])
    expected = {
        "request_id": "the id of a prediction", "label": "a class", "(body)": "an object with request_id and label",
    }.get(field, "no such field; there are request_id, label")  # fmt: skip
    return RequestError(422, f"{field}: got {got}, expected {expected}.")


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


def choose_key(settings: Settings, folder: Path) -> bytes:
    """The key that signs request ids: the one that is given, else the one beside the log, else one of this process."""
    if settings.log_key is not None:
        return settings.log_key.get_secret_value().encode()
    try:
        return find_key(folder)
    except OSError as error:
        logger.error(  # noqa: TRY400 - the sentence is enough
            "%s: %s; only this process will know the request ids that it gives (LIFECYCLE_SERVE_LOG_KEY names a key).",
            folder, error.strerror,
        )  # fmt: skip
        return secrets.token_bytes(32)


def answer_threshold(lineup: Lineup, answer: Answer) -> float | None:
    """The probability from which an answer is positive; None when nothing that could tell was loaded."""
    bundle = answer.bundle or lineup.first
    return bundle.manifest.threshold if bundle else None
