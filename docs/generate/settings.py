"""Environment variables: the server's settings, and all others that the code reads."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from generate.markdown import code, finish, write_table
from generate.schemas import ROOT, definitions_of, list_entries, name_type, refuse_missing

# The variables that are no settings of the server. The build fails where the code reads one that is missing here.
VARIABLES = {
    "LIFECYCLE_ROOT": "The project's folder; by default the nearest folder upwards with `params.yaml` and `dvc.yaml`.",
    "LIFECYCLE_PII_KEY": "The key with which personal columns are pseudonymised.",
    "LIFECYCLE_FEATURE_STORE": "The address of the feature store's cache: `redis://…`, `rediss://…` or an SQLite file.",
    "LIFECYCLE_FORKSERVER": "Set by the warm parent of `make repro` for the processes that it serves; not for users.",
    "LIFECYCLE_PYTHON_ROOT": "Where `ops/try_python.sh` keeps the system with another Python.",
    "LIFECYCLE_KAFKA_": "With a name of librdkafka in capitals: a security setting, as in `LIFECYCLE_KAFKA_SASL_PASSWORD`.",
    "LIFECYCLE_SCHEMA_REGISTRY_USER": "The user of the schema registry.",
    "LIFECYCLE_SCHEMA_REGISTRY_PASSWORD": "The password of the schema registry.",
    "LIFECYCLE_IMAGE": "The name of the image that `make deliver` builds and `compose.yaml` runs.",
    "LIFECYCLE_BUILD_OPTIONS": "More words for the image's build, as in `--isolation chroot`.",
    "LIFECYCLE_CONTAINER_CACHE": "Where `make container` keeps the base that it makes.",
    "LIFECYCLE_DEBIAN_MIRROR": "From where `make container` takes Debian's packages.",
    "LIFECYCLE_PORT": "The port of 127.0.0.1 on which `compose.yaml` publishes the API.",
}
OTHERS = {
    "MLFLOW_TRACKING_URI": "The MLflow server; by default the file `mlflow.db` in the project.",
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL": "Credentials and address of S3, for sources and for DVC.",
    "PYTHON_IMAGE": "The image on which the project's image is built.",
    "ENGINE": "The program that builds and runs the image: docker, podman or buildah.",
}
PREFIX = "LIFECYCLE_"
ALIASES = {"LIFECYCLE_STORE_URL", "LIFECYCLE_SERVE_STORE", "LIFECYCLE_KAFKA_SASL_PASSWORD"}
FILES = ("src/**/*.py", "dags/*.py", "ops/*.sh", "compose.yaml", "Dockerfile", "ops/kubernetes/*.yaml")


def tabulate_settings() -> str:
    """Tabulate the server's settings: the variable, its type, its default and its meaning."""
    from lifecycle.serving import settings

    definitions = definitions_of(settings.Settings)
    rows, missing = [], []
    for entry in list_entries(settings.Settings):
        if not entry.comment:
            missing.append(f"the setting {entry.path}")
        default = entry.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        value = ",".join(map(str, shown)) if isinstance(shown, tuple) else shown
        kind = "words between commas" if isinstance(shown, tuple) else name_type(entry.schema, definitions)
        rows.append(
            [code(f"{settings.PREFIX}{entry.path.upper()}"), kind, code(value) or "empty", finish(entry.comment)]
        )
    refuse_missing(missing)
    return write_table(["variable", "type", "default", "meaning"], rows)


def find_variables() -> set[str]:
    """Find every variable of ours that the code, the scripts or the manifests name, but for the server's settings."""
    name = re.compile(rf"\b{PREFIX}[A-Z_]+")
    found: set[str] = set()
    for pattern in FILES:
        for path in ROOT.glob(pattern):
            found |= set(name.findall(read_words(path)))
    return {word for word in found if not word.startswith("LIFECYCLE_SERVE_")} - ALIASES


def read_words(path: Path) -> str:
    """Return a file's text; of Python the string literals."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    words = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    return "\n".join(word for word in words if isinstance(word, str))


def tabulate_variables() -> str:
    """Tabulate all other variables."""
    found = find_variables()
    refuse_missing([f"the variable {name}" for name in sorted(found - VARIABLES.keys())])
    rows = [[code(name), finish(VARIABLES[name])] for name in VARIABLES if name in found]
    rows += [[", ".join(map(code, names.split(", "))), finish(told)] for names, told in OTHERS.items()]
    return write_table(["variable", "meaning"], rows)
