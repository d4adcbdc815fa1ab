"""The settings of a server, read from LIFECYCLE_SERVE_* variables and LIFECYCLE_FEATURE_STORE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import FEATURE_STORE_VARIABLE, LIVE_MONITORING, PREDICTIONS

PREFIX = "LIFECYCLE_SERVE_"
METRICS_FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's: the folder in which workers share metrics
_FEATURE_STORE = "feature_store"  # the one setting with a variable of another name
Positive = Annotated[float, Field(gt=0)]


def _split_words(value: Any) -> Any:
    """Split a comma-separated value."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """A server's settings: each is the variable LIFECYCLE_SERVE_ and its name in capitals, except `feature_store`.

    Sizes are in bytes, times in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"  # an empty one would mean every address
    port: Annotated[int, Field(ge=0, le=65535)] = 8000  # 0 chooses a free port
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    api_keys: Annotated[
        tuple[SecretStr, ...], BeforeValidator(_split_words)
    ] = ()  # without keys, every client is served
    rate_limit: Annotated[float, Field(ge=0)] = (
        0  # requests per second of a client (its key, else its address); 0: no limit
    )
    rate_burst: Positive = 2  # seconds of the rate limit that a client may use at once
    cors_origins: Annotated[
        tuple[str, ...], BeforeValidator(_split_words)
    ] = ()  # web pages of these origins may send requests
    strict: bool = False  # refuse columns of the contract that the model does not read, in place of ignoring them
    max_body_bytes: Annotated[int, Field(ge=1024)] = 2 * 1024 * 1024
    max_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000  # in one request
    max_explained: Annotated[int, Field(ge=1, le=1000)] = 20  # rows in a request with ?explain=true
    budget_seconds: Positive = 0.25  # a scorer that takes longer is interrupted
    cooldown_seconds: Positive = 10  # and is not tried again for this long
    body_seconds: Positive = 10  # from the start of a request to its last byte
    drain_seconds: Annotated[float, Field(ge=0)] = 1  # from SIGTERM to the end of accepting connections
    watch_seconds: Positive = 0.5  # between two checks of champion.json, shadow.json and the monitoring report
    monitor_file: Path = Path(LIVE_MONITORING)  # relative to the project; written by `lifecycle monitor`
    log_folder: Path = Path(PREDICTIONS)  # relative to the project
    log_key: Annotated[SecretStr, Field(min_length=1)] | None = (
        None  # signs request ids and draws the control group; None: a key in the log's folder
    )
    control_share: Annotated[float, Field(ge=0, le=1)] = (
        0  # of the entities, marked `control` at random: leave them untreated, to see what treating others does
    )
    flush_seconds: Positive = 0.5  # a crash loses at most the predictions of this period
    segment_bytes: Annotated[int, Field(ge=4096)] = 32 * 1024 * 1024
    segment_seconds: Positive = 600
    feature_store: SecretStr = SecretStr("")  # an address such as sqlite:///.lifecycle/features.db; empty: no entities
    store_ttl: Positive = 3600  # maximum age of a cached feature
    store_timeout: Positive = 0.1  # of a call to the store
    access_log: bool = False  # a line for every request; refused and failed requests always have one


def name_variable(setting: str) -> str:
    """Return the environment variable of a setting."""
    return FEATURE_STORE_VARIABLE if setting == _FEATURE_STORE else f"{PREFIX}{setting.upper()}"


def read_settings(environment: Mapping[str, str], **given: Any) -> Settings:
    """Read the settings of an environment; those in `given` take precedence unless they are None.

    Raises ProjectError naming a variable that is unknown or invalid.
    """
    named = {key.removeprefix(PREFIX).lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
    if _FEATURE_STORE in named:
        raise ProjectError(f"{PREFIX}{_FEATURE_STORE.upper()}: is not a setting; it is {FEATURE_STORE_VARIABLE}.")
    if environment.get(FEATURE_STORE_VARIABLE):
        named[_FEATURE_STORE] = environment[FEATURE_STORE_VARIABLE]
    values = {**named, **{key: value for key, value in given.items() if value is not None}}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0])
        problem = "is not a setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise ProjectError(f"{name_variable(name)}: {problem}.") from None
