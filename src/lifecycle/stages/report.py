"""The front page, reports/index.html: what was decided and why, from the files that the stages wrote; and the registry of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from markupsafe import Markup

from lifecycle.core import paths
from lifecycle.core.contract import Contract, load_contract
from lifecycle.core.files import read_json, replace_file, write_json
from lifecycle.core.paths import Project
from lifecycle.features.catalog import describe_features
from lifecycle.modeling.model import METADATA_FILE
from lifecycle.pipeline.runner import STAGES, list_links, list_reports
from lifecycle.promotion.records import Verdict
from lifecycle.promotion.releases import find_release_folder, read_champion
from lifecycle.promotion.verdict import count_conditions, describe_consequence, list_cards
from lifecycle.reporting.feature_catalog import render_catalog
from lifecycle.reporting.front_page import draw_drivers, draw_gain
from lifecycle.reporting.pages import render_page, render_part
from lifecycle.reporting.wording import format_estimate, join_words

Record = dict[str, Any]
READS = {
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
    """Write the front page and the registry of features, and give the front page's path.

    Raises ProjectError naming the file that a stage has yet to write.
    """
    contract = load_contract(project.read(paths.CONTRACT))
    read = {name: read_json(project.read(path)) for name, path in READS.items()}
    verdict, evaluation = read["verdict"], read["evaluation"]
    body = render_part(
        "front.html.j2",
        title=f"{contract.name[:1].upper()}{contract.name[1:]}: the model",
        description=contract.description,
        verdict=Markup(render_part("verdict.html.j2", verdict=verdict)),  # noqa: S704 - escaped by its template
        cards=Markup(render_part("cards.html.j2", cards=list_cards(evaluation))),  # noqa: S704 - escaped by its template
        decisions=describe_decisions(contract, read),
        pictures=[
            {"source": draw_gain(evaluation["gain"]), "text": "Share of positives found by share of rows called"},
            {
                "source": draw_drivers(read["explanation"]["importance"]),
                "text": "The columns that move predictions most",
            },
        ],
        stages=[
            {"label": label, "address": address, "told": told}
            for (label, address), told in zip(list_reports(), describe_stages(contract, read), strict=True)
        ],
        facts=list_facts(contract, read, find_cut(project.read(paths.VALIDATED_TABLE), contract)),
    )
    page = project.write(paths.INDEX)
    with replace_file(page) as aside:
        text = render_page(
            f"{contract.name}: the model", body, project=contract.name, links=list_links(), current="index.html"
        )
        aside.write_text(text, encoding="utf-8")
    write_registry(project, contract, read)
    return page


def write_registry(project: Project, contract: Contract, read: dict[str, Record]) -> None:
    """Write the registry of features, as JSON and as a page."""
    models = list_models(project.root, read)
    weights = {record["column"]: record["attribution"] for record in read["explanation"]["importance"]}
    registry = {
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
    write_json(registry, project.write(paths.FEATURE_CATALOG))
    page = project.write(paths.FEATURE_PAGE)
    with replace_file(page) as aside:
        aside.write_text(render_catalog(registry, list_links(), page.name), encoding="utf-8")


def list_models(root: Path, read: dict[str, Record]) -> list[Record]:
    """The champion and the candidate, which may be one: content hash, roles, family, bundle and the features that each reads."""
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
    """A model as the registry of features knows it."""
    return {**{key: model[key] for key in ("model", "bundle", "family", "features")}, "roles": roles}


def describe_decisions(contract: Contract, read: dict[str, Record]) -> list[str]:
    """What was decided and why, a sentence each."""
    evaluation, verdict, model = read["evaluation"], read["verdict"], read["model"]
    gate = Verdict.parse(verdict, paths.VERDICT)
    cost = {record["name"]: record["metrics"]["cost"]["value"] for record in evaluation["baselines"]}
    mine = evaluation["metrics"]["cost"]
    ranks = format_estimate(evaluation["metrics"]["roc_auc"])
    miss, alarm = model["cost"]["false_negative"], model["cost"]["false_positive"]
    return [
        " ".join(parts)
        for parts in (
            (
                count_conditions(gate.conditions),
                describe_consequence(gate, evaluation["champion"]).replace("`", ""),
            ),
            (
                f"It gives each row the probability that {contract.target} is {contract.positive}.",
                f"On {evaluation['rows']:,} rows held out from every decision it ranks with a ROC AUC of {ranks}.",
            ),
            (
                f"A row is called from a probability of {model['threshold']:.2f}, because a miss costs {miss:g} and a false",
                f"alarm {alarm:g}: {mine['value']:.2f} per row with the model, {cost['prior']:.2f} with one rule for all.",
            ),
            (
                f"Of {read['tuned']['trials']} settings tried in {len(read['tuned']['families'])} families of models,",
                f"one of the family {model['family']} ranked held-back training rows best.",
            ),
        )
    ]


def describe_stages(contract: Contract, read: dict[str, Any]) -> list[str]:
    """Each stage's outcome in a sentence, in the stages' order."""
    checks, split, trained = read["checks"], read["features"]["split"], read["trained"]["cv"]["roc_auc"]
    blessing = read["blessing"]
    held = sum(check["passed"] for check in blessing["conditions"])
    warned = [check for check in checks["checks"] if check["status"] == "failed"]
    told = {
        "collect": f"{read['manifest']['rows']:,} rows × {len(read['manifest']['columns'])} columns from {read['manifest']['source']}.",
        "validate": f"{checks['valid']:,} rows keep the contract, {checks['quarantined']:,} are in quarantine; "
        f"{len(warned)} of {len(checks['checks'])} checks found something to know.",
        "explore": f"What goes with {contract.target} = {contract.positive}, in pictures.",
        "features": f"{len(read['features']['features'])} features; {split['train_rows']:,} rows to learn from, "
        f"{split['test_rows']:,} held out ({split['strategy']} split).",
        "tune": f"{read['tuned']['trials']} trials, {read['tuned']['pruned']} given up early; the best cross-validated "
        f"ROC AUC is {read['tuned']['roc_auc']:.3f}.",
        "train": f"ROC AUC {trained['test_mean']:.3f} ± {trained['test_sd']:.3f} over the folds.",
        "evaluate": "The hold-out, the baselines, slices, fairness and the gate.",
        "explain": "What drives the predictions, and single rows explained.",
        "deploy": f"{'Blessed' if blessing['blessed'] else 'Not blessed'}: {held} of {len(blessing['conditions'])} checks of the "
        f"running server hold, on bundle {blessing['bundle'][:12]}.",
        "simulate": f"{sum(log['predictions'] for log in read['simulated']):,} predictions in {len(read['simulated'])} simulated logs, "
        "to try monitoring on.",
        "monitor": describe_monitoring(read["monitoring"]),
        "retrain": read["retraining"]["because"].split(". ")[0].rstrip(".") + ".",
    }
    return [told[stage] for stage in STAGES]


def describe_monitoring(record: Record) -> str:
    """What monitoring found in the backtests, and in which of them no alert fired."""
    quiet = [log["log"] for log in record["backtests"] if log["severity"] == "ok"]
    return (
        f"{len(record['backtests']) - len(quiet)} of {len(record['backtests'])} simulated logs ring"
        f"{'; nothing rings in ' + join_words([repr(name) for name in quiet]) if quiet else ''}."
    )


def find_cut(table: Path, contract: Contract) -> str:
    """When the data ends: the newest moment of the contract's time column."""
    if contract.time is None:
        return "not dated: the contract names no time column"
    return str(pc.max(pq.read_table(table, columns=[contract.time])[contract.time]).as_py())


def list_facts(contract: Contract, read: dict[str, Record], cut: str) -> list[tuple[str, str]]:
    """Where the data is from, when it was cut, and the hashes that bind model and data."""
    manifest, verdict = read["manifest"], read["verdict"]
    return [
        ("Data", f"{manifest['source']} {manifest['version']}".strip()),
        ("Data until", cut),
        ("Data's content hash", manifest["sha256"]),
        ("Model's content hash", verdict["model"]),
        ("To reproduce", "make repro, on the commit that holds this dvc.lock"),
    ]
