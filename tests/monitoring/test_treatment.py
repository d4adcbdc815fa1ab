"""Predictions that somebody acted on: what monitoring says of them, with a control group and without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.modeling.intervals import bound_share
from lifecycle.monitoring import traffic, treatment
from lifecycle.reporting.pages import render_table
from lifecycle.serving.bundle import Bundle
from lifecycle.stages import monitor
from tests.stages.test_monitor import SETTINGS
from tests.support.traffic import DAY, draw_labels, draw_rows, make_months, write_segment, write_watched

Record = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("treatment") / "bundle"


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return write_watched(folder)


@pytest.fixture(scope="module")
def reference(bundle: Bundle, folder: Path) -> Record:
    return traffic.read_reference(bundle, folder)


def treat(
    records: list[Record], *, control: float, saved: float, reached: float = 1.0, seed: int = 0, action: str = "called"
) -> list[Record]:
    """The log as it is when those predicted positive are treated, but for a control share: some do not leave then."""
    rng = np.random.default_rng([seed, 99])  # not the seed of the rows, whose columns would follow the group
    changed, treated = [], set()
    for record in records:
        if record["kind"] == "prediction":
            held = bool(rng.random() < control)
            changed.append({**record, **({"control": held} if control else {})})
            if not held and record["prediction"] == "yes" and rng.random() < reached:
                treated.add(record["id"])
                changed.append({"kind": "action", "id": record["id"], "at": record["at"] + DAY, "action": action})
        else:
            stays = record["id"] in treated and rng.random() < saved
            changed.append({**record, "label": "no"} if stays else record)
    return changed


def read(log: Path, bundle: Bundle, reference: Record, records: list[Record], treated: str) -> list[traffic.Traffic]:
    if not log.exists():
        write_segment(log, records)
    return list(
        traffic.read_traffic(log, traffic.list_windows(log, "month"), bundle, reference, ["plan"], treated=treated)
    )


@pytest.fixture(scope="module")
def months(bundle: Bundle) -> list[Record]:
    return make_months(bundle, [draw_rows(600, seed) for seed in range(3)])


@pytest.mark.parametrize("control", [0.0, 0.2])
def test_a_good_model_looks_bad_when_treated_rows_count(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record], control: float
) -> None:
    """The model is right about everyone; the calls work. Only without the rows that were called no alert fires."""
    records = treat(months, control=control, saved=0.7, seed=1)  # with others a window in a hundred has a chance alert
    kinds = {}
    for choice in ("keep", "leave_out"):
        parts = read(tmp_path / "log", bundle, reference, records, choice)
        results = monitor.judge_traffic(parts, reference, SETTINGS)
        kinds[choice] = {alert.kind for found in results.alerts for alert in found}
        rows = monitor.judge_performance(parts, reference, 0.5, 20, 0)
        known = rows[rows["metric"] == "brier"].dropna()
        assert (known["realised_low"] > known["expected_high"]).any() == (choice == "keep")
    assert kinds["keep"] >= {"degradation", "label"}
    assert kinds["leave_out"].isdisjoint({"degradation", "label"}), "low scores are not a shift of labels"


def test_leaving_out_keeps_each_untreated_label_and_says_how_many_are_gone(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    records = treat(months, control=0.2, saved=0.7)
    called = {record["id"] for record in records if record["kind"] == "action"}
    kept, left = (read(tmp_path / "log", bundle, reference, records, choice) for choice in ("keep", "leave_out"))
    assert sum(len(part.labelled) for part in kept) == 1800 and not any(len(part.left_out) for part in kept)
    assert sum(len(part.left_out) for part in left) == len(called) > 300
    assert sum(len(part.labelled) for part in left) == 1800 - len(called)
    for part in left:
        assert part.labelled["action"].isna().all() and len(part.groups) == len(part.labelled)
        assert part.groups["plan"].notna().all()
        assert len(part.sample) == part.labelled["control"].sum()
    assert monitor.describe_left_out(kept) == ""
    assert f"{len(called):,} further labels are left out" in monitor.describe_left_out(left)
    assert len(monitor.measure_groups(left, ["plan"], 0.5)) == 3


def test_the_share_of_positives_has_the_interval_of_its_entities() -> None:
    """Twenty equal rows of each of 100 entities are worth 100 rows, and rows without an entity are worth themselves."""
    label = np.repeat(np.arange(100) % 4 == 0, 20).astype(int)
    grouped = pd.DataFrame({"label": label, "entity": np.repeat([f"e{n}" for n in range(100)], 20)})
    alone = grouped.assign(entity=None)
    found, least = treatment.measure_positives(grouped), treatment.measure_positives(alone)
    assert found["value"] == least["value"] == 0.25
    low, high = bound_share(25, 100)
    assert found["low"] <= low and high <= found["high"] <= high + 0.01
    assert (least["low"], least["high"]) == pytest.approx(tuple(map(float, bound_share(500, 2000))), abs=1e-3)


@pytest.mark.parametrize("choice", ["keep", "leave_out"])
def test_the_control_group_shows_how_good_the_model_is(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record], choice: str
) -> None:
    """The table has all rows, whether they count elsewhere or not; the control group has the metrics of an untreated log."""
    records = treat(months, control=0.3, saved=0.7)
    parts = read(tmp_path / "log", bundle, reference, records, choice)
    assert treatment.is_treated(parts)
    options: Record = {"threshold": 0.5, "cost": reference["cost"], "min_class": 20, "seed": 0}
    table = treatment.tabulate_treatment(parts, **options)
    assert list(table.index) == ["treated", "untreated", "control"]
    assert sum(int(text.replace(",", "")) for text in table["predictions"]) == 1800
    assert sum(int(text.replace(",", "")) for text in table["labels"]) == 1800
    brier = {name: [float(word) for word in text.translate(str.maketrans("(–)", "   ")).split()]
             for name, text in table["Brier"].items()}  # fmt: skip
    truth = reference["performance"]["metrics"]["brier"]["value"]
    assert brier["control"][1] < truth < brier["control"][2]
    assert brier["treated"][1] > truth, "the calls make the model look wrong"


def test_the_effect_is_the_difference_that_the_calls_make(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    """Seven in ten of the leavers stay when called, of those who were reached, four in five."""
    records = treat(months, control=0.4, saved=0.7, reached=0.8)
    labels = {record["id"]: record["label"] == "yes" for record in months if record["kind"] == "feedback"}
    positive = [record["id"] for record in months if record.get("prediction") == "yes"]
    true = -0.7 * 0.8 * np.mean([labels[identity] for identity in positive])
    parts = read(tmp_path / "log", bundle, reference, records, "keep")
    effect = treatment.measure_effect(parts, 0.5)
    assert effect is not None and effect["low"] < true < effect["high"] < 0
    assert sum(effect["rows"]) == len(positive) and effect["crossed"] == 0
    assert abs(effect["treated"] - 0.8) < 0.06
    sentence = treatment.describe_effect(parts, 0.5)
    assert f"a difference of {100 * effect['value']:+.1f} percentage points" in sentence and "Chance" not in sentence


def test_calls_without_an_effect_are_said_to_be_chance(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    parts = read(tmp_path / "log", bundle, reference, treat(months, control=0.4, saved=0.0), "keep")
    assert "Chance alone may explain it." in treatment.describe_effect(parts, 0.5)


def test_the_interval_of_the_effect_counts_entities(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    """The same rows four times, of the same entities, say no more than once."""
    once = treat(months[:600], control=0.4, saved=0.7)
    once = [{**record, "entity": record["id"]} if record["kind"] == "prediction" else record for record in once]
    often = [{**record, "id": f"{record['id']} {turn}"} for turn in range(4) for record in once]
    effects = [treatment.measure_effect(read(tmp_path / name, bundle, reference, records, "keep"), 0.5)
               for name, records in (("once", once), ("often", often))]  # fmt: skip
    widths = [effect["high"] - effect["low"] for effect in effects if effect is not None]
    assert widths[1] == pytest.approx(widths[0], rel=0.03)


def test_treated_control_rows_are_counted_and_stay_in_the_group(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    records = treat(months, control=0.4, saved=0.7)
    held = [record for record in records if record.get("control") and record["prediction"] == "yes"][:9]
    more = [{"kind": "action", "id": record["id"], "at": record["at"], "action": "called"} for record in held]
    parts = read(tmp_path / "log", bundle, reference, [*records, *more], "keep")
    assert "9 of the rows in the control group were treated nevertheless" in treatment.describe_effect(parts, 0.5)


def test_each_action_has_a_row_and_is_escaped(
    tmp_path: Path, bundle: Bundle, reference: Record, months: list[Record]
) -> None:
    called, mailed = (treat(months[place : place + 1200], control=0, saved=0.5, action=action)
                      for place, action in ((0, "<b>called</b>"), (1200, "mailed")))  # fmt: skip
    parts = read(tmp_path / "log", bundle, reference, [*called, *mailed], "keep")
    options: Record = {"threshold": 0.5, "cost": reference["cost"], "min_class": 20, "seed": 0}
    table = treatment.tabulate_treatment(parts, **options)
    assert set(table.index) == {"treated", "treated: <b>called</b>", "treated: mailed", "untreated"}
    assert "<b>called" not in render_table(table) and "&lt;b&gt;called" in render_table(table)
    assert "no control group" in treatment.describe_effect(parts, 0.5)


@pytest.mark.filterwarnings("error")
def test_a_log_without_actions_or_labels_has_nothing_to_compare(
    tmp_path: Path, bundle: Bundle, reference: Record
) -> None:
    frame = draw_labels(bundle, draw_rows(40, 0), 0)
    parts = read(tmp_path / "plain", bundle, reference, make_months(bundle, [frame]), "leave_out")
    assert not treatment.is_treated(parts) and not len(parts[0].left_out)
    records = [record for record in make_months(bundle, [frame, frame[:0], frame]) if record["kind"] == "prediction"]
    parts = read(tmp_path / "silent", bundle, reference, treat(records, control=0.5, saved=0), "keep")
    options: Record = {"threshold": 0.5, "cost": reference["cost"], "min_class": 20, "seed": 0}
    table = treatment.tabulate_treatment(parts, **options)
    assert set(table["labels"]) == {"0"} and set(table["positive"]) == {""}
    assert "Too few rows" in treatment.describe_effect(parts, 0.5)


def test_rows_without_an_entity_are_entities_of_their_own() -> None:
    codes = treatment.number_entities(pd.Series(["a", None, "b", "a", None]))
    assert codes[0] == codes[3] and len(set(codes)) == 4
