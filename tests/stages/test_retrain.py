from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_table
from lifecycle.retraining.rules import compare_previous
from lifecycle.retraining.window import AT as MOMENT
from lifecycle.retraining.window import choose_columns, choose_rows, limit_rows, read_labelled
from lifecycle.serving.bundle import Bundle, load_bundle
from lifecycle.stages import retrain
from lifecycle.stages.features import split_rows
from tests.support.bundles import write_small_bundle
from tests.support.contracts import make_contract
from tests.support.traffic import (
    CONTRACT,
    COST,
    DAY,
    MODEL,
    NAMES,
    NEW_YEAR,
    draw_rows,
    draw_truths,
    make_months,
    make_records,
    to_rows,
    write_segment,
)

Record = dict[str, Any]
RULES: Record = {
    "max_age_days": 180,
    "on_drift": "act",
    "on_decay": "look",
    "min_rows": 400,
    "holdout_rows": 100,
    "window": "drift_aware",
}
AT = "2026-05-01T00:00:00+00:00"
BEFORE = "b" * 64


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The champion: of intercept 0."""
    return make_bundle(tmp_path_factory.mktemp("retrain") / "bundle", MODEL, 0.0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The model before it: of intercept 1."""
    return make_bundle(tmp_path_factory.mktemp("retrain") / "other", BEFORE, 1.0)


def make_bundle(folder: Path, model: str, intercept: float) -> Bundle:
    write_small_bundle(folder, model, intercept)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """Four months of 150 rows, all truths ten days later."""
    records = make_months(bundle, [draw_rows(150, seed) for seed in range(4)])
    return write_segment(tmp_path_factory.mktemp("retrain") / "log", records)


@pytest.fixture(scope="module")
def labelled(log: Path) -> pd.DataFrame:
    return read_labelled(log, CONTRACT, NAMES)


@pytest.fixture(scope="module")
def old(bundle: Bundle) -> pd.DataFrame:
    """The table that the champion was made from."""
    return draw_truths(bundle, draw_rows(500, seed=77), seed=77)


def make_alert(kind: str, severity: str, since: str = "2026-04", **more: Any) -> Record:
    return {"kind": kind, "column": "x", "since": since, "window": "2026-04", "severity": severity,
            "message": f"This is a {kind} to {severity}.", "psi": None, "weight": None, **more}  # fmt: skip


def make_record(*alerts: Record, since: str = "2026-01-01T00:00:00+00:00", at: str = AT) -> Record:
    """What monitoring found in the months January to April."""
    windows = [{"name": f"2026-{month:02}", "start": f"2026-{month:02}-01T00:00:00+00:00"} for month in range(1, 5)]
    return {"model": MODEL[:12], "since": since, "at": at, "windows": windows, "alerts": list(alerts)}


def decide(labelled: pd.DataFrame, *alerts: Record, record: Record | None = None, **rules: Any) -> Record:
    return rules.decide(record or make_record(*alerts), labelled, **{**RULES, **rules})


def find_rule(decision: Record, name: str) -> Record:
    (rule,) = [rule for rule in decision["rules"] if rule["name"] == name]
    return dict(rule)


# --- the rows


def test_labelled_rows_are_the_logs_with_the_contracts_words(
    labelled: pd.DataFrame, old: pd.DataFrame, bundle: Bundle
) -> None:
    assert choose_columns(bundle, CONTRACT) == NAMES
    assert len(labelled) == 600 and set(labelled["left"]) == {"no", "yes"}
    frames = [draw_truths(bundle, draw_rows(150, seed), seed) for seed in range(4)]
    decision = {"at": AT, "onset": None}
    table, _ = choose_rows(
        old, labelled, decision, CONTRACT, NAMES, window="sliding", sliding_days=1000, holdout_rows=10
    )
    expected = pd.concat(frames, ignore_index=True)[[*NAMES, "left"]]
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_rows_of_every_model_count_and_the_first_truth_stands(tmp_path: Path, bundle: Bundle) -> None:
    records = make_records(bundle, draw_rows(40, 0).assign(left="yes"), NEW_YEAR)
    changed = [{**record, "label": "no", "at": record["at"] + DAY} for record in records if "label" in record]
    strange = [{**record, "label": "perhaps", "id": record["id"]} for record in records[1:2]]
    others = [{**record, "id": f"o{record['id']}", **({"model": "prior", "probability": None, "degraded": True}
               if record["kind"] == "prediction" else {})} for record in records]  # fmt: skip
    log = write_segment(tmp_path, [*changed, *records, *others])
    told = read_labelled(log, CONTRACT, NAMES)
    assert len(told) == 80 and set(told["left"]) == {"yes"}
    write_segment(tmp_path, [{**strange[0], "at": records[0]["at"]}])
    assert len(read_labelled(log, CONTRACT, NAMES)) == 79, "a truth in no word of the contract is none"


@pytest.mark.filterwarnings("error")
def test_a_log_without_a_truth_has_no_labelled_row_and_one_without_a_prediction_is_refused(
    tmp_path: Path, bundle: Bundle
) -> None:
    with pytest.raises(ProjectError, match="holds no predictions: expected a prediction log"):
        read_labelled(tmp_path, CONTRACT, NAMES)
    write_segment(tmp_path, make_records(bundle, draw_rows(20, 0), NEW_YEAR, wait=None))
    assert read_labelled(tmp_path, CONTRACT, NAMES).empty
    assert "spare" in read_labelled(tmp_path, CONTRACT, [*NAMES, "spare"])


def test_a_target_of_numbers_comes_back_as_numbers(tmp_path: Path, bundle: Bundle) -> None:
    contract = make_contract(left={"dtype": "int64", "values": [0, 1], "positive": 1})
    records = make_records(bundle, draw_rows(30, 0).assign(left=["0", "1"] * 15), NEW_YEAR)
    told = read_labelled(write_segment(tmp_path, records), contract, NAMES)
    assert told["left"].tolist() == [0, 1] * 15 and told["left"].dtype == "int64"


@pytest.mark.parametrize("name", ["model", "id", "at", "probability", "label"])
def test_a_column_may_be_called_as_the_log_calls_its_own(tmp_path: Path, bundle: Bundle, name: str) -> None:
    """A table of cars has a model."""
    plan = {"role": "categorical", "dtype": "string", "values": ["basic", "plus", "pro"]}
    contract = make_contract(**{name: plan})
    frame = draw_truths(bundle, draw_rows(100, 0), 0)
    records = make_records(bundle, frame, NEW_YEAR)
    for record in records:
        if record["kind"] == "prediction":
            record["features"] = {name if key == "plan" else key: value for key, value in record["features"].items()}
    names = ["months", name]
    labelled = read_labelled(write_segment(tmp_path, records), contract, names)
    old = frame.drop(columns="id").rename(columns={"plan": name})
    table, chosen = choose_rows(
        old, labelled, {"at": AT, "onset": None}, contract, names, window="all", sliding_days=1, holdout_rows=10
    )
    assert (chosen["old"], chosen["new"]) == (100, 100)
    assert table[name].tolist() == [*frame["plan"], *frame["plan"]]
    assert table["left"].tolist() == [*frame["left"], *frame["left"]]


# --- the rules


def test_nothing_asks_for_a_model_in_a_quiet_time(labelled: pd.DataFrame) -> None:
    decision = decide(labelled)
    assert not decision["due"] and decision["because"] == "No rule asks for a new model."
    assert [rule["name"] for rule in decision["rules"]] == ["age", "drift", "decay", "source", "rows"]
    assert (decision["at"], decision["model"], decision["onset"]) == (AT, MODEL[:12], None)
    shown = retrain.tabulate_rules(decision)
    assert shown["verdict"].tolist() == ["does not ask"] * 3 + ["lets it"] * 2


@pytest.mark.parametrize(
    ("rules", "alerts", "due", "rule"),
    [
        ({"max_age_days": 119}, [], True, "age"),
        ({"max_age_days": 120}, [], False, "age"),
        ({}, [make_alert("column", "act")], True, "drift"),
        ({}, [make_alert("column", "look")], False, "drift"),
        ({"on_drift": "look"}, [make_alert("column", "look")], True, "drift"),
        ({"on_drift": "look"}, [make_alert("column", "note")], False, "drift"),
        ({"on_drift": "never"}, [make_alert("column", "act")], False, "drift"),
        ({}, [make_alert("prediction", "act")], True, "drift"),
        ({}, [make_alert("multivariate", "act")], True, "drift"),
        ({"on_drift": "look"}, [make_alert("volume", "look")], False, "drift"),
        ({}, [make_alert("decay", "look")], True, "decay"),
        ({"on_decay": "act"}, [make_alert("decay", "look")], False, "decay"),
        ({}, [make_alert("label", "look")], True, "decay"),
        ({"on_decay": "never", "on_drift": "never"}, [make_alert("decay", "act")], False, "decay"),
    ],
)
def test_each_rule_asks_by_itself(
    labelled: pd.DataFrame, rules: Record, alerts: list[Record], due: bool, rule: str
) -> None:
    decision = decide(labelled, *alerts, **{"min_rows": 50, **rules})
    assert decision["due"] is due
    for name in ("age", "drift", "decay"):
        assert find_rule(decision, name)["due"] is (due and name == rule), name
    message = find_rule(decision, rule)["message"]
    if due:
        assert decision["because"] == f"A new model is due. {message}"
        assert not alerts or message == alerts[0]["message"]
    assert message.endswith(".")


@pytest.mark.parametrize("kind", ["missing", "unit"])
def test_a_source_that_looks_broken_holds_a_model_back(labelled: pd.DataFrame, kind: str) -> None:
    decision = decide(labelled, make_alert(kind, "act"), make_alert("decay", "act"), min_rows=50)
    assert not decision["due"] and not find_rule(decision, "source")["due"]
    assert decision["because"].startswith(
        "A new model is asked for, and waits. The source looks broken: mend it first."
    )
    light = decide(labelled, make_alert(kind, "look"), make_alert("decay", "act"), min_rows=50)
    assert light["due"]


def test_too_few_truths_hold_a_model_back(labelled: pd.DataFrame) -> None:
    for least, due in ((600, True), (601, False)):
        decision = decide(labelled, max_age_days=1, min_rows=least)
        assert decision["due"] is due
        assert f"600 truths are known; {least} are needed" in find_rule(decision, "rows")["message"]
    assert retrain.tabulate_rules(decision).loc["rows", "verdict"] == "holds it back"


def test_drift_alone_asks_for_truths_enough_to_judge_by(labelled: pd.DataFrame) -> None:
    """Of rows since it began: without them nobody could say whether a new model is better on what the rows are now."""
    for least, due in ((150, True), (151, False)):
        decision = decide(labelled, make_alert("column", "act"), min_rows=9999, holdout_rows=least)
        assert decision["due"] is due and decision["onset"] is None


def test_drift_began_where_the_alert_that_asks_began(labelled: pd.DataFrame) -> None:
    """A note of another column is older, and asks for nothing."""
    alerts = [make_alert("column", "act", since="2026-04"), make_alert("column", "note", since="2026-01")]
    decision = decide(labelled, *alerts, min_rows=9999, holdout_rows=200)
    assert "150 truths of rows since 2026-04-01" in find_rule(decision, "rows")["message"]
    assert not decision["due"]


def test_after_a_changed_relation_only_rows_since_then_count(labelled: pd.DataFrame) -> None:
    alert = make_alert("decay", "act", since="2026-03")
    decision = decide(labelled, alert, min_rows=400)
    assert decision["onset"] == "2026-03-01T00:00:00+00:00" and not decision["due"]
    assert "300 truths of rows since 2026-03-01, when it began" in find_rule(decision, "rows")["message"]
    assert decide(labelled, alert, min_rows=300)["due"]
    assert decide(labelled, alert, min_rows=400, window="all")["due"]


def test_the_onset_is_that_of_the_decay_alone(labelled: pd.DataFrame) -> None:
    assert decide(labelled, make_alert("column", "act", since="2026-02"))["onset"] is None
    both = [make_alert("decay", "act", since="2026-04"), make_alert("label", "act", since="2026-01")]
    assert decide(labelled, *both)["onset"] == "2026-04-01T00:00:00+00:00"
    assert decide(labelled, make_alert("decay", "act", since="2025-07"))["onset"] is None, "a window that is not there"


def test_several_rules_are_all_told(labelled: pd.DataFrame) -> None:
    alerts = [make_alert("column", "act"), make_alert("decay", "act")]
    because = decide(labelled, *alerts, max_age_days=1, min_rows=50)["because"]
    assert because.count("This is a") == 2 and "has answered for 120 days" in because


# --- the window


def choose(
    old: pd.DataFrame, labelled: pd.DataFrame, window: str, onset: str | None = None, **more: Any
) -> tuple[pd.DataFrame, Record]:
    settings = {"sliding_days": 45, "holdout_rows": 100, **more}
    return choose_rows(old, labelled, {"at": AT, "onset": onset}, CONTRACT, NAMES, window=window, **settings)


@pytest.mark.parametrize(
    ("window", "onset", "before", "new", "since"),
    [
        ("all", None, 500, 600, "2026-01-01"), ("all", "2026-03-01T00:00:00+00:00", 500, 600, "2026-01-01"),
        ("drift_aware", None, 500, 600, "2026-01-01"), ("drift_aware", "2026-03-01T00:00:00+00:00", 0, 300, "2026-03-01"),
        ("sliding", "2026-04-01T00:00:00+00:00", 0, None, "2026-03-17"),
    ],
)  # fmt: skip
def test_the_three_windows(
    old: pd.DataFrame, labelled: pd.DataFrame, window: str, onset: str | None, before: int, new: int | None, since: str
) -> None:
    table, chosen = choose(old, labelled, window, onset)
    assert chosen["old"] == before and len(table) == before + chosen["new"]
    assert chosen["new"] == new if new is not None else 150 < chosen["new"] < 300
    assert chosen["from"] >= since and chosen["from"][:7] == since[:7]
    assert list(table.columns) == [*NAMES, "left"]


def test_a_sliding_window_counts_its_own_rows_alone(labelled: pd.DataFrame) -> None:
    recent = limit_rows(labelled, AT, "sliding", 31)
    assert 0 < len(recent) < len(labelled)
    assert recent[MOMENT].min() > pd.Timestamp(AT) - pd.Timedelta(days=31)
    assert len(limit_rows(labelled, AT, "all", 31)) == len(labelled)


def test_the_held_out_rows_are_the_newest_of_the_log(old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle) -> None:
    """The challenger's split, as its stage makes it, takes just these rows."""
    newest = draw_truths(bundle, draw_rows(150, 3), 3)[-100:]
    for window in ("all", "sliding", "drift_aware"):
        table, chosen = choose(old, labelled, window)
        assert chosen["held_out"] == 100
        held_out = split_rows(table, CONTRACT, "order", chosen["test_share"], seed=0)
        assert held_out.sum() == 100 and held_out[-100:].all()
        assert table["months"][held_out].tolist() == newest["months"].tolist()
        assert table["left"][held_out].tolist() == newest["left"].tolist()


def test_never_more_than_half_of_the_log_is_held_out(old: pd.DataFrame, labelled: pd.DataFrame) -> None:
    for window in ("all", "drift_aware"):
        _, chosen = choose(old, labelled.iloc[:80], window, holdout_rows=1000)
        assert (chosen["new"], chosen["held_out"]) == (80, 40)


def test_the_types_are_those_of_the_old_table(old: pd.DataFrame, labelled: pd.DataFrame, tmp_path: Path) -> None:
    table, _ = choose(old, labelled, "all")
    assert table.dtypes.equals(old[[*NAMES, "left"]].dtypes)
    new, _ = choose(old, labelled, "sliding")
    assert new.dtypes.equals(old[[*NAMES, "left"]].dtypes)
    retrain.start_folder(tmp_path / "retraining")
    write_table(table, tmp_path / "retraining/table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "retraining/table.parquet"), table)


def test_a_value_that_the_old_type_cannot_hold_stays_what_it_is(old: pd.DataFrame, labelled: pd.DataFrame) -> None:
    """What is absent is neither True nor False, and two and a half months are not two."""
    switches = old.assign(senior=old["senior"] == 1)
    absent = labelled.assign(senior=pd.Series([None, True] * 300, dtype=object))
    for before, now, name, expected in (
        (switches, absent, "senior", [None, True]),
        (switches, labelled.assign(senior=[np.nan, 1.0] * 300), "senior", [None, 1.0]),
        (old, labelled.assign(months=[2.5, 1.0] * 300), "months", [2.5, 1.0]),
        (old, labelled.assign(months=[np.nan, 1.0] * 300), "months", [None, 1.0]),
    ):
        for window in ("all", "drift_aware", "sliding"):
            table, _ = choose(before, now, window, sliding_days=1000)
            found = [None if pd.isna(value) else value for value in table[name].tolist()[-2:]]
            assert found == expected, (name, window)


@pytest.mark.parametrize("window", ["all", "sliding", "drift_aware"])
def test_a_log_without_truths_gives_no_new_rows(old: pd.DataFrame, labelled: pd.DataFrame, window: str) -> None:
    """The notebook chooses rows whatever was decided: with nothing to learn from it must still come to its end."""
    table, chosen = choose(old, labelled.iloc[:0], window)
    assert (chosen["new"], chosen["held_out"], chosen["from"]) == (0, 0, None)
    assert len(table) == chosen["old"] and list(table.columns) == [*NAMES, "left"]


def test_a_sliding_window_beyond_the_last_truth_gives_no_rows(old: pd.DataFrame, labelled: pd.DataFrame) -> None:
    """Truths come late: those of the last days are often not there yet."""
    table, chosen = choose(old, labelled, "sliding", sliding_days=1)
    assert len(table) == chosen["new"] == 0


# --- the model before this one


def compare(labelled: pd.DataFrame, bundle: Bundle, previous: Bundle | None) -> Record:
    return compare_previous(labelled, bundle, previous, CONTRACT, COST, seed=0)


def label(folder: Path, bundle: Bundle, truthful: Bundle, rows: int = 600, seed: int = 5) -> pd.DataFrame:
    """Rows that `bundle` answered, with truths as `truthful` promises them."""
    frame = draw_truths(truthful, draw_rows(rows, seed), seed)
    return read_labelled(write_segment(folder, make_records(bundle, frame, NEW_YEAR)), CONTRACT, NAMES)


def test_the_model_before_comes_back_where_it_is_truly_better(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    found = compare(label(tmp_path, bundle, truthful=other), bundle, other)
    assert found["rollback"] and found["message"].endswith("The model before is better: it comes back.")
    assert "On 600 truths" in found["message"]


def test_it_does_not_where_this_one_is_better_or_none_is(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    told = label(tmp_path / "a", bundle, truthful=bundle)
    assert not compare(told, bundle, other)["rollback"]
    assert "comes back" not in compare(told, bundle, other)["message"]
    twin = make_bundle(tmp_path / "twin", "c" * 64, 0.0)
    same = compare(told, bundle, twin)
    assert not same["rollback"] and "differs by +0.0000" in same["message"]


def test_only_rows_that_this_model_answered_are_compared(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    mine = make_records(bundle, draw_truths(bundle, draw_rows(300, 1), 1), NEW_YEAR)
    its = make_records(other, draw_truths(other, draw_rows(900, 2), 2), datetime(2026, 2, 1, tzinfo=UTC))
    told = read_labelled(write_segment(tmp_path, [*mine, *its]), CONTRACT, NAMES)
    found = compare(told, bundle, other)
    assert not found["rollback"] and "On 300 truths" in found["message"]


def test_a_small_difference_is_chance(tmp_path: Path, bundle: Bundle) -> None:
    """Of two models that are nearly one the other is often ahead by a little."""
    near = make_bundle(tmp_path / "near", "d" * 64, 0.05)
    found = [compare(label(tmp_path / str(seed), bundle, bundle, 300, seed), bundle, near) for seed in range(6)]
    assert not any(record["rollback"] for record in found)
    assert any("differs by +" in record["message"] for record in found)


def test_without_truths_or_a_model_before_nothing_is_compared(
    tmp_path: Path, bundle: Bundle, other: Bundle, labelled: pd.DataFrame
) -> None:
    assert compare(labelled, bundle, None) == {"rollback": False, "message": "There is no model before this one."}
    few = label(tmp_path / "few", bundle, truthful=other, rows=150)
    for told in (few, labelled.iloc[:0], few.assign(left="no")):
        found = compare(told, bundle, other)
        assert not found["rollback"] and "too few to compare" in found["message"]
    narrow = compare(label(tmp_path / "narrow", bundle, other).drop(columns="plan"), bundle, other)
    assert not narrow["rollback"] and "['plan']" in narrow["message"]


def test_the_model_before_scores_the_rows_as_they_were_asked(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    """Also where values are absent, which a table holds as NaN: the Brier score that is told is that of its own answers."""
    frame = draw_rows(500, 6).assign(spend=lambda rows: rows["spend"].where(rows["id"] % 3 > 0))
    frame = frame.assign(plan=frame["plan"].where(frame["id"] % 5 > 0))
    frame = draw_truths(other, frame, 6)
    told = read_labelled(write_segment(tmp_path, make_records(bundle, frame, NEW_YEAR)), CONTRACT, NAMES)
    truth = (frame["left"] == "yes").to_numpy()
    brier = [np.mean((np.asarray(model.score(to_rows(frame))) - truth) ** 2) for model in (bundle, other)]
    assert f"differs by {brier[0] - brier[1]:+.4f}" in compare(told, bundle, other)["message"]


# --- what is left for the other stages


def test_an_earlier_table_is_none_of_this_decision(tmp_path: Path) -> None:
    folder = tmp_path / "data/retraining"
    folder.mkdir(parents=True)
    (folder / "table.parquet").write_text("of last month")
    retrain.start_folder(folder)
    assert list(folder.iterdir()) == []


def test_the_study_begins_with_the_champions_settings() -> None:
    metadata = {"family": "logistic", "settings": {"C": 1.5, "knots": 4}, "threshold": 0.3}
    started = retrain.describe_start(metadata)
    assert started == {"logistic": {"C": 1.5, "knots": 4}}
    started["logistic"]["C"] = 2.0
    assert metadata["settings"]["C"] == 1.5
