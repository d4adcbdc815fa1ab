"""What a server may be told: one frozen record, read from LIFECYCLE_SERVE_* variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.paths import LIVE_MONITORING, PREDICTIONS

PREFIX = "LIFECYCLE_SERVE_"
Positive = Annotated[float, Field(gt=0)]


def split_words(value: Any) -> Any:
    """Words between commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


class Settings(BaseModel):
    """A server's settings; each is the variable LIFECYCLE_SERVE_ and its name in capitals.

    Sizes are in bytes, times in seconds; a rate limit of 0 is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"  # an empty one would be every address
    port: Annotated[int, Field(ge=0, le=65535)] = 8000  # 0: a free one
    workers: Annotated[int, Field(ge=1, le=256)] = 1  # processes that share the port
    api_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(split_words)] = ()  # none: everybody may ask
    rate_limit: Annotated[float, Field(ge=0)] = 0  # requests a second of one client (its key, else its address)
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(split_words)] = ()  # none: other sites' pages may not ask
    max_body_bytes: Annotated[int, Field(ge=1024)] = 2 * 1024 * 1024  # of one request
    max_rows: Annotated[int, Field(ge=1, le=100_000)] = 1000  # of one request
    max_explained: Annotated[int, Field(ge=1, le=1000)] = 20  # rows of a request with ?explain=true
    budget_seconds: Positive = 0.25  # a scorer that takes longer is given up
    rest_seconds: Positive = 10  # and is not asked again for so long
    body_seconds: Positive = 10  # for headers, and then for the body
    drain_seconds: Annotated[float, Field(ge=0)] = 1  # between SIGTERM and no longer taking connections
    watch_seconds: Positive = 0.5  # between two looks at champion.json, shadow.json and the monitor's file
    monitor_file: Path = Path(LIVE_MONITORING)  # relative to the project; what `lifecycle monitor` wrote
    log_folder: Path = Path(PREDICTIONS)  # relative to the project
    log_key: Annotated[SecretStr, Field(min_length=1)] | None = None  # signs request ids; none: one in the log's folder
    flush_seconds: Positive = 0.5  # a crash loses at most what was answered in so long
    segment_bytes: Annotated[int, Field(ge=4096)] = (
        32 * 1024 * 1024
    )  # of a segment of the prediction log, after which the next begins
    segment_seconds: Positive = 600  # the age of a segment after which the next begins
    store: SecretStr = SecretStr(
        ""
    )  # a feature store's address, as sqlite:///.lifecycle/features.db; empty: rows name no entity
    store_ttl: Positive = 3600  # how old a cached feature may be
    store_timeout: Positive = 0.1  # of a call to the store, which is then left alone for a while
    access_log: bool = False  # a line for every request; refused and failed ones have theirs anyway


def read_settings(environment: Mapping[str, str], **given: Any) -> Settings:
    """The settings of an environment, and those `given`, which go before; None stands for not given.

    Raises ProjectError naming a variable that is unknown or not what was expected.
    """
    named = {key.removeprefix(PREFIX).lower(): value for key, value in environment.items() if key.startswith(PREFIX)}
    values = {**named, **{key: value for key, value in given.items() if value is not None}}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = str(first["loc"][0])
        problem = "is not a setting" if first["type"] == "extra_forbidden" else first["msg"]
        raise ProjectError(f"{PREFIX}{name.upper()}: {problem}.") from None
