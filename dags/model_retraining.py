"""Every Sunday at 02:00 UTC: retrain where it is due, and deploy what is better than the live model.

Each task is a step of `lifecycle retrain`, run by the project's own environment, not by Airflow's. The project's folder
is the Airflow Variable `lifecycle_root`, else the environment variable `LIFECYCLE_ROOT` of the worker.

- **Nothing to do** (not due, or not better) skips the tasks that follow, and the run is a success.
- **An error** is tried twice more, five minutes apart; then the run fails.
- **The champion serves on, whatever fails**: the tasks before `deploy` write pages and `.lifecycle/challenger`, nothing that
  a server reads. `deploy` moves the champion by one rename of `models/champion.json`, after all that it names is in
  place. Servers load a new model beside the one that answers, and change over when it gives its golden answers. No task
  stops a server.
- **The pages**: each task's log names the page of every notebook that it ran.
- **Secrets** are the worker's environment variables (`LIFECYCLE_PII_KEY`, ...), which the steps inherit.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Variable, chain
from airflow.sdk.exceptions import AirflowFailException

PROGRAM = ".venv/bin/lifecycle"
NOTHING_TO_DO = 99  # a step's exit status; 0 is done, any other an error
STEPS = {  # task: the step of `lifecycle retrain` that it calls, the minutes that it may take, what it does
    "fetch": ("decide", 30, "Monitor the live log; where retraining is due, fetch the newest labelled rows."),
    "validate_data": ("validate", 30, "Check the fetched rows against the contract; too many bad ones are an error."),
    "train": ("train", 240, "Build the features, tune, and train the challenger."),
    "validate_model": ("judge", 60, "Judge the challenger on the newest labelled rows, against the champion."),
    "deploy": ("deploy", 10, "Make the challenger the champion, which running servers follow."),
}


def find_project() -> str:
    """The project's folder, absolute; AirflowFailException, which is not retried, where it is not named or not there."""
    named = Variable.get("lifecycle_root", default=None) or os.environ.get("LIFECYCLE_ROOT")
    if not named:
        raise AirflowFailException(
            "No project is named: set the Airflow Variable lifecycle_root, or LIFECYCLE_ROOT in the worker's "
            "environment, to the project's folder."
        )
    root = Path(named).resolve()
    if not (root / PROGRAM).is_file():
        raise AirflowFailException(f"{root} has no {PROGRAM}: name the project's folder, and run `make env` in it.")
    return str(root)


with DAG(
    dag_id="model_retraining",
    description="Retrain weekly where it is due; deploy what is better",
    doc_md=__doc__,
    schedule="0 2 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # one look at the newest data makes up for all the weeks that were missed
    max_active_runs=1,  # two runs would write to the same challenger
    tags=["lifecycle", "retraining"],
    default_args={"owner": "lifecycle", "retries": 2, "retry_delay": timedelta(minutes=5)},
    user_defined_macros={"find_project": find_project},
) as dag:
    chain(*[
        BashOperator(
            task_id=task,
            doc_md=what,
            # Fixed words: the folder is the working directory and a variable, never a part of what the shell reads.
            bash_command=f"{PROGRAM} retrain {step}",
            cwd="{{ find_project() }}",
            env={"LIFECYCLE_ROOT": "{{ find_project() }}"},
            append_env=True,
            skip_on_exit_code=NOTHING_TO_DO,
            execution_timeout=timedelta(minutes=minutes),  # each try; the step's processes are ended
        )
        for task, (step, minutes, what) in STEPS.items()
    ])  # fmt: skip
