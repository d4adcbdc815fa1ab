"""The parameters: a frozen, typed section of params.yaml for each stage, and `base` for all stages."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from lifecycle.core.errors import ProjectError

FORMAT: Literal[2] = 2  # of params.yaml and the contract; `lifecycle upgrade` brings older files up to date
Scalar = bool | int | float | str
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """The base class of what a user writes: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Base(Strict):
    """The parameters that every stage gets."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    threads: Count


class Collect(Strict):
    """The source of the table and its options; `watch` is the file or folder whose change makes the stage stale."""

    source: str
    options: dict[str, Any]
    watch: str


class Validate(Strict):
    """The limits of the checks, and what happens to columns whose content looks personal."""

    drift_psi: Annotated[float, Field(gt=0)]
    correlation: Share
    leakage_auc: Annotated[float, Field(ge=0.5, le=1)]
    found_pii: Literal["drop", "pseudonymise", "stop"]


class Explore(Strict):
    """How many categories and pairs the exploration shows."""

    max_categories: Count
    max_interactions: Count


class Features(Strict):
    """The derived features (name: expression over columns), the split, the share held out, and the gap before it."""

    derived: dict[str, str]
    split: Literal["auto", "stratified", "time", "group", "time_group", "order"]
    test_share: Annotated[float, Field(gt=0, lt=1)]
    gap: str
    rule: dict[str, Any]  # a `SplitRule`; empty: `split` chooses one

    @field_validator("gap")
    @classmethod
    def check_gap(cls, gap: str) -> str:
        """Refuse what is neither empty nor a number and a unit."""
        if not re.fullmatch(r"(\d+(\.\d+)? (second|minute|hour|day|week)s?)?", gap):
            raise ValueError("a gap is a number of seconds, minutes, hours, days or weeks, such as 7 days, or empty")
        return gap


class Range(Strict):
    """A numeric hyperparameter's range, both ends included; whole numbers when both ends are."""

    low: int | float  # the least value, included
    high: int | float  # the greatest value, included
    log: bool = False  # whether it is searched on a logarithmic scale

    @model_validator(mode="after")
    def check_order(self) -> Self:
        """Refuse an empty range, or a logarithmic one that reaches zero."""
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("a logarithmic range needs low above 0")
        return self


class Tune(Strict):
    """The study: trials, folds, random trials at its start, the maximum of rows, search spaces, hyperparameters to try first."""

    trials: Count
    folds: Annotated[int, Field(ge=2)]  # of the cross-validation that compares trials
    startup_trials: Count
    max_rows: Annotated[int, Field(ge=50)]
    storage: str
    families: dict[
        str, dict[str, Range | list[Scalar]]
    ]  # search spaces: a range or a list of values for each hyperparameter; {}: the family's own
    first: dict[str, dict[str, Scalar]]


class Cost(Strict):
    """The costs of a false positive and of a false negative, in one unit."""

    false_positive: Annotated[float, Field(gt=0)]
    false_negative: Annotated[float, Field(gt=0)]


class Backtest(Strict):
    """How many past periods models are tested on, and the days of the shorter history that they may be fitted on."""

    periods: Annotated[int, Field(ge=0)]
    recent_days: Count


class Train(Strict):
    """The final fit: folds of the cross-validation, calibration, the costs that set the threshold, the error analysis and the learning curve."""

    folds: Annotated[int, Field(ge=2)]  # of the cross-validation of the chosen hyperparameters
    calibration: Literal["auto", "none", "sigmoid", "isotonic"]
    cost: Cost
    onset: str  # ISO 8601, or empty
    weak_slices: Annotated[int, Field(ge=0)]
    learning_curve: list[Annotated[float, Field(gt=0, lt=1)]]
    backtest: Backtest


class Gate(Strict):
    """The limits of the quality gate's conditions."""

    min_roc_auc: Share
    max_ece: Share
    max_cv_gap: Share
    min_slice_roc_auc: Share
    max_fairness_gap: Share
    max_flips: Share
    significance: Annotated[float, Field(gt=0, lt=1)]


class Value(Strict):
    """What acting on a row is worth: a number or an expression over the row's columns; empty: from train.cost."""

    benefit: str | Annotated[float, Field(ge=0)]  # of acting on a positive row, before its cost
    cost: str | Annotated[float, Field(ge=0)]  # of acting on a row


class Evaluate(Strict):
    """The evaluation: bootstrap replicates, slices, the tutorial baseline, what decisions are worth, and the quality gate."""

    bootstrap: Annotated[int, Field(ge=100)]
    min_support: Count
    min_class: Count
    max_categories: Count
    tutorial_columns: list[str]
    value: Value
    capacity: Annotated[int, Field(ge=0)]
    gate: Gate


class Explain(Strict):
    """The explanation: how much it shows, the rows that a Shapley value averages over, and the model's intended use."""

    repeats: Count
    rows: Annotated[int, Field(ge=10)]
    background: Count
    sample: Count
    max_effects: Count
    intended_use: str  # a sentence for the model card
    out_of_scope: str  # a sentence for the model card


class Deploy(Strict):
    """The acceptance test of the server, and the limits that it must meet."""

    golden: Count
    background: Count
    compared: Count
    odd_requests: Count
    timed_requests: Annotated[int, Field(ge=100)]
    start_seconds: Annotated[float, Field(gt=0)]
    p99_milliseconds: Annotated[float, Field(gt=0)]
    memory_megabytes: Annotated[float, Field(gt=0)]


class Scenario(Strict):
    """What changes in simulated traffic from the month `begin` on; `monitoring.scenarios.draw_month` describes the kinds."""

    kind: Literal["none", "scale", "tilt", "mix", "prior", "reverse", "category", "missing", "volume"]  # what happens
    column: str = ""  # the column that it happens to
    factor: float = 1.0  # how much
    share: Share = 1.0  # in which share of the rows
    category: str = ""  # the category that becomes more frequent, or that is new
    begin: Count = 1  # the month from which it happens


class Simulate(Strict):
    """Simulated production: the months and their rows, when labels arrive, and the scenarios."""

    first: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")]
    months: Count  # how many
    rows: Annotated[int, Field(ge=10)]
    label_days: dict[
        Literal["positive", "negative"], Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
    ]
    label_share: Share
    scenarios: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Scenario]

    @model_validator(mode="after")
    def check_days(self) -> Self:
        """Refuse a class without delays, and a largest delay that is below the smallest one."""
        for name in ("positive", "negative"):
            if name not in self.label_days:
                raise ValueError(f"label_days has no {name!r}, expected the delays of both classes")
            low, high = self.label_days[name]
            if low > high:
                raise ValueError(f"label_days.{name} is [{low}, {high}], expected the smaller number first")
        return self


class AlertLimits(Strict):
    """How serious an alert is: `params.yaml` explains each limit."""

    slight_psi: Annotated[float, Field(ge=0)]
    plain_psi: Annotated[float, Field(ge=0)]
    little_weight: Share
    much_weight: Share
    missing_gap: Share
    volume_ratio: Annotated[float, Field(gt=0, lt=1)]
    label_shift: Share
    large_label_shift: Share
    roc_auc: Share
    brier: Annotated[float, Field(ge=0)]
    calibration: Share

    @model_validator(mode="after")
    def check_order(self) -> Self:
        """Refuse a limit of critical alerts that is below the one of warnings."""
        for low, high in (
            ("slight_psi", "plain_psi"), ("little_weight", "much_weight"), ("label_shift", "large_label_shift"),
        ):  # fmt: skip
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is {getattr(self, low):g}, expected at most {high}, {getattr(self, high):g}")
        return self


class Monitor(Strict):
    """The log to monitor, its windows, how rare false alarms are, the least evidence, and the limits of severities."""

    log: str
    backtests: str
    window: Literal["day", "week", "month"]
    maturity_days: Annotated[int, Field(ge=0)]
    reference: Literal["holdout", "same_month_last_year", "last_windows"]
    reference_windows: Count
    treated: Literal["keep", "leave_out"]
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    min_rows: Count
    min_class: Annotated[int, Field(ge=2)]
    min_psi: Annotated[float, Field(ge=0)]
    min_effect: Annotated[float, Field(ge=0)]
    severity: AlertLimits


class Retrain(Strict):
    """When a challenger is trained, on which rows, with how many trials, and on how many rows it is compared."""

    log: str
    max_age_days: Count
    on_drift: Literal["critical", "warning", "never"]
    on_degradation: Literal["critical", "warning", "never"]
    min_rows: Annotated[int, Field(ge=50)]
    window: Literal["drift_aware", "all", "sliding"]
    sliding_days: Count  # of the sliding window
    treated: Literal["keep", "leave_out"]
    holdout_rows: Annotated[int, Field(ge=20)]
    holdout_share: Annotated[float, Field(gt=0, lt=1)]
    min_compared: Annotated[int, Field(ge=4)]
    significance: Annotated[float, Field(gt=0, lt=1)]
    trials: Count
    startup_trials: Count  # random trials before the sampler begins to choose


class Params(Strict):
    """All sections of params.yaml."""

    format: Literal[2] = FORMAT  # of params.yaml; `lifecycle upgrade` changes it
    base: Base
    collect: Collect
    validate_: Annotated[Validate, Field(alias="validate")]
    explore: Explore
    features: Features
    tune: Tune
    train: Train
    evaluate: Evaluate
    explain: Explain
    deploy: Deploy
    simulate: Simulate
    monitor: Monitor
    retrain: Retrain

    def for_notebook(self, stage: str) -> dict[str, Any]:
        """Return the plain values of `base` and of the stage's own section, which its notebook gets."""
        plain = self.model_dump(by_alias=True)
        return {**plain["base"], **plain[stage]}


Section = TypeVar("Section", bound=Strict)


@lru_cache(maxsize=16)
def _parse_once(text: str) -> Any:
    """Return the values of a text of YAML, which the caller must not change: a parse takes some fifty milliseconds."""
    return YAML(typ="safe", pure=True).load(text)


def parse_yaml(text: str) -> Any:
    """Return the values of a text of YAML 1.2, the caller's own; raise YAMLError where it is none."""
    return deepcopy(_parse_once(text))


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2, where `Yes` and `no` are strings and a repeated key is an error; raise ProjectError naming the file."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProjectError(f"{path} is missing.") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path} is not readable as YAML: {' '.join(str(error).split())}") from error


def parse_strictly(kind: type[Section], value: Any, path: Path | str) -> Section:
    """Build a `kind` from a parsed file; raise ProjectError naming the file, the key and what was expected."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first, *rest = error.errors()
        key = ".".join(str(part) for part in first["loc"]) or "the top level"
        problem = {"extra_forbidden": "is not a known key", "missing": "is missing"}.get(
            first["type"], f"{first['msg'].removeprefix('Value error, ')} (it is {first['input']!r:.80})"
        )
        more = f" ({len(rest)} more problems)" if rest else ""
        old = isinstance(value, dict) and "format" in kind.model_fields and "format" not in value
        hint = " If an earlier version of Lifecycle wrote the file, run `lifecycle upgrade`." if old else ""
        raise ProjectError(f"{path}: {key}: {problem}{more}.{hint}") from error


def load_params(path: Path) -> Params:
    """Load and check params.yaml; raise ProjectError naming the file and the key."""
    return parse_strictly(Params, read_yaml(path), path)
