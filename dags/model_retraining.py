"""Retrain weekly, on Sunday at 02:00 UTC, if a new model is required, and deploy it if it is better than the live one.

Each task is a step of `lifecycle retrain`, run by the project's own environment, not by Airflow's. The project's folder
is the Airflow Variable `lifecycle_root`, or else the environment variable `LIFECYCLE_ROOT` of the worker. This file reads the list of steps
from the project that it belongs to: link it into Airflow's DAGs folder, or make the project's `dags/` that folder.

- **Nothing to do** (no new model is required, or it is not better) skips the remaining tasks, and the run is a success.
- **An error** is retried twice, five minutes apart; then the run fails.
- **The champion keeps serving, whatever fails**: the tasks before `deploy` write pages and `.lifecycle/challenger`, which no
  server reads. `deploy` moves the champion by one rename of `models/champion.json`, when everything that it names is in
  place. Servers load the new model next to the old one and switch when it answers its golden requests. No task stops a
  server.
- **The pages**: each task's log names the page of every notebook that it ran.
- **Secrets** are the worker's environment variables (`LIFECYCLE_PII_KEY`, ...), which the steps inherit.
"""

from __future__ import annotations

import os
import runpy
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Variable, chain
from airflow.sdk.exceptions import AirflowFailException

PROGRAM = ".venv/bin/lifecycle"
STEPS_FILE = Path(__file__).resolve().parents[1] / "src/lifecycle/retraining/steps.py"
steps = runpy.run_path(str(STEPS_FILE))  # it imports nothing but the standard library


def find_project() -> str:
    """Return the project's folder; raise AirflowFailException, which is not retried, where none is named or it does not exist."""
    named = Variable.get("lifecycle_root", default=None) or os.environ.get("LIFECYCLE_ROOT")
    if not named:
        raise AirflowFailException(
            "No project is configured: set the Airflow Variable lifecycle_root, or LIFECYCLE_ROOT in the worker's "
            "environment, to the project's folder."
        )
    root = Path(named).resolve()
    if not (root / PROGRAM).is_file():
        raise AirflowFailException(
            f"{root} has no {PROGRAM}: expected the project's folder, in which you have run `make env`."
        )
    return str(root)


with DAG(
    dag_id="model_retraining",
    description="Retrain weekly if required, and deploy the new model if it is better",
    doc_md=__doc__,
    schedule="0 2 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # one run on the newest data makes up for the weeks that were missed
    max_active_runs=1,  # two runs would write the same challenger
    tags=["lifecycle", "retraining"],
    default_args={"owner": "lifecycle", "retries": 2, "retry_delay": timedelta(minutes=5)},
    user_defined_macros={"find_project": find_project},
) as dag:
    chain(*[
        BashOperator(
            task_id=step.task,
            doc_md=step.purpose,
            # The folder is the working directory and a variable, never part of what the shell parses.
            bash_command=f"{PROGRAM} retrain {step.name}",
            cwd="{{ find_project() }}",
            env={"LIFECYCLE_ROOT": "{{ find_project() }}"},
            append_env=True,
            skip_on_exit_code=steps["NOTHING_TO_DO"],
            execution_timeout=timedelta(minutes=step.minutes),  # per attempt; then the step's processes are stopped
        )
        for step in steps["STEPS"]
    ])  # fmt: skip
