"""The records of retraining: the decision, the line that each retraining adds to the log, and the replayed year."""

from __future__ import annotations

from typing import Literal

from lifecycle.core.params import Scalar
from lifecycle.core.records import Frozen, Moment
from lifecycle.core.split_rule import SplitRule
from lifecycle.serving.monitor_report import Alert, Status


class Rule(Frozen):
    """A rule and its result. A trigger that is met requires a new model; a condition that is not met makes it wait."""

    name: str
    kind: Literal["trigger", "condition"]
    met: bool
    message: str


class Decision(Frozen):
    """Whether a new model is required, and why. `onset`: since when there is concept drift, None without it."""

    required: bool
    because: str
    at: Moment
    model: str
    simulated: bool
    onset: Moment | None
    rules: list[Rule]


class ChosenRows(Frozen):
    """How many rows the challenger gets, and the rule by which they are held out.

    old, new: to learn from, of the champion's table and of the log. held_out: the newest that the rule holds out. left_out: on
    neither side, because the rule holds them out and they are not among these, or because they belong to one that is.
    """

    old: int
    new: int
    held_out: int
    left_out: int
    oldest: Moment | None
    rule: SplitRule


class Study(Frozen):
    """The challenger's study: trials, random ones among them, and the hyperparameters to try first, by family."""

    trials: int
    startup_trials: int
    first: dict[str, dict[str, Scalar | None]]


class Comparison(Frozen):
    """The comparison with the previous model: whether to return to it, and the result in a sentence."""

    rollback: bool
    message: str


class RetrainingDecision(Decision):
    """All that the stage `retrain` decided: data/retraining/decision.json."""

    rollback: bool
    comparison: str
    rows: ChosenRows
    study: Study


class Retraining(Frozen):
    """What became of a decision: a line of models/retraining.jsonl. `challenger`: the model that was promoted."""

    at: Moment
    champion: str
    required: bool
    outcome: Literal["kept", "promoted", "rolled back"]
    challenger: str | None
    because: str


class Score(Frozen):
    """A model's ROC AUC on a month's rows, and its cost per row."""

    roc_auc: float
    cost: float


class ReplayMonth(Frozen):
    """A replayed month: the champion, monitoring, retraining, and the scores of the champion and of the first model."""

    month: str
    changed: bool
    champion: str
    severity: Status
    alerts: list[Alert]
    outcome: Retraining | None
    served: Score
    stale: Score


class Replay(Frozen):
    """A replayed year: reports/replay.json. `what`: what the scenario changes, in words."""

    scenario: str
    what: str
    months: list[ReplayMonth]
