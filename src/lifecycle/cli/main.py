"""The command `lifecycle`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from lifecycle.core.contract import load_contract
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import write_json
from lifecycle.core.paths import CONTRACT, LIVE_PAGE, PROFILE, RAW_TABLE, Project, find_root, open_project
from lifecycle.pipeline.runner import ENVIRONMENT, STAGES, StageError, run_stage


def build_parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    parser = argparse.ArgumentParser(prog="lifecycle", description="Run a stage, or move the champion.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a stage's notebook and render its report (what dvc.yaml calls)")
    run.add_argument("stage", choices=STAGES)
    ingest = commands.add_parser(
        "ingest", help="land what is new in a growing source: a Kafka topic, a database's new rows"
    )
    ways = ingest.add_mutually_exclusive_group()
    ways.add_argument("--follow", action="store_true", help="go on until SIGTERM")
    ways.add_argument("--compact", action="store_true", help="join small files afterwards")
    ingest.add_argument("--accept-loss", action="store_true", help="go on where the topic lost what was not landed yet")
    commands.add_parser("report", help="write reports/index.html, the front page (what dvc.yaml calls)")
    promote = commands.add_parser("promote", help="register the blessed candidate; make it champion if first or better")
    promote.add_argument(
        "version",
        nargs="?",
        metavar="VERSION",
        help="a registered version or a release's hash: champion, better or not",
    )
    promote.add_argument("--if-blessed", action="store_true", help="a candidate that is not blessed is no failure")
    commands.add_parser("rollback", help="make the model before the champion the champion again")
    shadow = commands.add_parser("shadow", help="let the server score with a second model, whose answers it only logs")
    shadow.add_argument("version", metavar="{candidate|VERSION|off}", help="which model; off: none")
    commands.add_parser("history", help="tell which model was live when, who moved it, and why")
    serve = commands.add_parser("serve", help="answer requests with the champion, over HTTP")
    serve.add_argument("--host", help="the address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="the port (8000; 0: a free one)")
    serve.add_argument("--workers", type=int, help="processes that share the port (1)")
    compact = commands.add_parser(
        "compact", help="turn the prediction log's segments into Parquet, a file a kind and day"
    )
    compact.add_argument(
        "--keep-days", type=int, metavar="N", help="and remove the days that ended N days ago or earlier"
    )
    monitor = commands.add_parser(
        "monitor", help="hold the server's prediction log against what the champion was evaluated on"
    )
    monitor.add_argument("--log", metavar="FOLDER", help="the prediction log (the server's)")
    monitor.add_argument("--exit-code", action="store_true", help="end with 2 where an alert asks to act")
    retrain = commands.add_parser(
        "retrain", help="decide whether a new model is due, train it, and promote it if it is better"
    )
    retrain.add_argument(
        "step", nargs="?", metavar="{decide,validate,train,judge,deploy}",
        choices=("decide", "validate", "train", "judge", "deploy"),
        help="do one step alone; it ends with 99 where there is nothing (more) to do",
    )  # fmt: skip
    retrain.add_argument("--log", metavar="FOLDER", help="the prediction log (the server's)")
    play = commands.add_parser("play", help="play a year of production offline: drift, alarm, retraining, promotion")
    play.add_argument("--scenario", metavar="NAME", help="which of simulate.scenarios (that of monitor.log)")
    materialize = commands.add_parser(
        "materialize", help="fill the online feature store from the validated table, or compare the two"
    )
    materialize.add_argument("--since", metavar="MOMENT", help="of rows from this moment on alone (ISO 8601, UTC)")
    materialize.add_argument(
        "--check", action="store_true", help="compare online with offline instead; exit status 1 where they differ"
    )
    materialize.add_argument("--sample", type=int, metavar="N", help="with --check: compare N entities (all)")
    score = commands.add_parser(
        "score", help="tell the ML Test Score: what shows each of its 28 rows, and when that last ran"
    )
    score.add_argument(
        "--least", type=float, metavar="N", help="exit status 1 where the least of the four sums is below N"
    )
    adopt = commands.add_parser(
        "adopt", help="make the project one about your own table: contract and parameters from it"
    )
    adopt.add_argument("source", nargs="?", metavar="FILE_OR_ADDRESS", help="what `collect.source` takes")
    adopt.add_argument("--target", metavar="COLUMN", help="the column to predict, of two classes")
    adopt.add_argument("--time", metavar="COLUMN", help="when a row came to be: the newest rows are held out")
    adopt.add_argument("--id", metavar="COLUMN", help="whose row it is: rows of one stay together")
    adopt.add_argument("--positive", metavar="VALUE", help="the class that a probability speaks of (the rarer one)")
    adopt.add_argument("--name", metavar="NAME", help="what the project is called (the file's name)")
    adopt.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one of `collect.options`, as in table=visits",
    )
    adopt.add_argument("--force", action="store_true", help="write over a contract that was adopted and edited since")
    adopt.add_argument("--undo", action="store_true", help="bring the former project back")
    commands.add_parser(
        "profile", help="take the raw table's distributions as the reference that validation compares with"
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 where the user has something to mend, or 130 after Ctrl-C."""
    chosen = build_parser().parse_args(arguments)
    try:
        return COMMANDS[chosen.command](chosen)
    except (ProjectError, StageError) as error:
        print(f"lifecycle {chosen.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"lifecycle {chosen.command}: interrupted; the next `dvc repro` goes on from here.", file=sys.stderr)
        return 130


def run(chosen: argparse.Namespace) -> int:
    """lifecycle run STAGE"""
    run_stage(chosen.stage)
    return 0


def ingest(chosen: argparse.Namespace) -> int:
    """lifecycle ingest [--follow] [--accept-loss] [--compact]"""
    from lifecycle.sources.ingest import follow
    from lifecycle.sources.ingest import ingest as land

    project = open_project(write=True)
    if chosen.follow:
        lines = follow(project, accept_loss=chosen.accept_loss)
    else:
        lines = land(project, accept_loss=chosen.accept_loss, compact=chosen.compact)
    for line in lines:
        print(f"ingest: {line}", flush=True)
    return 0


def report(chosen: argparse.Namespace) -> int:
    """lifecycle report"""
    from lifecycle.stages.report import write_report

    page = write_report(open_project(write=True))
    print(f"report: {page.name} is the front page")
    return 0


def promote(chosen: argparse.Namespace) -> int:
    """lifecycle promote [VERSION] [--if-blessed]"""
    project, name = open_registry()
    from lifecycle.promotion.registry import promote_candidate, promote_version

    done = promote_version(project, name, chosen.version) if chosen.version else promote_candidate(project, name)
    if done.version is None:
        print(f"promote: the champion stays: {done.because}", file=sys.stderr)
        return 0 if chosen.if_blessed else 1
    state = "is now the champion" if done.moved else "is registered, the champion stays"
    print(f"promote: version {done.version} of {name!r} {state}: {done.because}")
    return 0


def rollback(chosen: argparse.Namespace) -> int:
    """lifecycle rollback"""
    project, name = open_registry()
    from lifecycle.promotion import registry

    done = registry.rollback(project, name)
    print(f"rollback: version {done.version} of {name!r}, model {done.model[:12]}, is the champion: {done.because}")
    return 0


def shadow(chosen: argparse.Namespace) -> int:
    """lifecycle shadow {candidate|VERSION|off}"""
    project, name = open_registry()
    from lifecycle.promotion.registry import put_in_shadow

    model = put_in_shadow(project, name, None if chosen.version == "off" else chosen.version)
    print(f"shadow: {f'model {model[:12]} is in the shadow' if model else 'no model is in the shadow'}")
    return 0


def history(chosen: argparse.Namespace) -> int:
    """lifecycle history"""
    from lifecycle.promotion.releases import tabulate_history

    for row in tabulate_history(open_project(write=True).root):
        print("  ".join(row).rstrip())
    return 0


def open_registry() -> tuple[Project, str]:
    """The project and the name of its model, with MLflow's environment as the stages have it."""
    os.environ.update({key: ENVIRONMENT[key] for key in ENVIRONMENT if key.startswith(("MLFLOW", "GIT"))})
    project = open_project(write=True)
    return project, load_contract(project.read(CONTRACT)).name


def serve(chosen: argparse.Namespace) -> int:
    """lifecycle serve [--host HOST] [--port PORT] [--workers N]"""
    from lifecycle.serving.server import serve as serve_champion
    from lifecycle.serving.settings import read_settings

    settings = read_settings(os.environ, host=chosen.host, port=chosen.port, workers=chosen.workers)
    return serve_champion(find_root(), settings)


def compact(chosen: argparse.Namespace) -> int:
    """lifecycle compact [--keep-days N]"""
    from lifecycle.prediction_log.compaction import compact_segments, prune_log
    from lifecycle.serving.settings import read_settings

    folder = find_root() / read_settings(os.environ).log_folder
    try:
        done = compact_segments(folder)
        removed = 0 if chosen.keep_days is None else prune_log(folder, chosen.keep_days)
    except OSError as error:
        raise ProjectError(
            f"the prediction log cannot be compacted: {error}; what was not done yet is kept."
        ) from error
    print(
        f"compact: {done.records:,} records of {done.segments} segments are Parquet in {folder}; "
        f"{done.damaged} damaged lines put aside; {removed} old partitions removed"
    )
    return 0


def find_log(chosen: argparse.Namespace, project: Project) -> Path:
    """The prediction log that was named, else the server's."""
    from lifecycle.serving.settings import read_settings

    return Path(chosen.log).resolve() if chosen.log else project.root / read_settings(os.environ).log_folder


def monitor(chosen: argparse.Namespace) -> int:
    """lifecycle monitor [--log FOLDER] [--exit-code]"""
    from lifecycle.monitoring.live import describe_alerts, monitor_live

    project = open_project(write=True)
    record = monitor_live(project, find_log(chosen, project))
    print(*describe_alerts(record), sep="\n")
    print(f"monitor: {LIVE_PAGE} shows it")
    return 2 if chosen.exit_code and record["severity"] == "act" else 0


def retrain(chosen: argparse.Namespace) -> int:
    """lifecycle retrain [STEP] [--log FOLDER]"""
    project, _ = open_registry()
    from lifecycle.retraining.challenger import retrain as do_retrain

    status = do_retrain(project, find_log(chosen, project), chosen.step)
    return status if chosen.step else 0


def play(chosen: argparse.Namespace) -> int:
    """lifecycle play [--scenario NAME]"""
    pinned = {key: value for key, value in ENVIRONMENT.items() if value}
    if any(os.environ.get(key) != value for key, value in pinned.items()):  # before numpy loads, as in a stage
        named = ["--scenario", chosen.scenario] if chosen.scenario else []
        words = [sys.executable, "-m", "lifecycle.cli.main", "play", *named]
        return subprocess.run(words, env={**os.environ, **pinned}, check=False).returncode
    project, _ = open_registry()
    from lifecycle.retraining.replay import replay_year

    page = replay_year(project, chosen.scenario)
    print(f"play: {page.relative_to(project.output)} tells the year")
    return 0


def score(chosen: argparse.Namespace) -> int:
    """lifecycle score [--least N]"""
    from lifecycle.cli.readiness import score_project, sum_sections, tabulate_score

    scored = score_project(find_root(), datetime.now(UTC))
    print("\n".join(tabulate_score(scored)))
    least = min(sum_sections(scored).values())
    if chosen.least is not None and not least >= chosen.least:
        raise ProjectError(f"the least of the four sums is {least:g}; at least {chosen.least:g} was asked for.")
    return 0


def materialize(chosen: argparse.Namespace) -> int:
    """lifecycle materialize [--since MOMENT] [--check [--sample N]]"""
    from lifecycle.features.materialize import (
        compare_stores,
        describe_comparison,
        describe_filled,
        materialize,
        parse_moment,
    )

    project = open_project(write=True)
    if not chosen.check:
        if chosen.sample is not None:
            raise ProjectError("--sample goes with --check.")
        since = None if chosen.since is None else parse_moment(chosen.since)
        print(describe_filled(materialize(project, since, report_slowly("materialize"))))
        return 0
    if chosen.since is not None or (chosen.sample is not None and chosen.sample < 1):
        raise ProjectError("--check takes --sample with a number of at least 1, and no --since.")
    found = compare_stores(project, chosen.sample)
    print(*describe_comparison(found), sep="\n")
    return 0 if found.agrees else 1


def report_slowly(command: str, every: float = 5.0) -> Callable[[str], None]:
    """What tells how far a command is, on stderr, a line in so many seconds."""
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every:
            last = time.monotonic()
            print(f"{command}: {line}", file=sys.stderr, flush=True)

    return tell


def adopt(chosen: argparse.Namespace) -> int:
    """lifecycle adopt FILE_OR_ADDRESS --target COLUMN [...] | --undo"""
    from lifecycle.adoption.adopt import adopt_table, undo_adoption

    project = open_project(write=True)
    if chosen.undo:
        lines = undo_adoption(project)
    elif not chosen.source or not chosen.target:
        raise ProjectError("expected FILE_OR_ADDRESS and --target COLUMN, or --undo.")
    else:
        from ruamel.yaml import YAML

        if wrong := [option for option in chosen.option if "=" not in option]:
            raise ProjectError(f"--option {wrong[0]}: expected KEY=VALUE.")
        pairs = [option.split("=", 1) for option in chosen.option]
        lines = adopt_table(
            project, chosen.source, target=chosen.target, time=chosen.time, identity=chosen.id, positive=chosen.positive,
            name=chosen.name, options={key: YAML(typ="safe", pure=True).load(value) for key, value in pairs}, force=chosen.force,
        )  # fmt: skip
    print(*(f"adopt: {line}" for line in lines), sep="\n")
    return 0


def profile(chosen: argparse.Namespace) -> int:
    """lifecycle profile"""
    from lifecycle.stages.validate import describe_reference

    project = open_project(write=True)
    contract = load_contract(project.read(CONTRACT))
    path = project.write(PROFILE)
    with TemporaryDirectory(dir=path.parent) as folder:
        reference = describe_reference(project.read(RAW_TABLE), contract, Path(folder))
    write_json(reference, path)
    print(f"profile: {PROFILE} now holds the distributions of {RAW_TABLE}")
    return 0


COMMANDS = {
    "run": run, "ingest": ingest, "report": report, "promote": promote, "rollback": rollback, "shadow": shadow, "history": history,
    "compact": compact, "monitor": monitor, "retrain": retrain, "play": play, "profile": profile, "serve": serve,
    "score": score, "materialize": materialize, "adopt": adopt,
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
