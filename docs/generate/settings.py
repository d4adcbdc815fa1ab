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
# What a setting is, where the comment in the code says only what is remarkable about it. Others have their comment.
SETTINGS = {
    "host": "The address to listen on.",
    "port": "The port to listen on; 0 chooses a free one.",
    "workers": "Processes that share the port.",
    "api_keys": "The keys that callers may send. Without keys, every client is served.",
    "cors_origins": "Web sites whose pages may call the API.",
    "strict": "Whether columns of the contract that the model does not read are refused, in place of ignored and counted.",
    "max_body_bytes": "The largest body of a request.",
    "max_rows": "The most rows in one request.",
    "max_explained": "The most rows in a request with `?explain=true`.",
    "budget_seconds": "The time that a model may take; one that takes longer is interrupted, and the next one answers.",
    "cooldown_seconds": "How long a model that failed is not tried again.",
    "body_seconds": "The time that a client may take to send a request.",
    "drain_seconds": "How long a server goes on accepting connections after SIGTERM.",
    "watch_seconds": "How often the server looks for another champion, shadow model or monitoring report.",
    "monitor_file": "The report of `lifecycle monitor`, relative to the project.",
    "log_folder": "The prediction log, relative to the project.",
    "log_key": "The key that signs request ids; without it, one in the folder of the prediction log.",
    "flush_seconds": "How often the prediction log is synced to disk; a crash loses at most the records of this period.",
    "segment_bytes": "The size of a segment of the prediction log after which the next one begins.",
    "segment_seconds": "The age of a segment of the prediction log after which the next one begins.",
    "feature_store": "The address of the feature store, such as `sqlite:///.lifecycle/features.db`. Without it, rows cannot name an entity.",
    "store_timeout": "The time that a call to the feature store may take.",
    "access_log": "Whether every request has a line in the log; refused and failed requests always have one.",
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
        text = SETTINGS.get(entry.path) or entry.comment
        if not text:
            missing.append(f"the setting {entry.path}")
        default = entry.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        value = ",".join(map(str, shown)) if isinstance(shown, tuple) else shown
        kind = "words between commas" if isinstance(shown, tuple) else name_type(entry.schema, definitions)
        rows.append([code(settings.name_variable(entry.path)), kind, code(value) or "empty", finish(text)])
    refuse_missing(missing)
    if stale := sorted(SETTINGS.keys() - settings.Settings.model_fields.keys()):
        raise ValueError(f"settings that the server does not have: {stale}")
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
    if stale := sorted(VARIABLES.keys() - found - {"LIFECYCLE_FEATURE_STORE"}):
        raise ValueError(f"variables that nothing reads: {stale}")
    rows = [[code(name), finish(text)] for name, text in VARIABLES.items() if name in found]
    rows += [[", ".join(map(code, names.split(", "))), finish(text)] for names, text in OTHERS.items()]
    return write_table(["variable", "meaning"], rows)
