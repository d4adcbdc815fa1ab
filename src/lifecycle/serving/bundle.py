"""A serving bundle: a compiled model, the schema of its requests and golden answers, in one folder without a pickle.

`manifest.json` holds the hash of every other file, so its own hash names the bundle.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.expressions import Array
from lifecycle.core.files import hash_file, read_json, write_json
from lifecycle.serving.schema import Schema
from lifecycle.serving.scorer import Scorer

Record = dict[str, Any]
FORMAT = 1
MANIFEST, PLAN, SCHEMA, GOLDEN, BACKGROUND, REFERENCE, TREES = (
    "manifest.json", "plan.json", "schema.json", "golden.json", "background.json", "reference.json", "trees.bin"
)  # fmt: skip
TOLERANCE = 1e-9  # between a golden answer and what the bundle gives


class Manifest(BaseModel):
    """What stands in a bundle's manifest; a key more or less is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1]
    model: str  # the content hash of the fitted model that was compiled
    family: str
    target: str
    positive: bool | int | float | str
    negative: bool | int | float | str
    threshold: float
    prior: float  # the share of positives in training: what is answered when no model can
    hashes: dict[str, str]  # of what the model was made: training table, features, contract, raw table
    versions: dict[str, str]
    files: dict[str, str]


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
        """The short name of the model in answers, logs and metrics: its hash's first twelve digits."""
        return self.manifest.model[:12]

    def score(self, rows: list[Record]) -> Array:
        """The probability of the positive class, float64 of shape (rows,)."""
        return self.scorer.score(rows)

    def score_one(self, row: Record) -> float:
        """The probability of one row."""
        return self.scorer.score_one(row)

    def check_golden(self) -> None:
        """Answer the golden requests; raises ProjectError for the first answer that is another than it was."""
        rows = [self.schema.parse_one(encode_row(record["request"])) for record in self.golden]
        together = self.score(rows)
        for number, (record, row) in enumerate(zip(self.golden, rows, strict=True)):
            probability = self.score_one(row)
            if not all(abs(given - record["probability"]) <= TOLERANCE for given in (probability, together[number])):
                raise ProjectError(
                    f"bundle {self.sha256[:12]}: golden request {number} gives {probability!r}, "
                    f"expected {record['probability']!r}."
                )


def encode_row(row: Record) -> bytes:
    """A row as a request's body."""
    import orjson

    return orjson.dumps(row)


def write_bundle(
    folder: Path, plan: Record, trees: bytes | None, columns: list[Record], golden: list[Record],
    background: list[Record], facts: Record, reference: Record | None = None,
) -> str:  # fmt: skip
    """Write a bundle into `folder`, whole or not at all, and give its hash; the same content gives the same bytes.

    facts: the manifest's entries model, family, target, positive, negative, threshold, prior and hashes. reference: what
    monitoring holds later rows against, which the server does not look at.
    """
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
    write_json({"format": FORMAT, **facts, "versions": versions, "files": files}, aside / MANIFEST)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return hash_bundle(folder)


def hash_bundle(folder: Path) -> str:
    """A bundle's content hash: SHA-256 of its manifest, hexadecimal."""
    return hash_file(folder / MANIFEST)


def load_bundle(folder: Path, rows: int = 1000) -> Bundle:
    """Load a bundle whose requests may hold `rows` rows; nothing in it is run.

    Raises ProjectError in a sentence: a file that is missing, changed or unknown, a format or a treelite that is not known.
    """
    manifest = read_manifest(folder)
    for name, sha256 in manifest.files.items():
        if name not in (PLAN, SCHEMA, GOLDEN, BACKGROUND, REFERENCE, TREES):
            raise ProjectError(f"{folder}/{MANIFEST} names the file {name!r}, which no bundle has.")
        if not (folder / name).is_file():
            raise ProjectError(f"{folder} is not whole: {name} is missing.")
        if hash_file(folder / name) != sha256:
            raise ProjectError(f"{folder}/{name} is not the file that {MANIFEST} describes: its hash is another.")
    check_versions(manifest.versions, folder)
    plan, columns, golden, background = (read_json(folder / name) for name in (PLAN, SCHEMA, GOLDEN, BACKGROUND))
    trees = (folder / TREES).read_bytes() if TREES in manifest.files else None
    try:
        scorer = Scorer(plan, {column["name"]: column["dtype"] for column in columns}, trees)
        schema = Schema(columns, rows)
        check_requests(schema, golden)
        compared = [schema.parse(encode_row(row))[0][0] for row in background]
        return Bundle(hash_bundle(folder), manifest, schema, scorer, golden, compared)
    except ProjectError as error:
        raise ProjectError(f"{folder}: {error}") from error
    except Exception as error:  # another program may have written it: what is wrong in it may show in any way
        said = str(error).rstrip(".")
        raise ProjectError(f"{folder} cannot be loaded: {type(error).__name__}: {said}.") from error


def check_requests(schema: Schema, golden: list[Record]) -> None:
    """Refuse (by whatever error) golden records that are none, or hold no request of the schema."""
    if not golden:
        raise ValueError(f"{GOLDEN} holds no request")
    for record in golden:
        schema.parse(encode_row(record["request"]))
        float(record["probability"])


def read_manifest(folder: Path) -> Manifest:
    """A bundle's manifest; raises ProjectError where it is missing, or is not of this format."""
    path = folder / MANIFEST
    if not path.is_file():
        raise ProjectError(f"{folder} is not a serving bundle: {MANIFEST} is missing.")
    record = read_json(path)
    found = record.get("format") if isinstance(record, dict) else None
    if found != FORMAT:
        raise ProjectError(f"{path} is of format {found!r}; this program knows {FORMAT}.")
    try:
        manifest = Manifest.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise ProjectError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    if missing := {PLAN, SCHEMA, GOLDEN, BACKGROUND} - manifest.files.keys():
        raise ProjectError(f"{path} lacks {', '.join(sorted(missing))}.")
    return manifest


def check_versions(versions: dict[str, str], folder: Path) -> None:
    """Refuse (ProjectError) a bundle whose trees another major version of treelite wrote."""
    for package, wanted in versions.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            raise ProjectError(f"{folder} needs {package} {wanted}, which is not installed.") from None
        if found.split(".")[0] != wanted.split(".")[0]:
            raise ProjectError(f"{folder} was written with {package} {wanted}; {found} is installed.")


def to_requests(table: Any, names: Sequence[str]) -> list[Record]:
    """The columns `names` of a frame's rows as JSON holds them."""
    rows = table[list(names)].itertuples(index=False, name=None)
    return [to_request(dict(zip(names, values, strict=True))) for values in rows]


def to_request(values: dict[str, Any]) -> Record:
    """A table's row as JSON holds it: plain numbers and strings, moments as ISO 8601, absent values as null."""
    return {name: to_plain(value) for name, value in values.items()}


def to_plain(value: Any) -> Any:
    """A table's value as JSON holds it."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        absent = value is None or bool(value != value)  # noqa: PLR0124 - NaN and NaT differ from themselves
    except TypeError:  # pandas' NA cannot tell
        absent = True
    if absent:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
