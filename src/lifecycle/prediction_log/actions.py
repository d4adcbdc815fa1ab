"""The actions of a prediction log: what was done after a prediction, which may have changed its label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.prediction_log.reader import read_predictions

if TYPE_CHECKING:
    import pandas as pd


def read_actions(folder: Path) -> pd.Series:
    """Return the first action after each prediction that was treated, by the prediction's id.

    Raises ProjectError for a log of another format.
    """
    table = read_predictions(folder, "action").to_pandas()
    table = table[table["action"].notna()].drop_duplicates("id", keep="first")
    actions: pd.Series = table.set_index("id")["action"]
    return actions
