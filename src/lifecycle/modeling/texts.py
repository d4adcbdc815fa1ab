"""Learn the terms of columns of free text, and turn texts into their weights (TF-IDF)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer

from lifecycle.core.terms import Terms, list_terms

Array = np.ndarray[Any, Any]
_LEAST = 10  # entities, or rows, in which a term occurs: rarer ones are often names of persons, and little can be learned from them
_ROWS = 20_000  # whose terms are counted; of more, every second, third or so


class TermEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn each column of texts into columns of the weights of its most common terms, float64 (see `core.terms`).

    most: the number of terms of a column. A term occurs in at least ten rows, or where the index of the rows repeats in at
    least ten of its labels, the entities. A column without such terms becomes a column of zeros.
    """

    def __init__(self, most: int = 100) -> None:
        self.most = most

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Learn the terms of each column of X, shape (rows, columns); of equally common ones the first by name."""
        self.terms_ = [_learn_terms(X[name], self.most) for name in X]
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> Array:
        """Return the weights, float64 of shape (rows, terms of all columns); a missing text has none."""
        return np.hstack([_weigh_texts(X[name], terms) for name, terms in zip(X, self.terms_, strict=True)])


def _learn_terms(texts: pd.Series, most: int) -> Terms:
    """Return the most common terms of a column, with their inverse document frequencies, smoothed as scikit-learn has them."""
    texts = texts.dropna()
    texts = texts.iloc[:: -(-len(texts) // _ROWS) or 1]
    labels, entities = pd.factorize(texts.index)
    counter = CountVectorizer(analyzer=list_terms, binary=True)
    if not any(next(list_terms(text), None) for text in texts):
        return Terms({}, [])
    found = counter.fit_transform(texts)
    belongs = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(len(entities), len(labels)))
    occurs = np.asarray(((belongs @ found) > 0).sum(axis=0)).ravel()
    names = counter.get_feature_names_out()  # in the order of their names
    order = np.argsort(-occurs, kind="stable")[:most]
    kept = np.sort(order[occurs[order] >= _LEAST])
    idf = np.log((1 + len(entities)) / (1 + occurs[kept])) + 1
    return Terms({str(names[term]): place for place, term in enumerate(kept)}, idf.tolist())


def _weigh_texts(texts: pd.Series, terms: Terms) -> Array:
    """Return the weights of a column's texts, each distinct text being read once: float64 (rows, terms)."""
    codes, distinct = pd.factorize(texts)
    weights = np.zeros((len(distinct) + 1, terms.width))  # the last row is that of a missing text
    for row, text in enumerate(distinct.tolist()):
        for place, weight in terms.weigh(text):
            weights[row, place] = weight
    return np.asarray(weights[codes])
