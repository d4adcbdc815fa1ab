"""The fallback chain: the champion answers; when it cannot, the model before it does, and finally the prior.

A challenger in the shadow scores the same requests, but never answers.
"""

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

from lifecycle.core import paths
from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json
from lifecycle.core.records import Record
from lifecycle.promotion.records import Champion, HistoryLine
from lifecycle.serving.bundle import Bundle, load_release_bundle

PRIOR = "prior"
_PACKAGE = __name__.partition(".")[0]


class ScorerTimeoutError(Exception):
    """A scorer took longer than its time budget."""


@dataclass(frozen=True)
class Answer:
    """The probability of the positive class for each row, the bundle that scored them (None: the prior), and failures.

    failures: model and kind of failure for each bundle that could not answer before.
    """

    probabilities: list[float]
    bundle: Bundle | None
    failures: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FallbackChain:
    """Bundles in the order in which they are tried, loaded and replaced together.

    stamp: the state of champion.json and shadow.json when they were read. problems: a sentence for each bundle that could
    not be loaded. since: the line of the history with which the champion became live.
    """

    champion: Champion
    bundles: tuple[Bundle, ...]
    shadow: Bundle | None
    problems: tuple[str, ...]
    since: HistoryLine | None
    stamp: object

    @property
    def first(self) -> Bundle | None:
        """The bundle that is tried first; requests follow its schema."""
        return self.bundles[0] if self.bundles else None

    @property
    def has_champion(self) -> bool:
        """Whether the champion itself is loaded."""
        return self.first is not None and self.first.manifest.model == self.champion.model

    @property
    def prior(self) -> float:
        """The share of positives in training: the answer when no model can answer."""
        assert self.champion.prior is not None
        return self.champion.prior

    @property
    def name(self) -> str:
        """The champion's short name."""
        return str(self.champion.model)[:12]


class ChainScorer:
    """Scores rows with the first bundle of a chain that can, within its time budget.

    A bundle that exceeds the budget is not tried again for `cooldown_seconds`.
    """

    def __init__(self, budget_seconds: float, cooldown_seconds: float) -> None:
        self.budget, self.cooldown_seconds = TimeBudget(budget_seconds), cooldown_seconds
        self.cooldowns: dict[str, float] = {}  # until when, by the bundle's hash

    def score(self, chain: FallbackChain, rows: list[Record]) -> Answer:
        """Score rows with the first bundle that can; with the prior when none can."""
        failures = []
        for bundle in chain.bundles:
            if bundle is not chain.first and not bundle.schema.accepts(rows):
                failures.append((bundle.name, "other columns"))
                continue
            if self.cooldowns and self.cooldowns.get(bundle.sha256, 0) > time.monotonic():
                failures.append((bundle.name, "cooldown"))
                continue
            try:
                return Answer(self.budget.score(bundle, rows), bundle, failures)
            except ScorerTimeoutError:
                self.cooldowns[bundle.sha256] = time.monotonic() + self.cooldown_seconds
                failures.append((bundle.name, "timeout"))
            except Exception as error:  # noqa: BLE001 - the request is answered whatever a scorer raises
                failures.append((bundle.name, type(error).__name__))
        return Answer([chain.prior] * len(rows), None, failures)

    def is_cooling_down(self, chain: FallbackChain) -> bool:
        """Return whether the first bundle exceeded its budget a moment ago."""
        return bool(chain.bundles) and self.cooldowns.get(chain.bundles[0].sha256, 0) > time.monotonic()


def score_rows(bundle: Bundle, rows: list[Record]) -> list[float]:
    """Return the probabilities of rows; raise ArithmeticError when one is not finite."""
    probabilities: list[float] = [bundle.score_one(rows[0])] if len(rows) == 1 else bundle.score(rows).tolist()
    if not isfinite(sum(probabilities)):
        raise ArithmeticError("a probability is not finite")
    return probabilities


class TimeBudget:
    """Interrupts a scorer in the main thread (ScorerTimeoutError) when it takes longer than `seconds`.

    A thread watches the clock and sends a signal, so that a request costs only two assignments. Python handles the signal
    between two bytecodes: a single call into C ends first.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since: float | None = None  # when the scorer started; None while none runs

    def arm(self) -> None:
        """Start the watching thread; call it once in a process, in its main thread."""
        signal.signal(signal.SIGALRM, self.interrupt)
        threading.Thread(target=self._watch, name="budget", daemon=True).start()

    def score(self, bundle: Bundle, rows: list[Record]) -> list[float]:
        """Return the probabilities of rows, within the budget."""
        self.since = time.monotonic()
        try:
            return score_rows(bundle, rows)
        finally:
            self.since = None

    def is_exceeded(self) -> bool:
        """Return whether a scorer is running that should have ended."""
        since = self.since
        return since is not None and time.monotonic() - since > self.seconds

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle the signal in the main thread; the scorer that caused it may have ended in the meantime.

        Code outside this package is not interrupted, because it may hold a lock (a tracer does) that would stay locked;
        the next signal follows.
        """
        in_package = frame is not None and str(frame.f_globals.get("__name__")).startswith(f"{_PACKAGE}.")
        if in_package and self.is_exceeded():
            self.since = None
            raise ScorerTimeoutError

    def _watch(self) -> None:
        """Signal the main thread when a scorer takes too long."""
        main = threading.main_thread().ident
        assert main is not None
        while True:
            time.sleep(self.seconds / 4)
            if self.is_exceeded():
                signal.pthread_kill(main, signal.SIGALRM)


def stamp_champion(root: Path) -> object:
    """Return the state of champion.json and shadow.json, for comparison with a later one."""
    return stamp_file(root / paths.CHAMPION), stamp_file(root / paths.SHADOW)


def stamp_file(path: Path) -> tuple[int, int, int] | None:
    """Return a file's inode, modification time and size, which change when it is replaced; None when it cannot be read."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_mtime_ns, state.st_size


def load_chain(root: Path, rows: int) -> FallbackChain:
    """Load the bundles of the champion, the model before it and the shadow, and check each with its golden requests.

    A bundle that cannot be loaded is one of the chain's problems, not an error. Raises ProjectError when there is no
    champion.
    """
    stamp = stamp_champion(root)
    champion = _read_champion(root)
    problems: list[str] = []
    wanted = [(champion.model, champion.bundle), (champion.previous, None)]
    loaded = [_try_bundle(root, model, sha256, rows, problems) for model, sha256 in wanted if model]
    return FallbackChain(
        champion, tuple(bundle for bundle in loaded if bundle), _load_shadow(root, rows, problems), tuple(problems),
        _read_since(root, str(champion.model)), stamp,
    )  # fmt: skip


def _read_champion(root: Path) -> Champion:
    """Read champion.json; raise ProjectError when it is missing or incomplete."""
    path = root / paths.CHAMPION
    if not path.is_file():
        raise ProjectError(f"{path} does not exist: `lifecycle promote` makes a model the champion.")
    content = read_json(path)
    if not isinstance(content, dict) or not re.fullmatch("[0-9a-f]{64}", str(content.get("model"))):
        raise ProjectError(f"{path} names no champion: `lifecycle promote` makes a model the champion.")
    champion = Champion.parse(content, path)
    if champion.prior is None:
        raise ProjectError(f"{path} has no prior: promote the model again.")
    return champion


def _try_bundle(root: Path, model: str, sha256: str | None, rows: int, problems: list[str]) -> Bundle | None:
    """Return a release's bundle; add a problem and return None when it cannot be loaded or is another one."""
    try:
        return load_release_bundle(root, model, sha256, rows)
    except (ProjectError, OSError) as error:
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001 - a damaged bundle may fail in any way, and must not stop the server
        problems.append(f"The bundle of model {model[:12]}: {type(error).__name__}: {error}.")
    return None


def _load_shadow(root: Path, rows: int, problems: list[str]) -> Bundle | None:
    """Return the bundle of the challenger that shadow.json names, if there is one."""
    path = root / paths.SHADOW
    if not path.is_file():
        return None
    try:
        model = read_json(path)["model"]
    except (ProjectError, KeyError, TypeError):
        problems.append(f"{path} does not name a model.")
        return None
    return _try_bundle(root, model, None, rows, problems) if model else None


def _read_since(root: Path, model: str) -> HistoryLine | None:
    """Return the newest line of the history for this model, None when there is none."""
    path = root / paths.HISTORY
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in reversed(lines):
        try:
            record = HistoryLine.parse(json.loads(line), path)
        except (ValueError, ProjectError):
            continue
        if record.model == model and record.action != "compare":
            return record
    return None
