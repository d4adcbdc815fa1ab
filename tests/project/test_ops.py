import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from lifecycle.core.paths import ONLINE_ROWS
from lifecycle.serving.endpoints import OPEN_PATHS
from lifecycle.serving.settings import PREFIX, Settings

GRACEFUL = 1 + 30 + 5  # seconds after the drain: what is under way, what a request may still take, the log's last write
BLOCKED = """
import sys
from importlib.metadata import packages_distributions

allowed = set(sys.argv[1].split(","))
refused = {
    module for module, owners in packages_distributions().items()
    if not {owner.lower().replace("_", "-").replace(".", "-") for owner in owners} & allowed
} - {"lifecycle"}


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from lifecycle.cli.main import main
import lifecycle.serving.app, lifecycle.serving.server
from lifecycle.serving.scorer import import_treelite

assert main(["serve", "--help"]) == 0
import_treelite().gtil
print("served")
"""


def run(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **more)


def read_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def read_lock(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Version and hashes of each package."""
    lock: dict[str, tuple[str, set[str]]] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([a-z0-9-]+)==(\S+)", line):
            name = found[1]
            assert name not in lock, f"{name} stands twice in {path.name}"
            lock[name] = (found[2], set())
        lock[name][1].update(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))
    return lock


def list_instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Keyword and argument of each instruction, continued lines joined."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line.strip()]


# --- the lock


def test_the_serving_lock_is_a_part_of_the_lock(checkout: Path) -> None:
    whole, part = read_lock(checkout / "requirements.txt"), read_lock(checkout / "ops/requirements.txt")
    assert part
    for name, (version, hashes) in part.items():
        assert hashes, f"{name} has no hash"
        assert whole[name][0] == version, f"{name}: run `make lock`"
        assert hashes <= whole[name][1], f"{name}: run `make lock`"


def test_the_serving_lock_has_what_is_wanted_and_no_training(checkout: Path) -> None:
    import tomllib

    wanted = tomllib.loads((checkout / "pyproject.toml").read_text())["dependency-groups"]["serve"]
    part = read_lock(checkout / "ops/requirements.txt").keys()
    assert {canonicalize_name(Requirement(line).name) for line in wanted} <= part
    assert not part & {"scipy", "fastapi", "pandas", "scikit-learn", "mlflow", "joblib", "pyarrow", "jinja2"}


def test_the_server_imports_nothing_beyond_its_lock(checkout: Path) -> None:
    allowed = ",".join(read_lock(checkout / "ops/requirements.txt"))
    done = run(sys.executable, "-c", BLOCKED, allowed, cwd=checkout)
    assert done.stdout.endswith("\nserved\n"), done.stderr[-600:]


# --- the image


def test_the_image_is_small_and_nobody(checkout: Path) -> None:
    instructions = list_instructions(checkout / "Dockerfile")
    assert {value.split()[0] for key, value in instructions if key == "FROM"} == {"${PYTHON_IMAGE}"}
    starts = [number for number, (key, _) in enumerate(instructions) if key == "FROM"]
    assert len(starts) == 2
    final: dict[str, str] = dict(instructions[starts[-1] :])
    assert final["USER"] == "10001:10001"
    assert json.loads(final["CMD"]) == ["lifecycle", "serve", "--host", "0.0.0.0", "--port", "8000"]  # noqa: S104 - the container's own network
    assert (final["EXPOSE"], final["STOPSIGNAL"]) == ("8000", "SIGTERM")
    assert "/health" in final["HEALTHCHECK"] and "ProxyHandler({})" in final["HEALTHCHECK"]
    assert "RUN" not in final and "ADD" not in final, "the final stage only copies"
    assert not re.search(r":latest|\bcurl\b", "\n".join(value for _, value in instructions))
    assert "LIFECYCLE_ROOT=/srv/lifecycle" in final["ENV"]
    assert f"{PREFIX}LOG_FOLDER={final['VOLUME']}" in final["ENV"]


def test_every_package_of_the_build_has_its_hash(checkout: Path) -> None:
    runs = [value for key, value in list_instructions(checkout / "Dockerfile") if key == "RUN"]
    installs = re.findall(r"pip install [^&]*", " && ".join(runs))
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    named = set(re.search(r"\(([a-z|-]+)\)==", runs[1])[1].split("|"))
    needed = [Requirement(line) for line in requires("hatchling") or []]
    used = {"hatchling"} | {line.name for line in needed if line.marker is None or line.marker.evaluate()}
    assert named == used, "the build's packages are hatchling and what it requires"
    assert named <= read_lock(checkout / "requirements.txt").keys()


def test_only_what_is_named_enters_the_build(checkout: Path) -> None:
    lines = [line for line in (checkout / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {"**/*.joblib", "**/*.pkl"} <= set(lines[1:])
    back = {line[1:] for line in lines if line.startswith("!")}
    sources = [
        word
        for key, value in list_instructions(checkout / "Dockerfile")
        if key == "COPY" and "--from" not in value
        for word in value.split()[:-1]
    ]
    assert {word for word in sources if word != "models"} <= back
    assert not back & {".", "models", "data", "ops"}


# --- compose


def test_compose_shows_nothing_to_the_network(checkout: Path) -> None:
    services = read_yaml(checkout / "compose.yaml")["services"]
    assert set(services) == {"api", "prometheus", "alertmanager", "grafana", "redis", "mlflow", "postgres"}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name
        assert not service.get("privileged") and "network_mode" not in service, name
        for port in service.get("ports", []):
            assert re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port), f"{name}: {port}"
        assert re.fullmatch(r"\$\{\w+_IMAGE:-[^:}]+:v?\d[^}]*\}", service["image"]), f"{name}: {service['image']}"
        assert "latest" not in service["image"]
    assert "ports" not in services["postgres"]


def test_compose_has_no_password_of_its_own(checkout: Path) -> None:
    text = (checkout / "compose.yaml").read_text()
    secrets = re.findall(r"(?<!\$)\$\{(\w*(?:PASSWORD|KEYS?|URL))(.{0,3})", text)
    assert {name for name, _ in secrets} == {
        "LIFECYCLE_SERVE_API_KEYS", "REDIS_PASSWORD", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD", "ALERT_PAGE_URL", "ALERT_TICKET_URL",
    }  # fmt: skip
    assert all(rest.startswith(":?") for _, rest in secrets), "without it, compose must stop with a sentence"


def test_compose_runs_the_api_as_the_image_is_meant_to_be_run(checkout: Path) -> None:
    api = read_yaml(checkout / "compose.yaml")["services"]["api"]
    assert api["read_only"] is True
    assert "./models:/srv/lifecycle/models:ro" in api["volumes"]
    assert "predictions:/var/lib/lifecycle/predictions" in api["volumes"]
    findings = Settings().monitor_file.parent
    assert f"./{findings}:/srv/lifecycle/{findings}:ro" in api["volumes"]
    online = Path(ONLINE_ROWS).parent
    assert f"./{online}:/srv/lifecycle/{online}:ro" in api["volumes"]
    assert all((checkout / folder).is_dir() for folder in (findings, online)), "Docker would make it, as root"
    drain = float(api["environment"][f"{PREFIX}DRAIN_SECONDS"])
    assert int(api["stop_grace_period"].removesuffix("s")) >= drain + GRACEFUL
    version = read_lock(checkout / "requirements.txt")["mlflow"][0]
    assert f":v{version}" in read_yaml(checkout / "compose.yaml")["services"]["mlflow"]["image"]


def test_every_setting_that_ops_names_is_one(checkout: Path) -> None:
    files = [checkout / "Dockerfile", checkout / "compose.yaml", *(checkout / "ops/kubernetes").glob("*.yaml")]
    named = {word for path in files for word in re.findall(rf"{PREFIX}(\w+)", path.read_text())}
    assert {"API_KEYS", "LOG_KEY", "LOG_FOLDER", "DRAIN_SECONDS"} <= named
    assert {word.lower() for word in named} <= set(Settings.model_fields)


# --- kubernetes


@pytest.fixture
def manifests(checkout: Path) -> dict[str, Any]:
    folder = checkout / "ops/kubernetes"
    named = read_yaml(folder / "kustomization.yaml")["resources"]
    assert {*named, "kustomization.yaml"} == {path.name for path in folder.iterdir()}
    return {manifest["kind"]: manifest for manifest in (read_yaml(folder / name) for name in named)}


def test_pods_have_no_rights(manifests: dict[str, Any]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] == context["fsGroup"] == 10001
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys() & container["resources"]["limits"].keys()
    assert not container["image"].endswith(":latest") and ":" in container["image"]


def test_probes_ask_what_the_server_answers(manifests: dict[str, Any]) -> None:
    (container,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/ready", "readiness": "/ready?allow=degraded", "liveness": "/health"}
    assert {path.partition("?")[0] for path in paths.values()} <= OPEN_PATHS, "a probe carries no key"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000}
    assert {container[f"{name}Probe"]["httpGet"]["port"] for name in paths} == {"http"}
    assert {port["targetPort"] for port in manifests["Service"]["spec"]["ports"]} == {"http"}


def test_pods_have_the_time_to_drain(manifests: dict[str, Any]) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = {variable["name"]: variable for variable in container["env"]}
    drain = float(settings[f"{PREFIX}DRAIN_SECONDS"]["value"])
    assert pod["terminationGracePeriodSeconds"] >= drain + GRACEFUL
    readiness = container["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"], "the cluster must see it first"
    for name in ("API_KEYS", "LOG_KEY"):
        assert settings[f"{PREFIX}{name}"].keys() == {"name", "valueFrom"}, "a secret has no value in a file"


def test_manifests_mean_the_same_pods(manifests: dict[str, Any]) -> None:
    deployment = manifests["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    policy = manifests["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["egress"] == [] and set(policy["policyTypes"]) == {"Ingress", "Egress"}
    assert all(rule["from"] for rule in policy["ingress"]), "a rule without `from` lets everybody in"
    scaler = manifests["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"] and 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["findings"] == f"/srv/lifecycle/{Settings().monitor_file.parent}"
    assert volumes["findings"]["configMap"]["optional"] is True, "pods start before anything was found"
    claim = volumes["predictions"]["persistentVolumeClaim"]["claimName"]
    assert claim == manifests["PersistentVolumeClaim"]["metadata"]["name"]


# --- the delivery


def test_the_delivery_has_the_rights_it_needs_and_no_more(checkout: Path) -> None:
    path = checkout / ".github/workflows/deliver.yml"
    workflow = read_yaml(path)
    jobs = workflow["jobs"]
    assert list(jobs) == ["test", "rebuild", "gate", "image", "promote"]
    assert workflow["permissions"] == {}
    writes = {name: {key for key, word in job["permissions"].items() if word == "write"} for name, job in jobs.items()}
    assert writes == {
        "test": set(),
        "rebuild": set(),
        "gate": set(),
        "image": {"packages", "id-token", "attestations"},
        "promote": {"contents"},
    }
    assert jobs["image"]["if"] == "github.ref == 'refs/heads/main'"
    assert jobs["promote"]["environment"] == "production"
    assert "image" in jobs["promote"]["needs"] and jobs["promote"]["if"] == "needs.gate.outputs.moved == 'true'"
    assert all("timeout-minutes" in job for job in jobs.values())
    assert "pull_request" not in path.read_text()
    for line in re.findall(r"uses: (.*)", path.read_text()):
        assert re.match(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+\b", line), f"not held by commit: {line}"
    for step in (step for job in jobs.values() for step in job["steps"]):
        assert "${{" not in step.get("run", ""), "an expression in a script is a way to inject one"


FAKE = """#!/bin/sh
echo "$(basename "$0") $1" >>"$CALLS"
test "$(basename "$0") $1" != "$FAILING"
"""


def deliver(
    checkout: Path, root: Path, failing: str, champion: str = '"model": "a"'
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run ops/deliver.sh among programs that do nothing, of which one fails; what was called."""
    (root / "ops").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "models/champion.json").write_text(f"{{{champion}}}")
    shutil.copy(checkout / "ops/deliver.sh", root / "ops")
    programs = root / ".venv/bin"
    programs.mkdir(parents=True)
    for path in [
        *(programs / name for name in ("make", "docker", "lifecycle", "git")),
        root / "ops/smoke_container.sh",
    ]:
        path.write_text(FAKE)
        path.chmod(0o755)
    environment = {
        **os.environ,
        "ENGINE": "",
        "CALLS": str(root / "calls"),
        "FAILING": failing,
        "LIFECYCLE_IMAGE": "image:1",
    }
    done = run("bash", root / "ops/deliver.sh", env=environment)
    return done, (root / "calls").read_text().splitlines()


def test_a_delivery_goes_all_the_way(checkout: Path, tmp_path: Path) -> None:
    done, calls = deliver(checkout, tmp_path, failing="")
    assert done.returncode == 0, done.stderr
    assert calls == [
        "docker info", "make test", "make repro", "docker build", "smoke_container.sh image:1", "lifecycle promote",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("failing", "sentence"),
    [
        ("make test", "a test fails; nothing was built."),
        ("make repro", "the pipeline does not rebuild; nothing was built."),
        ("docker build", "docker cannot build the image"),
        ("smoke_container.sh image:1", "the container does not answer as it should"),
        ("lifecycle promote", "the champion could not be moved."),
    ],
)
def test_a_delivery_stops_at_the_first_failure(checkout: Path, tmp_path: Path, failing: str, sentence: str) -> None:
    done, calls = deliver(checkout, tmp_path, failing)
    assert done.returncode == 1
    assert f"deliver: stopped: {sentence}" in done.stderr
    assert calls[-1] == failing


def test_a_project_without_a_champion_is_not_delivered(checkout: Path, tmp_path: Path) -> None:
    """As after `lifecycle adopt`, where no model of the new table passes the quality gate."""
    done, calls = deliver(checkout, tmp_path, failing="", champion='"model": null')
    assert (done.returncode, calls[-1]) == (1, "make repro")
    assert "deliver: stopped: there is no champion to deliver" in done.stderr


@pytest.mark.parametrize("script", ["deliver.sh", "smoke_container.sh", "try_container.sh", "try_python.sh"])
def test_scripts_are_whole(checkout: Path, script: str) -> None:
    path = checkout / "ops" / script
    assert os.access(path, os.X_OK)
    assert "\nset -euo pipefail\n" in path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)


# --- asking a server

GOLDEN = {"request": {"months": 3}, "probability": 0.25}


@contextmanager
def answer_with(prediction: dict[str, Any]) -> Iterator[str]:
    """A server on a free port that is ready and predicts one thing; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"status": "ok"})

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert sent == GOLDEN["request"]
            self.reply(prediction)

        def reply(self, value: Any) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *words: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({}, 0, "/predict: {"),
        ({"probability": 0.2500001}, 1, "golden.json has 0.25"),
        ({"model": "b" * 12}, 1, f"was answered by {'b' * 12}, the champion is {'a' * 12}"),
        ({"degraded": True}, 1, "was answered by"),
    ],
)
def test_a_server_must_give_the_golden_answer(
    checkout: Path, tmp_path: Path, change: dict[str, Any], status: int, said: str
) -> None:
    bundle = tmp_path / "releases" / ("a" * 12) / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "golden.json").write_text(json.dumps([GOLDEN]))
    (tmp_path / "champion.json").write_text(json.dumps({"model": "a" * 64}))
    right = {"model": "a" * 12, "probability": 0.25, "degraded": False}
    with answer_with({**right, **change}) as address:
        done = run(sys.executable, checkout / "ops/ask_server.py", address, tmp_path)
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr


# --- the container itself


@pytest.mark.integration
def test_the_container_answers_as_nobody_on_a_read_only_disk(
    checkout: Path, require_program: Callable[[str, str], str]
) -> None:
    for program, package in (
        ("debootstrap", "debootstrap"), ("buildah", "buildah"), ("podman", "podman runc containernetworking-plugins iptables"),
    ):  # fmt: skip
        require_program(program, package)
    root: list[str] = []
    if os.geteuid() != 0:
        if not os.environ.get("CI"):
            pytest.skip("making a base image needs root: run ops/try_container.sh as root")
        root = ["sudo", "--non-interactive", "--preserve-env"]
    done = run(*root, "bash", checkout / "ops/try_container.sh", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "try_container: all is well" in done.stdout
    assert int(re.search(r"size: (\d+) MB", done.stdout)[1]) <= 250
