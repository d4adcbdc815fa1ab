import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Rejects
from lifecycle.reporting import quality
from lifecycle.stages import validate
from lifecycle.stages.collect import write_rejected
from lifecycle.validation.checks import (
    CHECKS,
    check_association,
    check_classes,
    check_drift,
    check_duplicates,
    check_ids,
    check_leakage,
    check_outliers,
    check_personal,
    check_readable,
    check_rows,
    check_time,
    check_unlisted,
)
from lifecycle.validation.pii import _KEY_VARIABLE, narrow_columns, plan_protection
from tests.support.contracts import make_contract


def walk(
    raw: pd.DataFrame,
    contract: Contract,
    folder: Path,
    *,
    reference: Any = None,
    policy: Any = "drop",
    limit: float = 0.95,
    rejects: Sequence[tuple[str, str, str]] = (),
) -> dict[str, Any]:
    """What the notebook does, up to the verdict."""
    path, valid_path, quarantine_path = (folder / f"{name}.parquet" for name in ("raw", "valid", "quarantine"))
    pq.write_table(pa.Table.from_pandas(raw, preserve_index=False), path)
    broken = Rejects()
    for reject in rejects:
        broken.add(*reject)
    write_rejected(broken, folder / "rejected.parquet")
    rejected = validate.count_rejected(folder / "rejected.parquet")
    findings = validate.search_personal(path, contract, policy)
    protection = plan_protection(contract.columns, findings)
    columns = narrow_columns(contract.columns, protection)
    survey = validate.survey_rows(path, contract, protection, folder)
    split = validate.split_rows(path, contract, protection, survey, reference, valid_path, quarantine_path)
    drift = validate.compare_reference(reference, split.profile)
    aucs = validate.measure_univariate_aucs(split.sample, columns, contract, 0)
    associations = validate.associate_columns(split.sample, columns, aucs, 0)
    checks = [
        check_readable(rejected, survey.rows),
        *check_personal(contract, findings, policy),
        *check_rows(split.reasons, split.broken, columns),
        check_unlisted(split.unlisted),
        check_classes(split.classes, contract),
        check_ids(survey.repeats.varied, columns),
        check_duplicates(survey.repeats.duplicated, survey.rows),
        check_outliers(split.fences),
        *check_time(survey.course),
        *check_drift(drift, reference, 0.2),
        check_association(associations, contract.target, limit),
        check_leakage(aucs, limit),
    ]
    verdict = validate.judge_table(checks, contract, protection, split, rejected)
    valid, quarantine = (pd.read_parquet(validate.hide_file(name)) for name in (valid_path, quarantine_path))
    validate.release_tables(verdict, valid_path, quarantine_path)
    assert valid_path.exists() == verdict.passed
    assert not list(folder.glob(".*"))
    valid_path.unlink(missing_ok=True)
    return {**locals(), "checks": {check.name: asdict(check) for check in verdict.checks}}


def make_folder(parent: Path) -> Path:
    folder = parent / "reference"
    folder.mkdir()
    return folder


def make_everything() -> Contract:
    """A contract to which every check applies."""
    return make_contract(
        when={"role": "time", "dtype": "datetime"},
        spend={"outliers": "quarantine"},
        note={"role": "text", "dtype": "string", "nullable": True},
        name={"role": "pii", "dtype": "string"},
        shop={"role": "categorical", "dtype": "string", "values": ["north", "south"], "open": True, "nullable": True},
    )


@pytest.fixture
def clean(customers: pd.DataFrame) -> pd.DataFrame:
    """The customers, with a moment, a note and a name."""
    when = pd.date_range("2024-01-01", periods=300, freq="h")
    return customers.assign(when=when, note="fine", name="Ann", shop="north", spend=customers["spend"].clip(upper=150))


@pytest.fixture
def reference(clean: pd.DataFrame, tmp_path: Path) -> dict[str, Any]:
    pq.write_table(pa.Table.from_pandas(clean), tmp_path / "old.parquet")
    contract = make_everything()
    return validate.describe_reference(tmp_path / "old.parquet", contract, make_folder(tmp_path))


def change(frame: pd.DataFrame, column: str, values: dict[int, Any]) -> pd.DataFrame:
    """The frame with some cells changed, the column as text where it must be."""
    cells = frame[column].astype(object)
    for row, value in values.items():
        cells[row] = value
    kinds = {type(cell) for cell in cells if not pd.isna(cell)}
    return frame.assign(**{column: cells.map(str).where(cells.notna(), None) if len(kinds) > 1 else cells})


def test_a_clean_table_passes_every_check(clean: pd.DataFrame, reference: dict[str, Any], tmp_path: Path) -> None:
    made = walk(clean, make_everything(), tmp_path, reference=reference)
    assert list(made["checks"]) == list(CHECKS)
    assert {check["status"] for check in made["checks"].values()} == {"passed"}
    assert made["verdict"].passed
    assert made["verdict"].because == "None of 300 rows broke the contract, which tolerates 1.0%."
    assert made["verdict"].dropped == ("name",)
    assert "name" not in made["valid"]
    validate.require_passed(made["verdict"])
    assert validate.describe_quarantine(made["verdict"]) == "Every row satisfies the contract: the quarantine is empty."
    assert validate.describe_outcome_text(made["verdict"]).startswith(
        "**300 valid rows** without `name` went to `data/validated/table"
    )


BREAKS: dict[str, Any] = {
    "personal": lambda f: change(f, "note", {5: "ask ann@x.org"}),
    "types": lambda f: change(f, "months", {5: "x"}),
    "missing": lambda f: change(f, "plan", {5: None}),
    "values": lambda f: change(f, "plan", {5: "gold"}),
    "unlisted": lambda f: change(f, "shop", {5: "east", 7: None}),
    "range": lambda f: change(f, "months", {5: -1}),
    "finite": lambda f: change(f, "spend", {5: np.inf}),
    "target": lambda f: change(f, "left", {5: None}),
    "classes": lambda f: f.assign(left="no"),
    "repeats": lambda f: pd.concat([f, f.tail(1)]),
    "ids": lambda f: change(f, "id", {5: 4}),
    "duplicates": lambda f: pd.concat([f, f.tail(1).assign(id=999)]),
    "outlier_rows": lambda f: change(f, "spend", {5: 1e6}),
    "outliers": lambda f: change(f, "months", {5: 5000}),
    "window": lambda f: change(f, "when", {5: "9999-12-31"}),
    "order": lambda f: f.assign(when=f["when"][::-1].to_numpy()),
    "gaps": lambda f: f.assign(when=f["when"] + pd.to_timedelta(np.where(f.index > 150, 60, 0), unit="D")),
    "zones": lambda f: change(f, "when", {5: "2024-01-01T05:00:00+00:00"}),
    "drift": lambda f: f.assign(months=f["months"] + 50),
    "categories": lambda f: f.assign(senior=0),
    "association": lambda f: f.assign(spend=f["months"] * 2.0),
    "leakage": lambda f: f.assign(spend=np.where(f["left"] == "yes", 90.0, 10.0) + f["id"] / 100),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
def test_every_check_fails_where_it_should(
    name: str, clean: pd.DataFrame, reference: dict[str, Any], tmp_path: Path
) -> None:
    made = walk(BREAKS[name](clean), make_everything(), tmp_path, reference=reference)
    check = made["checks"][name]
    assert check["status"] == "failed"
    assert check["count"] >= 1
    assert check["message"].endswith(".")
    assert len(made["valid"]) + len(made["quarantine"]) == len(made["raw"])
    made["verdict"].write(tmp_path / "checks.json")
    assert json.loads((tmp_path / "checks.json").read_text())["checks"][0]["name"] == "declared"


def test_the_verdict_stops_past_the_tolerance(clean: pd.DataFrame, tmp_path: Path) -> None:
    broken = change(clean, "months", dict.fromkeys(range(3), -1))
    assert walk(broken, make_everything(), tmp_path)["verdict"].passed
    broken = change(change(clean, "months", dict.fromkeys(range(3), -1)), "plan", {9: "gold"})
    verdict = walk(broken, make_everything(), tmp_path)["verdict"]
    assert (verdict.passed, verdict.quarantined, verdict.valid) == (False, 4, 296)
    with pytest.raises(
        ProjectError, match=r"4 \(1\.3%\) of 300 rows.*tolerates 1\.0%: months: expected at least 0 \(3 rows\)"
    ):
        validate.require_passed(verdict)
    assert "the next stage does not run" in validate.describe_outcome_text(verdict)
    assert "**4 rows" in validate.describe_quarantine(verdict)


def test_rows_that_could_not_be_read_count_against_the_tolerance(clean: pd.DataFrame, tmp_path: Path) -> None:
    rejects = [(f"in.csv, line {line}", "ann@x.org;1;2", "3 cells, expected 2") for line in (7, 9)]
    made = walk(clean, make_everything(), tmp_path, rejects=rejects)
    verdict = made["verdict"]
    assert (verdict.passed, verdict.rows, verdict.valid, verdict.quarantined, verdict.rejected) == (
        True,
        302,
        300,
        0,
        2,
    )
    assert (
        "None of 302 rows broke the contract, which tolerates 1.0%, and 2 (0.7%) could not be read" in verdict.because
    )
    check = made["checks"]["readable"]
    assert (check["status"], check["count"], check["examples"]) == (
        "failed",
        2,
        ("in.csv, line 7: 3 cells, expected 2",),
    )
    assert "**2 rows (0.7\N{NO-BREAK SPACE}%)** could not be read" in validate.describe_quarantine(verdict)
    assert "0 to `data/validated/quarantine.parquet`, 2 could not be read" in validate.describe_outcome_text(verdict)
    assert "2 could not be read" in quality.render_verdict(verdict.to_json())
    assert "ann@x.org" not in str(verdict)

    rejects += [("in.csv, line 11", "x", "a quote is not closed"), ("in.csv, line 12", "y", "a quote is not closed")]
    broken = change(clean, "months", dict.fromkeys(range(3), -1))
    made = walk(broken, make_everything(), tmp_path, rejects=rejects)
    assert not made["verdict"].passed
    with pytest.raises(
        ProjectError,
        match=r"3 \(1\.0%\) of 304 rows broke .* and 4 \(1\.3%\) could not be read: months: expected at least 0 \(3 rows\); "
        r"cannot be read: 3 cells, expected 2 \(2 rows\); cannot be read: a quote is not closed \(2 rows\)",
    ):
        validate.require_passed(made["verdict"])
    reasons = validate.join_reasons(made["split"].reasons, made["rejected"])
    assert reasons["rows"].tolist() == [3, 2, 2]
    assert quality.draw_reasons(reasons) is not None


def test_one_class_and_forbidden_personal_data_stop_it(clean: pd.DataFrame, tmp_path: Path) -> None:
    verdict = walk(clean.assign(left="no"), make_everything(), tmp_path)["verdict"]
    assert not verdict.passed
    assert "No valid row has left = 'yes'" in verdict.because
    personal = clean.assign(note=[f"u{place}@x.org" for place in range(300)])
    assert walk(personal, make_everything(), tmp_path)["verdict"].passed
    made = walk(personal, make_everything(), tmp_path, policy="stop")
    assert not made["verdict"].passed
    assert made["checks"]["personal"]["severity"] == "error"
    assert "note" not in made["valid"]


def test_nothing_personal_is_written(clean: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_KEY_VARIABLE, "a secret of some length")
    raw = change(clean, "months", {3: -1}).assign(
        name="Ann Example", note=[f"u{place}@x.org" for place in range(300)], plan=["ann@x.org", *clean["plan"][1:]]
    )
    contract = make_everything()
    made = walk(raw, contract, tmp_path, policy="pseudonymise")
    written = f"{made['verdict']}{made['valid'].to_csv()}{made['quarantine'].to_csv()}{made['split']}"
    assert "@x.org" not in written
    assert "Ann" not in written
    assert made["verdict"].pseudonymised == ("note",)
    assert made["quarantine"]["plan"][0] == "[e-mail]"
    reference = validate.describe_reference(tmp_path / "raw.parquet", contract, make_folder(tmp_path))
    assert "x.org" not in json.dumps(reference)
    assert "note" not in reference["columns"]


def test_a_check_that_does_not_apply_says_so(customers: pd.DataFrame, tmp_path: Path) -> None:
    made = walk(customers, make_contract(), tmp_path)
    apart = {name for name, check in made["checks"].items() if check["status"] == "not applicable"}
    assert apart == {"declared", "unlisted", "outlier_rows", "window", "order", "gaps", "zones", "drift", "categories"}
    assert "lifecycle profile" in made["checks"]["drift"]["message"]


def test_a_column_that_the_reference_lacks_is_named(customers: pd.DataFrame, tmp_path: Path) -> None:
    walk(customers, make_contract(), tmp_path)
    old = validate.describe_reference(tmp_path / "raw.parquet", make_contract(), make_folder(tmp_path))
    del old["columns"]["spend"]
    made = walk(customers, make_contract(), tmp_path, reference=old)
    assert made["checks"]["drift"]["message"].endswith("The profile lacks 'spend'.")


def test_many_rows_are_sampled_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame({"row": np.arange(1000)})
    assert validate.sample_rows(frame, 3, 0) is frame
    monkeypatch.setattr(validate, "LEAST_SAMPLE", 10)
    few = validate.sample_rows(frame, validate.WORK // 100, 0)["row"]
    assert len(few) == 100
    assert few.is_monotonic_increasing
    assert few.equals(validate.sample_rows(frame, validate.WORK // 100, 0)["row"])


def test_a_table_without_features(customers: pd.DataFrame, tmp_path: Path) -> None:
    left_out = {"role": "ignored", "duration": False}
    contract = make_contract(months=left_out, spend=left_out, senior=left_out, plan={"role": "text"})
    made = walk(customers, contract, tmp_path)
    assert {made["checks"][name]["status"] for name in ("association", "leakage", "outliers")} == {"not applicable"}
    assert draw_everything(made) == [None] * 7


@pytest.mark.parametrize("role", ["numeric", "categorical"])
def test_tables_of_one_kind_and_wide_ones(role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "MOST", 20)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 40)) if role == "numeric" else rng.choice(["a", "b"], (60, 40))
    names = [f"Spalte {place} ü" for place in range(40)]
    raw = pd.DataFrame(values, columns=names).assign(y=rng.integers(0, 2, 60))
    dtype = "float64" if role == "numeric" else "string"
    columns: dict[str, Any] = {name: {"role": role, "dtype": dtype, "description": "x"} for name in names}
    columns["y"] = {"role": "target", "dtype": "int64", "values": [0, 1], "positive": 1, "description": "y"}
    contract = Contract.model_validate({"name": "wide", "description": "x", "columns": columns})
    made = walk(raw, contract, tmp_path)
    assert made["verdict"].passed
    assert len(made["associations"]) == (41 if role == "numeric" else validate.MOST + 1)
    draw_everything(made)


def draw_everything(made: dict[str, Any]) -> list[Any]:
    split, course = made["split"], made["survey"].course
    figures = [
        quality.draw_reasons(split.reasons),
        quality.draw_missing(split.missing),
        quality.draw_outliers(made["survey"].numbers, split.fences),
        quality.draw_univariate_auc(made["aucs"], 0.95),
        quality.draw_associations(made["associations"]),
        quality.draw_drift(made["drift"], 0.2),
        quality.draw_rows_over_time(split.sample[made["contract"].time], course.gaps, split.valid) if course else None,
    ]
    for figure in figures:
        if figure is not None:
            figure.draw_without_rendering()
    plt.close("all")
    return figures


def test_pictures_and_pages(clean: pd.DataFrame, reference: dict[str, Any], tmp_path: Path) -> None:
    broken = clean
    for name in ("drift", "outliers", "types", "values", "gaps", "leakage"):
        broken = BREAKS[name](broken)
    broken = broken.assign(note=["<b>fine</b>", None] * 150)
    made = walk(broken, make_everything(), tmp_path, reference=reference)
    assert all(figure is not None for figure in draw_everything(made))
    page = quality.render_verdict(made["verdict"].to_json())
    assert page.index("✗ error") < page.index("! warning") < page.index("✓ passed")
    assert "The table passed" in page
    told = quality.render_findings(made["verdict"].to_json(), "values", "outliers")
    assert "expected one of &#39;basic&#39;" in told
    assert (
        quality.render_findings(
            walk(clean, make_everything(), tmp_path)["verdict"].to_json(), "drift", "categories"
        ).count("<p>")
        == 1
    )


def test_there_is_nothing_to_draw_of_a_clean_table(
    clean: pd.DataFrame, reference: dict[str, Any], tmp_path: Path
) -> None:
    made = walk(clean, make_everything(), tmp_path, reference=reference)
    assert quality.draw_reasons(made["split"].reasons) is None
    assert quality.draw_drift(made["drift"], 0.2) is None
    assert quality.draw_missing(pd.Series({"a": 0.0})) is None
