from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from lifecycle.monitoring.alerts import (
    SEVERITIES,
    describe_decay,
    describe_drift_text,
    describe_label_shift,
    describe_volume,
    find_onset,
    find_worst,
    grade,
    guess_unit,
    sort_alerts,
)
from lifecycle.monitoring.drift import MULTIVARIATE, PREDICTION, judge_windows
from lifecycle.monitoring.reference import Kind, count_window, sketch_reference

Array = np.ndarray[Any, Any]
Record = dict[str, Any]
BRIER = {"brier": {"value": 0.15}}


def spread(rows: int, mean: float = 50.0, sd: float = 10.0) -> Array:
    """Numbers of a normal distribution without any chance in them."""
    return np.asarray(norm.ppf((np.arange(rows) + 0.5) / rows) * sd + mean)


def ring(
    before: Mapping[str, Any], windows: Sequence[Mapping[str, Any]], kinds: Mapping[str, Kind], *,
    weights: Mapping[str, float] | None = None, units: Mapping[str, str] | None = None, min_psi: float = 0.01,
) -> list[list[Record]]:  # fmt: skip
    """The alerts of each window, named w0, w1, ..., as monitoring comes to them."""
    reference = sketch_reference(pd.DataFrame(before), kinds)
    counted = [count_window(pd.DataFrame(window), reference) for window in windows]
    tables = judge_windows(reference, counted, false_alarms=0.01, min_rows=100, min_psi=min_psi)
    names = [f"w{number}" for number in range(len(windows))]
    shares = weights if weights is not None else {name: 1 / len(kinds) for name in kinds}
    return [describe_drift_text(tables, place, names, shares, units or {}) for place in range(len(windows))]


def ring_once(before: Any, now: Any, kind: Kind = "numeric", name: str = "x", **more: Any) -> Record:
    """The one alert of one column in one window."""
    ((alert,),) = ring({name: before}, [{name: now}], {name: kind}, **more)
    return alert


def is_sentence(text: str) -> bool:
    """It begins and ends as sentences do, and says no number that is none."""
    return bool(text) and text.endswith(".") and not re.search(r"\b(nan|inf|None)\b|  |: \(|: ;", text)


# --- a column that moved


def test_a_sentence_names_the_column_since_when_how_large_and_how_heavy() -> None:
    quiet, loud = {"x": spread(800)}, {"x": spread(800, 65)}
    alerts = ring({"x": spread(1500)}, [quiet, loud, loud], {"x": "numeric"}, units={"x": "dollars"})
    assert [len(found) for found in alerts] == [0, 1, 1]
    (alert,) = alerts[2]
    assert (alert["kind"], alert["column"], alert["since"], alert["window"]) == ("column", "x", "w1", "w2")
    assert alert["severity"] == "act" and alert["weight"] == 1.0
    for part in ("x has risen", "mean 65 dollars", "50 dollars before", "+30%", "since w1", f"PSI {alert['psi']:.2f}",
                 "plain", "100% of the model's weight", "Retrain on newer rows"):  # fmt: skip
        assert part in alert["message"], part
    assert is_sentence(alert["message"])


@pytest.mark.parametrize(
    ("psi", "weight", "severity"),
    [
        (0.25, 0.05, "act"), (5.0, 1.0, "act"), (0.249, 1.0, "look"), (0.25, 0.049, "look"), (0.1, 0.02, "look"),
        (0.099, 1.0, "note"), (5.0, 0.019, "note"), (0.0, 0.0, "note"),
    ],
)  # fmt: skip
def test_how_grave_a_shift_is_follows_from_its_size_and_its_weight(psi: float, weight: float, severity: str) -> None:
    assert grade(psi, weight) == severity


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (spread(1500), spread(600, 40), ["has fallen", "-20%"]),
        (spread(1500, -50), spread(600, -40), ["has risen", "mean -40", "-50 before"]),
        (spread(1500, -5, 10), spread(600, 5, 10), ["has risen", "mean 5", "-5 before"]),
        (spread(1500), spread(600, 50, 20), ["is spread otherwise"]),
        (spread(1500, 0), spread(600, 0.05, 20), ["is spread otherwise"]),
        ([0.0] * 1500, [3.0] * 600, ["has risen", "mean 3", "0 before"]),
        (spread(1500, 2e6, 3e5), spread(600, 2.5e6, 3e5), ["2,500,000", "2,000,000 before", "+25%"]),
    ],
    ids=["down", "up below zero", "through zero", "wider", "wider about zero", "from a constant", "large numbers"],
)
def test_what_a_number_did_is_told(before: Any, now: Any, words: list[str]) -> None:
    message = ring_once(before, now)["message"]
    for word in words:
        assert word in message, message
    assert is_sentence(message)


def test_a_rise_is_never_told_with_a_falling_percentage() -> None:
    """Of negative means a ratio has the other sign."""
    for before, now in ((-50, -40), (-5, 5), (-40, -50), (5, -5)):
        message = ring_once(spread(1500, before), spread(600, now))["message"]
        risen = "has risen" in message
        assert risen == (now > before), message
        assert not re.search(r"-\d+%" if risen else r"\+\d+%", message), message


def test_a_heavy_column_is_not_called_light() -> None:
    """What moved little is worth a note; that little rides on it would be another thing."""
    alert = ring_once(spread(5000), spread(3000, 52))
    assert (alert["severity"], alert["weight"]) == ("note", 1.0)
    assert "100% of the model's weight" in alert["message"] and "Little rides on it" not in alert["message"]
    light = ring_once(spread(1500), spread(600, 65), weights={"x": 0.001})
    assert light["severity"] == "note" and "Little rides on it" in light["message"]


def test_a_column_without_a_known_weight_is_told_without_one() -> None:
    alert = ring_once(spread(1500), spread(600, 65), weights={})
    assert alert["weight"] is None and "weight" not in alert["message"] and is_sentence(alert["message"])


# --- units


@pytest.mark.parametrize("unit", [7, 10, 12, 24, 60, 100, 1000, 1024, 3600])
def test_a_changed_unit_is_guessed(unit: int) -> None:
    assert guess_unit(5.0 * unit, 5.0) == f"× {unit}"
    assert guess_unit(5.0, 5.0 * unit) == f"÷ {unit}"
    assert guess_unit(-5.0 * unit, -5.0) == f"× {unit}"


@pytest.mark.parametrize("ratio", [1.0, 1.15, 0.87, 1.5, 2.0, 3.0, 5.0, 16.0, 40.0, 300.0, -100.0, 1e9])
def test_other_ratios_are_no_change_of_unit(ratio: float) -> None:
    assert guess_unit(5.0 * ratio, 5.0) is None


@pytest.mark.parametrize(
    ("now", "before"), [(0.0, 5.0), (5.0, 0.0), (0.0, 0.0), (float("nan"), 5.0), (5.0, float("nan"))]
)
def test_nothing_is_guessed_from_nothing(now: float, before: float) -> None:
    assert guess_unit(now, before) is None


@pytest.mark.parametrize(
    ("scale", "told"), [(100, "× 100"), (1 / 1000, "÷ 1000"), (1 / 12, "÷ 12")], ids=["cents", "kilo", "years"]
)
def test_a_column_in_another_unit_is_a_source_to_mend(scale: float, told: str) -> None:
    alert = ring_once(spread(1500), spread(600) * scale)
    assert (alert["kind"], alert["severity"]) == ("unit", "act")
    assert f"as if its unit had changed by {told}" in alert["message"] and is_sentence(alert["message"])


def test_a_mean_beyond_reason_is_told_in_a_few_digits() -> None:
    """Two requests of the largest number that there is: the sentence stays one that a person can read."""
    message = ring_once(spread(1500), [*spread(800, 60), 1.7e308, 1.7e308])["message"]
    assert is_sentence(message) and not re.search(r"[\d,]{16}", message), message


def test_a_price_rise_is_no_change_of_unit() -> None:
    alert = ring_once(spread(1500), spread(600) * 1.15)
    assert alert["kind"] == "column" and "unit" not in alert["message"]


def test_a_small_step_away_from_zero_is_no_change_of_unit() -> None:
    """A mean of 0.02 standard deviations that becomes 0.2 is ten times as large, and nothing was multiplied."""
    alert = ring_once(spread(3000, 0.2, 10), spread(1500, 2, 10))
    assert alert["kind"] == "column" and alert["severity"] == "note"


# --- values that go, levels that come


@pytest.mark.parametrize("kind", ["numeric", "categories"])
@pytest.mark.parametrize(("share", "severity"), [(0.06, "look"), (0.3, "act"), (1.0, "act")])
def test_values_that_go_missing_are_told_with_both_shares(kind: Kind, share: float, severity: str) -> None:
    values = spread(1000) if kind == "numeric" else np.array(["a", "b"] * 500)
    now = pd.Series(values, dtype=object)
    now[np.arange(1000) % 100 < 100 * share] = None
    alert = ring_once(values, now, kind)
    assert (alert["kind"], alert["severity"]) == ("missing", severity)
    assert f"is missing in {share:.1%} of the rows, 0.0% before" in alert["message"] and is_sentence(alert["message"])


def test_a_light_column_that_goes_missing_is_worth_a_look() -> None:
    alert = ring_once(spread(1000), [None] * 500, weights={"x": 0.01})
    assert (alert["kind"], alert["severity"]) == ("missing", "look")


@pytest.mark.parametrize("kind", ["numeric", "categories"])
@pytest.mark.parametrize("gone", [True, False], ids=["goes", "comes"])
def test_the_last_values_of_a_nearly_empty_column_are_told_without_a_mean_of_nothing(kind: Kind, gone: bool) -> None:
    rare, never = pd.Series([1.0] * 40 + [None] * 960, dtype=object), pd.Series([None] * 1000, dtype=object)
    if kind == "categories":
        rare = rare.map({1.0: "a"})
    alert = ring_once(*((rare, never) if gone else (never, rare)), kind)
    assert is_sentence(alert["message"]), alert["message"]
    assert ("before" if not gone else "100.0% of the rows" if "missing" in alert["message"] else "now") in alert[
        "message"
    ]


def test_new_and_lost_levels_are_named() -> None:
    before = ["a"] * 600 + ["b"] * 300 + ["c"] * 100
    new = ring_once(before, ["a"] * 300 + ["b"] * 150 + ["c"] * 50 + ["it's new"] * 15, "categories")
    assert (new["kind"], new["severity"]) == ("category", "look")
    assert 'has levels that it never had: "it\'s new"' in new["message"] and is_sentence(new["message"])
    lost = ring_once(before, ["a"] * 300 + ["c"] * 150, "categories")
    assert lost["kind"] == "category" and "has lost the levels 'b'" in lost["message"] and is_sentence(lost["message"])
    many = ring_once(before, [*before, *[f"n{number}" for number in range(5) for _ in range(40)]], "categories")
    assert "'n0', 'n1', 'n2' and more" in many["message"]


def test_a_new_level_of_a_light_column_is_still_worth_a_look() -> None:
    alert = ring_once(["a"] * 900, ["a"] * 400 + ["b"] * 100, "categories", weights={"x": 0.0})
    assert alert["severity"] == "look"


def test_another_mix_of_levels_is_told_with_its_distance() -> None:
    alert = ring_once(["a"] * 500 + ["b"] * 500, ["a"] * 450 + ["b"] * 50, "categories")
    assert alert["kind"] == "column" and alert["severity"] == "act"
    assert re.search(r"has another mix of levels, 0\.\d\d apart", alert["message"]) and is_sentence(alert["message"])


@pytest.mark.parametrize("name", ["monthly charges", "größe ☃", "a.b", "100%", "{x}", "it's", "名前", "x" * 300])
@pytest.mark.parametrize("category", ["ü ☃", "a, b", "line\nbreak", "'quoted'", "", "None"])
def test_odd_names_stay_in_their_sentence(name: str, category: str) -> None:
    alert = ring_once(["a"] * 900, ["a"] * 400 + [category] * 300, "categories", name=name)
    assert alert["column"] == name and alert["message"].startswith(f"{name} has levels")
    assert repr(category) in alert["message"] and "\n" not in alert["message"] and alert["message"].endswith(".")


# --- all together


def test_predictions_and_relations_that_moved_name_no_column() -> None:
    p = np.clip(spread(1500, 0.3, 0.1), 0, 1)
    alert = ring_once(p, np.clip(p[::2] + 0.2, 0, 1), name=PREDICTION, weights={})
    assert (alert["kind"], alert["column"], alert["weight"]) == ("prediction", None, None)
    assert "0.500 on average, 0.300 in the reference" in alert["message"] and is_sentence(alert["message"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 3000))
    z = rng.normal(size=3000)
    before, now = {"x": x, "y": x + y / 2, "z": z}, {"x": x[:900], "y": y[:900] / 2 - x[:900], "z": z[:900]}
    ((turned, *rest),) = ring(before, [now], dict.fromkeys("xyz", "numeric"))
    assert not rest and (turned["kind"], turned["column"], turned["psi"]) == ("multivariate", None, None)
    assert "no longer go together" in turned["message"] and is_sentence(turned["message"])


def test_the_gravest_comes_first_then_the_heaviest_then_the_largest() -> None:
    before = {name: spread(1500) for name in "abcd"}
    now = {"a": spread(600, 60), "b": spread(600, 60), "c": spread(600, 54), "d": spread(600, 80)}
    kinds: dict[str, Kind] = dict.fromkeys("abcd", "numeric")
    (found,) = ring(before, [now], kinds, weights={"a": 0.3, "b": 0.4, "c": 0.295, "d": 0.005})
    columns = [alert["column"] for alert in found if alert["column"]]
    assert columns == ["b", "a", "c", "d"]
    assert sort_alerts(found[::-1]) == found and find_worst(found) == "act"
    assert find_worst([]) == "quiet"
    ranks = [SEVERITIES.index(alert["severity"]) for alert in found]
    assert ranks == sorted(ranks, reverse=True)


def test_since_is_where_it_began_without_a_break() -> None:
    """A window of little doubt belongs to it, a quiet or an empty one ends it."""
    quiet, loud = {"x": spread(600)}, {"x": spread(600, 60)}
    alerts = ring({"x": spread(1500)}, [loud, quiet, quiet, quiet, loud, loud], {"x": "numeric"})
    assert [[alert["since"] for alert in found][:1] for found in alerts][4:] == [["w4"], ["w4"]]
    gap = {"x": []}
    after = ring({"x": spread(1500)}, [loud, gap, gap, gap, loud], {"x": "numeric"})
    assert after[4][0]["since"] == "w4"


def test_the_onset_reaches_back_over_windows_that_were_nearly_sure() -> None:
    def table(drifted: bool, p: float) -> pd.DataFrame:
        return pd.DataFrame({"column": ["x"], "drifted": [drifted], "p_alone": [p]})

    tables = [table(False, 0.01), table(False, 0.2), table(False, 0.04), table(False, 0.01), table(True, 1e-9)]
    assert find_onset(tables, 4, "x") == 2
    assert find_onset([*tables[:3], None, tables[4]], 4, "x") == 4
    assert find_onset(tables[4:], 0, "x") == 0


def test_a_source_that_was_mended_asks_for_nothing() -> None:
    """A month in cents, then dollars again: what stands then must not have a model trained on the month in cents."""
    windows = [{"x": spread(600) * scale} for scale in (1, 100, 1, 1)]
    alerts = ring({"x": spread(1500)}, windows, {"x": "numeric"})
    assert [[alert["kind"] for alert in found] for found in alerts] == [[], ["unit"], [], []]


# --- truths and volume


def decayed(**residuals: float) -> Record:
    return {"roc_auc": 0.0, "brier": 0.0, "calibration": 0.0, "used": 1234, "p": 1e-6, **residuals}


@pytest.mark.parametrize(
    ("row", "severity", "words"),
    [
        (decayed(roc_auc=-0.08), "act", ["ROC AUC is 0.080 below", "Retrain on rows since then"]),
        (decayed(roc_auc=-0.03), "look", ["ROC AUC is 0.030 below", "Watch the next window"]),
        (decayed(brier=0.03), "act", ["Brier score is 0.030 above"]),
        (decayed(brier=0.01), "look", ["Brier score is 0.010 above"]),
        (decayed(calibration=0.04), "look", ["probabilities are 0.040 too low"]),
        (decayed(calibration=-0.12), "act", ["probabilities are 0.120 too high"]),
    ],
)
def test_decay_is_told_with_what_it_is(row: Record, severity: str, words: list[str]) -> None:
    alert = describe_decay(row, "w2", "w4", BRIER)
    assert (alert["kind"], alert["since"], alert["window"], alert["severity"]) == ("decay", "w2", "w4", severity)
    for word in [*words, "since w2", "1,234 truths"]:
        assert word in alert["message"], alert["message"]
    assert is_sentence(alert["message"])


@pytest.mark.parametrize(
    "row",
    [decayed(roc_auc=-0.006), decayed(calibration=0.015), decayed(roc_auc=-0.008, brier=-0.001, calibration=-0.01)],
    ids=["area", "calibration", "both"],
)
def test_decay_as_small_as_the_parameters_allow_is_told_too(row: Record) -> None:
    """monitor.min_effect may be 0: what is found then is said, and no sentence is left without its middle."""
    message = describe_decay(row, "w2", "w4", BRIER)["message"]
    assert is_sentence(message) and re.search(r"\d\.\d{3}", message), message


@pytest.mark.parametrize(
    ("rate", "p", "severity"),
    [(0.45, 1e-9, "act"), (0.15, 1e-9, "act"), (0.33, 1e-3, "look"), (0.31, 1e-9, None), (0.45, 0.2, None),
     (float("nan"), float("nan"), None)],
)  # fmt: skip
def test_a_share_of_positives_that_moved_is_told(rate: float, p: float, severity: str | None) -> None:
    alert = describe_label_shift(rate, 0.3, p, "w4", 0.01)
    assert (alert and alert["severity"]) == severity
    if alert is not None:
        assert ("has risen" in alert["message"]) == (rate > 0.3)
        assert f"{rate:.1%}" in alert["message"] and "30.0% in the reference" in alert["message"]
        assert is_sentence(alert["message"])


@pytest.mark.parametrize(
    ("rates", "verb"),
    [
        ([20.0, 21.0, 19.0, 9.0], "fallen"), ([20.0, 21.0, 19.0, 41.0], "risen"), ([20.0, 21.0, 19.0, 0.0], "fallen"),
        ([20.0, 21.0, 19.0, 11.0], None), ([20.0, 21.0, 19.0, 39.0], None), ([20.0, 1.0], None), ([], None),
        ([0.0, 0.0, 0.0, 5.0], None),
    ],
)  # fmt: skip
def test_a_volume_that_halved_or_doubled_is_told(rates: list[float], verb: str | None) -> None:
    alert = describe_volume(rates, [f"w{number}" for number in range(len(rates))])
    assert (alert is not None) == (verb is not None)
    if alert is not None:
        assert (alert["kind"], alert["severity"], alert["window"]) == ("volume", "look", f"w{len(rates) - 1}")
        assert f"has {verb}: {rates[-1]:,.1f} rows a day" in alert["message"] and is_sentence(alert["message"])


def test_every_alert_has_the_same_keys() -> None:
    keys = {"kind", "column", "since", "window", "severity", "message", "psi", "weight"}
    told: list[Any] = [
        ring_once(spread(1500), spread(600, 65)), describe_decay(decayed(brier=0.1), "w0", "w0", BRIER),
        describe_label_shift(0.9, 0.1, 1e-9, "w0", 0.01), describe_volume([9, 9, 9, 1], ["a", "b", "c", "d"]),
    ]  # fmt: skip
    for alert in told:
        assert set(alert) == keys and alert["severity"] in SEVERITIES
    assert MULTIVARIATE not in {alert["column"] for alert in told}
