"""The stage `report`: write the front page (reports/index.html) and the feature catalog from the files of all stages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.files import read_json, replace_file, write_json
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.features.catalog import describe_features
from lifecycle.modeling.model import METADATA_FILE
from lifecycle.pipeline.runner import STAGES, list_links, list_reports
from lifecycle.promotion.records import Verdict
from lifecycle.promotion.releases import find_release_folder, read_champion
from lifecycle.promotion.verdict import count_conditions, describe_consequence, list_cards
from lifecycle.reporting.feature_catalog import render_catalog
from lifecycle.reporting.front_page import draw_drivers, draw_gain
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.wording import format_estimate, format_percent, join_words

_READS = {
    "manifest": paths.RAW_MANIFEST,
    "checks": paths.VALIDATION,
    "features": paths.FEATURES,
    "tuned": paths.TUNED,
    "trained": paths.TRAIN_METRICS,
    "model": f"{paths.CANDIDATE}/model.json",
    "evaluation": paths.EVALUATION,
    "verdict": paths.VERDICT,
    "explanation": paths.EXPLANATION,
    "blessing": paths.BLESSING,
    "simulated": paths.SIMULATED_SCENARIOS,
    "monitoring": paths.MONITORING,
    "retraining": paths.DECISION,
}


def write_report(project: Project) -> Path:
    """Write the front page and the feature catalog, and return the front page's path.

    Raises ProjectError naming the first file that is missing because its stage has not run.
    """
    contract = load_contract(project.read(paths.CONTRACT))
    read = {name: read_json(project.read(path)) for name, path in _READS.items()}
    title = f"{contract.name[:1].upper()}{contract.name[1:]}: the model"
    body = render_part(
        "front.html.j2",
        title=title,
        description=contract.description,
        verdict=Markup(render_part("verdict.html.j2", verdict=read["verdict"])),  # noqa: S704 - escaped by its template
        cards=Markup(render_part("cards.html.j2", cards=list_cards(read["evaluation"]))),  # noqa: S704 - escaped by its template
        statements=_list_statements(contract, read),
        pictures=_list_pictures(read),
        stages=[
            {"label": label, "address": address, "outcome": outcome}
            for (label, address), outcome in zip(list_reports(), _describe_stages(contract, read), strict=True)
        ],
        facts=_list_facts(contract, read, _find_newest_time(project.read(paths.VALIDATED_TABLE), contract)),
    )
    page = project.write(paths.INDEX)
    with replace_file(page) as temporary:
        text = render_page(title, body, project=contract.name, links=list_links(), current=page.name)
        temporary.write_text(text, encoding="utf-8")
    _write_catalog(project, contract, read)
    return page


def _list_pictures(read: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the front page's figures, each with its source and its alternative text."""
    return [
        {
            "source": draw_gain(read["evaluation"]["gain"]),
            "text": "Share of the positive rows found, by share of the rows predicted positive",
        },
        {
            "source": draw_drivers(read["explanation"]["importance"]),
            "text": "The columns that change predictions most",
        },
    ]


def _write_catalog(project: Project, contract: Contract, read: Mapping[str, Any]) -> None:
    """Write the feature catalog, as JSON and as a page."""
    models = _list_models(project.root, read)
    weights = {record["column"]: record["attribution"] for record in read["explanation"]["importance"]}
    catalog = {
        "project": contract.name,
        "models": models,
        "features": [
            {
                **feature,
                "importance": weights.get(feature["name"]),
                "used_by": [model["model"] for model in models if feature["name"] in model["features"]],
            }
            for feature in describe_features(read["features"]["features"], contract, project.read(paths.TRAIN_TABLE))
        ],
    }
    write_json(catalog, project.write(paths.FEATURE_CATALOG))
    page = project.write(paths.FEATURE_PAGE)
    with replace_file(page) as temporary:
        temporary.write_text(render_catalog(catalog, list_links(), page.name), encoding="utf-8")


def _list_models(root: Path, read: Mapping[str, Any]) -> list[Record]:
    """Describe the champion and the candidate, which may be the same model: content hash, roles, family, bundle and features."""
    candidate = {**read["model"], "model": read["verdict"]["model"], "bundle": read["blessing"]["bundle"]}
    champion = read_champion(root)
    if champion.model == candidate["model"]:
        return [describe_model(candidate, "champion", "candidate")]
    models = [describe_model(candidate, "candidate")]
    if champion.model is not None:
        metadata = read_json(find_release_folder(root, champion.model) / METADATA_FILE)
        models = [describe_model({**metadata, **champion.to_json()}, "champion"), *models]
    return models


def describe_model(model: Record, *roles: str) -> Record:
    """Describe a model for the feature catalog."""
    return {**{key: model[key] for key in ("model", "bundle", "family", "features")}, "roles": roles}


def _list_statements(contract: Contract, read: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what the results mean, the numbers behind it and how sure they are, one statement each."""
    return [
        _describe_use(contract, read["evaluation"]),
        _describe_ranking(read["evaluation"]),
        _describe_cost(read["evaluation"], read["model"]),
        _describe_gate(Verdict.parse(read["verdict"], paths.VERDICT), read["evaluation"]["champion"]),
        _describe_search(read["tuned"], read["model"]),
    ]


def _describe_use(contract: Contract, evaluation: Record) -> dict[str, str]:
    """Describe what the model is for, and what a ranking by it achieves."""
    top = next(point for point in evaluation["gain"] if abs(point["predicted_positive"] - 0.2) < 1e-9)
    event = f"{contract.target} = {contract.positive}"
    return {
        "meaning": f"The model estimates for each row the probability of {event}.",
        "detail": f"Ordered by it, the first fifth of the rows contains {format_percent(top['gain'])} of all rows with "
        f"{event}: {top['lift']:.1f} times as many as a fifth chosen at random.",
    }


def _describe_ranking(evaluation: Record) -> dict[str, str]:
    """Describe how well the model ranks rows that it has not seen."""
    return {
        "meaning": "This was measured on rows that were not used to build or choose the model.",
        "detail": f"On these {evaluation['rows']:,} rows its ROC AUC is {format_estimate(evaluation['metrics']['roc_auc'])}; "
        "0.5 is chance, 1 is perfect. The range in brackets contains the true value with 95 % confidence.",
    }


def _describe_cost(evaluation: Record, model: Record) -> dict[str, str]:
    """Describe what decisions by the model cost, compared with the best single decision for all rows."""
    prior = next(record for record in evaluation["baselines"] if record["name"] == "prior")
    cost, without = evaluation["metrics"]["cost"], prior["metrics"]["cost"]["value"]
    saved = prior["differences"]["cost"]
    if saved["high"] < 0 < without:
        meaning = (
            f"Decisions by the model cost {-saved['value'] / without:.0%} less than the same decision for all rows."
        )
    else:
        meaning = "Decisions by the model are not shown to cost less than the same decision for all rows."
    return {
        "meaning": meaning,
        "detail": f"A missed positive costs {model['cost']['false_negative']:g} and a false alarm "
        f"{model['cost']['false_positive']:g}; a row is therefore predicted positive from a probability of "
        f"{model['threshold']:.2f}. The cost per row is {cost['value']:.2f} with the model and {without:.2f} without: the model "
        f"saves {-saved['value']:.2f} per row, with 95 % confidence between {-saved['high']:.2f} and {-saved['low']:.2f}.",
    }


def _describe_gate(verdict: Verdict, champion: Record) -> dict[str, str]:
    """Describe how many conditions of the quality gate hold, and what follows."""
    return {
        "meaning": f"The model {'passed' if verdict.blessed else 'did not pass'} the quality gate.",
        "detail": f"{count_conditions(verdict.conditions)} {describe_consequence(verdict, champion).replace('`', '')}",
    }


def _describe_search(tuned: Record, model: Record) -> dict[str, str]:
    """Describe how the model was chosen."""
    count = len(tuned["families"])
    return {
        "meaning": "It is the best of the models that were tried.",
        "detail": f"Of {tuned['trials']} combinations of hyperparameters in {count} model "
        f"{'family' if count == 1 else 'families'}, one of the family {model['family']} had the highest ROC AUC in "
        f"cross-validation on the training rows: {tuned['roc_auc']:.3f}.",
    }


def _describe_stages(contract: Contract, read: Mapping[str, Any]) -> list[str]:
    """Describe each stage's outcome in a sentence, in the stages' order."""
    checks, split, trained = read["checks"], read["features"]["split"], read["trained"]["cv"]["roc_auc"]
    blessing, manifest, tuned = read["blessing"], read["manifest"], read["tuned"]
    held = sum(check["passed"] is True for check in blessing["conditions"])
    failed = [check for check in checks["checks"] if check["status"] == "failed"]
    unread = f", {checks['rejected']:,} could not be read" if checks["rejected"] else ""
    outcomes = {
        "collect": f"{manifest['rows']:,} rows × {len(manifest['columns'])} columns from {_name_source(manifest['source'])}.",
        "validate": f"{checks['valid']:,} rows satisfy the contract and {checks['quarantined']:,} are in quarantine{unread}; "
        f"{len(failed)} of {len(checks['checks'])} checks need attention.",
        "explore": f"How the columns relate to {contract.target} = {contract.positive}, in figures.",
        "features": f"{len(read['features']['features'])} features; {split['train_rows']:,} rows for training and "
        f"{split['test_rows']:,} held out for the evaluation ({split['strategy']} split)"
        + (f"; {split['left_rows']:,} are on neither side." if split["left_rows"] else "."),
        "tune": f"{tuned['trials']} trials, {tuned['pruned']} of them stopped early; the best ROC AUC in cross-validation is "
        f"{tuned['roc_auc']:.3f}.",
        "train": f"ROC AUC {trained['test_mean']:.3f} ± {trained['test_error']:.3f} (mean over the folds, and its standard error).",
        "evaluate": "Metrics on the held-out rows, baselines, groups, fairness and the quality gate.",
        "explain": "Which columns drive the predictions, and explanations of single rows.",
        "deploy": f"The running server {'passed' if blessing['blessed'] else 'did not pass'} its tests: {held} of "
        f"{len(blessing['conditions'])} hold, with bundle {blessing['bundle'][:12]}.",
        "simulate": f"{sum(log['predictions'] for log in read['simulated']):,} simulated predictions in "
        f"{len(read['simulated'])} logs, to test monitoring; none of them is from real use.",
        "monitor": _describe_monitoring(read["monitoring"]),
        "retrain": read["retraining"]["because"],
    }
    for stage, record in (("monitor", "monitoring"), ("retrain", "retraining")):
        if read[record]["simulated"]:
            outcomes[stage] = f"Simulated months: {outcomes[stage]}"
    return [outcomes[stage] for stage in STAGES]


def _describe_monitoring(record: Record) -> str:
    """Describe in how many backtests an alert fired, and in which none did."""
    backtests = record["backtests"]
    quiet = [log["log"] for log in backtests if log["severity"] == "ok"]
    if not backtests:
        return f"The highest severity of an alert is {record['severity']}."
    return (
        f"Alerts fired in {len(backtests) - len(quiet)} of {len(backtests)} simulated logs"
        f"{'; no alert fired in ' + join_words([repr(name) for name in quiet]) if quiet else ''}."
    )


def _find_newest_time(table: Path, contract: Contract) -> str:
    """Return the newest value of the contract's time column, or that there is none."""
    if contract.time is None:
        return "unknown, because the contract names no time column"
    return str(pc.max(pq.read_table(table, columns=[contract.time])[contract.time]).as_py())


def _name_source(source: str) -> str:
    """Return a source as the page names it: the last part of an absolute path, which differs between machines."""
    return Path(source).name if Path(source).is_absolute() else source


def _list_facts(contract: Contract, read: Mapping[str, Any], newest: str) -> list[tuple[str, str]]:
    """Return the data's source and newest time, the content hashes of data and model, and how to reproduce them."""
    manifest, verdict = read["manifest"], read["verdict"]
    return [
        ("Data", f"{_name_source(manifest['source'])} {manifest['version']}".strip()),
        ("Newest row", newest),
        ("Content hash of the data", manifest["sha256"]),
        ("Content hash of the model", verdict["model"]),
        ("To reproduce", "Run make repro on the commit with the same dvc.lock."),
    ]
