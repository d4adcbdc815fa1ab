"""The fitted champion as a BentoML service; $LIFECYCLE_RELEASE names the folder of the release."""

import os
from pathlib import Path
from typing import Any

import bentoml
import pandas as pd

from benchmarks.serving.fitted import Fitted


@bentoml.service
class Champion:
    """The fitted champion."""

    def __init__(self) -> None:
        self.fitted = Fitted(Path(os.environ["LIFECYCLE_RELEASE"]))

    @bentoml.api
    def predict(self, row: dict[str, Any], /) -> dict[str, float]:
        """Return the probability of one row."""
        return {"probability": float(self.fitted.predict(pd.DataFrame([row]))[0])}
