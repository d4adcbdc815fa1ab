import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.core.histograms import bound_psi, measure_psi
from lifecycle.validation.profile import _align_counts, _merge_profiles, _profile_table, compare_profiles, load_profile
from tests.support.contracts import make_contract

counts = st.lists(st.integers(0, 1000), min_size=2, max_size=12)


@settings(deadline=None, max_examples=50)
@given(counts, st.data())
def test_psi_is_never_negative_and_nothing_for_the_same(expected: list[int], data: st.DataObject) -> None:
    actual = data.draw(st.lists(st.integers(0, 1000), min_size=len(expected), max_size=len(expected)))
    e, a = np.array(expected, float), np.array(actual, float)
    if not e.sum() or not a.sum():
        assert np.isnan(measure_psi(e, a))
        return
    assert measure_psi(e, e) == 0
    assert measure_psi(e, a) >= 0
    assert measure_psi(e, a) == pytest.approx(measure_psi(a, e))


def test_psi_by_hand() -> None:
    """Shares of a half and a half against a quarter and three: 2 * 0.25 * ln 3 over large counts."""
    assert measure_psi(np.array([5e6, 5e6]), np.array([2.5e6, 7.5e6])) == pytest.approx(0.25 * np.log(3), rel=1e-5)
    assert np.isfinite(measure_psi(np.array([100.0, 0]), np.array([0, 100.0])))


def test_chance_is_what_samples_that_are_alike_reach() -> None:
    rng = np.random.default_rng(0)
    shares = np.full(10, 0.1)
    one, other = rng.multinomial(2000, shares, 4000).astype(float), rng.multinomial(500, shares, 4000).astype(float)
    reached = np.array([measure_psi(e, a) for e, a in zip(one, other, strict=True)])
    assert bound_psi(one[0], other[0]) == pytest.approx(chi2.ppf(0.999, 9) * (1 / 2000 + 1 / 500))
    assert (reached > bound_psi(one[0], other[0])).mean() < 0.004
    assert np.quantile(reached, 0.95) == pytest.approx(chi2.ppf(0.95, 9) * (1 / 2000 + 1 / 500), rel=0.05)


def test_a_table_is_like_itself(customers: pd.DataFrame) -> None:
    contract = make_contract(name={"role": "pii", "dtype": "string"})
    profile = _profile_table(customers.assign(name="Ann"), contract.columns)
    assert "name" not in profile["columns"]
    assert profile["columns"]["id"] == {"kind": "presence", "missing": 0, "present": 300}
    assert profile["columns"]["spend"]["missing"] == customers["spend"].isna().sum()
    assert sum(profile["columns"]["spend"]["counts"]) == customers["spend"].notna().sum()
    assert profile["columns"]["plan"]["categories"] == customers["plan"].value_counts().to_dict()
    drift = compare_profiles(profile, _profile_table(customers, contract.columns, like=profile))
    assert drift["known"].all()
    assert (drift["psi"] == 0).all()
    assert drift["new"].map(len).sum() == drift["vanished"].map(len).sum() == 0


def test_bins_are_the_quantiles_and_open_on_both_sides() -> None:
    contract = make_contract()
    values = pd.DataFrame({"months": np.arange(1000)})
    profile = _profile_table(values, {"months": contract.columns["months"]})
    sketch = profile["columns"]["months"]
    assert sketch["counts"][0] == sketch["counts"][-1] == 0
    assert max(abs(count - 100) for count in sketch["counts"][1:-1]) <= 1
    later = _profile_table(pd.DataFrame({"months": [-5, 999, 5000]}), contract.columns, like=profile)
    assert (later["columns"]["months"]["counts"][0], later["columns"]["months"]["counts"][-1]) == (1, 1)
    assert (later["columns"]["months"]["least"], later["columns"]["months"]["greatest"]) == (-5, 5000)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [3.0, 3.0, 3.0], [0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_odd_columns(values: list[float]) -> None:
    columns = {"spend": make_contract().columns["spend"]}
    profile = _profile_table(pd.DataFrame({"spend": np.array(values, float)}), columns)
    assert sum(profile["columns"]["spend"]["counts"]) == np.isfinite(values).sum()
    json.dumps(profile, allow_nan=False)
    assert (
        compare_profiles(
            profile, _profile_table(pd.DataFrame({"spend": np.array(values, float)}), columns, like=profile)
        )
        is not None
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_profiles_of_parts_add_up(cut: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "months": rng.integers(0, 40, 300), "spend": np.where(rng.random(300) < 0.1, np.nan, rng.normal(size=300)),
        "plan": rng.choice(["basic", "plus", "pro"], 300),
    })  # fmt: skip
    columns = make_contract().columns
    whole = _profile_table(frame, columns)
    parts = [_profile_table(part, columns, like=whole) for part in (frame[:cut], frame[cut:])]
    assert _merge_profiles(*parts) == whole


def test_profiles_that_do_not_fit_are_not_merged(customers: pd.DataFrame) -> None:
    columns = make_contract().columns
    whole = _profile_table(customers, columns)
    with pytest.raises(ValueError, match="'months' was profiled in two ways"):
        _merge_profiles(whole, _profile_table(customers[customers["months"] > 30], columns))
    with pytest.raises(ValueError, match="same columns"):
        _merge_profiles(whole, _profile_table(customers[["id"]], columns))
    moved = _profile_table(customers[customers["months"] > 30], columns)["columns"]["months"]
    with pytest.raises(ValueError, match="the same bins"):
        _align_counts(whole["columns"]["months"], moved)


def test_shift_is_seen_and_levels_that_came_and_went(customers: pd.DataFrame) -> None:
    columns = make_contract().columns
    reference = _profile_table(customers, columns)
    now = customers.assign(
        months=customers["months"] + 40, plan=customers["plan"].replace({"pro": "max"}), spend=np.nan, extra=1.0
    )
    columns = make_contract(extra={"role": "numeric", "dtype": "float64"}).columns
    drift = compare_profiles(reference, _profile_table(now, columns, like=reference)).set_index("column")
    assert drift.loc["months", "psi"] > 1 > drift.loc["months", "chance"]
    assert drift.loc["senior", "psi"] == 0
    assert drift.loc["plan", ["new", "vanished"]].tolist() == [("max",), ("pro",)]
    assert drift.loc["spend", "missing_now"] == 1
    assert drift.loc["spend", "psi"] > 1
    assert not drift.loc["extra", "known"]
    assert np.isnan(drift.loc["extra", "psi"])


def test_rare_levels_and_cut_off_lists_are_no_news() -> None:
    columns = {"plan": make_contract().columns["plan"]}
    reference = _profile_table(pd.DataFrame({"plan": ["a"] * 500 + ["rare"]}), columns)
    drift = compare_profiles(
        reference, _profile_table(pd.DataFrame({"plan": ["a"] * 100 + ["odd"]}), columns, like=reference)
    )
    assert (drift["new"][0], drift["vanished"][0]) == ((), ())
    many = pd.DataFrame({"plan": [f"city {i}" for i in range(300)] * 20})
    reference = _profile_table(many, columns)
    assert len(reference["columns"]["plan"]["categories"]) == 100
    assert reference["columns"]["plan"]["other"] == {"rows": 4000, "categories": 200}
    drift = compare_profiles(reference, _profile_table(many, columns, like=reference))
    assert (drift["psi"][0], drift["new"][0]) == (0, ())


def test_profile_files(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    assert load_profile(path) is None
    write_json({}, path)
    assert load_profile(path) is None
    profile: dict[str, Any] = {"rows": 0, "columns": {}}
    write_json(profile, path)
    assert load_profile(path) == profile
    write_json([1], path)
    with pytest.raises(ProjectError, match=r"reference\.json is not a profile"):
        load_profile(path)


def test_the_committed_reference_is_of_the_committed_contract(checkout: Path) -> None:
    contract = load_contract(checkout / "data/contract.yaml")
    profile = load_profile(checkout / "data/profile.json")
    if profile is not None:  # a table has no profile until `lifecycle profile` has written one
        assert profile["table"] == contract.name
        assert list(profile["columns"]) == list(contract.columns)
