import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lifecycle.core.errors import ProjectError
from lifecycle.exploration import association
from lifecycle.exploration.association import associate, associate_with


def draw(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    size = rng.gamma(2.0, size=rows)
    return pd.DataFrame({
        "size": size,
        "age": np.round(size * 3 + rng.normal(size=rows), 0),
        "plan": np.where(rng.random(rows) < 1 / (1 + np.exp(2 - size)), "pro", rng.choice(["basic", "plus"], rows)),
        "colour": rng.choice(["red", "green", "blue", "grey"], rows),
    })  # fmt: skip


KINDS = {"size": "numeric", "age": "numeric", "plan": "categorical", "colour": "categorical"}


def test_numbers_agree_with_scipy() -> None:
    frame = draw()
    expected = abs(stats.spearmanr(frame["size"], frame["age"]).statistic)
    assert associate(frame, KINDS).loc["size", "age"] == pytest.approx(expected)
    expected = abs(stats.pearsonr(-frame["size"], frame["age"]).statistic)
    assert associate(frame, KINDS, ranks=False).loc["size", "age"] == pytest.approx(expected)


def test_only_rows_with_both_finite_values_count() -> None:
    frame = draw()
    frame.loc[:99, "size"] = np.nan
    frame.loc[300:349, "age"] = np.inf
    both = frame.iloc[[*range(100, 300), *range(350, 400)]]
    found = associate(frame, KINDS, ranks=False)
    assert found.loc["size", "age"] == pytest.approx(stats.pearsonr(both["size"], both["age"]).statistic)
    assert found.loc["plan", "size"] == pytest.approx(
        associate(frame.iloc[100:], KINDS, ranks=False).loc["plan", "size"]
    )


def test_the_ratio_of_ranks_equals_kruskal_wallis() -> None:
    frame = draw()
    groups = [part["age"] for _, part in frame.groupby("plan")]
    statistic, binned, rows = stats.kruskal(*groups).statistic, len(groups), len(frame)
    expected = np.sqrt((statistic - binned + 1) / (rows - binned))
    assert associate(frame, KINDS).loc["age", "plan"] == pytest.approx(expected)


def test_the_ratio_of_values_follows_from_the_sums_of_squares() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0, 7.0, 8.0, 9.0], "g": list("aaabbb")})
    # Within: 4; total: 58; Kelley: 1 - (4 / 4) / (58 / 5).
    found = associate(frame, {"x": "numeric", "g": "categorical"}, ranks=False)
    assert found.loc["x", "g"] == pytest.approx(np.sqrt(1 - 1 / 11.6))


def test_cramer_agrees_with_scipy_before_its_correction() -> None:
    frame = draw()
    table = pd.crosstab(frame["plan"], frame["colour"]).to_numpy()
    rows, (height, width) = table.sum(), table.shape
    phi2 = stats.chi2_contingency(table, correction=False).statistic / rows
    phi2 = max(0.0, phi2 - (height - 1) * (width - 1) / (rows - 1))
    least = min(height - (height - 1) ** 2 / (rows - 1), width - (width - 1) ** 2 / (rows - 1)) - 1
    assert associate(frame, KINDS).loc["plan", "colour"] == pytest.approx(np.sqrt(phi2 / least))


def test_many_random_categories_do_not_look_strong() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"code": rng.integers(0, 300, 1000).astype(str), "y": rng.choice(["a", "b"], 1000), "x": rng.random(1000)}
    )
    found = associate(frame, {"code": "categorical", "y": "categorical", "x": "numeric"})
    assert found.loc["code", "y"] < 0.15 and found.loc["code", "x"] < 0.15


@pytest.mark.parametrize("kinds", [{"a": "categorical", "b": "categorical"}, {"a": "categorical", "b": "numeric"}])
def test_columns_that_determine_each_other_have_association_one(kinds: dict) -> None:
    frame = pd.DataFrame({"a": list("xyz") * 20, "b": [1, 2, 3] * 20})
    assert associate(frame, kinds).loc["a", "b"] == pytest.approx(1.0)


def test_constant_and_empty_columns_have_no_association() -> None:
    frame = draw(50).assign(one=1e9 / 3, none=np.nan, same="x", unknown=pd.Series([None] * 50, dtype="str"))
    kinds = {**KINDS, "one": "numeric", "none": "numeric", "same": "categorical", "unknown": "categorical"}
    for rows in (50, 1, 0):
        found = associate(frame.iloc[:rows], kinds)
        unrelated = found.loc[["one", "none", "same", "unknown"]].to_numpy()
        assert unrelated.sum() == 4 and found.notna().all(axis=None)


def test_sparse_counting_equals_dense_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = draw()
    expected = associate(frame, KINDS)
    monkeypatch.setattr(association, "_MAX_CELLS", 1)
    pd.testing.assert_frame_equal(associate(frame, KINDS), expected)


ROW = st.tuples(st.none() | st.floats(width=32), st.integers(-3, 3), st.none() | st.sampled_from("abc"), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, max_size=30))
def test_associations_are_symmetric_and_within_bounds(rows: list) -> None:
    frame = pd.DataFrame(rows, columns=["x", "n", "c", "b"])
    frame = frame.astype({"x": "float64", "n": "int64", "c": "str", "b": "bool"})
    kinds = {"x": "numeric", "n": "numeric", "c": "categorical", "b": "categorical"}
    for ranks in (True, False):
        found = associate(frame, kinds, ranks=ranks)
        assert list(found.index) == list(found.columns) == list(kinds)
        assert (found.to_numpy() == found.to_numpy().T).all() and (np.diag(found) == 1).all()
        assert ((found >= 0) & (found <= 1)).all(axis=None)
        again = associate(frame.iloc[::-1], kinds, ranks=ranks)
        np.testing.assert_allclose(again, found, atol=1e-6)


def test_associations_with_a_target_equal_the_matrix() -> None:
    frame = draw()
    associations = associate(frame, KINDS)
    ranked = associate_with(frame, {name: KINDS[name] for name in ("size", "age", "colour")}, frame["plan"])
    assert ranked.to_dict() == pytest.approx(associations["plan"].drop("plan").to_dict())
    assert ranked.is_monotonic_decreasing and ranked.index[0] == "size"


def test_wrong_arguments_raise_and_the_frame_is_unchanged() -> None:
    frame = draw()
    before = frame.copy()
    with pytest.raises(ProjectError, match="no column 'weight'"):
        associate(frame, {"weight": "numeric"})
    with pytest.raises(ValueError, match="column 'size'"):
        associate(frame, {"size": "boolean"})  # type: ignore[dict-item]
    associate(frame, KINDS)
    pd.testing.assert_frame_equal(frame, before)
