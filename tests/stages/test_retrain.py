"""Tests of the stage retrain: the labelled rows, the rules, the window, and the previous model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Retrain
from lifecycle.core.split_rule import SplitRule
from lifecycle.core.tables import write_table
from lifecycle.modeling.entities import find_keys
from lifecycle.modeling.rule import find_unlearned
from lifecycle.modeling.split import apply_rule
from lifecycle.modeling.task import task_for
from lifecycle.retraining import rules
from lifecycle.retraining.records import ChosenRows, Comparison, Decision, Rule
from lifecycle.retraining.rules import compare_previous
from lifecycle.retraining.window import AT as MOMENT
from lifecycle.retraining.window import (
    ENTITY,
    SCORE,
    choose_columns,
    choose_rows,
    drop_repeats,
    find_unlearned_rows,
    limit_rows,
    read_labelled,
)
from lifecycle.retraining.window import MODEL as MODEL_NAME
from lifecycle.serving.bundle import Bundle, load_bundle
from lifecycle.serving.monitor_report import Alert, MonitorReport
from lifecycle.stages import retrain
from tests.support.bundles import write_small_bundle
from tests.support.contracts import make_contract
from tests.support.monitor_reports import make_report
from tests.support.sizes import size
from tests.support.traffic import (
    CONTRACT,
    COST,
    DAY,
    MODEL,
    NAMES,
    NEW_YEAR,
    draw_labels,
    make_months,
    make_records,
    to_rows,
    write_segment,
)
from tests.support.traffic import draw_rows as draw_alike

Record = dict[str, Any]
RULES = Retrain(
    log="", max_age_days=180, on_drift="critical", on_degradation="warning", min_rows=400, window="drift_aware",
    sliding_days=45, treated="keep", holdout_rows=100, holdout_share=0.2, min_compared=200, significance=0.01, trials=1, startup_trials=1,
)  # fmt: skip
AT = datetime(2026, 5, 1, tzinfo=UTC)
BEFORE = "b" * 64


def draw_rows(rows: int, seed: int) -> pd.DataFrame:
    """Rows of which hardly two are equal."""
    return draw_alike(rows, seed).assign(spend=np.random.default_rng(seed).uniform(0, 120, rows).round(2))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The champion, with intercept 0."""
    return make_bundle(tmp_path_factory.mktemp("retrain") / "bundle", MODEL, 0.0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The previous model, with intercept 1."""
    return make_bundle(tmp_path_factory.mktemp("retrain") / "other", BEFORE, 1.0)


def make_bundle(folder: Path, model: str, intercept: float) -> Bundle:
    write_small_bundle(folder, model, intercept)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    """Four months of 150 rows, all labels ten days later."""
    records = make_months(bundle, [draw_rows(150, seed) for seed in range(4)])
    return write_segment(tmp_path_factory.mktemp("retrain") / "log", records)


@pytest.fixture(scope="module")
def labelled(log: Path) -> pd.DataFrame:
    return read_labelled(log, CONTRACT, NAMES)


@pytest.fixture(scope="module")
def old(bundle: Bundle) -> pd.DataFrame:
    """The table that the champion was trained on."""
    return draw_labels(bundle, draw_rows(500, seed=77), seed=77)


def make_alert(kind: str, severity: str, since: str = "2026-04") -> Alert:
    return Alert.model_validate({
        "kind": kind, "column": "x", "since": since, "window": "2026-04", "severity": severity,
        "message": f"This is a {severity} alert of kind {kind}.", "psi": None, "weight": None,
    })  # fmt: skip


def make_monitor_report(*alerts: Alert, simulated: bool = False) -> MonitorReport:
    """What monitoring found in the months January to April."""
    windows = [
        {"name": f"2026-{month:02}", "start": f"2026-{month:02}-01T00:00:00+00:00",
         "end": f"2026-{month + 1:02}-01T00:00:00+00:00", "rows": 150, "mature": 150, "labelled": 150, "judged": True}
        for month in range(1, 5)
    ]  # fmt: skip
    record = make_report(
        MODEL, simulated=simulated, since="2026-01-01T00:00:00+00:00", at=AT.isoformat(), windows=windows, drift=[],
        performance=[], alerts=[alert.to_json() for alert in alerts], timeline=[],
    )  # fmt: skip
    return MonitorReport.parse(record, "the test's report")


def decide(labelled: pd.DataFrame, *alerts: Alert, simulated: bool = False, **changes: Any) -> Decision:
    report = make_monitor_report(*alerts, simulated=simulated)
    return rules.decide(report, labelled, RULES.model_copy(update=changes))


def make_decision(onset: str | None = None) -> Decision:
    return Decision(
        required=True, because="", at=AT, model=MODEL[:12], simulated=False,
        onset=datetime.fromisoformat(onset) if onset else None, rules=[],
    )  # fmt: skip


def find_rule(decision: Decision, name: str) -> Rule:
    (rule,) = [rule for rule in decision.rules if rule.name == name]
    return rule


# --- the rows


def test_labelled_rows_have_the_contracts_values(labelled: pd.DataFrame, old: pd.DataFrame, bundle: Bundle) -> None:
    assert choose_columns(bundle, CONTRACT) == NAMES
    assert len(labelled) == 600 and set(labelled["left"]) == {"no", "yes"}
    frames = [draw_labels(bundle, draw_rows(150, seed), seed) for seed in range(4)]
    expected = pd.concat(frames, ignore_index=True)[[*NAMES, "left"]]
    pd.testing.assert_frame_equal(labelled[[*NAMES, "left"]], expected, check_dtype=False)


def test_rows_of_every_model_count_with_their_first_label(tmp_path: Path, bundle: Bundle) -> None:
    records = make_records(bundle, draw_rows(40, 0).assign(left="yes"), NEW_YEAR)
    changed = [{**record, "label": "no", "at": record["at"] + DAY} for record in records if "label" in record]
    strange = [{**record, "label": "perhaps", "id": record["id"]} for record in records[1:2]]
    others = [{**record, "id": f"o{record['id']}", **({"model": "prior", "probability": None, "degraded": True}
               if record["kind"] == "prediction" else {})} for record in records]  # fmt: skip
    log = write_segment(tmp_path, [*changed, *records, *others])
    labelled_rows = read_labelled(log, CONTRACT, NAMES)
    until = labelled_rows[MOMENT].iloc[30]
    assert len(read_labelled(log, CONTRACT, NAMES, until)) == (labelled_rows[MOMENT] <= until).sum() == 32
    assert len(labelled_rows) == 80 and set(labelled_rows["left"]) == {"yes"}
    write_segment(tmp_path, [{**strange[0], "at": records[0]["at"]}])
    assert len(read_labelled(log, CONTRACT, NAMES)) == 79, "a label that the contract does not allow is ignored"


def test_rows_that_an_action_followed_can_be_left_out(tmp_path: Path, bundle: Bundle) -> None:
    """Their labels may be those of the action; the other rows stay, and so do labels that came beside no action."""
    records = make_records(bundle, draw_labels(bundle, draw_rows(60, 0), 0), NEW_YEAR)
    called = [record["id"] for record in records if record["kind"] == "prediction"][::3]
    actions = [{"kind": "action", "id": name, "at": records[0]["at"] + 20 * DAY, "action": "called"} for name in called]
    log = write_segment(tmp_path, [*records, *actions, *actions])
    kept, left = (read_labelled(log, CONTRACT, NAMES, treated=choice) for choice in ("keep", "leave_out"))
    assert len(kept) == 60 and kept.equals(read_labelled(log, CONTRACT, NAMES))
    assert left.equals(kept[np.arange(60) % 3 > 0].reset_index(drop=True))


def test_predictions_of_a_server_without_a_bundle_teach_nothing(tmp_path: Path, bundle: Bundle) -> None:
    """Such a server cannot know which columns are personal, and logs none."""
    records = make_records(bundle, draw_rows(40, 0).assign(left="yes"), NEW_YEAR)
    without = [
        {**record, "id": f"o{record['id']}", **({"features": {}} if "features" in record else {})} for record in records
    ]
    assert len(read_labelled(write_segment(tmp_path, [*records, *without]), CONTRACT, NAMES)) == 40


@pytest.mark.filterwarnings("error")
def test_a_log_without_labels_has_no_labelled_rows_and_an_empty_one_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(ProjectError, match="has no predictions: expected a prediction log"):
        read_labelled(tmp_path, CONTRACT, NAMES)
    write_segment(tmp_path, make_records(bundle, draw_rows(20, 0), NEW_YEAR, wait=None))
    assert read_labelled(tmp_path, CONTRACT, NAMES).empty
    assert "spare" in read_labelled(tmp_path, CONTRACT, [*NAMES, "spare"])


def test_a_numeric_target_stays_numeric(tmp_path: Path, bundle: Bundle) -> None:
    contract = make_contract(left={"dtype": "int64", "values": [0, 1], "positive": 1})
    records = make_records(bundle, draw_rows(30, 0).assign(left=["0", "1"] * 15), NEW_YEAR)
    labelled_rows = read_labelled(write_segment(tmp_path, records), contract, NAMES)
    assert labelled_rows["left"].tolist() == [0, 1] * 15 and labelled_rows["left"].dtype == "int64"


@pytest.mark.parametrize("name", ["model", "id", "at", "probability", "label"])
def test_a_column_may_have_the_name_of_a_log_column(tmp_path: Path, bundle: Bundle, name: str) -> None:
    """A table of cars has a column model."""
    plan = {"role": "categorical", "dtype": "string", "values": ["basic", "plus", "pro"]}
    contract = make_contract(**{name: plan})
    frame = draw_labels(bundle, draw_rows(100, 0), 0)
    records = make_records(bundle, frame, NEW_YEAR)
    for record in records:
        if record["kind"] == "prediction":
            record["features"] = {name if key == "plan" else key: value for key, value in record["features"].items()}
    names = ["months", name]
    labelled = read_labelled(write_segment(tmp_path, records), contract, names)
    old = frame.drop(columns="id").rename(columns={"plan": name})
    settings = RULES.model_copy(update={"window": "all", "holdout_rows": 10})
    table, chosen = choose_rows(old, labelled, make_decision(), contract, names, bundle, settings, 0)
    assert chosen.old + chosen.new + chosen.left_out + chosen.held_out == 200 and chosen.held_out == 10
    both = pd.concat([old, labelled])
    known = set(both[["months", name, "left"]].itertuples(index=False, name=None))
    assert set(table[["months", name, "left"]].itertuples(index=False, name=None)) <= known


# --- the rules


def test_without_alerts_nothing_triggers_retraining(labelled: pd.DataFrame) -> None:
    decision = decide(labelled)
    assert not decision.required and decision.because == "No rule triggers retraining."
    assert [rule.name for rule in decision.rules] == ["age", "drift", "degradation", "source", "rows"]
    assert (decision.at, decision.model, decision.onset) == (AT, MODEL[:12], None)
    shown = retrain.tabulate_rules(decision)
    assert shown["result"].tolist() == ["not triggered"] * 3 + ["met"] * 2


@pytest.mark.parametrize(
    ("changes", "alerts", "required", "rule"),
    [
        ({"max_age_days": 119}, [], True, "age"),
        ({"max_age_days": 120}, [], False, "age"),
        ({}, [make_alert("column", "critical")], True, "drift"),
        ({}, [make_alert("column", "warning")], False, "drift"),
        ({"on_drift": "warning"}, [make_alert("column", "warning")], True, "drift"),
        ({"on_drift": "warning"}, [make_alert("column", "info")], False, "drift"),
        ({"on_drift": "never"}, [make_alert("column", "critical")], False, "drift"),
        ({}, [make_alert("prediction", "critical")], True, "drift"),
        ({}, [make_alert("multivariate", "critical")], True, "drift"),
        ({"on_drift": "warning"}, [make_alert("volume", "warning")], False, "drift"),
        ({}, [make_alert("degradation", "warning")], True, "degradation"),
        ({"on_degradation": "critical"}, [make_alert("degradation", "warning")], False, "degradation"),
        ({}, [make_alert("label", "warning")], True, "degradation"),
        (
            {"on_degradation": "never", "on_drift": "never"},
            [make_alert("degradation", "critical")],
            False,
            "degradation",
        ),
    ],
)
def test_each_trigger_suffices(
    labelled: pd.DataFrame, changes: Record, alerts: list[Alert], required: bool, rule: str
) -> None:
    decision = decide(labelled, *alerts, **{"min_rows": 50, **changes})
    assert decision.required is required
    for name in ("age", "drift", "degradation"):
        assert find_rule(decision, name).met is (required and name == rule), name
    message = find_rule(decision, rule).message
    if required:
        assert decision.because == f"A new model is required. {message}"
        assert not alerts or message == alerts[0].message
    assert message.endswith(".")


@pytest.mark.parametrize("kind", ["missing", "unit"])
def test_retraining_waits_while_the_source_looks_broken(labelled: pd.DataFrame, kind: str) -> None:
    decision = decide(labelled, make_alert(kind, "critical"), make_alert("degradation", "critical"), min_rows=50)
    assert not decision.required and not find_rule(decision, "source").met
    assert decision.because.startswith(
        "A new model is required, but has to wait. The source looks broken and has to be fixed first."
    )
    light = decide(labelled, make_alert(kind, "warning"), make_alert("degradation", "critical"), min_rows=50)
    assert light.required


def test_retraining_waits_for_enough_labels(labelled: pd.DataFrame) -> None:
    for least, required in ((600, True), (601, False)):
        decision = decide(labelled, max_age_days=1, min_rows=least)
        assert decision.required is required
        assert f"600 labels are known; {least} are required" in find_rule(decision, "rows").message
    assert retrain.tabulate_rules(decision).loc["rows", "result"] == "has to wait"


def test_drift_alone_needs_only_the_labels_of_the_hold_out(labelled: pd.DataFrame) -> None:
    """Of rows since it began: they show whether a new model is better on the new distribution."""
    for least, required in ((150, True), (151, False)):
        decision = decide(labelled, make_alert("column", "critical"), min_rows=9999, holdout_rows=least)
        assert decision.required is required and decision.onset is None


def test_drift_begins_where_the_triggering_alert_began(labelled: pd.DataFrame) -> None:
    """The older alert is info, and triggers nothing."""
    alerts = [make_alert("column", "critical", since="2026-04"), make_alert("column", "info", since="2026-01")]
    decision = decide(labelled, *alerts, min_rows=9999, holdout_rows=200)
    assert "150 labels of rows since 2026-04-01" in find_rule(decision, "rows").message
    assert not decision.required


def test_after_concept_drift_only_rows_since_then_count(labelled: pd.DataFrame) -> None:
    alert = make_alert("degradation", "critical", since="2026-03")
    decision = decide(labelled, alert, min_rows=400)
    assert decision.onset == datetime(2026, 3, 1, tzinfo=UTC) and not decision.required
    assert "300 labels of rows since 2026-03-01, when the change began" in find_rule(decision, "rows").message
    assert decide(labelled, alert, min_rows=300).required
    assert decide(labelled, alert, min_rows=400, window="all").required


def test_the_onset_is_that_of_degradation_only(labelled: pd.DataFrame) -> None:
    assert decide(labelled, make_alert("column", "critical", since="2026-02")).onset is None
    both = [make_alert("degradation", "critical", since="2026-04"), make_alert("label", "critical", since="2026-01")]
    assert decide(labelled, *both).onset == datetime(2026, 4, 1, tzinfo=UTC)
    assert decide(labelled, make_alert("degradation", "critical", since="2025-07")).onset is None, "an unknown window"


def test_all_triggers_are_named(labelled: pd.DataFrame) -> None:
    alerts = [make_alert("column", "critical"), make_alert("degradation", "critical")]
    because = decide(labelled, *alerts, max_age_days=1, min_rows=50).because
    assert because.count("This is a") == 2 and "has been in use for 120 days" in because


def test_simulated_use_is_called_simulated(labelled: pd.DataFrame) -> None:
    decision = decide(labelled, simulated=True)
    assert decision.simulated
    assert "The simulated use of the model has lasted 120 days" in find_rule(decision, "age").message


# --- the window


def choose(
    old: pd.DataFrame, labelled: pd.DataFrame, champion: Bundle, window: str, onset: str | None = None, **more: Any
) -> tuple[pd.DataFrame, ChosenRows]:
    settings = RULES.model_copy(update={"window": window, **more})
    return choose_rows(old, labelled, make_decision(onset), CONTRACT, NAMES, champion, settings, 0)


@pytest.mark.parametrize(
    ("window", "onset", "before", "new", "since"),
    [
        ("all", None, 500, 600, "2026-01-01"), ("all", "2026-03-01T00:00:00+00:00", 500, 600, "2026-01-01"),
        ("drift_aware", None, 500, 600, "2026-01-01"), ("drift_aware", "2026-03-01T00:00:00+00:00", 0, 300, "2026-03-01"),
        ("sliding", "2026-04-01T00:00:00+00:00", 0, None, "2026-03-17"),
    ],
)  # fmt: skip
def test_windows_choose_old_and_new_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle, window: str, onset: str | None, before: int,
    new: int | None, since: str,
) -> None:  # fmt: skip
    table, chosen = choose(old, labelled, bundle, window, onset, holdout_rows=1000)
    rows = chosen.old + chosen.new + chosen.held_out
    assert len(table) == rows and list(table.columns) == [*NAMES, "left"]
    assert rows + chosen.left_out == before + (new or rows + chosen.left_out)
    assert abs(chosen.old - 0.8 * before) <= 0.1 * before, "a fifth of the contents is held out"
    assert 0.1 < chosen.held_out / (chosen.new + chosen.held_out) < 0.3
    assert chosen.oldest is not None and f"{chosen.oldest:%Y-%m-%d}" >= since and f"{chosen.oldest:%Y-%m}" == since[:7]


def test_a_sliding_window_has_the_last_days_only(labelled: pd.DataFrame) -> None:
    recent = limit_rows(labelled, AT, "sliding", 31)
    assert 0 < len(recent) < len(labelled)
    assert recent[MOMENT].min() > pd.Timestamp(AT) - pd.Timedelta(days=31)
    assert len(limit_rows(labelled, AT, "all", 31)) == len(labelled)


def divide(table: pd.DataFrame, chosen: ChosenRows) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both sides, as the challenger's stage `features` divides its table by the rule."""
    contract = make_contract(id={"dtype": "string", "nullable": True})
    sides = apply_rule(find_keys(table, contract, chosen.rule.columns or None), task_for(CONTRACT), chosen.rule)
    assert not sides.left_out.any()
    return table[sides.train], table[sides.held_out]


@pytest.mark.parametrize("named", [False, True])
def test_a_challenger_never_learns_its_hold_out(bundle: Bundle, named: bool) -> None:
    """In many retrainings no row and no entity of the hold-out is in training, though the log repeats the old table."""
    for seed in range(size(20, 100)):
        rng = np.random.default_rng(seed)
        old = draw_labels(bundle, draw_rows(300, seed), seed).assign(
            id=lambda frame: [f"c{place}" for place in frame.index]
        )
        again = old.iloc[rng.integers(0, 300, 250)]
        if named:  # they come again, changed
            again = again.assign(months=rng.integers(0, 70, 250))
        new = draw_labels(bundle, draw_rows(250, 1000 + seed), seed).assign(
            id=[f"n{place // 2}" for place in range(250)]
        )
        log = pd.concat([again, new]).sample(frac=1, random_state=seed).reset_index(drop=True)
        more = {
            MOMENT: pd.date_range("2026-01-01", periods=500, freq="h", tz="UTC"),
            MODEL_NAME: MODEL[:12],
            SCORE: 0.5,
        }
        log = log.assign(**more, **{ENTITY: log["id"] if named else None})
        table, chosen = choose(old, drop_repeats(log, old, NAMES), bundle, "all", min_compared=20)
        train, test = divide(table, chosen)
        assert chosen.rule.kind == ("ids" if named else "content") and chosen.rule.champion == MODEL
        assert len(test) == chosen.held_out > 20 and len(train) == chosen.old + chosen.new > 300
        rows = [set(side[NAMES].astype(str).itertuples(index=False, name=None)) for side in (train, test)]
        assert not rows[0] & rows[1]
        if named:
            assert not set(train["id"]) & set(test["id"])


def test_the_challenger_keeps_the_champions_rule(old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle) -> None:
    """So rows that one model was kept from are never learned by the next."""
    first = choose(old, labelled, bundle, "all")[1].rule
    promoted = replace(bundle, manifest=bundle.manifest.model_copy(update={"model": BEFORE, "rule": first}))
    table, chosen = choose(old, labelled, promoted, "all", min_compared=20)
    assert (chosen.rule.salt, chosen.rule.share, chosen.rule.columns) == (first.salt, first.share, first.columns)
    assert chosen.rule.champion == BEFORE
    _, test = divide(table, chosen)
    assert find_unlearned(first, test).all() and not find_unlearned(first, table.iloc[: chosen.old]).any()
    assert test["months"].tolist() == labelled[find_unlearned(first, labelled)]["months"].tolist()[-len(test) :]


def test_a_rule_of_ids_is_kept_and_asks_for_the_entity(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle
) -> None:
    rule = SplitRule(kind="ids", ids=["id"], salt=7, share=0.2)
    manifest = bundle.manifest.model_copy(update={"model": BEFORE, "rule": rule, "entity": "id"})
    champion = replace(bundle, manifest=manifest)
    named = labelled.assign(**{ENTITY: [f"c{place % 300}" for place in range(len(labelled))]})
    _, chosen = choose(old, named, champion, "all", min_compared=20)
    assert chosen.rule == rule.model_copy(update={"champion": BEFORE}) and chosen.held_out > 50
    assert not find_unlearned_rows(champion, labelled).any(), "without entities it may have learned from any row"


def test_without_a_rule_of_the_champion_the_hold_out_is_not_said_to_be_new_to_it(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle
) -> None:
    unknown = replace(bundle, manifest=bundle.manifest.model_copy(update={"rule": None}))
    assert choose(old, labelled, unknown, "all")[1].rule.champion is None


def test_the_onset_of_a_drift_travels_with_the_model(old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle) -> None:
    """The next retraining, without an alert of degradation, does not go back to the rows before it."""
    since = datetime(2026, 3, 1, tzinfo=UTC)
    report = make_monitor_report(make_alert("column", "critical"))
    decision = rules.decide(report, labelled, RULES, since)
    assert decision.onset == since
    _, chosen = choose_rows(old, labelled, decision, CONTRACT, NAMES, bundle, RULES, 0)
    assert chosen.old == 0 and chosen.oldest is not None and chosen.oldest >= since
    assert rules.decide(report, labelled, RULES.model_copy(update={"window": "all"}), since).onset is None


def test_rows_that_are_alike_are_held_out_by_their_place(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle
) -> None:
    alike = {"months": 1, "spend": 1.0, "senior": 0}
    table, chosen = choose(old.assign(**alike), labelled.assign(**alike), bundle, "all")
    assert chosen.rule.kind == "rows" and chosen.held_out == 100
    assert table["left"].tolist()[-100:] == labelled["left"].tolist()[-100:]


def test_at_most_half_of_the_log_is_held_out(old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle) -> None:
    for window in ("all", "drift_aware"):
        _, chosen = choose(old, labelled.iloc[:80], bundle, window, holdout_rows=1000)
        assert 0 < chosen.held_out <= 40


def test_dtypes_are_those_of_the_old_table(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle, tmp_path: Path
) -> None:
    table, _ = choose(old, labelled, bundle, "all")
    assert table.dtypes.equals(old[[*NAMES, "left"]].dtypes)
    new, _ = choose(old, labelled, bundle, "sliding")
    assert new.dtypes.equals(old[[*NAMES, "left"]].dtypes)
    retrain.clear_folder(tmp_path / "retraining")
    write_table(table, tmp_path / "retraining/table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "retraining/table.parquet"), table)


def test_a_value_that_the_old_dtype_cannot_hold_is_kept(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle
) -> None:
    """A missing value is neither True nor False, and 2.5 is not 2."""
    switches = old.assign(senior=old["senior"] == 1)
    absent = labelled.assign(senior=pd.Series([None, True] * 300, dtype=object))
    for before, now, name, expected in (
        (switches, absent, "senior", {None, True}),
        (switches, labelled.assign(senior=[np.nan, 1.0] * 300), "senior", {None, 1.0}),
        (old, labelled.assign(months=[2.5, 1.0] * 300), "months", {2.5, 1.0}),
        (old, labelled.assign(months=[np.nan, 1.0] * 300), "months", {None, 1.0}),
    ):
        for window in ("all", "drift_aware", "sliding"):
            table, chosen = choose(before, now, bundle, window, sliding_days=1000)
            found = table[name].tolist()[chosen.old :]
            assert {None if pd.isna(value) else value for value in found} == expected, (name, window)


@pytest.mark.parametrize("window", ["all", "sliding", "drift_aware"])
def test_a_log_without_labels_has_no_new_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle, window: str
) -> None:
    """The notebook chooses rows whatever the decision is, and must not fail without any."""
    table, chosen = choose(old, labelled.iloc[:0], bundle, window)
    assert (chosen.new, chosen.held_out, chosen.oldest) == (0, 0, None)
    assert len(table) == chosen.old and list(table.columns) == [*NAMES, "left"]


def test_a_sliding_window_after_the_last_label_has_no_rows(
    old: pd.DataFrame, labelled: pd.DataFrame, bundle: Bundle
) -> None:
    """Labels arrive late: those of the last days are often not known yet."""
    table, chosen = choose(old, labelled, bundle, "sliding", sliding_days=1)
    assert len(table) == chosen.new == 0


# --- the previous model


def compare(labelled: pd.DataFrame, bundle: Bundle, previous: Bundle | None) -> Comparison:
    return compare_previous(labelled, bundle, previous, CONTRACT, COST, RULES)


def label(folder: Path, bundle: Bundle, truthful: Bundle, rows: int = 600, seed: int = 5) -> pd.DataFrame:
    """Rows that `bundle` scored, with labels drawn from the probabilities of `truthful`."""
    frame = draw_labels(truthful, draw_rows(rows, seed), seed)
    return read_labelled(write_segment(folder, make_records(bundle, frame, NEW_YEAR)), CONTRACT, NAMES)


def test_a_better_previous_model_becomes_the_champion_again(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    found = compare(label(tmp_path, bundle, truthful=other, rows=1200), bundle, other)
    assert found.rollback and found.message.endswith("The previous model is better and becomes the champion again.")
    assert "On 1,200 labels" in found.message


def test_a_previous_model_that_is_not_better_stays_previous(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    labelled_rows = label(tmp_path / "a", bundle, truthful=bundle)
    assert not compare(labelled_rows, bundle, other).rollback
    assert "champion again" not in compare(labelled_rows, bundle, other).message
    twin = make_bundle(tmp_path / "twin", "c" * 64, 0.0)
    same = compare(labelled_rows, bundle, twin)
    assert not same.rollback and "differs by +0.0000" in same.message


def test_only_rows_that_the_current_model_scored_are_compared(tmp_path: Path, bundle: Bundle, other: Bundle) -> None:
    mine = make_records(bundle, draw_labels(bundle, draw_rows(300, 1), 1), NEW_YEAR)
    its = make_records(other, draw_labels(other, draw_rows(900, 2), 2), datetime(2026, 2, 1, tzinfo=UTC))
    labelled_rows = read_labelled(write_segment(tmp_path, [*mine, *its]), CONTRACT, NAMES)
    found = compare(labelled_rows, bundle, other)
    assert not found.rollback and "On 300 labels" in found.message


def test_a_small_difference_is_not_significant(tmp_path: Path, bundle: Bundle) -> None:
    """Of two nearly equal models, either may be slightly better by chance."""
    near = make_bundle(tmp_path / "near", "d" * 64, 0.05)
    found = [compare(label(tmp_path / str(seed), bundle, bundle, 300, seed), bundle, near) for seed in range(6)]
    assert not any(record.rollback for record in found)
    assert any("differs by +" in record.message for record in found)


def test_without_labels_or_a_previous_model_there_is_no_comparison(
    tmp_path: Path, bundle: Bundle, other: Bundle, labelled: pd.DataFrame
) -> None:
    assert compare(labelled, bundle, None) == Comparison(rollback=False, message="There is no previous model.")
    few = label(tmp_path / "few", bundle, truthful=other, rows=150)
    for labelled_rows in (few, labelled.iloc[:0], few.assign(left="no")):
        found = compare(labelled_rows, bundle, other)
        assert not found.rollback and "too few to compare" in found.message
    narrow = compare(label(tmp_path / "narrow", bundle, other).drop(columns="plan"), bundle, other)
    assert not narrow.rollback and "['plan']" in narrow.message


def test_the_previous_model_scores_the_rows_as_they_were_requested(
    tmp_path: Path, bundle: Bundle, other: Bundle
) -> None:
    """Also with missing values, which a table holds as NaN: the difference is that of the models' own Brier scores."""
    frame = draw_rows(500, 6).assign(spend=lambda rows: rows["spend"].where(rows["id"] % 3 > 0))
    frame = frame.assign(plan=frame["plan"].where(frame["id"] % 5 > 0))
    frame = draw_labels(other, frame, 6)
    labelled_rows = read_labelled(write_segment(tmp_path, make_records(bundle, frame, NEW_YEAR)), CONTRACT, NAMES)
    truth = (frame["left"] == "yes").to_numpy()
    brier = [np.mean((np.asarray(model.score(to_rows(frame))) - truth) ** 2) for model in (bundle, other)]
    assert f"differs by {brier[0] - brier[1]:+.4f}" in compare(labelled_rows, bundle, other).message


# --- what the other stages get


def test_an_earlier_table_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "data/retraining"
    folder.mkdir(parents=True)
    (folder / "table.parquet").write_text("of last month")
    retrain.clear_folder(folder)
    assert list(folder.iterdir()) == []


def test_the_study_begins_with_the_champions_hyperparameters() -> None:
    metadata = {"family": "logistic", "hyperparameters": {"C": 1.5, "knots": 4}, "threshold": 0.3}
    started = retrain.choose_first(metadata)
    assert started == {"logistic": {"C": 1.5, "knots": 4}}
    started["logistic"]["C"] = 2.0
    assert metadata["hyperparameters"]["C"] == 1.5
