"""The model that `mlflow models serve` serves; MLflow runs this file when it loads the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd

from benchmarks.serving.fitted import Fitted


class ChampionModel(mlflow.pyfunc.PythonModel):
    """The fitted champion as a pyfunc."""

    def load_context(self, context: Any) -> None:
        """Read the release."""
        self.fitted = Fitted(Path(context.artifacts["release"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> np.ndarray[Any, Any]:
        """Return each row's probability."""
        return self.fitted.predict(model_input)


mlflow.models.set_model(ChampionModel())
