"""The REST service as one ASGI application: POST /predict on a short path, every other endpoint through Starlette."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl

import orjson

from lifecycle.core.records import Record
from lifecycle.prediction_log.writer import PredictionLog
from lifecycle.serving import metrics as prometheus
from lifecycle.serving.control import ControlGroup
from lifecycle.serving.endpoints import OPEN_PATHS, build_router
from lifecycle.serving.entities import FIELD, complete_rows, open_features, read_entities
from lifecycle.serving.explanations import explain_row
from lifecycle.serving.fallback import PRIOR, Answer, ChainScorer, FallbackChain, load_chain, stamp_champion
from lifecycle.serving.feedback import FeedbackReader
from lifecycle.serving.guards import CLOSE, KeyRing, RateLimit
from lifecycle.serving.http import JSON, ClientGoneError, Receive, Send, build_problem, read_body, send_response
from lifecycle.serving.monitor_file import MonitorFile
from lifecycle.serving.request_ids import Signer, find_key, now
from lifecycle.serving.schema import Parsed, RequestError
from lifecycle.serving.settings import Settings, name_variable
from lifecycle.serving.shadow import Shadow
from lifecycle.serving.traffic import TrafficHistory

logger = logging.getLogger("lifecycle.serving")
PREDICT = "/predict"
_TICK_SECONDS = 0.25  # between two updates of what is not measured while a request is answered


class Service:
    """The ASGI application of one worker.

    root: the folder with models/. Raises ProjectError when there is no champion to serve.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings
        self.chain = load_chain(root, settings.max_rows)
        self.scorer = ChainScorer(settings.budget_seconds, settings.cooldown_seconds)
        folder = root / settings.log_folder
        self.log = PredictionLog(
            folder,
            flush_seconds=settings.flush_seconds,
            segment_bytes=settings.segment_bytes,
            segment_seconds=settings.segment_seconds,
        )
        key = _choose_key(settings, folder)
        self.signer = Signer(key)
        self.control = ControlGroup(key, settings.control_share) if settings.control_share else None
        self.feedback = FeedbackReader(self.signer, settings.max_rows)
        self.monitor = MonitorFile(root / settings.monitor_file)
        self.monitor.read()
        self.metrics = prometheus.Metrics(self.describe_state)
        self.traffic = TrafficHistory(self.metrics)
        self.store = open_features(root, settings, self.metrics.registry)
        self.shadow = Shadow(self.log.append, self.metrics.count_shadow)
        self.keys = KeyRing(tuple(key.get_secret_value() for key in settings.api_keys))
        self.limit = RateLimit(settings.rate_limit / settings.workers, settings.rate_burst)
        self.router = build_router(self)
        self.methods = {PREDICT: ["POST"]}  # the allowed methods of every path
        self.methods |= {route.path: sorted(route.methods or ()) for route in self.router.routes}  # type: ignore[attr-defined]
        self.logged: dict[str, int] = {}  # the log's totals that the metrics already include
        self.in_flight = 0
        self.log_healthy = True
        self.draining = False
        self.tasks: set[asyncio.Task[None]] = set()
        for problem in self.chain.problems:
            logger.error(problem)

    async def __call__(self, scope: Record, receive: Receive, send: Send) -> None:
        """Handle an ASGI 3 connection: a request or the lifespan."""
        if scope["type"] == "lifespan":
            await self.run_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        began = time.perf_counter()
        self.in_flight += 1
        try:
            headers = dict(scope["headers"])
            self.admit(scope, headers)
            if scope["path"] == PREDICT and scope["method"] == "POST":
                await self.predict(scope, headers, receive, send, began)
            else:
                await self.route(scope, receive, send)
        except RequestError as rejection:
            await self.send_problem(scope, send, rejection)
        except ClientGoneError:
            self.metrics.errors.labels(scope["path"], "gone").inc()
        except Exception:
            logger.exception("unexpected", extra={"path": self.name_path(scope)})
            message = "An unexpected error occurred; the server's log has its trace."
            await self.send_problem(scope, send, RequestError(500, message))
        finally:
            self.in_flight -= 1
            if self.settings.access_log:
                took = time.perf_counter() - began
                logger.info(
                    "request",
                    extra={"path": self.name_path(scope), "method": scope["method"], "seconds": round(took, 6)},
                )

    async def route(self, scope: Record, receive: Receive, send: Send) -> None:
        """Answer a request with Starlette's router; raise RequestError for an unknown path or method."""
        methods = self.methods.get(scope["path"])
        if methods is None:
            paths = ", ".join(self.methods)
            raise RequestError(404, f"There is no {scope['path'][:100]!r}; the paths are {paths}.")
        if scope["method"] not in methods:
            taken = [method for method in methods if method != "HEAD"]
            message = f"{scope['path']} takes {', '.join(taken)}, not {scope['method'][:20]}."
            raise RequestError(405, message, [{"allow": methods}])

        async def send_adapted(message: Record) -> None:
            """Send a message; a response to HEAD has no body, and one of a stopping server asks the client to close."""
            if message["type"] == "http.response.start" and self.draining:
                message["headers"] = [*message["headers"], CLOSE]
            elif message["type"] == "http.response.body" and scope["method"] == "HEAD":
                message["body"] = b""
            await send(message)

        await self.router(scope, receive, send_adapted)  # type: ignore[arg-type]

    def name_path(self, scope: Record) -> str:
        """Return a request's path for the log and the metrics, which hold no text of a client's invention."""
        return scope["path"] if scope["path"] in self.methods else "(unknown)"

    def admit(self, scope: Record, headers: dict[bytes, bytes]) -> None:
        """Raise RequestError for a client without a key, or one that exceeds the rate limit."""
        if scope["path"] in OPEN_PATHS:
            return
        if not self.keys.admits(headers):
            raise RequestError(401, "A key is required, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.")
        if self.limit.rate:
            client = self.keys.read(headers).hex() if self.keys.digests else (scope.get("client") or ("",))[0]
            wait = self.limit.take(client)
            if wait:
                message = f"Too many requests; the next one is accepted in {wait:.2f} s."
                raise RequestError(429, message, [{"wait": wait}])

    # --- predictions

    async def predict(
        self, scope: Record, headers: dict[bytes, bytes], receive: Receive, send: Send, began: float
    ) -> None:
        """POST /predict: one row or a list of rows."""
        explain = bool(scope["query_string"]) and _wants_explanation(scope["query_string"])
        body = await read_body(headers, receive, self.settings.max_body_bytes)
        chain = self.chain  # read once, so that no answer mixes two versions
        parsed, entities = await self.read_rows(body, chain)
        rows = parsed.rows
        if explain and len(rows) > self.settings.max_explained:
            raise RequestError(413, f"At most {self.settings.max_explained} rows are explained in one request.")
        answer = self.scorer.score(chain, rows)
        at = now()
        predictions = self.describe_predictions(chain, answer, at)
        if parsed.unseen:
            for number, names in parsed.unseen.items():
                predictions[number]["unseen"] = names
        if entities:
            predictions = [record | entity for record, entity in zip(predictions, entities, strict=True)]
        if self.control is not None:
            self.control.mark(predictions, parsed.entities)
        if explain:
            await self.add_explanations(answer, rows, predictions)
        model = answer.bundle.name if answer.bundle else PRIOR
        degraded = model != chain.name
        if degraded:
            self.count_failures(answer, model, len(rows))
        self.keep(chain, model, parsed, predictions, at)
        shared: Record = {"threshold": _find_threshold(chain, answer), "model": model, "degraded": degraded}
        if parsed.ignored:
            shared["ignored"] = list(parsed.ignored)
        if parsed.ignored or parsed.unseen:
            self.count_beyond(parsed)
        reply = {"predictions": predictions, **shared} if parsed.listed else {**predictions[0], **shared}
        await send_response(scope, send, 200, JSON, orjson.dumps(reply), close=self.draining)
        self.metrics.latency.observe(time.perf_counter() - began)

    async def read_rows(self, body: bytes, chain: FallbackChain) -> tuple[Parsed, list[Record]]:
        """Return the rows of a body, and what the answer says about named entities, if any."""
        schema = chain.first.schema if chain.first else None
        if schema is None:
            return self.parse_freely(body), []
        found = read_entities(body, schema)
        entities: list[Record] = []
        if found is None or (self.store is None and FIELD in schema.others):  # then it is a column like others
            parsed = schema.parse(body)
        elif self.store is None:
            message = f"{FIELD}: rows cannot name entities: LIFECYCLE_FEATURE_STORE names no feature store."
            raise RequestError(422, message)
        else:
            loop = asyncio.get_running_loop()  # the store may wait for another machine; other requests do not
            parsed, entities = await loop.run_in_executor(None, complete_rows, *found, schema, self.store)
        if parsed.ignored and self.settings.strict:
            raise schema.reject_ignored(parsed.ignored, name_variable("strict"))
        return parsed, entities

    def parse_freely(self, body: bytes) -> Parsed:
        """Return the rows of a body when no bundle is loaded whose schema could check them; they must be objects."""
        try:
            value = orjson.loads(body)
        except ValueError as error:
            raise RequestError(400, f"The body is not JSON: {error}.") from None
        rows = value if isinstance(value, list) else [value]
        if not 1 <= len(rows) <= self.settings.max_rows or not all(isinstance(row, dict) for row in rows):
            message = f"The body must be an object or a list of 1 to {self.settings.max_rows} objects."
            raise RequestError(422, message)
        return Parsed(rows, isinstance(value, list), {}, {}, {})

    def describe_predictions(self, chain: FallbackChain, answer: Answer, at: int) -> list[Record]:
        """Return a record for each row: prediction, probability, confidence and request id."""
        bundle = answer.bundle or chain.first
        name = answer.bundle.name if answer.bundle else chain.name
        predictions = []
        for probability in answer.probabilities:
            positive, label = None, None
            if bundle is not None:
                positive = probability >= bundle.manifest.threshold
                label = bundle.manifest.positive if positive else bundle.manifest.negative
            predictions.append({
                "prediction": label,
                "probability": probability,
                "confidence": 1 - probability if positive is False else probability,
                "request_id": self.signer.sign(at, name, positive),
            })  # fmt: skip
        return predictions

    async def add_explanations(self, answer: Answer, rows: list[Record], predictions: list[Record]) -> None:
        """Add an explanation to each record; None when no model answered or the explanation failed."""
        loop = asyncio.get_running_loop()
        for record, row in zip(predictions, rows, strict=True):
            record["explanation"] = None
            if answer.bundle is not None:
                try:
                    record["explanation"] = await loop.run_in_executor(None, explain_row, answer.bundle, row)
                except Exception as error:  # noqa: BLE001 - it scores many other rows, each of which may fail
                    self.metrics.failures.labels(answer.bundle.name, "explanation").inc()
                    logger.warning("no explanation", extra={"model": answer.bundle.name, "kind": type(error).__name__})

    def keep(self, chain: FallbackChain, model: str, parsed: Parsed, predictions: list[Record], at: int) -> None:
        """Log and count the predictions, and pass the request on to the challenger in the shadow.

        Without a bundle nothing says which columns are personal, so that the log has none.
        """
        labels: dict[str, int] = {}
        rows, entities = parsed.rows, parsed.entities
        for number, (row, record) in enumerate(zip(rows, predictions, strict=True)):
            label = record["prediction"]
            labels[label] = labels.get(label, 0) + 1
            logged = {
                "kind": "prediction", "id": record["request_id"], "at": at, "model": model,
                "probability": record["probability"], "prediction": None if label is None else str(label),
                "degraded": model != chain.name, "entity": str(entities[number]) if number in entities else None,
                "features": row if chain.first else {},
            }  # fmt: skip
            if self.control is not None:
                logged["control"] = record["control"]
            self.log.append(logged)
        for label, count in labels.items():
            self.metrics.count_predictions(model, str(label), count)
        if chain.first is not None:
            for name in chain.first.schema.nullable:
                if missing := [row.get(name) for row in rows].count(None):
                    self.metrics.missing.labels(name).inc(missing)
        if chain.shadow is not None:
            self.shadow.offer(chain.shadow, [record["request_id"] for record in predictions], rows, at)

    def count_beyond(self, parsed: Parsed) -> None:
        """Count by column what was ignored, and what an open list does not have."""
        for name, count in parsed.ignored.items():
            self.metrics.ignored.labels(name).inc(count)
        for names in parsed.unseen.values():
            for name in names:
                self.metrics.unseen.labels(name).inc()

    def count_failures(self, answer: Answer, model: str, rows: int) -> None:
        """Count and log the bundles that could not answer; `model` answered in their place."""
        for failed, kind in answer.failures:
            self.metrics.failures.labels(failed, kind).inc()
            if kind != "cooldown":
                logger.warning("a model could not answer", extra={"model": failed, "kind": kind})
        self.metrics.degraded.labels(model).inc(rows)

    # --- state

    def find_faults(self) -> list[str]:
        """Return a sentence for each reason why the champion does not answer as it should.

        A fallback or a shadow that could not be loaded is one of the chain's problems, but not a fault of the champion.
        """
        chain, first = self.chain, self.chain.first
        if first is None or not chain.has_champion:
            return list(chain.problems)
        faults = []
        if self.scorer.is_cooling_down(chain):
            faults.append(f"{first.name} took longer than {self.settings.budget_seconds:g} s.")
        try:
            first.check_golden()
        except Exception as error:  # noqa: BLE001 - a scorer may fail in any way
            faults.append(str(error) or type(error).__name__)
        return faults

    def describe_state(self) -> Record:
        """Return the present state of the chain and the monitoring report of the live model, for /metrics."""
        chain, reading = self.chain, self.monitor.last
        return {
            "store": None if self.store is None else self.store.describe(),
            "monitor": reading if reading and reading.report.model == chain.name else None,
            "model": chain.name,
            "bundle": str(chain.champion.bundle)[:12],
            "family": str(chain.champion.family),
            "ready": float(not self.draining and not self.find_faults()),
            "prior": chain.prior,
            "since": datetime.fromisoformat(chain.since.at).timestamp() if chain.since else None,
        }

    async def send_problem(self, scope: Record, send: Send, rejection: RequestError) -> None:
        """Send a problem (RFC 9457) and count it."""
        status, path = rejection.status, self.name_path(scope)
        self.metrics.errors.labels(path, str(status)).inc()
        for error in rejection.errors if status == 422 else []:
            first = self.chain.first
            column = error["field"] if first and error["field"] in first.schema.columns else "(unknown)"
            self.metrics.rejected.labels(column).inc()
        logger.log(logging.ERROR if status >= 500 else logging.INFO, "refused", extra={"path": path, "status": status})
        headers, body = build_problem(rejection, draining=self.draining)
        await send_response(scope, send, status, headers, body, close=self.draining)

    # --- lifespan

    async def run_lifespan(self, receive: Receive, send: Send) -> None:
        """Handle ASGI's lifespan: start watching files, and write the rest of the log at the end."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.scorer.budget.arm()
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
        """Load another chain and another monitoring report when their files change, and update the gauges."""
        loop = asyncio.get_running_loop()
        checked, seen = 0.0, self.chain.stamp
        self.traffic.record()
        while True:
            await asyncio.sleep(min(_TICK_SECONDS, self.settings.watch_seconds))
            self.update_gauges()
            self.traffic.record()
            if time.monotonic() - checked < self.settings.watch_seconds:
                continue
            checked = time.monotonic()
            if self.monitor.has_changed():
                await loop.run_in_executor(None, self.monitor.read)
            stamp = stamp_champion(self.root)
            if stamp == seen:
                continue
            try:
                chain = await loop.run_in_executor(None, load_chain, self.root, self.settings.max_rows)
            except Exception as error:  # noqa: BLE001 - the present chain goes on answering, and its files are watched
                seen = stamp
                self.metrics.swaps.labels("refused").inc()
                logger.error("the models stay as they are: %s", error)  # noqa: TRY400 - the sentence is enough
                continue
            seen = chain.stamp
            self.swap(chain)

    def swap(self, chain: FallbackChain) -> None:
        """Answer with another chain from the next request on."""
        before, self.chain = self.chain, chain
        self.metrics.swaps.labels("degraded" if chain.problems else "done").inc()
        logger.info("swapped", extra={"model": chain.name, "before": before.name})
        for problem in chain.problems:
            logger.error(problem)

    def update_gauges(self) -> None:
        """Update the sampled metrics: requests in flight and the state of the log; log a change of the latter."""
        self.metrics.in_flight.set(self.in_flight)
        healthy = self.log.healthy
        self.metrics.log_healthy.set(float(healthy))
        if healthy != self.log_healthy:
            self.log_healthy = healthy
            if healthy:
                logger.info("the prediction log can be written again")
            else:
                logger.warning("the prediction log cannot be written; predictions continue: %s", self.log.problem)
        for result, total in (("written", self.log.written), ("dropped", self.log.dropped)):
            done = self.logged.get(result, 0)
            self.metrics.logged.labels(result).inc(total - done)
            self.logged[result] = total


def _wants_explanation(query: bytes) -> bool:
    """Return whether the query is explain=true; raise RequestError for an unknown query."""
    words = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if words.keys() - {"explain"} or words.get("explain", "false") not in ("true", "false"):
        message = f"The query takes explain=true or explain=false, got {query[:80].decode('latin-1')!r}."
        raise RequestError(422, message)
    return words.get("explain") == "true"


def _choose_key(settings: Settings, folder: Path) -> bytes:
    """Return the key that signs request ids: that of the settings, else the one in the log's folder, else a random one."""
    if settings.log_key is not None:
        return settings.log_key.get_secret_value().encode()
    try:
        return find_key(folder)
    except OSError as error:
        logger.error(  # noqa: TRY400 - the sentence is enough
            "%s: %s; only this process will recognise its request ids, and its control group is its own "
            "(LIFECYCLE_SERVE_LOG_KEY sets a key).",
            folder, error.strerror,
        )  # fmt: skip
        return secrets.token_bytes(32)


def _find_threshold(chain: FallbackChain, answer: Answer) -> float | None:
    """Return the probability from which the positive class is predicted; None when no bundle is loaded."""
    bundle = answer.bundle or chain.first
    return bundle.manifest.threshold if bundle else None
