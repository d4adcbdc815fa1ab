"""Adding a feature: from a line in params.yaml to an answer in which it counts, within a time."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from lifecycle.cli.readiness import load_rubric
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.params import load_params
from lifecycle.modeling.pipelines import Recipe
from lifecycle.modeling.split import split_folds
from lifecycle.serving.bundle import to_requests
from lifecycle.serving.compiler import compile_model
from lifecycle.serving.scorer import Scorer
from lifecycle.stages import features, train
from tests.support.small import read_sample

NAME, TEXT = "charged_a_month", "total_charges / (1 + tenure)"


def test_a_feature_is_a_line_away_from_a_served_answer(checkout: Path, project: Path) -> None:
    """On a sample of a real table: declared, computed, fitted with the others, compiled, and computed anew for a request."""
    frame, heading = read_sample(), "\n  derived:"
    began = time.perf_counter()
    text = (project / paths.PARAMS).read_text()
    assert text.count(heading) == 1
    before, after = text.split(heading)
    first, rest = after.split("\n", 1)
    (project / paths.PARAMS).write_text(f"{before}{heading}{first}\n    {NAME}: {TEXT}\n{rest}")
    params, contract = load_params(project / paths.PARAMS), load_contract(project / paths.CONTRACT)
    declared = features.list_features(contract, list(frame.columns), params.features.derived)
    table = features.assemble_table(frame, features.compute_features(frame, declared), contract)
    declaration = {"target": contract.target, "features": declared, "split": {"strategy": "stratified"}}
    folds = split_folds(table, declaration, 2, seed=0)
    recipe = Recipe("logistic", {"C": 1.0}, seed=0, threads=1)
    _, predictions = train.cross_validate(table, declaration, folds, recipe, 0.5)
    classifier = train.fit_model(table, declaration, predictions, recipe, "none")
    plan, trees = compile_model(classifier, declared, recipe.family)
    scorer = Scorer(plan, {name: column.dtype for name, column in contract.columns.items()}, trees)
    (row,) = to_requests(frame.head(1), [name for name in frame if name != contract.target])
    answer = scorer.score_one(row)
    seconds = time.perf_counter() - began

    by_hand = (frame["total_charges"] / (1 + frame["tenure"])).to_numpy()
    np.testing.assert_allclose(table[NAME], by_hand)
    names = [feature["name"] for feature in declared]
    assert answer == pytest.approx(classifier.predict_proba(table[names].head(1))[0, 1], abs=1e-12)
    place = plan["numbers"]["names"].index(NAME)
    assert scorer.model.inputs.read_numbers([row])[0, place] == pytest.approx(by_hand[0])
    assert abs(plan["model"]["coefficients"][plan["order"].index(place)]) > 1e-3, "it counts"
    assert seconds <= load_rubric(checkout / paths.RUBRIC).find_row("D6").bounds["seconds"]
