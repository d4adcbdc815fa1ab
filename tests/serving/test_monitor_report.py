"""Tests of the monitoring report in the server: gauges, /monitor, the dashboard, and files that are damaged."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.serving import dashboard
from lifecycle.serving.acceptance import ServerProcess, start_server
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.monitor_file import MAX_BYTES, MAX_COLUMNS, load_report
from lifecycle.serving.monitor_report import MonitorReport
from tests.support.bundles import ROW, make_champion, write_release
from tests.support.monitor_reports import MARKUP, PSI, WEIGHTS, make_report, write_report

Record = dict[str, Any]
MODEL = "7016b50e8c30"
OURS = ("drift_", "monitor_", "live_performance")


def read_gauges(text: str) -> dict[tuple[str, ...], float]:
    """The gauges of the report, by name and values of labels in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith(OURS)
    }


def wait(until: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.01)


# --- the file


def read_metrics(report: Record, folder: Path) -> dict[tuple[str, ...], float]:
    """The gauges in /metrics for a report."""
    reading = load_report(write_report(report, folder / "monitor.json"))
    state = {
        "model": MODEL,
        "bundle": "b",
        "family": "c",
        "ready": 1.0,
        "prior": 0.5,
        "since": None,
        "store": None,
        "monitor": reading,
    }
    return read_gauges(Metrics(lambda: state).render().decode())


def test_metrics_are_of_the_newest_window_that_was_judged(tmp_path: Path) -> None:
    gauges = read_metrics(make_report(MODEL), tmp_path)
    assert gauges.pop(("monitor_written_timestamp_seconds",)) == (tmp_path / "monitor.json").stat().st_mtime
    assert gauges.pop(("monitor_window_end_timestamp_seconds",)) == datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    expected = {
        ("drift_severity",): 3,
        ("drift_alerts", "critical"): 1,
        ("drift_alerts", "warning"): 1,
        ("drift_alerts", "info"): 0,
        ("live_performance", "realised", "roc_auc"): 0.72,
        ("live_performance", "expected", "roc_auc"): 0.75,
        ("live_performance", "realised", "brier"): 0.2,
        ("live_performance", "expected", "brier"): 0.14,
        # of the window of the realised value, not of the newest
        ("live_performance_expected_low", "roc_auc"): 0.78,
        ("live_performance_expected_high", "roc_auc"): 0.82,
        **{("live_performance", kind, "accuracy"): 0.8 for kind in ("realised", "expected")},
        ("live_performance_expected_low", "accuracy"): 0.78,
        ("live_performance_expected_high", "accuracy"): 0.82,
        ("live_performance_expected_low", "brier"): 0.12,
        ("live_performance_expected_high", "brier"): 0.16,
    }
    for column, psi in PSI.items():
        expected["drift_p_value", column] = 1e-5
        expected["drift_missing_share", column] = 0.25 if column == "spend" else 0
        if psi is not None:
            expected |= {("drift_psi", column): psi, ("drift_distance", column): 1.5 * psi}
    assert gauges == expected


@pytest.mark.parametrize("severity", ["ok", "info", "warning", "critical"])
def test_a_report_without_windows_has_its_severity_only(tmp_path: Path, severity: str) -> None:
    empty: Record = {"windows": [], "drift": [], "performance": [], "alerts": [], "columns": [], "weights": {}}
    gauges = read_metrics(make_report(MODEL, **empty, severity=severity), tmp_path)
    del gauges["monitor_written_timestamp_seconds",]
    place = ("ok", "info", "warning", "critical").index(severity)
    assert gauges == {
        ("drift_severity",): place,
        **{("drift_alerts", name): 0 for name in ("critical", "warning", "info")},
    }


def test_only_the_columns_with_the_most_weight_have_gauges(tmp_path: Path) -> None:
    report = make_report(MODEL)
    row = report["drift"][-1]
    names = [f"c{number}" for number in range(3 * MAX_COLUMNS)]
    report |= {"columns": names, "weights": {name: int(name[1:]) % 7 + 1 for name in names}}
    report["drift"] = [{**row, "column": name, "psi": 0.1} for name in [*names, "(prediction)"]]
    gauges = {key[1] for key in read_metrics(report, tmp_path) if key[0] == "drift_psi"}
    assert len(gauges) == MAX_COLUMNS + 1 and "(prediction)" in gauges
    weights = [report["weights"][name] for name in gauges - {"(prediction)"}]
    assert min(weights) == sorted(report["weights"].values())[-MAX_COLUMNS]


def test_a_repeated_row_is_one_series(tmp_path: Path) -> None:
    report = make_report(MODEL)
    report["drift"] += [{**row, "psi": 0.5} for row in report["drift"]]
    assert read_metrics(report, tmp_path)["drift_psi", "spend"] == 0.5


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 1}, "format: Input should be 2"),
        ({"format": None}, "format: "),
        (lambda text: text.replace(f'"{MODEL}"', '"the best"'), "model: String should match"),
        ({"severity": "panic"}, "severity: Input should be 'ok', 'info', 'warning' or 'critical'"),
        ({"windows": None}, "windows: Input should be a valid array"),
        ({"windows": []}, "'2026-04' is not one of its windows ()"),
        ({"at": "2026-07-01"}, "at: "),
        ({"at": "2026-07-01T00:00:00"}, "at: Input should have timezone info"),
        ({"weights": {"plan": "much"}}, "weights.plan: Input should be a valid number"),
        ({"alerts": [{"message": "it moved"}]}, "alerts.0.kind: Field required"),
        ({"drift": [7]}, "drift.0: "),
        (cut, "is not JSON"),
        (lambda text: "", "is not JSON"),
        (lambda text: "null", "the top level: Input should be an object"),
        (lambda text: "[" * 100_000, "is not JSON"),
        (lambda text: text.replace('"psi": 0.31', '"psi": NaN'), "is not JSON"),
        (lambda text: text.replace('"psi": 0.31', '"psi": 1e999'), "is not JSON"),
        (lambda text: text.replace('"p": 0.5', '"p": "0.5"'), "drift.0.p: Input should be a valid number"),
        (lambda text: text + " " * MAX_BYTES, f"expected at most {MAX_BYTES}"),
    ],
)
def test_a_damaged_report_is_refused_with_the_field_that_is_wrong(
    tmp_path: Path, change: Record | Callable[[str], str], said: str
) -> None:
    path = tmp_path / "monitor.json"
    text = json.dumps(make_report(MODEL, **change) if isinstance(change, dict) else make_report(MODEL))
    path.write_text(text if isinstance(change, dict) else change(text))
    with pytest.raises(ProjectError) as refusal:
        load_report(path)
    assert said in str(refusal.value) and str(refusal.value).startswith(str(path))


def test_a_report_that_is_read_and_written_again_has_the_same_bytes(tmp_path: Path) -> None:
    path = write_report(make_report(MODEL), tmp_path / "monitor.json")
    MonitorReport.read(path).write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_an_interval_without_bounds_has_no_gauge_for_them(tmp_path: Path) -> None:
    unbounded = {"value": 0.8, "low": None, "high": None}
    row = {"window": "2026-04", "metric": "roc_auc", "realised": unbounded, "expected": unbounded}
    gauges = read_metrics(make_report(MODEL, performance=[row]), tmp_path)
    assert {key for key in gauges if key[0].startswith("live_")} == {
        ("live_performance", kind, "roc_auc") for kind in ("realised", "expected")
    }


# --- the server


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    return make_champion(root, write_release(root, 0.0))


@pytest.fixture(scope="module")
def model(root: Path) -> str:
    champion: str = json.loads((root / paths.CHAMPION).read_text())["model"][:12]
    return champion


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[ServerProcess]:
    """A server that requires an API key."""
    with start_server(root, api_keys="secret", drain_seconds=0, watch_seconds=0.02) as server:
        yield server


@pytest.fixture
def monitor(root: Path) -> Iterator[Path]:
    """The path of the report; there is none at the beginning."""
    path = root / paths.LIVE_MONITORING
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def ask(server: ServerProcess) -> tuple[int, Any]:
    """The status and the body of GET /monitor."""
    status, headers, body = server.ask("/monitor")
    assert headers["content-type"] == ("application/json" if status == 200 else "application/problem+json")
    return status, json.loads(body)


def gauge(server: ServerProcess) -> dict[tuple[str, ...], float]:
    return read_gauges(server.ask("/metrics")[2].decode())


def test_the_server_follows_the_file_and_keeps_the_last_report_when_it_is_damaged(
    server: ServerProcess, monitor: Path, model: str
) -> None:
    wait(lambda: ask(server)[0] == 404)
    assert ask(server)[1]["detail"] == "There is no report yet: `lifecycle monitor` writes it."
    assert gauge(server) == {}

    report = make_report(model)
    write_report(report, monitor)
    wait(lambda: ask(server) == (200, report))
    gauges = gauge(server)
    assert gauges["drift_psi", "spend"] == 0.31 and gauges["drift_severity",] == 3
    modified = server.ask("/monitor")[1]["last-modified"]
    assert parsedate_to_datetime(modified).timestamp() == int(monitor.stat().st_mtime)

    warned = len(server.errors)
    monitor.write_text('{"format": 1, "model"')  # not replaced as a whole
    wait(lambda: any("is kept as it was" in line for line in server.errors[warned:]))
    (record,) = [json.loads(line) for line in server.errors[warned:] if "is kept as it was" in line]
    assert record["level"] == "warning" and f"{monitor} is not JSON" in record["message"]
    assert gauge(server) == gauges and ask(server) == (200, report)

    write_report(make_report(model, severity="ok", alerts=[]), monitor)
    wait(lambda: gauge(server)["drift_severity",] == 0)
    monitor.unlink()
    wait(lambda: gauge(server) == {})
    assert ask(server)[0] == 404
    assert server.ask("/ready")[0] == 200


def test_a_report_on_another_model_is_shown_but_has_no_gauges(server: ServerProcess, monitor: Path) -> None:
    write_report(make_report("f" * 12), monitor)
    wait(lambda: ask(server)[0] == 200)
    assert gauge(server) == {}


class Links(HTMLParser):
    """The addresses that a page names, and whether it has a script or a style of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in {"src", "href", "data", "action"} and value]
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in dict(attrs)):
            self.inline.append(tag)


def test_the_page_needs_no_key_and_no_other_host(server: ServerProcess) -> None:
    assert server.ask("/model")[0] == 401
    links = Links()
    links.feed(server.ask("/dashboard")[2].decode())
    assert {link for link in links.found if not link.startswith("#")} == {*dashboard.PAGES, "/docs", "data:,"} - {
        "/dashboard"
    }
    assert not links.inline
    for path, (_, kind) in dashboard.PAGES.items():
        status, headers, body = server.ask(path)
        assert (status, headers["content-type"]) == (200, f"{kind.decode()}; charset=utf-8")
        assert "//" not in re.sub(r"^\s*//.*|// .*$", "", body.decode(), flags=re.MULTILINE), "an address, or a comment"
        rules = dict(rule.split(maxsplit=1) for rule in headers["content-security-policy"].split("; "))
        assert rules["default-src"] == "'none'"
        assert {words for name, words in rules.items() if name.endswith("-src")} <= {"'none'", "'self'", "data:"}
    script = server.ask("/dashboard/script.js")[2].decode()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(", script)


# --- the page in a browser


@pytest.fixture
def open_page(require_program: Callable[[str, str], str], tmp_path: Path) -> Callable[[ServerProcess], str]:
    """Open the live page in Chromium for ten of its seconds; what it then consists of."""
    chromium = require_program("chromium", "chromium")

    def open_it(server: ServerProcess) -> str:
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", f"--user-data-dir={tmp_path / 'profile'}",
             "--virtual-time-budget=10000", "--window-size=1200,1600", "--dump-dom",
             f"http://127.0.0.1:{server.port}/dashboard"], capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-500:]
        return done.stdout

    return open_it


class Texts(HTMLParser):
    """The text of each element by its tag, its id and its classes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[list[str]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"meta", "link", "img"}:
            self.texts[tag] = []
            return
        names = [
            tag,
            *dict.fromkeys(word for name, value in attrs if name in {"id", "class"} for word in (value or "").split()),
        ]
        self.stack.append(names)
        for name in names:
            self.texts.setdefault(name, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        for name in {name for names in self.stack for name in names}:
            self.texts[name][-1] += data


@pytest.mark.integration
def test_the_page_shows_requests_alerts_drift_and_performance(
    server: ServerProcess, monitor: Path, model: str, open_page: Callable[[ServerProcess], str]
) -> None:
    """Numbers of the requests, the alerts as sentences, the heat map and the charts; and what looks like markup is text."""
    report = make_report(model)
    write_report(report, monitor)
    wait(lambda: ask(server)[0] == 200)
    before = re.search(r"prediction_latency_seconds_count (\d+)", server.ask("/metrics")[2].decode())
    for _ in range(20):
        assert server.ask("/predict", json.dumps(ROW).encode(), {"X-API-Key": "secret"})[0] == 200
    texts = Texts(open_page(server)).texts
    assert f"Model {model} is live and ready" in texts["state"][0]
    assert f"{int(before[1]) + 20} requests for predictions since the start" in texts["requests"][0]
    assert re.search(r"[\d.]+ / [\d.]+ m?s", texts["latency"][0])
    assert "0 %" in texts["errors"][0]
    assert texts["since"] == ["since 2026-05"] * 2
    assert texts["badge"] == ["critical", "warning"], "the most serious first"
    assert all(alert["message"] in texts["standing"][0] for alert in report["alerts"])
    assert MARKUP in texts["standing"][0] and "img" not in texts
    assert "2 alerts: action needed" in texts["report"][0]
    assert "Newest window 2026-05: 580 rows, 90 of them labelled" in texts["report"][0]
    heaviest = sorted(WEIGHTS, key=lambda name: -WEIGHTS[name])
    assert texts["column"] == ["Column", "the predictions", "all columns together", *heaviest]
    assert texts["td"] == [
        "0.02", "0.18", "–", "none", "drift", "–", "0.01", "0.12", "–", "0.00", "0.02", "–", "0.03", "0.31", "–", "0.00", "0.00", "–",
    ]  # fmt: skip
    assert texts["charts"][0].count("ROC AUC") == texts["charts"][0].count("Brier score") == 1
    assert len(texts["off"]) == 1 + 2, "in the legend, and both realised values are outside of what was expected"
    assert texts["pulse"][0].startswith("live, "), "no failure on the way"


@pytest.mark.integration
def test_the_page_says_that_there_is_no_report_yet(
    server: ServerProcess, monitor: Path, open_page: Callable[[ServerProcess], str]
) -> None:
    wait(lambda: ask(server)[0] == 404)
    texts = Texts(open_page(server)).texts
    assert "There is no report yet: `lifecycle monitor` writes it." in texts["report"][0]
    assert "td" not in texts and "figure" not in texts
