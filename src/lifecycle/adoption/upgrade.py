"""Upgrade a project that an earlier version of Lifecycle wrote: its parameters, contract, champion and prediction log.

Format 1 is the first; format 2 has new names for some keys. Each file is replaced as a whole, so that a killed upgrade can be
run again. The outputs of stages are not upgraded: `dvc repro` rebuilds them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zlib import crc32

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from ruamel.yaml.comments import CommentedMap

from lifecycle.adoption.yaml_text import dump, make_yaml, to_flow
from lifecycle.core import paths
from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json, replace_file, write_json
from lifecycle.core.params import FORMAT, load_params
from lifecycle.core.paths import Project
from lifecycle.core.records import Record
from lifecycle.modeling.model import METADATA_FILE, hash_model
from lifecycle.prediction_log.compaction import write_partitions
from lifecycle.prediction_log.reader import KINDS, find_partitions, find_segments
from lifecycle.prediction_log.writer import FORMAT_FILE, OPEN
from lifecycle.promotion.records import Champion, Release
from lifecycle.promotion.releases import BUNDLE_FOLDER, MANIFEST_FILE, RELEASE_FILE
from lifecycle.serving.bundle import load_bundle
from lifecycle.sources.addresses import WEB_SCHEMES, find_local, read_scheme
from lifecycle.sources.kinds import TEXT, split_ending

_OLD_PROFILE = "data/reference.json"
_MOVED = "models/upgraded.json"  # the new hash of each release's model and bundle, while an upgrade is under way
_PARAMS = {  # section: {old key: new key}
    "explore": {"max_levels": "max_categories"},
    "evaluate": {"max_levels": "max_categories"},
    "monitor": {"rehearsals": "backtests"},
    "retrain": {"on_decay": "on_degradation"},
}
_SEVERITIES = {"act": "critical", "look": "warning", "note": "info"}
_KEYS = {  # of records in JSON, wherever they occur
    "levels": "categories",
    "called": "predicted_positive",
    "settings": "hyperparameters",
    "marks": "missing_indicators",
    "gives": "output",
    "truth": "label",
    "due": "required",
}
_VALUES = {"levels": "categories"}  # of the key `kind`


def upgrade_project(project: Project, log: Path) -> list[str]:
    """Upgrade the files of a project and its prediction log to this version's format; return what was done, in sentences.

    Raises ProjectError when a server is still writing to the log, and for a file that cannot be upgraded; the files that
    were not reached then stay as they were, and a second call continues.
    """
    root = project.root
    if log.is_dir() and any(path.suffix == OPEN for path in find_segments(log)):
        raise ProjectError(f"A server is writing to {log}: stop it, then run `lifecycle upgrade` again.")
    done = [
        *_upgrade_yaml(root / paths.PARAMS, partial(_upgrade_params, root=root)),
        *_add_params(root / paths.PARAMS),
        *_upgrade_yaml(root / paths.CONTRACT, _upgrade_contract),
        *_upgrade_profile(root),
    ]
    load_params(root / paths.PARAMS), load_contract(root / paths.CONTRACT)  # both must be valid now
    moved = _upgrade_releases(root)
    done += [f"release {old[:12]} is now {new[:12]}" for old, new in moved["models"].items()]
    if moved["models"]:
        _upgrade_lines(root / paths.HISTORY, moved)
        _upgrade_lines(root / paths.RETRAININGS, moved)
        done.append("the champion, its history and the record of retraining name the new releases")
    done += _upgrade_log(log, moved["models"])
    (root / _MOVED).unlink(missing_ok=True)
    return done


def _upgrade_yaml(path: Path, change: Callable[[CommentedMap], None]) -> list[str]:
    """Upgrade a YAML file of format 1 in place, and keep its comments and its order."""
    document = make_yaml().load(path.read_text(encoding="utf-8"))
    if not isinstance(document, CommentedMap) or "format" in document:
        return []
    change(document)
    document.insert(0, "format", FORMAT)
    with replace_file(path) as temporary:
        temporary.write_text(dump(document), encoding="utf-8")
    return [f"{path.name} has format {FORMAT}"]


def _add_params(path: Path) -> list[str]:
    """Add the keys that are new since a params.yaml was written."""
    document = make_yaml().load(path.read_text(encoding="utf-8"))
    added = _add_keys(document, _NEW_PARAMS)
    simulate = document["simulate"]
    if isinstance(simulate["label_days"], list):  # of both classes
        simulate["label_days"] = {name: list(simulate["label_days"]) for name in ("positive", "negative")}
        added.append("simulate.label_days by class")
    if added:
        with replace_file(path) as temporary:
            temporary.write_text(dump(document), encoding="utf-8")
    return [f"{path.name} has {name}" for name in added]


def _add_keys(section: CommentedMap, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Add the keys that a section or a section in it lacks, in place; return the keys with those above them."""
    added = []
    for key, value in values.items():
        if key not in section:
            section[key] = value
            added.append(f"{prefix}{key}")
        elif isinstance(value, Mapping) and isinstance(section[key], CommentedMap):
            added += _add_keys(section[key], value, f"{prefix}{key}.")
    return added


def _rename(section: CommentedMap, old: str, new: str) -> None:
    """Rename a key, which keeps its place and its comment."""
    if old not in section:
        return
    place, comment = list(section).index(old), section.ca.items.pop(old, None)
    section.insert(place, new, section.pop(old))
    if comment is not None:
        section.ca.items[new] = comment


def _upgrade_params(document: CommentedMap, root: Path) -> None:
    """Rename the keys and values of params.yaml that have other names in format 2."""
    collect = document["collect"]
    if _reads_text(collect["source"], root):
        options = collect["options"] = collect.get("options") or CommentedMap()
        options.setdefault("null_values", to_flow(_OLD_NULLS))
    for section, keys in _PARAMS.items():
        for old, new in keys.items():
            _rename(document[section], old, new)
    for key in ("on_drift", "on_degradation"):
        document["retrain"][key] = _SEVERITIES.get(document["retrain"][key], document["retrain"][key])
    for scenario in document["simulate"]["scenarios"].values():
        _rename(scenario, "level", "category")
        if scenario["kind"] == "level":
            scenario["kind"] = "category"


def _reads_text(source: str, root: Path) -> bool:
    """Return whether a source is delimited text, by the endings of its files."""
    local = find_local(source)
    path = urlsplit(source).path if read_scheme(source) in WEB_SCHEMES else source
    found = (root / local).rglob("*") if local is not None and (root / local).is_dir() else []
    return any(split_ending(str(name))[0] in TEXT for name in (path, *found))


# The words that format 1 read as missing in delimited text, which are text now unless an option names them.
_OLD_NULLS = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null"),
)
_NEW_PARAMS: dict[str, Record] = {  # keys that older files lack
    "features": {"gap": "", "rule": {}},
    "train": {"onset": "", "weak_slices": 5, "learning_curve": [0.125, 0.25, 0.5], "backtest": {"periods": 6, "recent_days": 365}},
    "evaluate": {"value": {"benefit": "", "cost": ""}, "capacity": 0, "gate": {"max_flips": 0.5}},
    "monitor": {
        "maturity_days": 30,
        "reference": "holdout",
        "reference_windows": 6,
        "treated": "keep",
        "severity": {
            "slight_psi": 0.1, "plain_psi": 0.25, "little_weight": 0.02, "much_weight": 0.05, "missing_gap": 0.1,
            "volume_ratio": 0.5, "label_shift": 0.02, "large_label_shift": 0.1, "roc_auc": 0.05, "brier": 0.15,
            "calibration": 0.1,
        },
    },
    "retrain": {"min_compared": 200, "significance": 0.01, "holdout_share": 0.2, "treated": "keep"},
}  # fmt: skip


def _upgrade_contract(document: CommentedMap) -> None:
    """Rename the treatment of missing values that has another name in format 2."""
    for column in document["columns"].values():
        if column.get("missing") == "level":
            column["missing"] = "category"


def _upgrade_profile(root: Path) -> list[str]:
    """Move the profile to its new place, with the new names of its keys."""
    old = root / _OLD_PROFILE
    if not old.is_file():
        return []
    write_json(_rename_keys(read_json(old), fixed=("columns", "categories")), root / paths.PROFILE)
    old.unlink()
    return [f"{_OLD_PROFILE} is now {paths.PROFILE}"]


def _rename_keys(value: Any, fixed: tuple[str, ...] = ()) -> Any:
    """Return JSON values with the new names of keys; the keys of the mappings below `fixed` are names of the table's own."""
    if isinstance(value, list):
        return [_rename_keys(part, fixed) for part in value]
    if not isinstance(value, dict):
        return value
    renamed: Record = {}
    for key, part in value.items():
        new = str(_KEYS.get(key, key))
        if new in fixed and isinstance(part, dict):
            renamed[new] = {name: _rename_keys(inner, fixed) for name, inner in part.items()}
        else:
            renamed[new] = (
                _VALUES.get(part, part) if key == "kind" and isinstance(part, str) else _rename_keys(part, fixed)
            )
    return renamed


def _upgrade_releases(root: Path) -> dict[str, dict[str, str]]:
    """Write each release anew with the names of format 2; return the new hashes by the old ones, of models and bundles.

    The champion's file follows before the old releases go, so that there is always a champion with a release.
    """
    moved: dict[str, dict[str, str]] = {"models": {}, "bundles": {}}
    if (root / _MOVED).is_file():
        moved = read_json(root / _MOVED)
    olds = []
    for file in sorted((root / paths.RELEASES).glob(f"[!.]*/{RELEASE_FILE}")):
        record = read_json(file)
        if "format" in record:
            continue
        release = _upgrade_release(root, file.parent, record)
        moved["models"][record["model"]] = release.model
        moved["bundles"][record["bundle"]] = release.bundle
        olds.append(file.parent)
        write_json(moved, root / _MOVED)
    champion = read_json(root / paths.CHAMPION) if (root / paths.CHAMPION).is_file() else {"model": None}
    if champion["model"] in moved["models"]:
        release = Release.read(root / paths.RELEASES / moved["models"][champion["model"]][:12] / RELEASE_FILE)
        previous = champion.get("previous")
        if previous is not None:
            previous = moved["models"].get(previous, previous)
        Champion.of(release, previous).write(root / paths.CHAMPION)
    shadow = read_json(root / paths.SHADOW) if (root / paths.SHADOW).is_file() else {"model": None}
    if shadow["model"] in moved["models"]:
        write_json({"model": moved["models"][shadow["model"]]}, root / paths.SHADOW)
    for folder in olds:
        shutil.rmtree(folder)
    return moved


def _upgrade_release(root: Path, folder: Path, record: Record) -> Release:
    """Write a release of format 1 as one of format 2 under its new hash; its bundle must answer its golden requests."""
    work = root / paths.RELEASES / f".{folder.name}.upgrading"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(folder, work, copy_function=shutil.copyfile)
    write_json(_rename_keys(read_json(work / METADATA_FILE), fixed=("hyperparameters",)), work / METADATA_FILE)
    model = hash_model(work)
    bundle = work / BUNDLE_FOLDER
    manifest = read_json(bundle / MANIFEST_FILE)
    plan = _rename_keys(read_json(bundle / "plan.json"), fixed=("codes",))
    if "categories" in plan["calibration"]:  # of an isotonic calibration: it had the same word for its values
        plan["calibration"]["values"] = plan["calibration"].pop("categories")
    write_json(plan, bundle / "plan.json")
    reference = _rename_keys(read_json(bundle / "reference.json"), fixed=("columns", "categories", "weights", "units"))
    write_json(reference, bundle / "reference.json")
    files = {name: hash_file(bundle / name) for name in manifest["files"]}
    write_json({**manifest, "format": FORMAT, "model": model, "files": files}, bundle / MANIFEST_FILE)
    found = hash_file(bundle / MANIFEST_FILE)
    record = _rename_keys(record, fixed=())
    record["verdict"]["model"] = record["blessing"]["model"] = model
    record["blessing"]["bundle"] = found
    release = Release.parse({"format": FORMAT, **record, "model": model, "bundle": found}, folder / RELEASE_FILE)
    release.write(work / RELEASE_FILE)
    load_bundle(bundle)
    target = root / paths.RELEASES / model[:12]
    shutil.rmtree(target, ignore_errors=True)
    work.rename(target)
    return release


def _upgrade_lines(path: Path, moved: Mapping[str, Mapping[str, str]]) -> None:
    """Name the new releases in a file of JSON lines, by whole hashes and by their first digits."""
    if not path.is_file():
        return
    names = {**moved["models"], **moved["bundles"], **{old[:12]: new[:12] for old, new in moved["models"].items()}}
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = _rename_keys(json.loads(line))
        lines.append(
            {key: names.get(value, value) if isinstance(value, str) else value for key, value in record.items()}
        )
    with replace_file(path) as temporary:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        temporary.write_text(text, encoding="utf-8")


def _upgrade_log(folder: Path, models: Mapping[str, str]) -> list[str]:
    """Rename the columns of the prediction log and the models in it; sealed segments become Parquet files."""
    if not folder.is_dir() or (folder / FORMAT_FILE).is_file():
        return []
    names = {old[:12]: new[:12] for old, new in models.items()}
    for path in find_segments(folder):
        records = [_upgrade_record(record, names) for record in _read_old_segment(path)]
        write_partitions(folder, path.stem, records)
        path.unlink()
    for kind in KINDS:
        for day, _ in find_partitions(folder / kind):
            for file in sorted(day.glob("*.parquet")):
                _upgrade_partition(file, names)
    with replace_file(folder / FORMAT_FILE, mode=0o600) as temporary:
        temporary.write_text(f"{FORMAT}\n", encoding="utf-8")
    return [f"the prediction log {folder.name} has format {FORMAT}"]


def _read_old_segment(path: Path) -> list[Record]:
    """Return the records of a segment of format 1; its damaged lines are left out."""
    records = []
    for line in path.read_bytes().splitlines():
        checksum, _, content = line.partition(b" ")
        try:
            if int(checksum, 16) == crc32(content):
                records.append(orjson.loads(content))
        except ValueError:
            continue
    return records


def _upgrade_record(record: Record, names: Mapping[str, str]) -> Record:
    """Return a record of the log with its label and its model by their new names; the features stay as they are."""
    renamed = {"label" if key == "truth" else key: value for key, value in record.items()}
    if "model" in renamed:
        renamed["model"] = names.get(renamed["model"], renamed["model"])
    return renamed


def _upgrade_partition(path: Path, names: Mapping[str, str]) -> None:
    """Rename the column of labels in a file of the log, and the models in it."""
    table = pq.read_table(path)
    renamed = table.rename_columns(["label" if name == "truth" else name for name in table.column_names])
    if "model" in renamed.column_names:
        place = renamed.column_names.index("model")
        values = [names.get(name, name) for name in renamed["model"].to_pylist()]
        renamed = renamed.set_column(place, renamed.field(place), pa.array(values, renamed.field(place).type))
    if renamed.equals(table):
        return
    with replace_file(path, mode=0o600) as temporary:
        pq.write_table(renamed, temporary)
