"""Who answers: the champion, else the model before it, else the prior; and who only listens: a challenger in the shadow."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from types import FrameType
from typing import Any

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.serving.bundle import Bundle, load_bundle

Record = dict[str, Any]
PRIOR = "prior"
OURS = __name__.partition(".")[0]


class ScorerTimeoutError(Exception):
    """A scorer took longer than its budget."""


@dataclass(frozen=True)
class Answer:
    """Each row's probability of the positive class, the bundle that gave them (None: the prior), and what failed."""

    probabilities: list[float]
    bundle: Bundle | None
    failures: list[tuple[str, str]] = field(default_factory=list)  # model, kind


@dataclass(frozen=True)
class Lineup:
    """Bundles in the order in which they are asked, loaded together and replaced together.

    stamp: what champion.json and shadow.json were when they were read. problems: a sentence for each bundle that did not
    load.
    """

    champion: Record
    chain: tuple[Bundle, ...]
    shadow: Bundle | None
    problems: tuple[str, ...]
    since: Record
    stamp: object

    @property
    def first(self) -> Bundle | None:
        """The bundle that is asked first; its schema is that of the requests."""
        return self.chain[0] if self.chain else None

    @property
    def whole(self) -> bool:
        """Whether the champion itself is loaded."""
        return self.first is not None and self.first.manifest.model == self.champion["model"]

    @property
    def prior(self) -> float:
        """The share of positives in training: what is answered when no model can."""
        return float(self.champion["prior"])

    @property
    def name(self) -> str:
        """The champion's short name."""
        return str(self.champion["model"])[:12]


class Judge:
    """Asks the bundles of a lineup in turn, each within its time budget; one that was too slow rests for a while."""

    def __init__(self, budget_seconds: float, rest_seconds: float) -> None:
        self.budget, self.rest = Budget(budget_seconds), rest_seconds
        self.resting: dict[str, float] = {}

    def answer(self, lineup: Lineup, rows: list[Record]) -> Answer:
        """Answer with the first bundle that can, within its budget; with the prior when none can."""
        failures = []
        for bundle in lineup.chain:
            if bundle is not lineup.first and not bundle.schema.takes(rows):
                failures.append((bundle.name, "other columns"))
                continue
            if self.resting and self.resting.get(bundle.sha256, 0) > time.monotonic():
                failures.append((bundle.name, "resting"))
                continue
            try:
                return Answer(self.budget.score(bundle, rows), bundle, failures)
            except ScorerTimeoutError:
                self.resting[bundle.sha256] = time.monotonic() + self.rest
                failures.append((bundle.name, "timeout"))
            except Exception as error:  # noqa: BLE001 - whatever a scorer raises, the request is answered
                failures.append((bundle.name, type(error).__name__))
        return Answer([lineup.prior] * len(rows), None, failures)

    def is_resting(self, lineup: Lineup) -> bool:
        """Whether the first bundle was too slow a moment ago."""
        return bool(lineup.chain) and self.resting.get(lineup.chain[0].sha256, 0) > time.monotonic()


def score_rows(bundle: Bundle, rows: list[Record]) -> list[float]:
    """The probabilities of rows; raises ArithmeticError for one that is no number."""
    probabilities: list[float] = [bundle.score_one(rows[0])] if len(rows) == 1 else bundle.score(rows).tolist()
    if not isfinite(sum(probabilities)):
        raise ArithmeticError("a probability is no number")
    return probabilities


class Budget:
    """Interrupts a scorer in the main thread (ScorerTimeoutError) once it takes longer than `seconds`.

    A thread watches the clock, so that a request pays for nothing but a look at it. The alarm is heard between two steps of
    Python: a single call into C ends first.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: float | None = None  # when the scorer began; None while none runs

    def arm(self) -> None:
        """Begin to watch; once a process, in its main thread."""
        signal.signal(signal.SIGALRM, self.interrupt)
        threading.Thread(target=self.watch, name="budget", daemon=True).start()

    def score(self, bundle: Bundle, rows: list[Record]) -> list[float]:
        """The probabilities of rows, within the budget."""
        self.since = time.monotonic()
        try:
            return score_rows(bundle, rows)
        finally:
            self.since = None

    def is_over(self) -> bool:
        """Whether a scorer runs that should have ended."""
        since = self.since
        return since is not None and time.monotonic() - since > self.seconds

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """What the alarm does, in the main thread: the scorer that it was rung for may have ended meanwhile.

        Code that is not ours may hold a lock, which would stay locked (a tracer's does): there the next ring is waited for.
        """
        ours = frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{OURS}.")
        if ours and self.is_over():
            self.since = None
            raise ScorerTimeoutError

    def watch(self) -> None:
        """Ring when a scorer takes too long."""
        main = threading.main_thread().ident
        assert main is not None
        while True:
            time.sleep(self.seconds / 4)
            if self.is_over():
                signal.pthread_kill(main, signal.SIGALRM)


def find_release(root: Path, model: str) -> Path:
    """The folder of a model's serving bundle."""
    return root / paths.RELEASES / model[:12] / "bundle"


def take_stamp(root: Path) -> object:
    """What champion.json and shadow.json are now."""
    return stamp_file(root / paths.CHAMPION), stamp_file(root / paths.SHADOW)


def stamp_file(path: Path) -> tuple[int, int, int] | None:
    """What a file is now: another inode, time or size is another file; None where there is none to be seen."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def read_lineup(root: Path, rows: int) -> Lineup:
    """Load the champion's bundle, the one before it and the shadow's, each checked with its golden requests.

    A bundle that does not load is a problem of the lineup, not an error. Raises ProjectError when there is no champion.
    """
    stamp = take_stamp(root)
    path = root / paths.CHAMPION
    if not path.is_file():
        raise ProjectError(f"{path} is not there: `lifecycle promote` makes a model the champion.")
    champion = read_json(path)
    if not isinstance(champion, dict) or not re.fullmatch("[0-9a-f]{64}", str(champion.get("model"))):
        raise ProjectError(f"{path} names no champion: `lifecycle promote` makes a model the champion.")
    if not isinstance(champion.get("prior"), int | float):
        raise ProjectError(f"{path} has no prior: promote the model again.")
    problems: list[str] = []
    wanted = [(champion["model"], champion.get("bundle")), (champion.get("previous"), None)]
    loaded = [load_release(root, model, sha256, rows, problems) for model, sha256 in wanted if model]
    return Lineup(
        champion, tuple(bundle for bundle in loaded if bundle), load_shadow(root, rows, problems), tuple(problems),
        read_since(root, champion["model"]), stamp,
    )  # fmt: skip


def load_release(root: Path, model: str, sha256: str | None, rows: int, problems: list[str]) -> Bundle | None:
    """A release's bundle; where it does not load, does not answer as it should or is another, a problem and None."""
    folder = find_release(root, model)
    try:
        return check_release(load_bundle(folder, rows), folder, model, sha256)
    except (ProjectError, OSError) as error:
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001 - a damaged bundle may fail in any way, and must not stop the server
        problems.append(f"{folder}: {type(error).__name__}: {error}.")
    return None


def check_release(bundle: Bundle, folder: Path, model: str, sha256: str | None) -> Bundle:
    """The bundle, if it is the one that is meant and gives its golden answers; raises ProjectError otherwise."""
    if sha256 is not None and bundle.sha256 != sha256:
        raise ProjectError(f"{folder} is bundle {bundle.sha256[:12]}, {paths.CHAMPION} names {sha256[:12]}.")
    if bundle.manifest.model != model:
        raise ProjectError(f"{folder} is of model {bundle.name}, not {model[:12]}.")
    bundle.check_golden()
    return bundle


def load_shadow(root: Path, rows: int, problems: list[str]) -> Bundle | None:
    """The bundle of the challenger that shadow.json names, if it names one."""
    path = root / paths.SHADOW
    if not path.is_file():
        return None
    try:
        model = read_json(path)["model"]
    except (ProjectError, KeyError, TypeError):
        problems.append(f"{path} does not name a model.")
        return None
    return load_release(root, model, None, rows, problems) if model else None


def read_since(root: Path, model: str) -> Record:
    """The newest line of the history for this model (at, by, because), empty when there is none."""
    path = root / paths.HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("model") == model:
            return record
    return {}
