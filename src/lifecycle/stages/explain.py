"""Explain: what the model looks at, what follows from it, how single predictions come about, and the model card."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.contract import Contract, Role
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import replace_file
from lifecycle.core.paths import EVALUATION, MODEL_CARD, VERDICT
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

Record = dict[str, Any]
PAGES = [("Evaluate", "07_evaluate.html"), ("Explain", "08_explain.html")]  # that a card links to
STEPS = 8  # columns that a single explanation names; the others are summed up
REDUNDANT = 0.9  # a column that the others explain to this share is shown with a warning
REDUNDANCY_ROWS = 5_000
FAINT = 0.005  # half a percentage point: an effect below is none to speak of
BASELINES = {
    "prior": "the prior rate for everybody", "logistic": "a logistic regression",
    "tutorial": "a random forest on few columns", "champion": "the champion",
}  # fmt: skip


def check_inputs(model: Model, evaluation: Record, verdict: Record) -> None:
    """Refuse an evaluation or a verdict of another model (ProjectError)."""
    for name, record in ((EVALUATION, evaluation), (VERDICT, verdict)):
        if record["model"] != model.sha256:
            raise ProjectError(
                f"{name} is about model {record['model'][:12]}, the candidate is {model.sha256[:12]}: run `dvc repro`."
            )


# What matters.


def join_importance(ranked: pd.DataFrame, permuted: pd.DataFrame) -> pd.DataFrame:
    """Both kinds of importance side by side: column, attribution, direction, permutation, permutation_error."""
    names = {"importance": "permutation", "error": "permutation_error"}
    return ranked.rename(columns={"importance": "attribution"}).merge(permuted.rename(columns=names), on="column")


def rank_inputs(attribution: Attribution, rows: pd.DataFrame, permuted: pd.DataFrame) -> pd.DataFrame:
    """The columns by the mean size of their attributions, with the ranking lost when they are permuted."""
    return join_importance(rank_columns(attribution, rows), permuted)


def describe_agreement(importance: pd.DataFrame) -> str:
    """How far the two kinds of importance agree, and what they say, in two sentences."""
    top = [quote(name) for name in importance["column"].head(3)]
    both = float(importance["attribution"].corr(importance["permutation"], method="spearman"))
    share = importance["attribution"].head(3).sum() / max(importance["attribution"].sum(), 1e-12)
    agreement = f" The two rankings agree with a rank correlation of {both:.2f}." if len(importance) > 2 else ""
    return f"{join_words(top)} carry {share:.0%} of all that moves predictions.{agreement}"


def describe_derived(inputs: Inputs) -> str:
    """That derived features are counted with the columns they come from, as a sentence; empty when there are none."""
    if not inputs.derived:
        return ""
    parts = [
        f"{quote(feature['name'])} (from {join_words([quote(name) for name in feature['columns']])})"
        for feature in inputs.derived
    ]
    return f"Derived features are counted with the columns they come from, for they move together: {', '.join(parts)}."


# What follows.


def trace_effects(
    predict: Predict, rows: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, names: Sequence[str], inputs: Inputs
) -> dict[str, pd.DataFrame]:
    """The effect of each named column (a time column is left out), its levels by their names in the contract.

    Grids come from the training part; `rows` are those whose curves are averaged. Beside the effect stands `observed`:
    the mean prediction of all rows of `test` that have the value, less that of all.
    """
    effects = {}
    probability = predict(test[inputs.names])
    for name in names:
        if train[name].dtype.kind == "M" or not train[name].notna().any():
            continue
        grid = choose_grid(train[name])
        effect = trace_effect(predict, rows, name, grid).assign(observed=trace_observed(probability, test[name], grid))
        words = name_booleans(inputs.sources.get(name))
        effects[name] = effect.assign(value=[words.get(value, value) for value in effect["value"]]) if words else effect
    return effects


def describe_redundancy(names: Sequence[str], table: pd.DataFrame, seed: int) -> str:
    """Which of the columns the others nearly determine, as a warning in a sentence; empty when there are none.

    `table` has the input columns of the training part; a sample of it is enough.
    """
    shares = measure_redundancy(sample_rows(table, REDUNDANCY_ROWS, seed))
    found = {name: shares[name] for name in names if shares.get(name, 0.0) > REDUNDANT}
    if not found:
        return ""
    parts = [f"{quote(name)} ({share:.1%})" for name, share in found.items()]
    return (
        f"Read {join_words(parts)} with care: so much of its variation follows from the other columns, with which the "
        "model shares it out. Such a column never changes alone, and its effect alone may point the other way than its "
        "rows do (dashed)."
    )


def name_booleans(feature: Record | None) -> dict[float, str]:
    """The words for 0 and 1 of a boolean feature whose contract has any."""
    if feature is None or feature["kind"] != "boolean":
        return {}
    values = feature.get("values") or ["no", "yes"]
    return {float(code): str(value) for code, value in enumerate(values)}


def describe_effect(effect: pd.DataFrame) -> tuple[str, float]:
    """The direction and shape of an effect in words, and how far it moves a probability between its extremes."""
    mean, values = effect["mean"].to_numpy(), effect["value"].tolist()
    reach = float(mean.max() - mean.min())
    if reach < FAINT:
        return "hardly matters by itself", reach
    if not all(isinstance(value, float) for value in values):
        return f"likeliest with {values[int(mean.argmax())]}, least with {values[int(mean.argmin())]}", reach
    moves, net = np.abs(np.diff(mean)).sum(), mean[-1] - mean[0]
    if abs(net) >= 0.9 * moves:
        half = int(np.abs(mean - (mean[0] + mean[-1]) / 2).argmin())
        early = (values[half] - values[0]) < 0.25 * (values[-1] - values[0])
        words = "the higher, the likelier" if net > 0 else "the higher, the less likely"
        return words + (f", most of it below {values[half] * 2 - values[0]:.3g}" if early else ""), reach
    peak, trough = int(mean.argmax()), int(mean.argmin())
    if 0 < peak < len(mean) - 1 and not 0 < trough < len(mean) - 1:
        return f"likeliest around {values[peak]:.3g}", reach
    if 0 < trough < len(mean) - 1 and not 0 < peak < len(mean) - 1:
        return f"least likely around {values[trough]:.3g}", reach
    return "goes up and down", reach


def tabulate_effects(effects: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Each effect in words, and its reach in percentage points."""
    rows = {name: describe_effect(effect) for name, effect in effects.items()}
    return pd.DataFrame(
        {"the model finds it": [words for words, _ in rows.values()],
         "between extremes": [f"{100 * reach:.1f} points" for _, reach in rows.values()]},
        index=list(rows),
    )  # fmt: skip


# Single rows.


def choose_cases(target: Array, probability: Array, threshold: float) -> dict[str, int]:
    """The rows to explain, by their position: the surest right call, the surest right all-clear, the closest call.

    The likeliest of the positives, the least likely of the negatives, and of the others the row nearest the threshold.
    """
    positives, negatives = np.flatnonzero(target == 1), np.flatnonzero(target == 0)
    high = int(positives[probability[positives].argmax()])
    low = int(negatives[probability[negatives].argmin()])
    distance = np.abs(probability - threshold)
    distance[[high, low]] = np.inf
    return {"A sure call": high, "A sure all-clear": low, "A close call": int(distance.argmin())}


def describe_cases(
    cases: Mapping[str, int], rows: pd.DataFrame, table: pd.DataFrame, attribution: Attribution, declaration: Record
) -> list[Record]:
    """Each case with its title, probability and steps, greatest first; `rows` are those explained, `table` all of them.

    A step is what it is ("column = value") and by how much it moves the probability; beyond STEPS the rest is one step.
    """
    words = {feature["name"]: feature for feature in declaration["features"]}
    keys = [name for name in declaration["id"] if name in table][:1]
    described = []
    for place, (title, position) in enumerate(cases.items()):
        values = attribution.shapley[place]
        order = np.argsort(-np.abs(values), kind="stable")
        steps = [
            (
                format_value(attribution.names[step], rows.iloc[place, step], words.get(attribution.names[step])),
                float(values[step]),
            )
            for step in order[:STEPS]
        ]
        if len(order) > STEPS:
            steps.append((f"{len(order) - STEPS} other columns", float(values[order[STEPS:]].sum())))
        truth = "positive" if table[declaration["target"]].iloc[position] == 1 else "negative"
        which = f"{keys[0]} {table[keys[0]].iloc[position]}" if keys else f"row {position + 1} of the hold-out"
        probability = float(attribution.probability[place])
        described.append({
            "title": f"{title}: {which}, {probability:.0%}, truly {truth}",
            "position": position, "probability": probability, "label": truth, "steps": steps,
        })  # fmt: skip
    return described


def format_value(name: str, value: Any, feature: Record | None) -> str:
    """A column and its value as a label."""
    if pd.isna(value):
        return f"{name} missing"
    if isinstance(value, float | np.floating):
        words = name_booleans(feature)
        unit = f" {feature['unit']}" if feature and feature.get("unit") else ""
        return f"{name} = {words[float(value)]}" if float(value) in words else f"{name} = {value:.6g}{unit}"
    return f"{name} = {value}"


def list_explanation(
    model: Model, base: float, importance: pd.DataFrame, effects: Mapping[str, pd.DataFrame], cases: Sequence[Record]
) -> Record:
    """What reports/explain.json holds."""
    return {
        "model": model.sha256,
        "base": base,
        "importance": [clean_numbers(record) for record in importance.to_dict("records")],
        "effects": {
            name: {
                "words": words,
                "reach": reach,
                "points": [clean_numbers(record) for record in effect.to_dict("records")],
            }
            for name, effect in effects.items()
            for words, reach in [describe_effect(effect)]
        },
        "cases": [{**case, "steps": [list(step) for step in case["steps"]]} for case in cases],
    }


def clean_numbers(record: Mapping[Any, Any]) -> Record:
    """A record as JSON has it: undefined numbers as null."""
    return {
        str(key): None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


# The model card.


def describe_limits(contract: Contract, declaration: Record, evaluation: Record, manifest: Record) -> list[str]:
    """What the model cannot do or was not shown to do, each a sentence drawn from the artefacts."""
    split, area = declaration["split"], evaluation["metrics"]["roc_auc"]
    reach = (area["high"] - area["low"]) / 2
    unjudged = sum(not record["judged"] for record in evaluation["slices"])
    unseen = contract.names(Role.PII, Role.IGNORED)
    later = (
        "The hold-out is the newest part of the table: it tells of the time just after the training rows, not of later."
        if split["strategy"] == "time"
        else "The hold-out is a random part of the same table: it tells nothing of a later time. Monitor what comes."
    )
    limits = [
        later,
        f"It was judged on {evaluation['rows']:,} rows: its ROC AUC is known to within {reach:.3f}, no better.",
        f"It learned from {manifest['source']} ({manifest['version']}); other populations were not looked at.",
        f"Its threshold rests on the stated costs ({describe_costs(evaluation['cost'])}); others need another threshold.",
        "Attributions and effects describe the model; they do not say what changing a column in the world would do.",
    ]  # fmt: skip
    if unjudged:
        limits.append(f"{unjudged} of {len(evaluation['slices'])} groups had too few rows to be judged.")
    if unseen:
        limits.append(f"These columns were kept from it: {join_words(unseen)}.")
    if not contract.fairness:
        limits.append("The contract names no column for fairness, so that no groups of people were compared.")
    return limits


def describe_costs(cost: Mapping[str, float]) -> str:
    """The costs of wrong decisions in words."""
    return f"a false alarm {cost['false_positive']:g}, a missed positive {cost['false_negative']:g}"


def compare_baselines(evaluation: Record) -> list[Record]:
    """What the model is compared with, its ROC AUC and the paired difference, as text."""
    return [
        {
            "name": BASELINES[record["name"]],
            "roc_auc": format_estimate(record["metrics"]["roc_auc"]),
            "difference": f"{difference['value']:+.3f} ({difference['low']:+.3f} to {difference['high']:+.3f})",
        }
        for record in evaluation["baselines"]
        for difference in [record["differences"]["roc_auc"]]
    ]


def compare_people(evaluation: Record) -> list[Record]:
    """The groups of each fairness column with their rates, as text."""
    rows: dict[tuple[str, str], Record] = {}
    for record in evaluation["fairness"]:
        for group in record["groups"]:
            row = rows.setdefault(
                (record["column"], group["category"]), {"group": f"{record['column']} = {group['category']}"}
            )
            row[record["metric"]] = f"{group['value']:.0%} ({group['low']:.0%}\u2013{group['high']:.0%})"
    return list(rows.values())


def list_hashes(model: Model) -> dict[str, str]:
    """The content hashes that name this model and what it was made of."""
    made_of = {key.removesuffix("_sha256"): value for key, value in model.metadata.items() if key.endswith("_sha256")}
    return {"model": model.sha256, **made_of}


def describe_card(
    contract: Contract, model: Model, declaration: Record, evaluation: Record, verdict: Record, manifest: Record,
    importance: pd.DataFrame, effects: Mapping[str, pd.DataFrame], *, intended_use: str, out_of_scope: str,
) -> Record:  # fmt: skip
    """Everything that the model card says, from the artefacts alone; its sections are those of Mitchell et al. 2019."""
    weakest = sorted(
        (record for record in evaluation["slices"] if record["judged"]), key=lambda record: record["roc_auc"]["value"]
    )
    return {
        "contract": contract,
        "metadata": model.metadata,
        "model": model.sha256,
        "settings": {key: format_hyperparameter(value) for key, value in model.metadata["settings"].items()},
        "verdict": verdict,
        "intended_use": intended_use,
        "out_of_scope": out_of_scope,
        "features": declaration["features"],
        "split": declaration["split"],
        "evaluation": evaluation,
        "costs": describe_costs(evaluation["cost"]),
        "metrics": [(title, format_estimate(evaluation["metrics"][name])) for name, title in TITLES.items()],
        "baselines": compare_baselines(evaluation),
        "weakest": [
            {
                "group": f"{record['column']} = {record['category']}", "rows": record["rows"],
                "rate": record["rate"]["value"], "roc_auc": format_estimate(record["roc_auc"]),
                "recall": format_estimate(record["recall"], 2),
            }
            for record in weakest[:8]
        ],
        "judged": len(weakest),
        "people": compare_people(evaluation),
        "fairness": next((item["message"] for item in verdict["conditions"] if item["name"] == "max_fairness_gap"), ""),
        "important": importance.head(max(len(effects), 1)).to_dict("records"),
        "effects": {name: describe_effect(effect)[0] for name, effect in effects.items()},
        "limits": describe_limits(contract, declaration, evaluation, manifest),
        "manifest": manifest,
        "hashes": list_hashes(model),
    }  # fmt: skip


def format_hyperparameter(value: Any) -> str:
    """A setting as a reader wants it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_card(card: Record, path: Path) -> None:
    """Write the model card as a page of its own."""
    body = render_part("model_card.html.j2", **card)
    page = render_page("Model card", body, project=card["contract"].name, links=PAGES, current=Path(MODEL_CARD).name)
    with replace_file(path) as aside:
        aside.write_text(page, encoding="utf-8")
