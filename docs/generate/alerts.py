"""Alerts: the rules of Prometheus, and what `lifecycle monitor` finds."""

from __future__ import annotations

import ast

from generate.markdown import anchor, code, finish, write_table
from generate.schemas import ROOT, refuse_missing

# What to do about each alert of Prometheus. The build fails where a rule of ops/alerts.yml is missing here.
ACTIONS = {
    "ServiceDown": "See whether the server's process or pods run, and read their log.",
    "ServerDown": "Read the log of this instance; the others still answer.",
    "ModelNotReady": "`GET /ready` says why. Check out `models/` from one commit, or run `lifecycle rollback`.",
    "PredictionsDegraded": "`GET /ready` says why the champion does not answer. Run `lifecycle rollback` if it is the model.",
    "RequestsFail": "Read the server's log: each failed request has a line.",
    "PredictionsSlow": "Add a worker or a replica, or see what else uses the processor.",
    "PredictionLogStuck": "Free space on the volume, then run `lifecycle compact --keep-days`.",
    "PredictionLogLosesRecords": "The disk is too slow or full; see the volume.",
    "SwapRefused": "The server's log names what is wrong with the promoted release. The model before goes on.",
    "InputsRejected": "`model_inputs_rejected_total` names the columns: talk to the callers, or correct the contract.",
    "RequestsVanish": "Ask the callers; check the proxy in between.",
    "FeatureStoreDown": "Restart Redis or correct its address. Features are computed from their rows meanwhile.",
    "FeaturesStale": "Run `lifecycle materialize`, and let a schedule do it daily.",
    "DriftCritical": "Read `/dashboard` or `reports/live/monitor.html`, then run `lifecycle retrain` or fix the source.",
    "DriftWarning": "Read `/dashboard` or `reports/live/monitor.html`.",
    "ModelDegraded": "Run `lifecycle retrain`.",
    "MonitorStale": "Run `lifecycle monitor`, and let a schedule do it weekly.",
    "ModelOld": "Run `lifecycle retrain`.",
}
# What each kind of alert of `lifecycle monitor` means.
KINDS = {
    "column": "The distribution of a column has moved.",
    "category": "A column has categories that the reference never had, or has lost some.",
    "missing": "A column is missing in more rows than before.",
    "unit": "A column has moved by a factor that looks like another unit.",
    "prediction": "The predictions have moved.",
    "multivariate": "The columns no longer go together as before.",
    "label": "The share of positives among the labels has changed.",
    "degradation": "The labels no longer agree with the probabilities: performance degradation.",
    "volume": "There are far fewer or more requests than usual.",
}


def describe_rules() -> str:
    """Describe every alert of ops/alerts.yml: severity, condition, what it says, what to do."""
    from lifecycle.core.params import read_yaml

    text, missing, names = [], [], []
    for group in read_yaml(ROOT / "ops/alerts.yml")["groups"]:
        for rule in group["rules"]:
            if "alert" not in rule:
                continue
            name = rule["alert"]
            names.append(name)
            if name not in ACTIONS:
                missing.append(f"the alert {name}")
            text.append(
                f"{anchor('alert', name)}### {name}\n\n"
                f"{write_table(['severity', 'after', 'says'], [[rule['labels']['severity'], rule.get('for', 'at once'), code(rule['annotations']['summary'])]])}\n\n"
                f"```none\n{rule['expr'].strip()}\n```\n\n*What to do.* {ACTIONS.get(name, '')}\n"
            )
    refuse_missing(missing)
    if stale := sorted(ACTIONS.keys() - set(names)):
        raise ValueError(f"alerts that ops/alerts.yml does not have: {stale}")
    return "\n".join(text)


def list_kinds() -> list[str]:
    """Return the kinds of alert that the code of monitoring raises, as KINDS has them; fail where it has others."""
    tree = ast.parse((ROOT / "src/lifecycle/monitoring/alerts.py").read_text(encoding="utf-8"))
    found = {
        word.value.value
        for word in ast.walk(tree)
        if isinstance(word, ast.keyword) and word.arg == "kind" and isinstance(word.value, ast.Constant)
    }
    refuse_missing([f"the alert {kind} of monitoring" for kind in sorted(found - KINDS.keys())])
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    if stale := sorted(KINDS.keys() - words):
        raise ValueError(f"kinds of alert that monitoring does not raise: {stale}")
    return list(KINDS)


def describe_findings() -> str:
    """Tabulate the kinds of alert that `lifecycle monitor` raises."""
    return write_table(["kind", "meaning"], [[code(kind), finish(KINDS[kind])] for kind in list_kinds()])
