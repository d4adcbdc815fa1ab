from pathlib import Path

import pytest
from pydantic import ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.serving.settings import PREFIX, Settings, read_settings

FRACTIONS = ("rate_limit", "rate_burst", "budget_seconds", "cooldown_seconds", "body_seconds", "drain_seconds", "watch_seconds",
             "flush_seconds", "segment_seconds")  # fmt: skip


def read(**variables: str) -> Settings:
    return read_settings({f"{PREFIX}{name}": value for name, value in variables.items()})


def test_nothing_given_is_only_this_machine_and_open() -> None:
    settings = read_settings({"HOME": "/root", "LIFECYCLE_ROOT": "/x", "LIFECYCLE_PII_KEY": "x"})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 8000, 1)
    assert not settings.api_keys and settings.log_key is None and not settings.cors_origins


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - told, not listened on
        ("PORT", "0", 0),
        ("WORKERS", "4", 4),
        ("RATE_LIMIT", "2.5", 2.5),
        ("RATE_BURST", "5", 5),
        ("CORS_ORIGINS", "https://a.example, https://b.example,", ("https://a.example", "https://b.example")),
        ("BUDGET_SECONDS", "0.01", 0.01),
        ("DRAIN_SECONDS", "0", 0),
        ("LOG_FOLDER", "/var/log/predictions", Path("/var/log/predictions")),
        ("MONITOR_FILE", "/var/lib/monitor.json", Path("/var/lib/monitor.json")),
        ("ACCESS_LOG", "true", True),
        ("ACCESS_LOG", "0", False),
        ("CONTROL_SHARE", "0.1", 0.1),
    ],
)
def test_a_variable_is_a_setting(variable: str, text: str, value: object) -> None:
    settings = read(**{variable: text})
    assert getattr(settings, variable.lower()) == value
    assert settings.model_dump(exclude={variable.lower()}) == Settings().model_dump(exclude={variable.lower()})


def test_the_feature_store_has_its_own_variable() -> None:
    settings = read_settings({"LIFECYCLE_FEATURE_STORE": "redis://:secret@localhost/0"})
    assert settings.feature_store.get_secret_value() == "redis://:secret@localhost/0"
    assert read_settings({"LIFECYCLE_FEATURE_STORE": ""}).feature_store.get_secret_value() == ""
    with pytest.raises(ProjectError, match="FEATURE_STORE: is not a setting; it is LIFECYCLE_FEATURE_STORE"):
        read(FEATURE_STORE="redis://localhost/0")


def test_keys_come_between_commas() -> None:
    keys = read(API_KEYS=" one, two ,,").api_keys
    assert [key.get_secret_value() for key in keys] == ["one", "two"]


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PROT", "8000"),
        ("", "1"),
        ("PORT", "eighty"),
        ("PORT", ""),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "80.5"),
        ("WORKERS", "0"),
        ("MAX_BODY_BYTES", "12"),
        ("MAX_ROWS", "0"),
        ("MAX_ROWS", "1e3"),
        ("RATE_LIMIT", "-1"),
        ("BUDGET_SECONDS", "0"),
        ("SEGMENT_BYTES", "1"),
        ("ACCESS_LOG", "perhaps"),
        ("HOST", ""),  # would be every address of this machine
        ("LOG_KEY", ""),  # would be a key that everybody knows
        *((name.upper(), word) for name in FRACTIONS for word in ("", "inf", "nan", "soon")),
    ],
)
def test_a_variable_that_is_unknown_or_wrong_is_named_in_a_sentence(variable: str, text: str) -> None:
    with pytest.raises(ProjectError, match=rf"^{PREFIX}{variable}: [^\n]+\.$"):
        read(**{variable: text})


def test_what_is_given_goes_before_the_environment() -> None:
    environment = {f"{PREFIX}PORT": "1", f"{PREFIX}HOST": "localhost"}
    settings = read_settings(environment, port=2, host=None, workers=3)
    assert (settings.port, settings.host, settings.workers) == (2, "localhost", 3)
    assert environment == {f"{PREFIX}PORT": "1", f"{PREFIX}HOST": "localhost"}


def test_secrets_are_not_told() -> None:
    settings = read(API_KEYS="swordfish,trout", LOG_KEY="carp")
    told = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert not any(secret in told for secret in ("swordfish", "trout", "carp"))
    assert settings.log_key is not None and settings.log_key.get_secret_value() == "carp"
    with pytest.raises(ProjectError) as refusal:
        read(API_KEYS="swordfish", LOG_KEY="carp", PORT="no port")
    assert not any(secret in str(refusal.value) for secret in ("swordfish", "carp"))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
