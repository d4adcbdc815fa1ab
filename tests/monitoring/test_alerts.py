"""Tests of alerts: their severity, and sentences that name what is compared with what."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lifecycle.monitoring.alerts import (
    describe_degradation,
    describe_drift,
    describe_label_shift,
    describe_volume,
    find_onset,
    find_worst,
    grade_drift,
    guess_unit,
    sort_alerts,
)
from lifecycle.monitoring.drift import PREDICTION, judge_windows
from lifecycle.monitoring.reference import Kind, build_reference, count_window
from lifecycle.serving.monitor_report import SEVERITIES, Alert
from tests.support.monitor_reports import LIMITS

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
BRIER = {"brier": {"value": 0.15}}
HOLDOUT = "in the hold-out that the model was evaluated on"


def spread(rows: int, mean: float = 50.0, sd: float = 10.0) -> Array:
    """Quantiles of a normal distribution, without randomness."""
    return np.asarray(norm.ppf((np.arange(rows) + 0.5) / rows) * sd + mean)


def raise_alerts(
    before: Mapping[str, Any], windows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], *,
    weights: Mapping[str, float] | None = None, units: Mapping[str, str] | None = None, min_psi: float = 0.01,
) -> list[list[Alert]]:  # fmt: skip
    """The alerts of each window; the windows are named w0, w1, ..."""
    reference = build_reference(pd.DataFrame(before), kinds)
    counted = [count_window(pd.DataFrame(window), reference) for window in windows]
    tables = judge_windows(reference, counted, false_alarms=0.01, min_rows=100, min_psi=min_psi)
    names = [f"w{number}" for number in range(len(windows))]
    shares = weights if weights is not None else {name: 1 / len(kinds) for name in kinds}
    return [describe_drift(tables, place, names, shares, units or {}, LIMITS) for place in range(len(windows))]


def raise_alert(before: Any, now: Any, kind: Kind = "numeric", name: str = "x", **more: Any) -> Alert:
    """The one alert of one column in one window."""
    ((alert,),) = raise_alerts({name: before}, [{name: now}], {name: kind}, **more)
    return alert


def is_sentence(text: str) -> bool:
    """Whether a text ends as a sentence does, and has no NaN, None or empty parts."""
    return bool(text) and text.endswith(".") and not re.search(r"\b(nan|inf|None)\b|  |: \(|: ;", text)


# --- a column that moved


def test_a_sentence_names_the_column_the_comparison_its_size_and_the_weight() -> None:
    same, shifted = {"x": spread(800)}, {"x": spread(800, 65)}
    alerts = raise_alerts({"x": spread(1500)}, [same, shifted, shifted], {"x": "numeric"}, units={"x": "dollars"})
    assert [len(found) for found in alerts] == [0, 1, 1]
    (alert,) = alerts[2]
    assert (alert.kind, alert.column, alert.since, alert.window) == ("column", "x", "w1", "w2")
    assert alert.severity == "critical" and alert.weight == 1.0
    for part in ("x has risen", "mean 65 dollars in w2, compared with 50 dollars", HOLDOUT, "+30%", "since w1",
                 f"PSI {alert.psi:.2f}, a plain shift", "100% of the model's weight", "Retrain on newer rows"):  # fmt: skip
        assert part in alert.message, part
    assert is_sentence(alert.message)


@pytest.mark.parametrize(
    ("psi", "weight", "severity"),
    [
        (0.25, 0.05, "critical"), (5.0, 1.0, "critical"), (0.249, 1.0, "warning"), (0.25, 0.049, "warning"), (0.1, 0.02, "warning"),
        (0.099, 1.0, "info"), (5.0, 0.019, "info"), (0.0, 0.0, "info"),
    ],
)  # fmt: skip
def test_severity_follows_from_psi_and_weight(psi: float, weight: float, severity: str) -> None:
    assert grade_drift(psi, weight, LIMITS) == severity


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (spread(1500), spread(600, 40), ["has fallen", "-20%"]),
        (spread(1500, -50), spread(600, -40), ["has risen", "mean -40", "compared with -50"]),
        (spread(1500, -5, 10), spread(600, 5, 10), ["has risen", "mean 5", "compared with -5"]),
        (spread(1500), spread(600, 50, 20), ["is distributed differently"]),
        (spread(1500, 0), spread(600, 0.05, 20), ["is distributed differently"]),
        ([0.0] * 1500, [3.0] * 600, ["has risen", "mean 3", "compared with 0"]),
        (spread(1500, 2e6, 3e5), spread(600, 2.5e6, 3e5), ["2,500,000", "compared with 2,000,000", "+25%"]),
    ],
    ids=["down", "up below zero", "through zero", "wider", "wider about zero", "from a constant", "large numbers"],
)
def test_a_sentence_says_what_a_number_did(before: Any, now: Any, words: list[str]) -> None:
    message = raise_alert(before, now).message
    for word in words:
        assert word in message, message
    assert is_sentence(message)


def test_a_rise_never_has_a_negative_percentage() -> None:
    """The ratio of negative means would have the wrong sign."""
    for before, now in ((-50, -40), (-5, 5), (-40, -50), (5, -5)):
        message = raise_alert(spread(1500, before), spread(600, now)).message
        risen = "has risen" in message
        assert risen == (now > before), message
        assert not re.search(r"-\d+%" if risen else r"\+\d+%", message), message


def test_only_a_column_of_little_weight_is_called_unimportant() -> None:
    """A small shift of an important column is information, too."""
    alert = raise_alert(spread(5000), spread(3000, 52))
    assert (alert.severity, alert.weight) == ("info", 1.0)
    assert "100% of the model's weight" in alert.message and "hardly depends on it" not in alert.message
    light = raise_alert(spread(1500), spread(600, 65), weights={"x": 0.001})
    assert light.severity == "info" and "hardly depends on it" in light.message


def test_without_a_known_weight_the_sentence_has_none() -> None:
    alert = raise_alert(spread(1500), spread(600, 65), weights={})
    assert alert.weight is None and "weight" not in alert.message and is_sentence(alert.message)


# --- units


@pytest.mark.parametrize("unit", [7, 10, 12, 24, 60, 100, 1000, 1024, 3600])
def test_a_changed_unit_is_guessed(unit: int) -> None:
    assert guess_unit(5.0 * unit, 5.0) == f"× {unit}"
    assert guess_unit(5.0, 5.0 * unit) == f"÷ {unit}"
    assert guess_unit(-5.0 * unit, -5.0) == f"× {unit}"


@pytest.mark.parametrize("ratio", [1.0, 1.15, 0.87, 1.5, 2.0, 3.0, 5.0, 16.0, 40.0, 300.0, -100.0, 1e9])
def test_other_ratios_are_not_a_change_of_unit(ratio: float) -> None:
    assert guess_unit(5.0 * ratio, 5.0) is None


@pytest.mark.parametrize(
    ("now", "before"), [(0.0, 5.0), (5.0, 0.0), (0.0, 0.0), (float("nan"), 5.0), (5.0, float("nan"))]
)
def test_zero_and_nan_have_no_unit_factor(now: float, before: float) -> None:
    assert guess_unit(now, before) is None


@pytest.mark.parametrize(
    ("scale", "factor"), [(100, "× 100"), (1 / 1000, "÷ 1000"), (1 / 12, "÷ 12")], ids=["cents", "kilo", "years"]
)
def test_a_column_in_another_unit_is_critical(scale: float, factor: str) -> None:
    alert = raise_alert(spread(1500), spread(600) * scale)
    assert (alert.kind, alert.severity) == ("unit", "critical")
    assert f"as if its unit had changed by {factor}" in alert.message and is_sentence(alert.message)


def test_an_extreme_mean_has_a_few_digits() -> None:
    """Two requests with the largest float: the sentence stays readable."""
    message = raise_alert(spread(1500), [*spread(800, 60), 1.7e308, 1.7e308]).message
    assert is_sentence(message) and not re.search(r"[\d,]{16}", message), message


def test_a_price_rise_is_not_a_change_of_unit() -> None:
    alert = raise_alert(spread(1500), spread(600) * 1.15)
    assert alert.kind == "column" and "unit" not in alert.message


def test_a_small_step_away_from_zero_is_not_a_change_of_unit() -> None:
    """A mean of 0.02 standard deviations that becomes 0.2 is ten times as large, and nothing was multiplied."""
    alert = raise_alert(spread(3000, 0.2, 10), spread(1500, 2, 10))
    assert alert.kind == "column" and alert.severity == "info"


# --- missing values and categories


@pytest.mark.parametrize("kind", ["numeric", "categories"])
@pytest.mark.parametrize(("share", "severity"), [(0.06, "warning"), (0.3, "critical"), (1.0, "critical")])
def test_missing_values_have_both_shares_in_the_sentence(kind: Kind, share: float, severity: str) -> None:
    values = spread(1000) if kind == "numeric" else np.array(["a", "b"] * 500)
    now = pd.Series(values, dtype=object)
    now[np.arange(1000) % 100 < 100 * share] = None
    alert = raise_alert(values, now, kind)
    assert (alert.kind, alert.severity) == ("missing", severity)
    assert (
        f"is missing in {share:.1%} of the rows of w0, compared with 0.0% {HOLDOUT}" in alert.message
        and is_sentence(alert.message)
    )


def test_missing_values_of_a_column_with_little_weight_are_a_warning() -> None:
    alert = raise_alert(spread(1000), [None] * 500, weights={"x": 0.01})
    assert (alert.kind, alert.severity) == ("missing", "warning")


@pytest.mark.parametrize("kind", ["numeric", "categories"])
@pytest.mark.parametrize("gone", [True, False], ids=["goes", "comes"])
def test_a_column_without_values_has_no_mean_in_the_sentence(kind: Kind, gone: bool) -> None:
    rare, never = pd.Series([1.0] * 40 + [None] * 960, dtype=object), pd.Series([None] * 1000, dtype=object)
    if kind == "categories":
        rare = rare.map({1.0: "a"})
    alert = raise_alert(*((rare, never) if gone else (never, rare)), kind)
    assert is_sentence(alert.message), alert.message
    now, before = ("100.0%", "96.0%") if gone else ("96.0%", "100.0%")
    assert f"is missing in {now} of the rows of w0, compared with {before}" in alert.message


def test_new_and_vanished_categories_are_named() -> None:
    before = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    new = raise_alert(before, ["a"] * 300 + ["b"] * 150 + ["c"] * 50 + ["it's new"] * 15, "categories")
    assert (new.kind, new.severity) == ("category", "warning")
    assert 'does not have: "it\'s new"' in new.message and is_sentence(new.message)
    lost = raise_alert(before, ["a"] * 300 + ["c"] * 150, "categories")
    assert (
        lost.kind == "category"
        and "has no rows in w0 of categories that the hold-out that the model was evaluated on has: 'b'" in lost.message
        and is_sentence(lost.message)
    )
    many = raise_alert(before, [*before, *[f"n{number}" for number in range(5) for _ in range(40)]], "categories")
    assert "'n0', 'n1', 'n2' and more" in many.message


def test_a_new_category_is_a_warning_even_with_little_weight() -> None:
    alert = raise_alert(["a"] * 900, ["a"] * 400 + ["b"] * 100, "categories", weights={"x": 0.0})
    assert alert.severity == "warning"


def test_another_mix_of_categories_has_its_distance_in_the_sentence() -> None:
    alert = raise_alert(["a"] * 500 + ["b"] * 500, ["a"] * 450 + ["b"] * 50, "categories")
    assert alert.kind == "column" and alert.severity == "critical"
    assert re.search(
        r"has a different mix of categories in w0 than in .*: Jensen-Shannon distance 0\.\d\d", alert.message
    ) and is_sentence(alert.message)


@pytest.mark.parametrize("name", ["monthly charges", "größe ☃", "a.b", "100%", "{x}", "it's", "名前", "x" * 300])
@pytest.mark.parametrize("category", ["ü ☃", "a, b", "line\nbreak", "'quoted'", "", "None"])
def test_odd_names_stay_in_their_sentence(name: str, category: str) -> None:
    alert = raise_alert(["a"] * 900, ["a"] * 400 + [category] * 300, "categories", name=name)
    assert alert.column == name and alert.message.startswith(f"{name} has categories")
    assert repr(category) in alert.message and "\n" not in alert.message and alert.message.endswith(".")


# --- all together


def test_alerts_about_all_columns_together_name_no_column() -> None:
    p = np.clip(spread(1500, 0.3, 0.1), 0, 1)
    alert = raise_alert(p, np.clip(p[::2] + 0.2, 0, 1), name=PREDICTION, weights={})
    assert (alert.kind, alert.column, alert.weight) == ("prediction", None, None)
    assert f"0.500 on average in w0, compared with 0.300 {HOLDOUT}" in alert.message and is_sentence(alert.message)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3000))
    z = rng.normal(size=3000)
    before, now = {"x": x, "y": x + y / 2, "z": z}, {"x": x[:900], "y": y[:900] / 2 - x[:900], "z": z[:900]}
    ((turned, *rest),) = raise_alerts(before, [now], dict.fromkeys("xyz", "numeric"))
    assert not rest and (turned.kind, turned.column, turned.psi) == ("multivariate", None, None)
    assert "are related differently in w0 than" in turned.message and is_sentence(turned.message)


def test_alerts_are_sorted_by_severity_then_weight_then_psi() -> None:
    before = {name: spread(1500) for name in "abcd"}
    now = {"a": spread(600, 60), "b": spread(600, 60), "c": spread(600, 54), "d": spread(600, 80)}
    kinds: dict[str, Kind] = dict.fromkeys("abcd", "numeric")
    (found,) = raise_alerts(before, [now], kinds, weights={"a": 0.3, "b": 0.4, "c": 0.295, "d": 0.005})
    columns = [alert.column for alert in found if alert.column]
    assert columns == ["b", "a", "c", "d"]
    assert sort_alerts(found[::-1]) == found and find_worst(found) == "critical"
    assert find_worst([]) == "ok"
    ranks = [SEVERITIES.index(alert.severity) for alert in found]
    assert ranks == sorted(ranks, reverse=True)


def test_since_is_the_first_window_without_a_break() -> None:
    """A nearly significant window belongs to the alert; an unchanged or an empty one ends it."""
    same, shifted = {"x": spread(600)}, {"x": spread(600, 60)}
    alerts = raise_alerts({"x": spread(1500)}, [shifted, same, same, same, shifted, shifted], {"x": "numeric"})
    assert [[alert.since for alert in found][:1] for found in alerts][4:] == [["w4"], ["w4"]]
    gap = {"x": []}
    after = raise_alerts({"x": spread(1500)}, [shifted, gap, gap, gap, shifted], {"x": "numeric"})
    assert after[4][0].since == "w4"


def test_the_onset_includes_nearly_significant_windows() -> None:
    def table(drifted: bool, p: float) -> pd.DataFrame:
        return pd.DataFrame({"column": ["x"], "drifted": [drifted], "p_alone": [p]})

    tables = [table(False, 0.01), table(False, 0.2), table(False, 0.04), table(False, 0.01), table(True, 1e-9)]
    assert find_onset(tables, 4, "x") == 2
    assert find_onset([*tables[:3], None, tables[4]], 4, "x") == 4
    assert find_onset(tables[4:], 0, "x") == 0


def test_a_source_that_was_fixed_has_no_current_alert() -> None:
    """A month in cents, then dollars again: no alert may trigger training on the month in cents."""
    windows = [{"x": spread(600) * scale} for scale in (1, 100, 1, 1)]
    alerts = raise_alerts({"x": spread(1500)}, windows, {"x": "numeric"})
    assert [[alert.kind for alert in found] for found in alerts] == [[], ["unit"], [], []]


# --- labels and volume


def make_row(**residuals: float) -> Record:
    return {"roc_auc": 0.0, "brier": 0.0, "calibration": 0.0, "used": 1234, "p": 1e-6, **residuals}


@pytest.mark.parametrize(
    ("row", "severity", "words"),
    [
        (make_row(roc_auc=-0.08), "critical", ["ROC AUC is 0.080 lower", "Retrain on the rows since then"]),
        (make_row(roc_auc=-0.03), "warning", ["ROC AUC is 0.030 lower", "Watch the next window"]),
        (make_row(brier=0.03), "critical", ["Brier score is 0.030 higher"]),
        (make_row(brier=0.01), "warning", ["Brier score is 0.010 higher"]),
        (make_row(calibration=0.04), "warning", ["probabilities are 0.040 too low"]),
        (make_row(calibration=-0.12), "critical", ["probabilities are 0.120 too high"]),
    ],
)
def test_degradation_is_described_by_what_is_worse(row: Record, severity: str, words: list[str]) -> None:
    alert = describe_degradation(row, "w2", "w4", BRIER, LIMITS)
    assert (alert.kind, alert.since, alert.window, alert.severity) == ("degradation", "w2", "w4", severity)
    for word in [*words, "since w2", "1,234 labels up to w4", HOLDOUT.removeprefix("in ")]:
        assert word in alert.message, alert.message
    assert is_sentence(alert.message)


@pytest.mark.parametrize(
    "row",
    [make_row(roc_auc=-0.006), make_row(calibration=0.015), make_row(roc_auc=-0.008, brier=-0.001, calibration=-0.01)],
    ids=["area", "calibration", "both"],
)
def test_the_smallest_degradation_has_a_whole_sentence(row: Record) -> None:
    """monitor.min_effect may be 0."""
    message = describe_degradation(row, "w2", "w4", BRIER, LIMITS).message
    assert is_sentence(message) and re.search(r"\d\.\d{3}", message), message


@pytest.mark.parametrize(
    ("rate", "p", "severity"),
    [(0.45, 1e-9, "critical"), (0.15, 1e-9, "critical"), (0.33, 1e-3, "warning"), (0.31, 1e-9, None), (0.45, 0.2, None),
     (float("nan"), float("nan"), None)],
)  # fmt: skip
def test_a_changed_share_of_positives(rate: float, p: float, severity: str | None) -> None:
    alert = describe_label_shift(rate, 0.3, p, "w4", 0.01, LIMITS)
    assert (alert and alert.severity) == severity
    if alert is not None:
        assert ("has risen" in alert.message) == (rate > 0.3)
        assert f"{rate:.1%}" in alert.message and f"compared with 30.0% {HOLDOUT}" in alert.message
        assert is_sentence(alert.message)


@pytest.mark.parametrize(
    ("rates", "verb"),
    [
        ([20.0, 21.0, 19.0, 9.0], "fewer"), ([20.0, 21.0, 19.0, 41.0], "more"), ([20.0, 21.0, 19.0, 0.0], "fewer"),
        ([20.0, 21.0, 19.0, 11.0], None), ([20.0, 21.0, 19.0, 39.0], None), ([20.0, 1.0], None), ([], None),
        ([0.0, 0.0, 0.0, 5.0], None),
    ],
)  # fmt: skip
def test_a_volume_that_halved_or_doubled(rates: list[float], verb: str | None) -> None:
    alert = describe_volume(rates, [f"w{number}" for number in range(len(rates))], LIMITS)
    assert (alert is not None) == (verb is not None)
    if alert is not None:
        assert (alert.kind, alert.severity, alert.window) == ("volume", "warning", f"w{len(rates) - 1}")
        assert f"There are {verb} predictions: {rates[-1]:,.1f} per day" in alert.message and is_sentence(alert.message)
