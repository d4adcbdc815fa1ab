from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score

from lifecycle.core.terms import list_terms
from lifecycle.modeling.families import FAMILIES
from lifecycle.modeling.pipelines import fit_pipeline
from lifecycle.modeling.texts import TermEncoder
from tests.support.families import QUICK

ROWS = 600  # of training, and as many that are not
FILLER = [
    "the",
    "order",
    "number",
    "came",
    "with",
    "a",
    "box",
    "and",
    "we",
    "saw",
    "it",
    "in",
    "our",
    "shop",
    "last",
    "week",
]
NUMBER = {"name": "x", "kind": "numeric", "missing": "category", "outliers": "keep"}
NOTE = {"name": "note", "kind": "text", "missing": "impute", "outliers": "keep", "terms": 100}


def draw() -> tuple[pd.DataFrame, np.ndarray]:
    """A number with a weak effect, and notes in which two words and one pair of words speak of leaving."""
    rng = np.random.default_rng(0)
    x, topic = rng.normal(size=2 * ROWS), rng.integers(0, 4, 2 * ROWS)
    said = np.array(["cancel", "too expensive", "not happy", "happy"], dtype=object)[topic]
    left = rng.random(2 * ROWS) < 1 / (1 + np.exp(-0.5 * x - np.array([2, 1.5, 1.5, -2.5])[topic]))
    notes = [" ".join([*rng.choice(FILLER, 6), words, *rng.choice(FILLER, 4)]) for words in said]
    return pd.DataFrame({"x": x, "note": notes}), left.astype(int)


def measure(features: list[dict[str, Any]], X: pd.DataFrame, y: np.ndarray, family: str, **options: Any) -> float:
    """The ROC AUC on the rows that were not fitted."""
    fit = fit_pipeline(family, options or QUICK[family], features, X[:ROWS], y[:ROWS], seed=0, threads=1)
    return float(roc_auc_score(y[ROWS:], fit.predict_proba(X)[ROWS:, 1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_words_that_matter_are_learned_from(family: str) -> None:
    """The demonstration: a text was never a feature."""
    X, y = draw()
    assert measure([NUMBER], X, y, family) < 0.65
    assert measure([NUMBER, NOTE], X, y, family) > 0.78


def test_splines_leave_the_terms_alone() -> None:
    X, y = draw()
    fit = fit_pipeline("logistic", {"knots": 4}, [NOTE, NUMBER], X[:ROWS], y[:ROWS], seed=0, threads=1)
    terms, number = fit[0].output_indices_["text_100"], fit[0].output_indices_["numeric_marked"]
    assert fit[-1][0].columns_ == [number.start]
    assert terms.stop - terms.start > 20


def test_weights_are_those_of_scikit_learn() -> None:
    X, _ = draw()
    encoder = TermEncoder(40).fit(X[["note"]])
    vocabulary = encoder.terms_[0].places
    theirs = TfidfVectorizer(analyzer=list_terms, vocabulary=vocabulary, sublinear_tf=True).fit(X["note"])
    np.testing.assert_allclose(encoder.transform(X[["note"]]), theirs.transform(X["note"]).toarray(), rtol=1e-12)
    assert set(vocabulary) == set(TfidfVectorizer(analyzer=list_terms, binary=True, use_idf=False, norm=None)
                                  .fit(X["note"]).get_feature_names_out()[_rank(X["note"])[:40]])  # fmt: skip


def _rank(texts: pd.Series) -> np.ndarray:
    """The terms of texts, those of most texts first."""
    counts = TfidfVectorizer(analyzer=list_terms, binary=True, use_idf=False, norm=None).fit_transform(texts)
    return np.argsort(-np.asarray(counts.sum(axis=0)).ravel(), kind="stable")


def test_words_of_few_entities_are_not_learned() -> None:
    """A person's name in the many rows of that person is rare; the rows of one entity have one label in the index."""
    notes = [f"called again {'smith' if row < 90 else 'fine'}" for row in range(200)]
    rows = pd.DataFrame({"note": notes})
    assert "smith" in TermEncoder().fit(rows).terms_[0].places
    by_person = rows.set_axis(np.where(np.arange(200) < 90, np.arange(200) % 9, np.arange(200)))
    terms = TermEncoder().fit(by_person).terms_[0]
    assert sorted(terms.places) == ["again", "again fine", "called", "called again", "fine"]
    assert terms.idf[terms.places["called"]] == 1


@pytest.mark.parametrize("notes", [[None] * 30, ["", " ", "12 34"] * 10, [f"n{row}" for row in range(30)]])
def test_a_column_without_common_words_is_a_column_of_zeros(notes: list[Any]) -> None:
    rows = pd.DataFrame({"note": pd.Series(notes, dtype=object)})
    assert TermEncoder().fit_transform(rows).tolist() == [[0.0]] * 30


def test_missing_and_unknown_texts_have_no_terms() -> None:
    X, _ = draw()
    encoder = TermEncoder(20).fit(X[["note"]])
    odd = pd.DataFrame({"note": [None, np.nan, "quite unknown", "\0", "cancel"]}, dtype=object)
    assert np.abs(encoder.transform(odd)).sum(axis=1).tolist()[:4] == [0, 0, 0, 0]


def test_each_column_has_terms_of_its_own() -> None:
    X, _ = draw()
    both = pd.DataFrame({"one": X["note"], "two": X["note"].str.upper().where(X["x"] > 0)})
    encoder = TermEncoder(10).fit(both)
    assert [len(terms.places) for terms in encoder.terms_] == [10, 10]
    whole = encoder.transform(both)
    assert whole.shape == (2 * ROWS, 20)
    assert (whole[(X["x"] <= 0).to_numpy(), 10:] == 0).all()
