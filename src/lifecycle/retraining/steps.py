"""The steps of retraining, from which the command `lifecycle retrain` and the tasks of the Airflow DAG are made.

This module imports nothing but the standard library, because Airflow runs it in an environment without the project's packages.
"""

from __future__ import annotations

from typing import NamedTuple

NOTHING_TO_DO = 99  # the exit status of a step after which the others have nothing to do; 0 is done, any other an error


class Step(NamedTuple):
    """A step: its name for `lifecycle retrain`, the stages it runs, its Airflow task, the task's time limit, and its purpose."""

    name: str
    stages: tuple[str, ...]
    task: str
    minutes: int
    purpose: str


STEPS = (
    Step(
        "decide", (), "fetch", 30,
        "Monitor the live log; if retraining is required, collect the newest labelled rows.",
    ),
    Step(
        "validate", ("collect", "validate"), "validate_data", 30,
        "Check the collected rows against the contract; too many invalid ones are an error.",
    ),
    Step("train", ("features", "tune", "train"), "train", 240, "Build the features, tune, and train the challenger."),
    Step(
        "evaluate", ("evaluate", "explain", "deploy"), "validate_model", 60,
        "Compare the challenger with the champion on the newest labelled rows.",
    ),
    Step("deploy", (), "deploy", 10, "Make the challenger the champion; running servers load it."),
)  # fmt: skip
