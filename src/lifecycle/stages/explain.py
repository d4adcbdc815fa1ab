"""Explain: which columns matter, their effects, how single predictions come about, and the model card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.paths import EVALUATION, MODEL_CARD, VERDICT
from lifecycle.core.records import Record
from lifecycle.features.inputs import Inputs
from lifecycle.modeling.attribution import (
    Array,
    Attribution,
    Predict,
    choose_grid,
    measure_redundancy,
    rank_columns,
    sample_rows,
    trace_effect,
    trace_observed,
)
from lifecycle.modeling.metrics import TITLES
from lifecycle.modeling.model import Model
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.wording import format_estimate, join_words, quote

PAGES = [("Evaluate", "07_evaluate.html"), ("Explain", "08_explain.html")]  # links of the model card
_STEPS = 8  # columns named in the explanation of a row; the others are added up
_REDUNDANT = 0.9  # a column is shown with a warning when the others explain more than this share of it
_REDUNDANCY_ROWS = 5_000
_SHOWN = 40  # characters of a text
_FAINT = 0.005  # half a percentage point: smaller effects are described as negligible
_BASELINES = {
    "prior": "the base rate for every row", "logistic": "a logistic regression",
    "tutorial": "a random forest on a few columns", "champion": "the champion",
}  # fmt: skip


def check_inputs(model: Model, evaluation: Record, verdict: Record) -> None:
    """Raise ProjectError for an evaluation or a verdict of another model."""
    for name, record in ((EVALUATION, evaluation), (VERDICT, verdict)):
        if record["model"] != model.sha256:
            raise ProjectError(
                f"{name} is about model {record['model'][:12]}, the candidate is {model.sha256[:12]}: run `dvc repro`."
            )


# Importance.


def _join_importance(ranked: pd.DataFrame, permuted: pd.DataFrame) -> pd.DataFrame:
    """Join both kinds of importance: column, attribution, direction, permutation, permutation_error."""
    names = {"importance": "permutation", "error": "permutation_error"}
    return ranked.rename(columns={"importance": "attribution"}).merge(permuted.rename(columns=names), on="column")


def rank_inputs(attribution: Attribution, rows: pd.DataFrame, permuted: pd.DataFrame) -> pd.DataFrame:
    """Rank the columns by the mean size of their attributions, and add their permutation importance."""
    return _join_importance(rank_columns(attribution, rows), permuted)


def describe_agreement(importance: pd.DataFrame) -> str:
    """Describe the most important columns, and how far the two kinds of importance agree."""
    top = [quote(name) for name in importance["column"].head(3)]
    both = float(importance["attribution"].corr(importance["permutation"], method="spearman"))
    share = importance["attribution"].head(3).sum() / max(importance["attribution"].sum(), 1e-12)
    agreement = f" The two rankings agree with a rank correlation of {both:.2f}." if len(importance) > 2 else ""
    return f"{join_words(top)} account for {share:.0%} of what moves the predictions.{agreement}"


def describe_derived(inputs: Inputs) -> str:
    """Explain in a sentence that derived features count with their source columns; empty when there are none."""
    if not inputs.derived:
        return ""
    parts = [
        f"{quote(feature['name'])} (from {join_words([quote(name) for name in feature['columns']])})"
        for feature in inputs.derived
    ]
    return f"Derived features count as part of the columns that they are computed from, because both change together: {', '.join(parts)}."


# Effects.


def trace_effects(
    predict: Predict, rows: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str], inputs: Inputs
) -> dict[str, pd.DataFrame]:
    """Return the effect of each named column except for time columns and texts; boolean values have the contract's names.

    Grids come from the training part; `rows` are those whose curves are averaged. The column `observed` is the mean
    prediction of the rows of `test` that have the value, minus that of all rows.
    """
    effects = {}
    probability = predict(test[inputs.names])
    for name in names:
        feature = inputs.sources.get(name)
        if train[name].dtype.kind == "M" or not train[name].notna().any() or (feature and feature["kind"] == "text"):
            continue
        grid = choose_grid(train[name])
        effect = trace_effect(predict, rows, name, grid).assign(observed=trace_observed(probability, test[name], grid))
        words = _name_booleans(feature)
        effects[name] = effect.assign(value=[words.get(value, value) for value in effect["value"]]) if words else effect
    return effects


def describe_redundancy(names: Sequence[str], table: pd.DataFrame, seed: int) -> str:
    """Warn about columns that the others nearly determine; empty when there are none.

    `table` has the input columns of the training part; a sample of it is enough.
    """
    shares = measure_redundancy(sample_rows(table, _REDUNDANCY_ROWS, seed))
    found = {name: shares[name] for name in names if shares.get(name, 0.0) > _REDUNDANT}
    if not found:
        return ""
    parts = [f"{quote(name)} ({share:.1%})" for name, share in found.items()]
    return (
        f"Read {join_words(parts)} with care: the other columns explain that share of its variation, and the model divides "
        "the effect among them. Such a column seldom changes alone, and its effect may point in another direction than "
        "the rows that have the value (dashed)."
    )


def _name_booleans(feature: Record | None) -> dict[float, str]:
    """Return the names of 0 and 1 of a boolean feature, empty for other features."""
    if feature is None or feature["kind"] != "boolean":
        return {}
    values = feature.get("values") or ["no", "yes"]
    return {float(code): str(value) for code, value in enumerate(values)}


def _describe_effect(effect: pd.DataFrame) -> tuple[str, float]:
    """Describe the direction and shape of an effect; return it with the difference between its extremes in probability."""
    mean, values = effect["mean"].to_numpy(), effect["value"].tolist()
    reach = float(mean.max() - mean.min())
    if reach < _FAINT:
        return "has hardly any effect by itself", reach
    if not all(isinstance(value, float) for value in values):
        return f"highest with {values[int(mean.argmax())]}, lowest with {values[int(mean.argmin())]}", reach
    moves, net = np.abs(np.diff(mean)).sum(), mean[-1] - mean[0]
    if abs(net) >= 0.9 * moves:
        half = int(np.abs(mean - (mean[0] + mean[-1]) / 2).argmin())
        early = (values[half] - values[0]) < 0.25 * (values[-1] - values[0])
        words = "rises with the value" if net > 0 else "falls with the value"
        return words + (f", mostly below {values[half] * 2 - values[0]:.3g}" if early else ""), reach
    peak, trough = int(mean.argmax()), int(mean.argmin())
    if 0 < peak < len(mean) - 1 and not 0 < trough < len(mean) - 1:
        return f"highest around {values[peak]:.3g}", reach
    if 0 < trough < len(mean) - 1 and not 0 < peak < len(mean) - 1:
        return f"lowest around {values[trough]:.3g}", reach
    return "rises and falls", reach


def tabulate_effects(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return a table of the effects in words, and the difference between their extremes in percentage points."""
    rows = {name: _describe_effect(effect) for name, effect in effects.items()}
    return pd.DataFrame(
        {"effect on the prediction": [words for words, _ in rows.values()],
         "difference between extremes": [f"{100 * reach:.1f} percentage points" for _, reach in rows.values()]},
        index=list(rows),
    )  # fmt: skip


# Single predictions.


def choose_cases(target: Array, probability: Array, threshold: float) -> dict[str, int]:
    """Choose three rows to explain; return their positions by title.

    The positive row with the highest probability, the negative row with the lowest, and of the others the one nearest to
    the threshold.
    """
    positives, negatives = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    high = int(positives[probability[positives].argmax()])
    low = int(negatives[probability[negatives].argmin()])
    distance = np.abs(probability - threshold)
    distance[[high, low]] = np.inf
    return {"A confident positive": high, "A confident negative": low, "A close decision": int(distance.argmin())}


def describe_cases(
    cases: Mapping[str, int], rows: pd.DataFrame, table: pd.DataFrame, attribution: Attribution, declaration: Record
) -> list[Record]:
    """Return each case with its title, probability and steps, the largest first; `rows` are the explained rows of `table`.

    A step is a label ("column = value") and by how much it moves the probability; steps beyond STEPS are added up.
    """
    words = {feature["name"]: feature for feature in declaration["features"]}
    keys = [name for name in declaration["id"] if name in table][:1]
    described = []
    for place, (title, position) in enumerate(cases.items()):
        values = attribution.shapley[place]
        order = np.argsort(-np.abs(values), kind="stable")
        steps = [
            (
                _format_value(attribution.names[step], rows.iloc[place, step], words.get(attribution.names[step])),
                float(values[step]),
            )
            for step in order[:_STEPS]
        ]
        if len(order) > _STEPS:
            steps.append((f"{len(order) - _STEPS} other columns", float(values[order[_STEPS:]].sum())))
        label = "positive" if table[declaration["target"]].iloc[position] == 1 else "negative"
        which = f"{keys[0]} {table[keys[0]].iloc[position]}" if keys else f"row {position + 1} of the hold-out"
        probability = float(attribution.probability[place])
        described.append({
            "title": f"{title}: {which}, predicted {probability:.0%}, actually {label}",
            "position": position, "probability": probability, "label": label, "steps": steps,
        })  # fmt: skip
    return described


def _format_value(name: str, value: Any, feature: Record | None) -> str:
    """Format a column and its value as a label."""
    if pd.isna(value):
        return f"{name} missing"
    if isinstance(value, float | np.floating):
        words = _name_booleans(feature)
        unit = f" {feature['unit']}" if feature and feature.get("unit") else ""
        return f"{name} = {words[float(value)]}" if float(value) in words else f"{name} = {value:.6g}{unit}"
    if feature and feature["kind"] == "text":
        return f"{name} = {shorten(str(value), _SHOWN, placeholder=' …')}"
    return f"{name} = {value}"


def list_explanation(
    model: Model, base: float, importance: pd.DataFrame, effects: Mapping[str, pd.DataFrame], cases: Sequence[Record]
) -> Record:
    """Return the record that is written to reports/explain.json."""
    return {
        "model": model.sha256,
        "base": base,
        "importance": [_clean_numbers(record) for record in importance.to_dict("records")],
        "effects": {
            name: {
                "words": words,
                "reach": reach,
                "points": [_clean_numbers(record) for record in effect.to_dict("records")],
            }
            for name, effect in effects.items()
            for words, reach in [_describe_effect(effect)]
        },
        "cases": [{**case, "steps": [list(step) for step in case["steps"]]} for case in cases],
    }


def _clean_numbers(record: Mapping[Any, Any]) -> Record:
    """Convert a record to JSON values, with undefined numbers as null."""
    return {
        str(key): None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


# The model card.


def _describe_limits(contract: Contract, declaration: Record, evaluation: Record, manifest: Record) -> list[str]:
    """List the model's limits as sentences, from the records."""
    split, area = declaration["split"], evaluation["metrics"]["roc_auc"]
    reach = (area["high"] - area["low"]) / 2
    unjudged = sum(not record["judged"] for record in evaluation["slices"])
    unseen = contract.names(Role.PII, Role.IGNORED)
    later = (
        "The hold-out is the newest part of the table: it covers the time just after the training rows, and no later time."
        if split["strategy"] in ("time", "time_group", "order")
        else "The hold-out is a random part of the same table: it says nothing about a later time, so monitor the model."
    )
    limits = [
        later,
        f"It was evaluated on {evaluation['rows']:,} rows, so that its ROC AUC is known to within {reach:.3f} only.",
        f"It was trained on {manifest['source']} ({manifest['version']}); it was not tested on other populations.",
        f"Its threshold follows from the stated costs ({_describe_costs(evaluation['cost'])}); other costs need another one.",
        "Attributions and effects describe the model; they do not predict what changing a column in reality would do.",
    ]  # fmt: skip
    limits += _describe_directions(declaration["features"])
    if unjudged:
        limits.append(f"{unjudged} of {len(evaluation['slices'])} groups had too few rows to be evaluated.")
    if unseen:
        limits.append(f"The model does not read these columns: {join_words(unseen)}.")
    if not contract.fairness:
        limits.append("The contract names no fairness columns, so that groups of people were not compared.")
    return limits


def _describe_directions(features: Sequence[Record]) -> list[str]:
    """Describe, in at most two sentences, the features with which the contract lets the probability only rise or only fall."""
    rules = (("increasing", "falls"), ("decreasing", "rises"))
    named = {rule: [f["name"] for f in features if f.get("monotone") == rule] for rule, _ in rules}
    return [
        f"By the contract, its probability never {verb} when {join_words(named[rule])} "
        f"{'rises' if len(named[rule]) == 1 else 'rise'} and all other features stay as they are."
        for rule, verb in rules
        if named[rule]
    ]


def _describe_costs(cost: Mapping[str, float]) -> str:
    """Describe the costs of wrong decisions."""
    return f"a false alarm {cost['false_positive']:g}, a missed positive {cost['false_negative']:g}"


def _compare_baselines(evaluation: Record) -> list[Record]:
    """Return the models that it is compared with, their ROC AUC and the paired difference, as text."""
    return [
        {
            "name": _BASELINES[record["name"]],
            "roc_auc": format_estimate(record["metrics"]["roc_auc"]),
            "difference": f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})",
        }
        for record in evaluation["baselines"]
        for difference in [record["differences"]["roc_auc"]]
    ]


def _compare_people(evaluation: Record) -> list[Record]:
    """Return the groups of each fairness column with their rates, as text."""
    rows: dict[tuple[str, str], Record] = {}
    for record in evaluation["fairness"]:
        for group in record["groups"]:
            row = rows.setdefault(
                (record["column"], group["category"]), {"group": f"{record['column']} = {group['category']}"}
            )
            row[record["metric"]] = f"{group['value']:.0%} ({group['low']:.0%}\u2013{group['high']:.0%})"
    return list(rows.values())


def _list_hashes(model: Model) -> dict[str, str]:
    """Return the content hashes of the model and of its inputs."""
    made_of = {key.removesuffix("_sha256"): value for key, value in model.metadata.items() if key.endswith("_sha256")}
    return {"model": model.sha256, **made_of}


@dataclass(frozen=True)
class CardSources:
    """The records that a model card is written from, and the intended use that params.yaml states."""

    declaration: Record
    evaluation: Record
    verdict: Record
    manifest: Record
    intended_use: str
    out_of_scope: str


def describe_card(
    contract: Contract,
    model: Model,
    sources: CardSources,
    importance: pd.DataFrame,
    effects: Mapping[str, pd.DataFrame],
) -> Record:
    """Return the content of the model card, all of it from records; the sections are those of Mitchell et al. 2019."""
    declaration, evaluation, verdict = sources.declaration, sources.evaluation, sources.verdict
    weakest = sorted(
        (record for record in evaluation["slices"] if record["judged"]), key=lambda record: record["roc_auc"]["value"]
    )
    return {
        "contract": contract,
        "metadata": model.metadata,
        "model": model.sha256,
        "hyperparameters": {key: _format_hyperparameter(value) for key, value in model.metadata["hyperparameters"].items()},
        "verdict": verdict,
        "intended_use": sources.intended_use,
        "out_of_scope": sources.out_of_scope,
        "features": declaration["features"],
        "split": declaration["split"],
        "evaluation": evaluation,
        "costs": _describe_costs(evaluation["cost"]),
        "metrics": [(title, format_estimate(evaluation["metrics"][name])) for name, title in TITLES.items()],
        "baselines": _compare_baselines(evaluation),
        "weakest": [
            {
                "group": f"{record['column']} = {record['category']}", "rows": record["rows"],
                "rate": record["rate"]["value"], "roc_auc": format_estimate(record["roc_auc"]),
                "recall": format_estimate(record["recall"], 2),
            }
            for record in weakest[:8]
        ],
        "judged": len(weakest),
        "people": _compare_people(evaluation),
        "fairness": next((item["message"] for item in verdict["conditions"] if item["name"] == "max_fairness_gap"), ""),
        "important": importance.head(max(len(effects), 1)).to_dict("records"),
        "effects": {name: _describe_effect(effect)[0] for name, effect in effects.items()},
        "limits": _describe_limits(contract, declaration, evaluation, sources.manifest),
        "manifest": sources.manifest,
        "hashes": _list_hashes(model),
    }  # fmt: skip


def _format_hyperparameter(value: Any) -> str:
    """Format a hyperparameter for a reader."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_card(card: Record, path: Path) -> None:
    """Write the model card as an HTML page."""
    body = render_part("model_card.html.j2", **card)
    page = render_page("Model card", body, project=card["contract"].name, links=PAGES, current=Path(MODEL_CARD).name)
    with replace_file(path) as aside:
        aside.write_text(page, encoding="utf-8")
