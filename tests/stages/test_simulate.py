"""Tests of the stage simulate: what scenarios do to rows, which are refused, and the logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lifecycle.core.errors import ProjectError
from lifecycle.core.params import Scenario, load_params, parse_strictly
from lifecycle.monitoring.scenarios import begin_month, check_scenario, describe_scenario, draw_month, score_month
from lifecycle.prediction_log.reader import read_predictions
from lifecycle.serving.bundle import Bundle
from lifecycle.stages import simulate
from tests.support.bundles import COLUMNS
from tests.support.small import SMALL
from tests.support.traffic import CONTRACT, DAY, draw_labels, draw_rows, to_rows, write_watched

Record = dict[str, Any]
KINDS: dict[str, Record] = {
    "none": {"kind": "none"},
    "scale": {"kind": "scale", "column": "spend", "factor": 1.5},
    "tilt": {"kind": "tilt", "column": "months", "factor": 1.0},
    "mix": {"kind": "mix", "column": "plan", "category": "pro", "factor": 3},
    "prior": {"kind": "prior", "factor": 2},
    "reverse": {"kind": "reverse", "column": "months"},
    "category": {"kind": "category", "column": "plan", "category": "Wallet", "share": 0.3},
    "missing": {"kind": "missing", "column": "spend", "share": 0.6},
    "volume": {"kind": "volume", "factor": 0.4},
}
DAYS = {"positive": [20, 60], "negative": [20, 60]}
LABELS: Record = {"label_days": DAYS, "label_share": 0.9}


def make_scenario(**keys: Any) -> Record:
    """A scenario as params.yaml has it, with its defaults; refused where it breaks its section."""
    return parse_strictly(Scenario, keys, Path("params.yaml")).model_dump()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_watched(tmp_path_factory.mktemp("simulate") / "bundle")


@pytest.fixture(scope="module")
def pool(bundle: Bundle) -> pd.DataFrame:
    """The held-out rows; a spend in ten is absent."""
    frame = draw_labels(bundle, draw_rows(400, seed=3), seed=3)
    return frame.assign(spend=frame["spend"].where(frame["id"] % 10 > 0))


def draw(
    pool: pd.DataFrame, kind: str, *, month: int = 3, rows: int = 500, begin: int = 2, seed: int = 1, **more: Any
) -> pd.DataFrame:
    scenario = make_scenario(**KINDS[kind], begin=begin) | more
    check_scenario(kind, scenario, pool, CONTRACT)
    return draw_month(pool, scenario, CONTRACT, month=month, rows=rows, seed=seed)


def score(bundle: Bundle, frame: pd.DataFrame, month: int = 1, first: str = "2026-01", **more: Any) -> list[Record]:
    settings = {**LABELS, "seed": 1, **more}
    return list(score_month(bundle, frame, CONTRACT, first=first, month=month, **settings))


# --- what happens to the rows


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_before_it_begins_every_scenario_draws_the_same_rows(pool: pd.DataFrame, kind: str) -> None:
    for month in (1, 2, 3):
        same, other = draw(pool, "none", month=month), draw(pool, kind, month=month, begin=3)
        assert (month >= 3 and kind != "none") != same.equals(other), month


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_month_is_repeatable_and_depends_on_month_and_seed(pool: pd.DataFrame, kind: str) -> None:
    frame = draw(pool, kind)
    pd.testing.assert_frame_equal(frame, draw(pool, kind))
    assert not frame.equals(draw(pool, kind, seed=2)) and not frame.equals(draw(pool, kind, month=4))


def test_the_pool_is_the_hold_out_and_is_not_changed(pool: pd.DataFrame) -> None:
    split = pd.DataFrame({"held_out": np.arange(len(pool)) % 4 == 0})
    assert simulate.find_pool(pool, split)["id"].tolist() == list(range(0, len(pool), 4))
    before = pool.copy()
    for kind in KINDS:
        draw(pool, kind)
    pd.testing.assert_frame_equal(pool, before)


def test_scale_multiplies_a_share_of_the_numbers_and_keeps_integers(pool: pd.DataFrame) -> None:
    same, changed = draw(pool, "none"), draw(pool, "scale")
    np.testing.assert_allclose(changed["spend"], same["spend"] * 1.5)
    some = draw(pool, "scale", share=0.4)["spend"] / same["spend"]
    assert set(some.dropna().round(6)) == {1.0, 1.5} and 0.3 < (some.dropna() > 1).mean() < 0.5
    whole = draw(pool, "scale", column="months", factor=0.9)
    assert (whole["months"] % 1 == 0).all() and whole["months"].equals((same["months"] * 0.9).round())
    assert same.drop(columns="spend").equals(changed.drop(columns="spend"))


@pytest.mark.parametrize(("factor", "sign"), [(1.0, 1), (-1.0, -1)])
def test_tilt_draws_rows_with_a_high_number_more_often(pool: pd.DataFrame, factor: float, sign: int) -> None:
    same, tilted = draw(pool, "none", rows=3000), draw(pool, "tilt", rows=3000, factor=factor)
    moved = (tilted["months"].mean() - same["months"].mean()) / same["months"].std()
    assert sign * moved > 0.5
    assert tilted.merge(pool, on="id", suffixes=("", "_")).eval("months == months_ and left == left_").all()


def test_mix_and_prior_multiply_the_odds_of_a_category_and_a_class(pool: pd.DataFrame) -> None:
    for frame, before, odds in (
        (draw(pool, "mix", rows=4000)["plan"] == "pro", pool["plan"] == "pro", 3),
        (draw(pool, "prior", rows=4000)["left"] == "yes", pool["left"] == "yes", 2),
    ):
        share = before.mean()
        assert frame.mean() == pytest.approx(odds * share / (odds * share + 1 - share), abs=0.03)


def test_mix_takes_a_number_by_its_name(pool: pd.DataFrame) -> None:
    frame = draw(pool, "mix", column="senior", category="1", factor=9, rows=2000)
    assert frame["senior"].mean() > 0.8


def test_reverse_reverses_a_relation_and_keeps_the_distribution(pool: pd.DataFrame) -> None:
    same, turned = draw(pool, "none", rows=3000), draw(pool, "reverse", rows=3000)
    assert spearmanr(same["months"], turned["months"]).statistic == pytest.approx(-1, abs=0.02)
    assert set(turned["months"]) <= set(pool["months"])
    shares = [frame["months"].value_counts(normalize=True) for frame in (pool, turned)]
    assert (shares[0] - shares[1]).abs().max() < 0.05
    before, after = ((frame["left"] == "yes").groupby(frame["months"] > 30).mean() for frame in (same, turned))
    assert before[False] > before[True] + 0.1 and after[True] > after[False] + 0.1
    piled = pool.assign(months=pool["months"].clip(20, 50))  # a third of the rows has 20, a third 50
    for month in (5, 6):  # a frequent value stays as frequent, month after month
        scenario = make_scenario(kind="reverse", column="months", begin=5)
        turned = draw_month(piled, scenario, CONTRACT, month=month, rows=400, seed=0)
        for end in (20, 50):
            assert (turned["months"] == end).mean() == pytest.approx((piled["months"] == end).mean(), abs=0.06)
    gaps = draw(pool, "reverse", column="spend")
    assert gaps["spend"].isna().equals(draw(pool, "none")["spend"].isna())


def test_a_share_of_the_rows_has_a_new_category_or_missing_values(pool: pd.DataFrame) -> None:
    assert (draw(pool, "category")["plan"] == "Wallet").mean() == pytest.approx(0.3, abs=0.06)
    same, gone = draw(pool, "none")["spend"], draw(pool, "missing")["spend"]
    assert gone.isna().mean() == pytest.approx(0.6 + 0.4 * same.isna().mean(), abs=0.06)
    assert (gone.dropna() == same[gone.notna()]).all()
    assert draw(pool, "missing", share=1.0)["spend"].isna().all()


def test_volume_changes_the_number_of_rows(pool: pd.DataFrame) -> None:
    assert len(draw(pool, "volume")) == 200 and len(draw(pool, "volume", factor=2.0)) == 1000
    assert len(draw(pool, "volume", begin=4)) == 500


# --- what is refused


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"kind": "scale", "column": "spent"}, "column is 'spent', expected a feature column"),
        ({"kind": "missing"}, "column is ''"),
        ({"kind": "missing", "column": "left"}, "column is 'left'"),
        ({"kind": "tilt", "column": "plan"}, "tilt needs a numeric column; plan is not"),
        ({"kind": "reverse", "column": "plan"}, "reverse needs a numeric column"),
        ({"kind": "scale", "column": "plan"}, "scale needs a numeric column"),
        ({"kind": "mix", "column": "plan", "category": "gold"}, "category is 'gold', which plan does not have"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "none", "share": 1.5}, "share"),
        ({"kind": "none", "begin": 0}, "begin"),
        ({"kind": "category", "column": "months", "category": "x"}, "months"),
        ({"kind": "missing", "column": "id"}, "column is 'id'"),
        ({"kind": "volume", "factor": -1}, "factor"),
        ({"kind": "mix", "column": "plan", "category": "pro", "factor": -1}, "factor"),
        ({"kind": "prior", "factor": -2}, "factor"),
        ({"kind": "prior", "factor": float("nan")}, "factor"),
        ({"kind": "scale", "column": "spend", "factor": float("nan")}, "factor"),
        ({"kind": "scale", "column": "spend", "factor": float("inf")}, "factor"),
    ],
)
def test_an_invalid_scenario_is_refused_with_its_key(pool: pd.DataFrame, keys: Record, words: str) -> None:
    def check() -> None:
        check_scenario("bad", make_scenario(**keys), pool, CONTRACT)

    with pytest.raises(ProjectError, match=words) as caught:
        check()
    assert str(caught.value).startswith("params.yaml") and str(caught.value).endswith(".")


@pytest.mark.parametrize("values", [5.0, np.nan], ids=["constant", "absent"])
def test_a_constant_column_cannot_be_tilted(pool: pd.DataFrame, values: float) -> None:
    flat = pool.assign(months=values)
    with pytest.raises(ProjectError, match="months"):
        check_scenario("flat", make_scenario(**KINDS["tilt"]), flat, CONTRACT)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("positive: [1, 30]", "positive: [30, 1]", "label_days"),
        ("positive: [1, 30]", "positive: [1]", "label_days"),
        ("positive: [1, 30]", "positive: [-1, 30]", "label_days"),
        ("{positive: [1, 30], ", "{", "label_days"),
        ('first: "2026-01"', 'first: "2026-13"', "first"),
        ("none: {kind: none}", "No Thing: {kind: none}", "scenarios"),
    ],
)
def test_invalid_parameters_are_refused_with_their_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    text = (SMALL / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ProjectError, match=rf"params\.yaml: simulate(\.|: ){words}"):
        load_params(tmp_path / "params.yaml")


# --- the log


def test_records_equal_those_of_a_server(bundle: Bundle, pool: pd.DataFrame) -> None:
    frame = draw(pool, "none", rows=60)
    records = [record for record in score(bundle, frame) if record["kind"] == "prediction"]
    assert [record["features"] for record in records] == to_rows(frame)
    np.testing.assert_allclose([record["probability"] for record in records], bundle.score(to_rows(frame)))
    for record in records:
        assert record["prediction"] == ("yes" if record["probability"] >= 0.5 else "no")
        assert (record["model"], record["degraded"]) == (bundle.name, False)
        assert set(record["features"]) == {column["name"] for column in COLUMNS}
    json.dumps(records, allow_nan=False)


@pytest.mark.parametrize("first", ["2026-01", "2026-11", "2027-12"])
@pytest.mark.parametrize("positive", [[20, 60], [0, 0], [30, 30], [300, 400]])
def test_labels_arrive_on_a_28th_after_the_delay_of_their_class(
    bundle: Bundle, pool: pd.DataFrame, first: str, positive: list[int]
) -> None:
    label_days = {"positive": positive, "negative": [45, 50]}
    for month in (1, 2):
        records = score(bundle, draw(pool, "none", rows=150), month, first, label_days=label_days)
        known = {record["id"]: record["label"] for record in records if record["kind"] == "feedback"}
        asked = {record["id"]: record["at"] for record in records if record["kind"] == "prediction"}
        labelled = {record["id"]: record["at"] for record in records if record["kind"] == "feedback"}
        assert 0.8 < len(labelled) / len(asked) < 0.98
        for name, at in labelled.items():
            moment = datetime.fromtimestamp(at / 1e6, UTC)
            assert (moment.day, moment.hour, moment.minute) == (28, 0, 0)
            least, most = label_days["positive" if known[name] == "yes" else "negative"]
            assert least * DAY <= at - asked[name] <= (most + 31) * DAY


def test_predictions_are_in_their_month_in_ascending_order(bundle: Bundle, pool: pd.DataFrame) -> None:
    start = begin_month("2026-11", 3)
    assert start == datetime(2027, 1, 1, tzinfo=UTC)
    records = score(bundle, draw(pool, "none", rows=200), 3, "2026-11")
    at = [record["at"] / 1e6 for record in records if record["kind"] == "prediction"]
    assert at == sorted(at) and len(set(at)) > 190
    assert start.timestamp() <= at[0] and at[-1] < (start + timedelta(days=31)).timestamp()
    labels = {record["id"]: record["label"] for record in records if record["kind"] == "feedback"}
    assert set(labels.values()) == {"no", "yes"}


def test_label_share_decides_how_many_labels_arrive(bundle: Bundle, pool: pd.DataFrame) -> None:
    frame = draw(pool, "none", rows=50)
    for share, expected in ((1.0, 50), (0.0, 0)):
        assert sum(record["kind"] == "feedback" for record in score(bundle, frame, label_share=share)) == expected


def list_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def make_log(bundle: Bundle, pool: pd.DataFrame, folder: Path, seed: int = 1, months: int = 3) -> list[Record]:
    records = [
        record
        for month in range(1, months + 1)
        for record in score(bundle, draw(pool, "scale", month=month, rows=80, seed=seed), month, seed=seed)
    ]
    simulate.write_log(folder, records, begin_month("2026-01", months + 1))
    return records


def test_the_same_seed_writes_the_same_bytes(bundle: Bundle, pool: pd.DataFrame, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_log(bundle, pool, tmp_path / name, seed, months=2)
    one, other, another = (dict(list_files(tmp_path / name)) for name in "abc")
    assert one == other and len(one) > 2
    assert another != one


def test_a_log_has_no_later_records_and_none_of_an_older_log(
    bundle: Bundle, pool: pd.DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    make_log(bundle, pool, folder, months=3)
    records = make_log(bundle, pool, folder, months=2)
    until = begin_month("2026-01", 3)
    asked, labelled = (read_predictions(folder, kind).to_pandas() for kind in ("prediction", "feedback"))
    assert len(asked) == 160 and asked["at"].max() < until and labelled["at"].max() < until
    expected = [record for record in records if record["at"] < until.timestamp() * 1e6]
    assert len(asked) + len(labelled) == len(expected) < len(records)
    assert set(labelled["id"]) < set(asked["id"])


def test_scenarios_and_logs_are_summarized(bundle: Bundle, pool: pd.DataFrame) -> None:
    records = score(bundle, draw(pool, "scale", rows=80), 1) + score(bundle, draw(pool, "scale", rows=40), 2)
    summary = simulate.summarize_scenario("dearer", make_scenario(**KINDS["scale"], begin=2), "2026-12", records)
    assert (summary["scenario"], summary["kind"], summary["begins"], summary["predictions"]) == (
        "dearer",
        "scale",
        "2027-01",
        120,
    )
    assert summary["labels"] == sum(record["kind"] == "feedback" for record in records)
    assert simulate.summarize_scenario("calm", make_scenario(kind="none"), "2026-12", [])["begins"] is None
    months = simulate.summarize_log(records)
    assert months["month"].tolist() == ["2026-01", "2026-02"] and months["predictions"].tolist() == [80, 40]
    p = [record["probability"] for record in records if record["id"].startswith("202602")
         and record["kind"] == "prediction"]  # fmt: skip
    assert months["rate"].iloc[1] == pytest.approx(np.mean(p))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_has_a_description(kind: str) -> None:
    words = describe_scenario(make_scenario(**KINDS[kind]))
    assert words and KINDS[kind].get("column", "") in words
    assert ("30% of the rows" in words) == (KINDS[kind].get("share") == 0.3)
