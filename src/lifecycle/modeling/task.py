"""The prediction task: everything that follows from the kind of target, in one object.

There is one kind today, a target of two classes. Another kind is another dataclass with the same methods, chosen by
`task_for`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split

from lifecycle.core.contract import Contract
from lifecycle.core.errors import ProjectError
from lifecycle.modeling.metrics import TITLES
from lifecycle.validation.sampling import ROWS, hash_values

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class BinaryTask:
    """Predict the probability of the positive one of two classes.

    target: the target's column. positive: its positive value; in feature tables the target is encoded, and this is 1.
    """

    target: str
    positive: Any = 1

    objective: ClassVar[str] = "roc_auc"  # the metric that hyperparameters are chosen by; higher is better
    titles: ClassVar[Mapping[str, str]] = TITLES  # of the metrics that a table shows, in its order

    @property
    def outcome(self) -> str:
        """The outcome that a probability is about, as in `left = yes`."""
        return f"{self.target} = {self.positive}"

    def encode(self, column: pd.Series) -> pd.Series:
        """Return the target as int8, 1 for the positive class."""
        encoded: pd.Series = (column == self.positive).astype("int8")
        return encoded

    # The hold-out and the folds.

    def hold_out(self, encoded: pd.Series, share: float, seed: int) -> Array:
        """Choose a random share of each class to hold out; return a mask of shape (rows,).

        Of more than `ROWS` rows a hash of the position chooses, which takes little memory. Each class needs two rows.
        """
        held_out = np.zeros(len(encoded), dtype=bool)
        if len(encoded) > ROWS:
            for code in (0, 1):
                places = np.flatnonzero(encoded == code)
                size = round(len(places) * share)
                held_out[places[np.argpartition(hash_values(pd.Series(places), seed), size)[:size]]] = True
        else:
            _, chosen = train_test_split(np.arange(len(encoded)), test_size=share, stratify=encoded, random_state=seed)
            held_out[chosen] = True
        return held_out

    def check_rows(self, encoded: Array) -> None:
        """Raise ProjectError when a class has fewer than two rows."""
        if np.bincount(encoded, minlength=2).min() < 2:
            raise ProjectError(f"column {self.target!r} needs at least two rows of each class to be split.")

    def check_classes(self, encoded: Array, what: str, advice: str = "choose another `features.split`") -> None:
        """Raise ProjectError when rows, such as the hold-out, are of one class only, or there are none."""
        if len(np.unique(encoded)) < 2:
            found = "has only one class" if len(encoded) else "has no rows, and so no class"
            raise ProjectError(f"the {what} {found} of {self.target!r}: {advice}.")

    def check_folds(self, encoded: pd.Series, folds: int) -> None:
        """Raise ProjectError when a class has fewer rows than there are folds."""
        if encoded.value_counts().min() < folds:
            raise ProjectError(
                f"column {self.target!r} has fewer than {folds} training rows of one class: lower `folds`."
            )

    def sample_rows(self, encoded: pd.Series, rows: int, seed: int) -> Array:
        """Choose about `rows` rows at random, the same share of each class; return their positions, ascending."""
        generator = np.random.default_rng(seed)
        places = encoded.groupby(encoded.to_numpy(), sort=True).indices.values()
        chosen = [generator.choice(part, round(rows * len(part) / len(encoded)), replace=False) for part in places]
        return np.sort(np.concatenate(chosen))

    def has_enough_rows(self, encoded: pd.Series) -> bool:
        """Return whether a model can be evaluated on these rows: two of each class at least."""
        counts = encoded.value_counts()
        return len(counts) == 2 and int(counts.min()) >= 2

    # Predictions and decisions.

    def predict(self, classifier: Any, X: Any) -> Array:
        """Return the probability of the positive class, shape (rows,), in whichever column the classifier has it."""
        probabilities: Array = np.asarray(classifier.predict_proba(X))
        return probabilities[:, list(classifier.classes_).index(1)]

    def score(self, encoded: Array, probability: Array, weights: Array | None = None) -> float:
        """Return the objective for predictions; scikit-learn's ROC AUC, as elsewhere where folds are scored."""
        return float(roc_auc_score(encoded, probability, sample_weight=weights))

    def score_fold(self, encoded: Array, probability: Array, threshold: float) -> dict[str, float]:
        """Return the metrics of a fold: accuracy, precision, recall and F1 at the threshold, and ROC AUC."""
        predicted = probability >= threshold
        return {
            "accuracy": float(accuracy_score(encoded, predicted)),
            "precision": float(precision_score(encoded, predicted, zero_division=0)),
            "recall": float(recall_score(encoded, predicted)),
            "f1": float(f1_score(encoded, predicted)),
            "roc_auc": self.score(encoded, probability),
        }

    def set_threshold(self, cost: Mapping[str, float]) -> float:
        """Return the probability from which predicting the positive class costs less (Elkan 2001, eq. 2)."""
        return cost["false_positive"] / (cost["false_positive"] + cost["false_negative"])


Task: TypeAlias = BinaryTask  # a union, once there are other kinds


def task_for(source: Contract | Mapping[str, Any]) -> Task:
    """Return the task of a contract, or of a declaration of features."""
    if isinstance(source, Contract):
        return BinaryTask(source.target, source.positive)
    return BinaryTask(source["target"], source.get("positive", 1))
