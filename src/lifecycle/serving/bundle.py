"""Serving bundles: a folder with a compiled model, the schema of its requests and golden answers, without a pickle.

`manifest.json` holds the hash of every other file, so the hash of the manifest identifies the bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import Array
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.core.records import Frozen, Moment, Record
from lifecycle.core.split_rule import SplitRule
from lifecycle.core.terms import Terms
from lifecycle.serving.schema import Schema
from lifecycle.serving.scorer import Scorer

FORMAT: Literal[2] = 2
MANIFEST, PLAN, SCHEMA, GOLDEN, BACKGROUND, REFERENCE, TREES = (
    "manifest.json", "plan.json", "schema.json", "golden.json", "background.json", "reference.json", "trees.bin"
)  # fmt: skip


class Manifest(Frozen):
    """The manifest of a bundle."""

    format: Literal[2]
    model: str  # the content hash of the fitted model that was compiled
    family: str
    target: str
    positive: bool | int | float | str
    negative: bool | int | float | str
    threshold: float
    prior: float  # the share of positives in training: the answer when no model can answer
    hashes: dict[str, str]  # of the training table, the features, the contract and the raw table
    versions: dict[str, str]
    files: dict[str, str]
    other_columns: list[str] = Field(
        default_factory=list
    )  # of the contract, which the model does not read: a request may have them
    entity: str | None = None  # that of these which names what a row is about: the contract's first id
    rule: SplitRule | None = (
        None  # which rows the model was not fitted on; None where an earlier version made the bundle
    )
    onset: Moment | None = None  # of the last concept drift: the model was fitted on rows since then


@dataclass(frozen=True)
class Bundle:
    """A loaded bundle, checked against its manifest.

    golden: records of request and probability. background: rows that explanations compare with.
    """

    sha256: str
    manifest: Manifest
    schema: Schema
    scorer: Scorer
    golden: list[Record]
    background: list[Record]

    @property
    def name(self) -> str:
        """The first twelve digits of the model's hash, its name in answers, logs and metrics."""
        return self.manifest.model[:12]

    def score(self, rows: list[Record]) -> Array:
        """Return the probabilities of the positive class, float64 of shape (rows,)."""
        return self.scorer.score(rows)

    def score_one(self, row: Record) -> float:
        """Return the probability of one row."""
        return self.scorer.score_one(row)

    @property
    def tolerance(self) -> float:
        """The largest difference between the fitted model's probability and the bundle's."""
        return self.scorer.tolerance

    def check_golden(self) -> None:
        """Score the golden requests; raise ProjectError for the first probability that has changed."""
        rows = [self.schema.parse(encode_row(record["request"])).rows[0] for record in self.golden]
        together = self.score(rows)
        for number, (record, row) in enumerate(zip(self.golden, rows, strict=True)):
            probability = self.score_one(row)
            if not all(
                abs(found - record["probability"]) <= self.tolerance for found in (probability, together[number])
            ):
                raise ProjectError(
                    f"bundle {self.sha256[:12]}: golden request {number} has the probability {probability!r}, "
                    f"expected {record['probability']!r}."
                )


def encode_row(row: Record) -> bytes:
    """Return a row as the body of a request."""
    import orjson

    return orjson.dumps(row)


def write_bundle(
    folder: Path, plan: Record, trees: bytes | None, columns: list[Record], golden: list[Record],
    background: list[Record], facts: Record, reference: Record | None = None,
) -> str:  # fmt: skip
    """Write a bundle into `folder`, completely or not at all, and return its hash; the same content has the same bytes.

    facts: the manifest's entries model, family, target, positive, negative, threshold, prior, hashes and other_columns. reference: what
    monitoring compares later rows with; the server does not read it. Of texts among the rows of `golden` and `background` it has
    only the words that the model knows, which have the same probability.
    """
    golden = [{**record, "request": _conceal_texts(record["request"], plan)} for record in golden]
    background = [_conceal_texts(row, plan) for row in background]
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, content in ((PLAN, plan), (SCHEMA, columns), (GOLDEN, golden), (BACKGROUND, background)):
        write_json(content, aside / name)
    if reference is not None:
        write_json(reference, aside / REFERENCE)
    if trees is not None:
        (aside / TREES).write_bytes(trees)
    files = {path.name: hash_file(path) for path in sorted(aside.iterdir())}
    versions = {"treelite": version("treelite")} if trees is not None else {}
    manifest = Manifest(format=FORMAT, **facts, versions=versions, files=files)
    manifest.write(aside / MANIFEST)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return hash_bundle(folder)


def _conceal_texts(row: Record, plan: Record) -> Record:
    """Return a row whose texts have only the words that the model knows."""
    known = {text["name"]: Terms(text["terms"], text["idf"]) for text in plan.get("texts", ()) if row.get(text["name"])}
    return {**row, **{name: terms.conceal(row[name]) for name, terms in known.items()}}


def hash_bundle(folder: Path) -> str:
    """Return a bundle's content hash: the SHA-256 of its manifest in hexadecimal."""
    return hash_file(folder / MANIFEST)


def load_bundle(folder: Path, rows: int = 1000) -> Bundle:
    """Load a bundle whose requests may have `rows` rows; no code in it is run.

    Raises ProjectError for a missing, changed or unknown file, an unknown format, and another major version of treelite.
    """
    manifest = read_manifest(folder)
    for name, sha256 in manifest.files.items():
        if name not in (PLAN, SCHEMA, GOLDEN, BACKGROUND, REFERENCE, TREES):
            raise ProjectError(f"{folder}/{MANIFEST} names the file {name!r}, which is not part of a bundle.")
        if not (folder / name).is_file():
            raise ProjectError(f"{folder} is incomplete: {name} is missing.")
        if hash_file(folder / name) != sha256:
            raise ProjectError(f"{folder}/{name} is not the file that {MANIFEST} describes: its hash differs.")
    _check_versions(manifest.versions, folder)
    plan, columns, golden, background = (read_json(folder / name) for name in (PLAN, SCHEMA, GOLDEN, BACKGROUND))
    trees = (folder / TREES).read_bytes() if TREES in manifest.files else None
    try:
        scorer = Scorer(plan, {column["name"]: column["dtype"] for column in columns}, trees)
        schema = Schema(columns, rows, manifest.other_columns, manifest.entity)
        _check_requests(schema, golden)
        compared = [schema.parse(encode_row(row)).rows[0] for row in background]
        return Bundle(hash_bundle(folder), manifest, schema, scorer, golden, compared)
    except ProjectError as error:
        raise ProjectError(f"{folder}: {error}") from error
    except Exception as error:  # another program may have written it, so any error is possible
        said = str(error).rstrip(".")
        raise ProjectError(f"{folder} cannot be loaded: {type(error).__name__}: {said}.") from error


def find_bundle_folder(root: Path, model: str) -> Path:
    """Return the folder of the serving bundle in a model's release."""
    return root / paths.RELEASES / model[:12] / "bundle"


def load_release_bundle(root: Path, model: str, sha256: str | None, rows: int = 1000) -> Bundle:
    """Load the bundle of a model's release and score its golden requests; the release's pickle is not read.

    Raises ProjectError when the bundle is damaged, is not the one with the hash `sha256`, or belongs to another model.
    """
    folder = find_bundle_folder(root, model)
    if sha256 is not None and (folder / MANIFEST).is_file() and (found := hash_bundle(folder)) != sha256:
        raise ProjectError(f"{folder} is bundle {found[:12]}, but {paths.CHAMPION} names {sha256[:12]}.")
    bundle = load_bundle(folder, rows)
    if bundle.manifest.model != model:
        raise ProjectError(f"{folder} is of model {bundle.name}, not {model[:12]}.")
    bundle.check_golden()
    return bundle


def _check_requests(schema: Schema, golden: list[Record]) -> None:
    """Raise an error when there are no golden records, or one is not a request of the schema."""
    if not golden:
        raise ValueError(f"{GOLDEN} has no requests")
    for record in golden:
        schema.parse(encode_row(record["request"]))
        float(record["probability"])


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest; raise ProjectError when it is missing or has another format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectError(f"{folder} is not a serving bundle: {MANIFEST} is missing.")
    record = read_json(path)
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise ProjectError(f"{path} has the format {found!r}, expected {FORMAT}: run `lifecycle upgrade`.")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())  # strict: a number in quotes is not a number
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    if missing := {PLAN, SCHEMA, GOLDEN, BACKGROUND} - manifest.files.keys():
        raise ProjectError(f"{path} lacks {', '.join(sorted(missing))}.")
    return manifest


def _check_versions(versions: dict[str, str], folder: Path) -> None:
    """Raise ProjectError when another major version of treelite wrote the trees."""
    for package, wanted in versions.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise ProjectError(f"{folder} needs {package} {wanted}, which is not installed.") from None
        if found.split(".")[0] != wanted.split(".")[0]:
            raise ProjectError(f"{folder} was written with {package} {wanted}; {found} is installed.")


def to_requests(table: Any, names: Sequence[str]) -> list[Record]:
    """Return the columns `names` of a frame as requests, a record of JSON values for each row."""
    rows = table[list(names)].itertuples(index=False, name=None)
    return [to_request(dict(zip(names, values, strict=True))) for values in rows]


def to_request(values: dict[str, Any]) -> Record:
    """Return a table's row as JSON values: numbers, strings, times as ISO 8601, None for missing values."""
    return {name: _to_plain(value) for name, value in values.items()}


def _to_plain(value: Any) -> Any:
    """Return a table's value as a JSON value."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        absent = value is None or bool(value != value)  # noqa: PLR0124 - NaN and NaT differ from themselves
    except TypeError:  # pandas' NA does not compare
        absent = True
    if absent:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
