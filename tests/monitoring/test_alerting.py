"""From what the server tells to whom it wakes: rules, Prometheus, Alertmanager, and Grafana's dashboard."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lifecycle.core import paths
from lifecycle.features.store import StoreMetrics
from lifecycle.serving.acceptance import ServerProcess, start_server
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.monitor_file import load_report
from tests.support.bundles import ROW, make_champion, write_release
from tests.support.monitor_reports import make_report, write_report
from tests.support.stores import write_small_rows

Record = dict[str, Any]
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
QUICK = "500ms"  # between two scrapes, and between two looks at the rules
SOON = {
    "DriftCritical",
    "DriftWarning",
    "ModelDegraded",
    "ServiceDown",
    "ServerDown",
}  # which the tests do not wait minutes for
# Nothing of it where nothing fails, and where no list of categories is open.
RARE = {"model_degraded_predictions_total", "model_failures_total", "model_inputs_unseen_total"}


def run(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **more)


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def write_yaml(value: Any, path: Path) -> Path:
    YAML(typ="safe").dump(value, path)
    return path


def list_rules(checkout: Path) -> list[Record]:
    return [rule for group in read_yaml(checkout / "ops/alerts.yml")["groups"] for rule in group["rules"]]


def list_panels(checkout: Path) -> list[Record]:
    panels: list[Record] = json.loads((checkout / "ops/grafana/dashboards/lifecycle.json").read_text())["panels"]
    return panels


def find_names(expression: str) -> set[str]:
    """The series that an expression reads."""
    bare = re.sub(r'"[^"]*"|\b(?:by|on|group_left|without|ignoring) \([^)]*\)|\{[^}]*\}|\[[^]]*\]', " ", expression)
    words = set(re.findall(r"[a-zA-Z_][\w:]*", bare))
    return {word for word in words if "_" in word or ":" in word or word in {"up", "ALERTS"}} - {
        "histogram_quantile",
        "sort_desc",
    }


@pytest.fixture
def known(checkout: Path, tmp_path: Path) -> set[str]:
    """The names of all series: what a server tells, what the rules record, and Prometheus' own."""
    reading = load_report(write_report(make_report("a" * 12), tmp_path / "monitor.json"))
    state = {
        "model": "a", "bundle": "b", "family": "c", "ready": 1.0, "prior": 0.5, "since": 0.0, "monitor": reading,
        "store": {"materialized": 1.0, "newest": 1.0, "rows": 3},
    }  # fmt: skip
    metrics = Metrics(lambda: state)
    StoreMetrics(metrics.registry)
    told = metrics.render().decode()
    families = re.findall(r"^# TYPE (\S+) (\S+)", told, re.MULTILINE)
    parts = {
        f"{name}{part}" for name, kind in families if kind == "histogram" for part in ("_bucket", "_count", "_sum")
    }
    recorded = {rule["record"] for rule in list_rules(checkout) if "record" in rule}
    return {name for name, _ in families} | parts | recorded | {"up", "ALERTS"}


# --- what is written


def test_rules_speak_of_series_that_there_are(checkout: Path, known: set[str]) -> None:
    used = set().union(*(find_names(rule["expr"]) for rule in list_rules(checkout)))
    assert {"http_errors_total", "model_ready", "prediction_latency_seconds_bucket", "drift_psi", "up"} <= used <= known


def test_each_alert_fires_once_in_the_rule_tests(checkout: Path) -> None:
    tests = read_yaml(checkout / "ops/alerts_test.yml")["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = {rule["alert"] for rule in list_rules(checkout) if "alert" in rule}
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == alerts
    normal = next(test for test in tests if test["name"] == "a normal day")
    assert {case["alertname"] for case in normal["alert_rule_test"]} == alerts


def test_every_alert_has_a_receiver(checkout: Path) -> None:
    config = read_yaml(checkout / "ops/alertmanager.yml")
    alerts = {rule["alert"]: rule["labels"]["severity"] for rule in list_rules(checkout) if "alert" in rule}
    routes = {route["matchers"][0]: route["receiver"] for route in config["route"]["routes"]}
    assert routes == {f'severity="{severity}"': severity for severity in set(alerts.values())}
    named = {word for rule in config["inhibit_rules"] for side in ("source_matchers", "target_matchers")
             for word in re.findall(r"[A-Z]\w+", " ".join(rule[side]))}  # fmt: skip
    assert named <= alerts.keys()
    assert {receiver["name"] for receiver in config["receivers"]} == {"page", "ticket"}


def test_addresses_of_people_are_in_no_file_of_ours(checkout: Path) -> None:
    text = (checkout / "ops/alertmanager.yml").read_text()
    assert "://" not in text
    files = re.findall(r"api_url_file: (\S+)", text)
    service = read_yaml(checkout / "compose.yaml")["services"]["alertmanager"]
    assert files == ["/run/alertmanager/page_url", "/run/alertmanager/ticket_url"]
    assert all(f">{file} " in service["entrypoint"][2] for file in files)
    assert [line.partition(":")[0] for line in service["tmpfs"]] == ["/run/alertmanager"]


def test_the_dashboard_is_whole(checkout: Path) -> None:
    panels = list_panels(checkout)
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids) > 20
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, f"{panel['title']} lies over another"
        taken |= cells
        targets = panel.get("targets", [])
        assert panel["type"] == "row" or targets, panel["title"]
        assert len({target["refId"] for target in targets}) == len(targets)
    source = read_yaml(checkout / "ops/grafana/datasource.yml")["datasources"][0]
    asked = [panel["datasource"] for panel in panels if panel["type"] != "row"]
    asked += [target["datasource"] for panel in panels for target in panel.get("targets", [])]
    assert all(named == {"type": source["type"], "uid": source["uid"]} for named in asked)


def test_the_dashboard_speaks_of_series_that_there_are(checkout: Path, known: set[str]) -> None:
    expressions = [target["expr"] for panel in list_panels(checkout) for target in panel.get("targets", [])]
    used = set().union(*map(find_names, expressions))
    assert {"lifecycle:drift_psi:max", "drift_severity", "lifecycle:live_performance:max", "model_age_seconds"} <= used
    assert used <= known


def test_compose_shows_grafana_what_it_needs(checkout: Path) -> None:
    services = read_yaml(checkout / "compose.yaml")["services"]
    mounts = dict(line.split(":")[:2] for line in services["grafana"]["volumes"] if line.startswith("./"))
    assert all((checkout / path).exists() for path in mounts)
    provider = read_yaml(checkout / "ops/grafana/provider.yml")["providers"][0]
    assert mounts["./ops/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (checkout / "ops/grafana/dashboards" / Path(home).name).is_file()
    url = urllib.parse.urlsplit(read_yaml(checkout / "ops/grafana/datasource.yml")["datasources"][0]["url"])
    assert (url.hostname, url.port) == ("prometheus", 9090) and "prometheus" in services
    (manager,) = read_yaml(checkout / "ops/prometheus.yml")["alerting"]["alertmanagers"][0]["static_configs"][0][
        "targets"
    ]
    assert manager == "alertmanager:9093" and services["alertmanager"]["ports"][0].endswith(":9093")


# --- what the programs say of it


@pytest.mark.integration
def test_prometheus_takes_the_rules(checkout: Path, require_program: Callable[[str, str], str]) -> None:
    promtool = require_program("promtool", "prometheus")
    for words in (["check", "config", "prometheus.yml"], ["test", "rules", "alerts_test.yml"]):
        done = run(promtool, *words, cwd=checkout / "ops")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_alertmanager_takes_its_configuration_and_sends_each_alert_to_whom_it_should(
    checkout: Path, require_program: Callable[[str, str], str]
) -> None:
    amtool = require_program("amtool", "prometheus-alertmanager")
    config = checkout / "ops/alertmanager.yml"
    done = run(amtool, "check-config", config)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = [
        {"alertname": rule["alert"], "job": "lifecycle", **rule["labels"]}
        for rule in list_rules(checkout)
        if "alert" in rule
    ]
    for given in [*labels, {"alertname": "Unknown"}]:
        words = [f"{key}={value}" for key, value in given.items()]
        wanted = given.get("severity", "ticket")
        done = run(
            amtool, "config", "routes", "test", f"--config.file={config}", f"--verify.receivers={wanted}", *words
        )
        assert done.returncode == 0, done.stdout + done.stderr


# --- all of it together


def find_port() -> int:
    with socket.socket() as wire:
        wire.bind(("127.0.0.1", 0))
        port: int = wire.getsockname()[1]
        return port


def wait(until: Callable[[], Any], what: str, seconds: float = 40) -> Any:
    """The first thing that is true; what cannot be asked yet is not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError):
            if found := until():
                return found
        time.sleep(0.05)
    return pytest.fail(what)


def fetch(url: str) -> Any:
    with OPENER.open(url, timeout=5) as answer:
        return json.load(answer)


@contextmanager
def start(log: Path, *words: str | Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program for as long as the block lasts; what it says goes to `log`."""
    with log.open("wb") as file:
        process = subprocess.Popen([str(word) for word in words], stdout=file, stderr=file, **more)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def listen() -> Iterator[tuple[str, list[tuple[str, Record]]]]:
    """A webhook: its address, and what came to which of its paths."""
    came: list[tuple[str, Record]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serve_report(root: Path) -> Iterator[ServerProcess]:
    """The real server, with a model that is a day old and a report of severity critical."""
    champion = write_release(root)
    make_champion(root, champion)
    line = {
        "at": datetime.now(UTC).isoformat(),
        "by": "a",
        "model": champion["model"],
        "before": None,
        "because": "It is the first.",
    }
    (root / paths.HISTORY).write_text(json.dumps(line) + "\n")
    write_report(make_report(champion["model"]), root / paths.LIVE_MONITORING)
    write_small_rows(root)
    with start_server(root, drain_seconds=0, feature_store="sqlite:///.lifecycle/features.db") as server:
        yield server


@contextmanager
def start_alertmanager(checkout: Path, folder: Path, program: str, webhook: str) -> Iterator[int]:
    """Alertmanager as compose.yaml starts it, in a hurry, in a folder of its own; its port."""
    folder.mkdir()
    service = read_yaml(checkout / "compose.yaml")["services"]["alertmanager"]
    text = (checkout / "ops/alertmanager.yml").read_text().replace("/run/alertmanager", str(folder))
    text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", text)
    (folder / "alertmanager.yml").write_text(text)
    (folder / "alertmanager").symlink_to(program)  # as the image calls it
    shell, option, script, name = service["entrypoint"]
    script = script.replace("$$", "$").replace("/run/alertmanager", str(folder))
    port = find_port()
    places = {"/etc/alertmanager": str(folder), "--storage.path=/alertmanager": f"--storage.path={folder}/data"}
    words = [re.sub("|".join(places), lambda found: places[found[0]], word) for word in service["command"]]
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}", "ALERT_PAGE_URL": f"{webhook}/page", "ALERT_TICKET_URL": f"{webhook}/ticket",
    }  # fmt: skip
    with start(
        folder / "log", shell, option, script, name, *words, f"--web.listen-address=127.0.0.1:{port}", env=environment
    ):
        wait(lambda: fetch(f"http://127.0.0.1:{port}/api/v2/status"), "Alertmanager does not answer")
        assert all((folder / name).stat().st_mode & 0o077 == 0 for name in ("page_url", "ticket_url"))
        yield port


@contextmanager
def start_prometheus(checkout: Path, folder: Path, program: str, server: int, manager: int) -> Iterator[int]:
    """Prometheus with a copy of our configuration that is in a hurry; its port."""
    folder.mkdir()
    config = read_yaml(checkout / "ops/prometheus.yml")
    config["global"] = dict.fromkeys(config["global"], QUICK)
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{server}"]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{manager}"]
    rules = read_yaml(checkout / "ops/alerts.yml")
    for group in rules["groups"]:
        group["rules"] = [{**rule, "for": "2s"} if rule.get("alert") in SOON else rule for rule in group["rules"]]
    write_yaml(rules, folder / "alerts.yml")
    port = find_port()
    with start(
        folder / "log", program, f"--config.file={write_yaml(config, folder / 'prometheus.yml')}",
        f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
    ):  # fmt: skip
        wait(lambda: fetch(f"http://127.0.0.1:{port}/api/v1/status/config"), "Prometheus does not answer")
        yield port


def query(port: int, expression: str) -> list[Record]:
    """What Prometheus answers to an expression, as a dashboard asks it."""
    words = expression.replace("$__rate_interval", "10s")
    answer = fetch(f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': words})}")
    assert answer["status"] == "success", expression
    result: list[Record] = answer["data"]["result"]
    return result


@pytest.mark.integration
def test_drift_and_a_server_that_is_gone_are_delivered(
    checkout: Path, tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    """From monitor.json through the server, Prometheus and Alertmanager to a webhook; inhibited alerts are not sent."""
    prometheus = require_program("prometheus", "prometheus")
    alertmanager = require_program("prometheus-alertmanager", "prometheus-alertmanager")
    with ExitStack() as stack:
        webhook, came = stack.enter_context(listen())
        server = stack.enter_context(serve_report(tmp_path / "project"))
        manager = stack.enter_context(start_alertmanager(checkout, tmp_path / "alertmanager", alertmanager, webhook))
        stack.enter_context(start_prometheus(checkout, tmp_path / "prometheus", prometheus, server.port, manager))

        def find_message(path: str, *words: str) -> str | None:
            """The text of a message, in Slack's form, that says all of the words."""
            for to, body in list(came):
                text: str = body["attachments"][0]["text"]
                if to == path and all(word in text for word in words):
                    return text
            return None

        def find_state(name: str) -> str | None:
            alerts = fetch(f"http://127.0.0.1:{manager}/api/v2/alerts")
            return next((alert["status"]["state"] for alert in alerts if alert["labels"]["alertname"] == name), None)

        wait(lambda: find_message("/ticket", "DriftCritical: 1 critical monitoring alerts"), "drift was not delivered")
        wait(lambda: find_message("/ticket", "roc_auc is 0.720", "brier is 0.200"), "degradation was not delivered")
        wait(lambda: find_state("DriftWarning") == "suppressed", "DriftWarning is not silenced by DriftCritical")
        assert not find_message("/ticket", "DriftWarning") and not find_message("/page", "DriftCritical")
        assert server.stop() == 0
        wait(lambda: find_message("/page", "ServiceDown: No server answers"), "a server that is gone pages no one")
        wait(lambda: find_state("ServerDown") == "suppressed", "ServerDown is not silenced by ServiceDown")
        assert not find_message("/page", "ServerDown")


@pytest.mark.integration
def test_every_panel_of_the_dashboard_has_numbers(
    checkout: Path, tmp_path: Path, require_program: Callable[[str, str], str]
) -> None:
    prometheus = require_program("prometheus", "prometheus")
    panels = [panel for panel in list_panels(checkout) if panel["type"] != "row"]
    with (
        serve_report(tmp_path / "project") as server,
        start_prometheus(checkout, tmp_path / "prometheus", prometheus, server.port, find_port()) as port,
    ):

        def use_server() -> None:
            """Predictions, labels, an entity, and a refused value."""
            identity = json.loads(server.ask("/predict", json.dumps(ROW).encode())[2])["request_id"]
            truth = {"request_id": identity, "label": "yes"}
            assert server.ask("/feedback", json.dumps(truth).encode())[0] == 200
            assert server.ask("/predict", b'{"entity_id": 1}')[0] == 200
            assert server.ask("/predict", json.dumps({**ROW, "months": -1}).encode())[0] == 422

        def has_numbers(expression: str) -> bool:
            use_server()
            samples = query(port, expression)
            return bool(samples) and all(sample["value"][1] != "NaN" for sample in samples)

        for panel in panels:
            for target in panel["targets"]:
                if find_names(target["expr"]) & RARE:
                    query(port, target["expr"])
                else:
                    wait(lambda told=target["expr"]: has_numbers(told), f"{panel['title']}: {target['expr']}")
        (drifted,) = query(port, 'lifecycle:drift_psi:max{column="spend"}')
        assert drifted["value"][1] == "0.31"
