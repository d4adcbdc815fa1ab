"""The catalog of features: definitions, owners, statistics and use, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.core import paths
from lifecycle.core.contract import Contract
from lifecycle.core.files import write_json
from lifecycle.core.paths import Project
from lifecycle.features.catalog import describe_features
from lifecycle.reporting.feature_catalog import render_catalog
from lifecycle.stages import report
from tests.support.contracts import make_contract, make_table

Record = dict[str, Any]
MODEL = {"model": "a" * 64, "bundle": "b" * 64, "family": "logistic", "features": ["months", "plan", "pace"]}


def own(contract: Contract, owner: str) -> Contract:
    return Contract.model_validate({**contract.model_dump(mode="json"), "owner": owner})


def declare(contract: Contract, frame: pd.DataFrame, derived: dict[str, str]) -> list[Record]:
    from lifecycle.stages.features import list_features

    return list_features(contract, list(frame), derived)


@pytest.fixture
def table(customers: pd.DataFrame, tmp_path: Path) -> Path:
    contract = make_contract()
    frame = make_table(customers, contract)[0].assign(pace=customers["spend"] / (1 + customers["months"]))
    frame.to_parquet(tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def describe(customers: pd.DataFrame, contract: Contract, table: Path, pace: str = "spend / (1 + months)") -> Any:
    features = declare(contract, customers, {"pace": pace})
    return {feature["name"]: feature for feature in describe_features(features, contract, table)}


def test_statistics_are_those_of_the_table(customers: pd.DataFrame, table: Path) -> None:
    found = describe(customers, make_contract(), table)
    spend, plan, senior = (found[name]["statistics"] for name in ("spend", "plan", "senior"))
    known = customers["spend"].dropna()
    assert (spend["rows"], spend["missing"], spend["distinct"]) == (
        300,
        customers["spend"].isna().sum(),
        known.nunique(),
    )
    told = (spend["mean"], spend["sd"], spend["min"], spend["lower_quartile"], spend["median"], spend["max"])
    expected = (known.mean(), known.std(ddof=0), known.min(), known.quantile(0.25), known.median(), known.max())
    assert told == pytest.approx(expected, rel=1e-5)
    counts = customers["plan"].value_counts()
    assert {level["category"]: level["count"] for level in plan["categories"]} == counts.to_dict()
    assert [level["count"] for level in plan["categories"]] == sorted(counts, reverse=True) and plan["distinct"] == 3
    assert senior["mean"] == pytest.approx(customers["senior"].mean(), rel=1e-5)


def test_an_empty_column_has_no_mean(customers: pd.DataFrame, table: Path, tmp_path: Path) -> None:
    pd.read_parquet(table).assign(spend=np.nan, plan=None).to_parquet(tmp_path / "empty.parquet")
    found = describe(customers, make_contract(), tmp_path / "empty.parquet")
    assert found["spend"]["statistics"] == {"rows": 300, "missing": 300, "distinct": 0}
    assert found["plan"]["statistics"] == {"rows": 300, "missing": 300, "distinct": 0, "categories": []}


def test_owners_are_the_columns_else_the_contracts(customers: pd.DataFrame, table: Path) -> None:
    found = describe(customers, own(make_contract(spend={"owner": "billing"}), "data team"), table)
    assert {name: feature["owner"] for name, feature in found.items()} == {
        "months": "data team", "spend": "billing", "plan": "data team", "senior": "data team", "pace": "billing, data team",
    }  # fmt: skip
    assert describe(customers, make_contract(), table)["pace"]["owner"] == ""


def test_a_changed_definition_is_another_version_and_no_other_feature_changes(
    customers: pd.DataFrame, table: Path
) -> None:
    one = describe(customers, make_contract(), table)
    other = describe(customers, make_contract(spend={"description": "Said otherwise."}), table, "spend / (2 + months)")
    assert [name for name in one if one[name]["version"] != other[name]["version"]] == ["pace"]
    assert (
        one["pace"]["definition"] == "spend / (1 + months)"
        and len({feature["version"] for feature in one.values()}) == 5
    )


def test_the_page_shows_the_catalog(customers: pd.DataFrame, table: Path) -> None:
    contract = own(make_contract(plan={"description": "A <b>plan</b>."}), "data & co")
    features = [
        {**feature, "importance": 0.125 if name == "spend" else None, "used_by": [MODEL["model"]] if name in MODEL["features"] else []}
        for name, feature in describe(customers, contract, table).items()
    ]  # fmt: skip
    catalog = {"project": "shop", "models": [{**MODEL, "roles": ["champion", "candidate"]}], "features": features}
    page = render_catalog(catalog, [("Model card", "model_card.html")], "feature_catalog.html")
    assert (
        "A &lt;b&gt;plan&lt;/b&gt;." in page and "data &amp; co" in page and "<code>spend / (1 + months)</code>" in page
    )
    assert page.index('id="spend"') < page.index('id="months"') and "12.5" in page
    share = customers["plan"].value_counts(normalize=True)["basic"]
    assert f"basic {share:.0%}" in page and features[0]["version"][:8] in page
    assert "built-in" not in page and "None" not in page and "nan" not in page
    none = render_catalog({**catalog, "models": []}, [], "feature_catalog.html")
    assert "there is none" in none


def test_models_are_named_with_what_they_read(tmp_path: Path) -> None:
    read = {
        "model": {"family": "forest", "features": ["plan"]}, "verdict": {"model": "c" * 64}, "blessing": {"bundle": "d" * 64},
    }  # fmt: skip
    assert [model["roles"] for model in report._list_models(tmp_path, read)] == [("candidate",)]
    release = tmp_path / paths.RELEASES / MODEL["model"][:12]
    release.mkdir(parents=True)
    write_json({"format": 2, "model": MODEL["model"], "bundle": MODEL["bundle"]}, tmp_path / paths.CHAMPION)
    write_json({"family": "logistic", "features": MODEL["features"]}, release / "model.json")
    champion, candidate = report._list_models(tmp_path, read)
    assert champion == {**MODEL, "roles": ("champion",)} and candidate["features"] == ["plan"]
    write_json({"format": 2, "model": "c" * 64, "bundle": "d" * 64}, tmp_path / paths.CHAMPION)
    (both,) = report._list_models(tmp_path, read)
    assert both["roles"] == ("champion", "candidate")


def test_the_same_files_give_the_same_bytes(customers: pd.DataFrame, table: Path, tmp_path: Path) -> None:
    contract = make_contract()
    for name in (paths.TRAIN_TABLE, paths.FEATURES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    table.rename(tmp_path / paths.TRAIN_TABLE)
    read = {
        "model": {"family": "forest", "features": ["plan"]}, "verdict": {"model": "c" * 64}, "blessing": {"bundle": "d" * 64},
        "explanation": {"importance": [{"column": "plan", "attribution": 0.1}]},
        "features": {"features": declare(contract, customers, {"pace": "spend / (1 + months)"})},
    }  # fmt: skip
    written = []
    for _ in range(2):
        report._write_catalog(Project(tmp_path, tmp_path), contract, read)
        written.append([(tmp_path / name).read_bytes() for name in (paths.FEATURE_CATALOG, paths.FEATURE_PAGE)])
    assert written[0] == written[1]
    catalog = json.loads(written[0][0])
    assert [f["used_by"] for f in catalog["features"] if f["name"] in ("plan", "pace")] == [["c" * 64], []]


def test_a_text_is_counted_and_not_shown(customers: pd.DataFrame, tmp_path: Path) -> None:
    contract = make_contract(note={"role": "text", "dtype": "string", "nullable": True, "terms": 20})
    frame = customers.assign(note=[None, "Private one", "Private two"] * 100)
    make_table(frame, contract)[0].to_parquet(tmp_path / "train.parquet")
    found = describe_features(declare(contract, frame, {}), contract, tmp_path / "train.parquet")
    assert found[-1]["statistics"] == {"rows": 300, "missing": 100, "distinct": 2}
    page = render_catalog({"project": "shop", "features": [{**each, "importance": None, "used_by": []} for each in found],
                           "models": []}, [], "")  # fmt: skip
    assert "2 different texts" in page and "Private" not in page
