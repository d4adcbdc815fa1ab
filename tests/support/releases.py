"""Candidates as the stages leave them: a small model, a bundle that only a registry looks at, and what was said of both."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
from sklearn.linear_model import LogisticRegression

from lifecycle.core import paths
from lifecycle.core.files import hash_file, write_json
from lifecycle.core.paths import Project
from lifecycle.modeling.model import save_model


@cache
def fit(strength: float) -> LogisticRegression:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    return LogisticRegression(C=strength).fit(frame, [0, 0, 1, 1])


def build(
    project: Project, strength: float, *, blessed: bool = True, better: bool = True, plan: str = "",
    serving: bool = True,
) -> str:  # fmt: skip
    """A candidate with its bundle, verdict, blessing and evaluation; its content hash."""
    metadata: dict[str, Any] = {
        "family": "logistic", "calibration": "none", "hyperparameters": {"C": strength}, "features": ["x"], "versions": {},
        "threshold": 0.5, "train_sha256": "t" * 64,
    }  # fmt: skip
    folder = project.write(f"{paths.CANDIDATE}/model.json").parent
    model = save_model(fit(strength), metadata, folder)
    bundle = bundle_model(project, model, plan)
    verdict = {"blessed": blessed, "better": better, "model": model, "conditions": [], "because": f"C is {strength}"}
    write_json(verdict, project.write(paths.VERDICT))
    blessing = {"blessed": serving, "bundle": bundle, "model": model, "conditions": [], "because": "it is slow"}
    write_json(blessing, project.write(paths.BLESSING))
    write_json({"metrics": {"roc_auc": {"value": 0.8, "low": 0.7, "high": 0.9}}}, project.write(paths.EVALUATION))
    return model


def bundle_model(project: Project, model: str, plan: str) -> str:
    """A bundle that names the model, in the candidate's place; its content hash."""
    path = project.write(f"{paths.BUNDLE}/plan.json")
    write_json({"C": plan}, path)
    facts = {"format": 2, "model": model, "family": "logistic", "prior": 0.25, "positive": "yes"}
    write_json({**facts, "files": {"plan.json": hash_file(path)}}, path.with_name("manifest.json"))
    return hash_file(path.with_name("manifest.json"))
