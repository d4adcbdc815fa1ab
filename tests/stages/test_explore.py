import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression

from lifecycle.core import paths
from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import write_table
from lifecycle.exploration import association, distributions, significance
from lifecycle.stages import explore
from tests.support.contracts import make_contract


def read_rates(customers: pd.DataFrame, **changes: dict[str, Any]) -> tuple[pd.DataFrame, np.ndarray]:
    contract = make_contract(**changes)
    kinds, positive = explore.read_rows(customers, contract)
    binned = explore.bin_columns(customers, contract, list(kinds), bins_per_number=4, most=2)
    return explore.rate_categories(binned, positive), positive


def test_rows_are_read_by_the_contract(customers: pd.DataFrame) -> None:
    kinds, positive = explore.read_rows(customers.drop(columns="spend"), make_contract())
    assert kinds == {"months": "numeric", "plan": "categorical", "senior": "categorical"}
    assert positive.dtype == bool and positive.sum() == (customers["left"] == "yes").sum()
    assert explore.name_event(make_contract()) == "left = yes"
    with pytest.raises(ProjectError, match="no column 'left'"):
        explore.read_rows(customers.drop(columns="left"), make_contract())
    with pytest.raises(ProjectError, match="no rows"):
        explore.read_rows(customers.iloc[:0], make_contract())


def test_rates_count_every_row_once(customers: pd.DataFrame) -> None:
    rates, positive = read_rates(customers)
    for _, part in rates.groupby("column"):
        assert part["rows"].sum() == 300 and part["positives"].sum() == positive.sum()
    pro = rates.set_index(["column", "category"]).loc[("plan", "basic")]
    assert pro["rate"] == (customers["left"] == "yes")[customers["plan"] == "basic"].mean()
    wilson = stats.binomtest(int(pro["positives"]), int(pro["rows"])).proportion_ci(method="wilson")
    assert (pro["low"], pro["high"]) == pytest.approx((wilson.low, wilson.high))
    assert list(rates[rates["column"] == "plan"]["category"]) == ["basic", "plus", "other (1 category)"]
    assert rates[rates["category"] == explore.MISSING]["column"].tolist() == ["spend"]


def test_the_positive_class_is_first(customers: pd.DataFrame) -> None:
    classes = explore.count_classes(customers, make_contract())
    assert classes["class"].tolist() == ["yes", "no"] and classes["share"].sum() == pytest.approx(1)
    assert (classes["low"] < classes["share"]).all() and (classes["share"] < classes["high"]).all()


def test_missing_values_associated_with_the_target_are_reported(customers: pd.DataFrame) -> None:
    contract, left = make_contract(), customers["left"] == "yes"
    by_chance = explore.count_missing(customers, contract, left.to_numpy())
    assert by_chance["column"].tolist() == ["spend"] and by_chance["gap"].tolist() == [0]
    assert "significantly" in explore.describe_missing(by_chance, 6)
    differing = customers.assign(spend=customers["spend"].where(~left | (customers["months"] > 20)))
    missing = explore.count_missing(differing, contract, left.to_numpy())
    assert missing["gap"].tolist() == [1]
    assert missing["positive_share"][0] == differing["spend"][left].isna().mean()
    assert missing["negative_share"][0] == differing["spend"][~left].isna().mean()
    assert "associated with the target in `spend`" in explore.describe_missing(missing, 6)


def test_medians_and_histograms_by_class(customers: pd.DataFrame) -> None:
    left = (customers["left"] == "yes").to_numpy()
    numbers = distributions.compare_medians(customers, ["months", "spend"], left).set_index("column")
    assert numbers["positive_median"]["spend"] == customers["spend"][left].median()
    assert numbers["negative_median"]["months"] == customers["months"][~left].median()
    bins = distributions.count_bins(customers, ["months", "spend"], left)
    assert bins[bins["column"] == "months"][["positives", "negatives"]].to_numpy().sum() == 300
    assert (bins[bins["column"] == "months"]["right"] % 1 == 0.5).all()
    text = explore.describe_medians(numbers.reset_index(), make_contract())
    assert f"the median of `months` is {customers['months'][left].median():.3g} months" in text


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        (np.zeros(5), [-0.5, 0.5]),
        (np.full(3, 0.5), [0.0, 1.0]),
        (np.arange(10.0), np.arange(-0.5, 10)),
        (np.append(np.linspace(0, 1, 2000), 1e6), np.linspace(0.005, 0.9955, 31)),
        (np.geomspace(0.01, 100, 2001), np.geomspace(0.01 * 10**0.02, 100 / 10**0.02, 31)),
    ],
)
def test_histogram_bins_suit_the_values(values: np.ndarray, edges: list) -> None:
    np.testing.assert_allclose(distributions._choose_bins(values), edges, rtol=0.02, atol=1e-3)


def test_columns_are_ranked_by_association(customers: pd.DataFrame) -> None:
    contract = make_contract()
    kinds, _ = explore.read_rows(customers, contract)
    ranked = explore.rank_columns(customers, kinds, contract.target)
    assert ranked.index[0] == "months"
    assert explore.choose_columns(ranked, kinds)[0][0] == "months"
    associations = explore.associate_columns(customers.assign(spend=customers["months"] * 2.0), kinds, ranked)
    assert sorted(associations.index) == sorted(kinds) and list(associations.index) == list(associations.columns)
    assert abs(list(associations.index).index("months") - list(associations.index).index("spend")) == 1
    assert association.rank_pairs(associations).iloc[0]["association"] == pytest.approx(1)


def test_column_pvalues_are_chi_square_adjusted_by_holm(customers: pd.DataFrame) -> None:
    rates, _ = read_rates(customers)
    pvalues = significance.column_pvalues(rates)
    raw = {}
    for name, part in rates.groupby("column"):
        table = np.array([part["positives"], part["rows"] - part["positives"]])
        raw[name] = stats.chi2_contingency(table, correction=False).pvalue
    assert pvalues.idxmin() == min(raw, key=lambda name: raw[name]) == "months"
    assert pvalues.min() == pytest.approx(4 * min(raw.values())) and pvalues.max() == pytest.approx(max(raw.values()))
    alone = significance.column_pvalues(rates.assign(positives=0))
    assert (alone == 1).all() and significance.column_pvalues(rates.iloc[:0]).empty


def test_clustered_columns_are_neighbours() -> None:
    associations = np.full((5, 5), 0.1)
    for group in ([0, 3], [1, 2, 4]):
        associations[np.ix_(group, group)] = 0.9
    order = association.order_by_cluster(associations)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset([0, 3]), frozenset([1, 2, 4])} or (
        {frozenset(order[:3]), frozenset(order[3:])} == {frozenset([0, 3]), frozenset([1, 2, 4])}
    )


def test_a_large_table_is_sampled_with_the_seed(customers: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    assert explore.sample_rows(customers, 1) is customers
    monkeypatch.setattr(explore, "_SAMPLE", 100)
    sample = explore.sample_rows(customers, 1)
    assert len(sample) == 100 and sample.index.is_unique
    pd.testing.assert_frame_equal(sample, explore.sample_rows(customers, 1))
    ranked = pd.Series({"months": 0.4})
    assert "100 of 300 rows" in explore.describe_ranking(ranked, ranked * 0, {"months": "numeric"}, "left", 300)


def make_interacting(rows: int = 6000) -> tuple[pd.DataFrame, Contract]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.choice(["x", "y"], rows) for name in ("a", "b", "c", "d")})
    differ = {pair: frame[pair[0]] != frame[pair[1]] for pair in ("ab", "bc", "cd")}
    logit = -2 + 2 * differ["ab"] + 1.4 * differ["bc"] + differ["cd"]
    frame["left"] = np.where(rng.random(rows) < 1 / (1 + np.exp(-logit)), "yes", "no")
    columns: dict[str, Any] = {name: {"role": "categorical", "dtype": "string"} for name in "abcd"}
    return frame, make_contract(**columns)


def test_the_strongest_pairs_are_drawn_without_sharing_columns() -> None:
    frame, contract = make_interacting()
    positive = (frame["left"] == "yes").to_numpy()
    ranked = pd.Series(0.1, index=list("dcba"))
    found, drawn = explore.search_pairs(frame, contract, ranked, positive, 4)
    significant = [{pair.one, pair.other} for pair in found[found["p"] < 0.05].itertuples()]
    assert significant[:3] == [{"a", "b"}, {"b", "c"}, {"c", "d"}]
    assert list(drawn) == [("b", "a"), ("d", "c")]
    cell = explore.find_strongest_cell(drawn["b", "a"])
    text = explore.describe_pairs(found, drawn, contract)
    assert text.startswith(f"**{len(significant)} of 6 pairs interact") and f"the {cell['rows']:,} rows" in text
    assert explore.search_pairs(frame, contract, ranked, positive, 0)[1] == {}


def test_the_trend_equals_the_cochran_armitage_test() -> None:
    rows, hits = np.array([100, 150, 120, 90]), np.array([10, 30, 30, 28])
    rates = pd.DataFrame({"category": list("abcd"), "rows": rows, "positives": hits})
    slope, p = significance.measure_trend(rates)
    place = np.repeat(np.arange(4), rows)
    came = np.concatenate([np.arange(size) < hit for size, hit in zip(rows, hits, strict=True)])
    assert slope == pytest.approx(LinearRegression().fit(place[:, None], came).coef_[0])
    assert p == pytest.approx(stats.chi2.sf(len(place) * np.corrcoef(place, came)[0, 1] ** 2, 1))
    assert significance.measure_trend(rates.iloc[:1]) == (0.0, 1.0) == significance.measure_trend(rates.iloc[:0])


def test_cohorts_use_the_contracts_duration_columns(customers: pd.DataFrame) -> None:
    contract = make_contract()
    cohorts = explore.rate_categories(explore.bin_cohorts(customers, contract), (customers["left"] == "yes").to_numpy())
    assert cohorts["column"].unique().tolist() == ["months"] and cohorts["category"][0] == "under 6"
    text = explore.describe_cohorts(cohorts, contract)
    assert "Along `months` the rate falls" in text and "`months` under 6 months" in text
    without = make_contract(months={"duration": False})
    assert explore.bin_cohorts(customers, without) == {}
    assert "no cohorts" in explore.describe_cohorts(explore.rate_categories({}, np.zeros(0, dtype=bool)), without)


def test_sentences_use_the_tables_names(customers: pd.DataFrame) -> None:
    contract = make_contract()
    rates, positive = read_rates(customers)
    text = explore.describe_categories(rates[rates["column"] == "plan"], contract, positive.mean())
    basic = (customers["left"] == "yes")[customers["plan"] == "basic"].mean()
    assert text.startswith(f"**`left = yes` occurs in {100 * basic:.1f}\u00a0% of rows with `plan = basic`**")
    assert explore._describe_extremes(rates, "months", contract).count("`months`") == 2  # type: ignore[union-attr]


def test_no_significant_findings(customers: pd.DataFrame) -> None:
    contract = make_contract()
    rates, _ = read_rates(customers)
    unrelated = pd.Series({"plan": 0.0})
    missing = explore.count_missing(customers[["plan"]], contract, np.zeros(300, dtype=bool))
    pairs = association.rank_pairs(pd.DataFrame([[1.0]], index=["plan"], columns=["plan"]))
    assert explore.list_pair_findings(pairs, {}, contract) == []
    assert explore.list_row_findings(missing, rates.iloc[:0], contract) == []
    findings = explore.list_column_findings(rates, unrelated, unrelated + 1, contract)
    assert findings == ["No column is significantly associated with the target."]


# The notebook itself, on tables of every shape


def make_odd(shape: str) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    rng = np.random.default_rng(3)
    rows = 400
    target = {"gone": {"role": "target", "dtype": "bool", "values": [False, True], "positive": True}}
    number: dict[str, Any] = {"role": "numeric", "dtype": "float64", "nullable": True}
    word: dict[str, Any] = {"role": "categorical", "dtype": "string", "nullable": True}
    frame = pd.DataFrame({"gone": rng.random(rows) < 0.3})
    if shape == "numbers":
        frame["price ($) in $"] = np.where(rng.random(rows) < 0.2, np.nan, rng.lognormal(3, 2, rows))
        frame["zeros"] = np.where(rng.random(rows) < 0.9, 0.0, rng.random(rows))
        return frame.assign(empty=np.nan), {**target, "price ($) in $": number, "zeros": number, "empty": number}
    if shape == "words":
        frame["höhe `x` | $y$"] = rng.choice(["<b>", "a_b*c", "$1_$", "(missing)"], rows)
        frame["code"] = rng.integers(0, 200, rows).astype(str)
        frame["none"] = pd.Series([None] * rows, dtype="str")
        frame["note"] = "text"
        note = {"note": {"role": "text", "dtype": "string"}}
        return frame, {**target, "höhe `x` | $y$": word, "code": word, "none": word, **note}
    if shape == "time":
        frame["seen"] = pd.date_range("2023-01-01", "2024-06-30", periods=rows, tz="UTC")
        frame["gone"] = rng.random(rows) < np.linspace(0.1, 0.6, rows)
        frame["age"] = rng.gamma(2, 200, rows)
        age = {**number, "duration": True, "unit": "days"}
        return frame, {**target, "seen": {"role": "time", "dtype": "datetime"}, "age": age}
    if shape == "one class":
        return frame.assign(gone=True, x=rng.random(rows), w="same"), {**target, "x": number, "w": word}
    if shape == "one row":
        return frame.iloc[:1].assign(x=1.0, w="a"), {**target, "x": {**number, "duration": True}, "w": word}
    names = [f"n{place}" for place in range(40)]
    wide = pd.DataFrame(rng.random((rows, 40)), columns=names)
    words = pd.DataFrame(rng.choice(list("abc"), (rows, 40)), columns=[f"w{place}" for place in range(40)])
    columns = {**dict.fromkeys(names, number), **dict.fromkeys(words, word)}
    return pd.concat([frame, wide, words], axis=1), {**target, **columns}


@pytest.fixture
def quiet_plots() -> Iterator[None]:
    """Draw without a screen; close the figures and restore the style at the end."""
    before = plt.get_backend()
    plt.switch_backend("Agg")
    with plt.rc_context():
        yield
    plt.close("all")
    plt.switch_backend(before)


def run_notebook(root: Path, frame: pd.DataFrame, columns: dict[str, dict[str, Any]], checkout: Path) -> dict[str, Any]:
    """Execute the notebook's code cells on a table; return their variables."""
    described = {name: {"description": f"{name}.", **column} for name, column in columns.items()}
    (root / paths.CONTRACT).write_text(json.dumps({"name": "odd", "description": "Odd.", "columns": described}))
    (root / "data/validated").mkdir()
    write_table(frame, root / paths.VALIDATED_TABLE)
    notebook = json.loads((checkout / "notebooks/03_explore.ipynb").read_text())
    names: dict[str, Any] = {}
    with warnings.catch_warnings(action="error"):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), "explore", "exec"), names)  # noqa: S102 - our own notebook
        for number in plt.get_fignums():
            plt.figure(number).draw_without_rendering()
    return names


@pytest.mark.parametrize("shape", ["numbers", "words", "time", "one class", "one row", "wide"])
@pytest.mark.usefixtures("quiet_plots")
def test_the_notebook_runs_on_any_table(project: Path, checkout: Path, shape: str) -> None:
    frame, columns = make_odd(shape)
    names = run_notebook(project, frame, columns, checkout)
    findings = names["findings"]
    assert findings and all("nan" not in finding for finding in findings)
    if shape == "wide":
        assert findings == ["No column is significantly associated with the target."]
    if shape == "time":
        assert any(finding.startswith("**Over time the rate rises**") for finding in findings)
        assert names["trend"]["category"].iloc[[0, -1]].tolist() == ["2023-01", "2024-06"]
    assert not (project / ".lifecycle/scratch/data").exists(), "exploring writes nothing"
