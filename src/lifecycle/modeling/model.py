"""Save and load a fitted model together with its metadata, in one folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, replace_file, write_json

MODEL_FILE = "model.joblib"
METADATA_FILE = "model.json"
_PROTOCOL = 4  # of pickle: the default of Python 3.14 is 5, which would give the same model another hash


@dataclass(frozen=True)
class Model:
    """A scikit-learn classifier over named columns, and its metadata (family, hyperparameters, threshold, hashes, ...)."""

    classifier: Any
    metadata: dict[str, Any]
    sha256: str

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the probability of the positive class, float64 of shape (rows,); other columns of `frame` are ignored.

        Raises ProjectError when `frame` lacks a feature.
        """
        names = self.metadata["features"]
        if missing := [name for name in names if name not in frame.columns]:
            raise ProjectError(f"the model needs the columns {missing}, which the table does not have.")
        probabilities: np.ndarray = self.classifier.predict_proba(frame[names])
        return probabilities[:, list(self.classifier.classes_).index(1)]

    @property
    def threshold(self) -> float:
        """The probability from which the positive class is predicted."""
        return float(self.metadata["threshold"])


def hash_model(folder: Path) -> str:
    """Return the model's content hash: SHA-256 over its two files, hexadecimal."""
    total = hashlib.sha256()
    for name in (MODEL_FILE, METADATA_FILE):
        total.update(bytes.fromhex(hash_file(folder / name)))
    return total.hexdigest()


def save_model(classifier: Any, metadata: dict[str, Any], folder: Path) -> str:
    """Write a model into `folder`; return its content hash. The same model results in the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / MODEL_FILE) as aside:
        joblib.dump(classifier, aside, compress=("zlib", 6), protocol=_PROTOCOL)
    write_json(metadata, folder / METADATA_FILE)
    return hash_model(folder)


def load_model(folder: Path, *, sha256: str | None = None) -> Model:
    """Read a model that `save_model` wrote.

    A joblib file runs code when it is loaded, so the content hash is compared with `sha256` before that. Raises
    ProjectError when a file is missing or the hash differs.
    """
    for name in (MODEL_FILE, METADATA_FILE):
        if not (folder / name).is_file():
            raise ProjectError(f"{folder} is not a model: {name} is missing.")
    found = hash_model(folder)
    if sha256 is not None and found != sha256:
        raise ProjectError(f"{folder} holds model {found[:12]}, expected {sha256[:12]}: it was not loaded.")
    return Model(joblib.load(folder / MODEL_FILE), read_json(folder / METADATA_FILE), found)
