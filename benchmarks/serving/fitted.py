"""The champion as scikit-learn fitted it, which all peers serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from lifecycle.core.files import read_json
from lifecycle.stages.features import compute_features


class Fitted:
    """The classifier in a release's model.joblib, with the features that are computed from the columns of a request."""

    def __init__(self, release: Path) -> None:
        self.classifier = joblib.load(release / "model.joblib")
        features = read_json(release / "bundle/plan.json")["features"]
        self.names = [feature["name"] for feature in features]
        # A column that is a feature itself is passed on unchanged: computing it too would take half as long again.
        self.computed = [f for f in features if f["expression"] or (f["kind"] == "boolean" and f["values"] != [0, 1])]

    def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return each row's probability of the positive class, with derived features as in training; shape (rows,)."""
        whole = frame.assign(**compute_features(frame, self.computed))
        probabilities: np.ndarray[Any, Any] = self.classifier.predict_proba(whole[self.names])
        return probabilities[:, 1]
