"""The shell commands of README and documentation, as scripts that run them in a copy of a built project.

Every block that begins with three backticks and `sh` is run, in the order of the page, in one shell. Comments that do not show on
the page say what a block or a page needs:

<!-- test: project table -->        the page begins in a project with customers.csv in it (of the page)
<!-- test: project served -->       the page begins in a project whose server has a prediction log (of the page)
<!-- test: needs redis -->          a server runs meanwhile: redis, s3 or postgresql (of the page)
<!-- test: stub docker -->          a program that is not to be had here only records how it is called (of the page)
<!-- test: background ADDRESS -->   the next block goes on running, and ADDRESS answers before the next command is typed
<!-- test: params a.b=2 -->         params.yaml has this value while the next block runs
<!-- test: source -->               the next block of YAML goes into params.yaml
<!-- test: another candidate -->    before the next block another model takes the candidate's place
<!-- test: another champion -->     before the next block that candidate is promoted
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml import YAML

FENCE = re.compile(r"^```(\w*)")
PAGE_KINDS = ("project", "needs", "stub")
BLOCK_KINDS = ("background", "params", "source", "another candidate", "another champion")
PORT = re.compile(r"(?:127\.0\.0\.1:|--port )(\d+)")


@dataclass(frozen=True)
class Block:
    """A block of commands: its language, its text, its first line's number, and the labels above it."""

    language: str
    text: str
    line: int
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Guide:
    """A page: its path, its labels, and its blocks in order."""

    path: Path
    labels: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Block, ...] = field(default=())

    def list_words(self, kind: str) -> list[str]:
        """The words of the page's labels of a kind."""
        return [word for name, words in self.labels if name == kind for word in words.split()]

    @property
    def commands(self) -> list[str]:
        """Every line of every shell block."""
        return [line for block in self.blocks if block.language == "sh" for line in block.text.splitlines()]

    @property
    def ports(self) -> list[str]:
        """The ports that the page names, each of which may be taken on the machine of the tests."""
        return sorted({port for block in self.blocks for port in PORT.findall(f"{block.text} {block.labels}")})


def read_guide(path: Path) -> Guide:
    """Read a page; raises ValueError for a label that is not known or stands nowhere."""
    page: list[tuple[str, str]] = []
    waiting: list[tuple[str, str]] = []
    blocks: list[Block] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.startswith("<!-- test:"):
            kind, words = parse_label(line, path, number)
            (page if kind in PAGE_KINDS else waiting).append((kind, words))
        elif (fence := FENCE.match(line)) and fence[1]:
            end = lines.index("```", number)
            blocks.append(Block(fence[1], "\n".join(lines[number:end]), number + 1, tuple(waiting)))
            waiting, number = [], end + 1
    if waiting:
        raise ValueError(f"{path}: {waiting} stands above no block")
    return Guide(path, tuple(page), tuple(blocks))


def parse_label(line: str, path: Path, number: int) -> tuple[str, str]:
    """The kind of a label and its words."""
    text = line.removeprefix("<!-- test:").removesuffix("-->").strip()
    for kind in (*PAGE_KINDS, *BLOCK_KINDS):
        if text == kind or text.startswith(f"{kind} "):
            return kind, text.removeprefix(kind).strip()
    raise ValueError(f"{path}:{number}: {text!r} is not a label of tests/support/guides.py")


HEAD = """set -euo pipefail
wait_for() {
  for try in $(seq 900); do curl --silent --fail --noproxy '*' --output /dev/null "$1" && return; sleep 0.1; done
  echo "$1 does not answer" >&2; exit 1
}
"""


def write_script(guide: Guide, ports: dict[str, str]) -> str:
    """The bash script that types a page's commands; each is announced on stderr. `ports` replaces the ports that it names."""
    parts = [HEAD + STEPS]
    for block in guide.blocks:
        labels = dict(block.labels)
        text = block.text
        if "source" in labels:
            parts.append(f"set-source <<'YAML'\n{text}\nYAML")
        if block.language != "sh":
            continue
        if "another candidate" in labels:
            parts.append("make-another")
        if "another champion" in labels:
            parts.append("lifecycle promote --if-blessed")
        if "params" in labels:
            parts.append(f"set-params {labels['params']}")
        parts.append(f"echo {shlex.quote(f'{guide.path.name}:{block.line}')} >&2")
        if "background" in labels:
            parts.append(f"( set -x; {text} ) &\nwait_for {labels['background']}")
        else:
            parts.append(f"set -x\n{text}\n{{ set +x; }} 2>/dev/null")
        if "params" in labels:
            parts.append("set-params")
    script = "\n".join(parts) + "\n"
    for port, other in ports.items():
        script = re.sub(rf"(127\.0\.0\.1:|--port ){port}\b", rf"\g<1>{other}", script)
    return script


STEPS = """
set-source() { "$GUIDE_PYTHON" "$GUIDE_STEPS" source; }
set-params() { "$GUIDE_PYTHON" "$GUIDE_STEPS" params "$@"; }
make-another() { "$GUIDE_PYTHON" "$GUIDE_STEPS" candidate; }
"""


def change_params(change: str) -> None:
    """Set one key of params.yaml in the working directory, `section.key=value`; with "", bring the file back."""
    path, kept = Path("params.yaml"), Path(".lifecycle/params.yaml.kept")
    if not change:
        kept.replace(path)
        return
    yaml = YAML()
    values = yaml.load(path.read_text(encoding="utf-8"))
    names, _, value = change.partition("=")
    section, key = names.split(".")
    values[section][key] = YAML(typ="safe").load(value)
    kept.parent.mkdir(exist_ok=True)
    path.rename(kept)
    yaml.dump(values, path)


def change_source(text: str) -> None:
    """Take the section `collect` of params.yaml from a block of YAML."""
    path, yaml = Path("params.yaml"), YAML()
    values = yaml.load(path.read_text(encoding="utf-8"))
    values["collect"] = YAML(typ="safe").load(text)["collect"]
    yaml.dump(values, path)


def make_another() -> None:
    """Put a small made-up model that passed the quality gate in the candidate's place."""
    from lifecycle.core.paths import Project
    from tests.support.releases import build

    build(Project(Path.cwd(), Path.cwd()), 1.0)


def main() -> None:
    """Do a step that a label names, for a script."""
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    kind, *words = sys.argv[1:]
    if kind == "source":
        change_source(sys.stdin.read())
    elif kind == "params":
        change_params(*words or [""])
    else:
        make_another()


if __name__ == "__main__":
    main()
