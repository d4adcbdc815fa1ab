import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from importlib.metadata import version
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import hash_file, read_json
from lifecycle.core.paths import RELEASES
from lifecycle.serving.bundle import Bundle, hash_bundle, load_bundle, to_request, write_bundle
from lifecycle.serving.scorer import Scorer
from tests.support.bundles import COLUMNS, ROW, compute_probability, write_release

FILES = ("manifest.json", "plan.json", "schema.json", "golden.json", "background.json")


Change = Callable[[Any], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return find_folder(tmp_path, write_release(tmp_path))


def find_folder(root: Path, champion: dict[str, Any]) -> Path:
    return root / RELEASES / champion["model"][:12] / "bundle"


def read_content(folder: Path) -> dict[str, Any]:
    """What `write_bundle` was given."""
    manifest = read_json(folder / "manifest.json")
    facts = {key: value for key, value in manifest.items() if key not in ("format", "versions", "files")}
    plan, columns, golden, background = (read_json(folder / name) for name in FILES[1:])
    return {"plan": plan, "trees": None, "columns": columns, "golden": golden, "background": background, "facts": facts}


def put(value: Any, *place: Any) -> Change:
    """A change of a JSON document: a value at a place in it, or instead of the whole."""

    def change(content: Any) -> Any:
        if not place:
            return value
        reduce(getitem, place[:-1], content)[place[-1]] = value
        return content

    return change


def drop(*place: Any) -> Change:
    """A change of a JSON document: nothing at a place."""

    def change(content: Any) -> Any:
        del reduce(getitem, place[:-1], content)[place[-1]]
        return content

    return change


def rewrite(folder: Path, name: str, change: Change) -> None:
    """Change a file of a bundle, and let the manifest agree: no hash tells."""
    content = change(read_json(folder / name))
    (folder / name).write_text(json.dumps(content))  # with infinities, which write_json refuses
    if name != "manifest.json":
        rewrite(folder, "manifest.json", put(hash_file(folder / name), "files", name))


def refuse(folder: Path) -> str:
    """The sentence with which a bundle is refused."""
    with pytest.raises(ProjectError) as refusal:
        load_bundle(folder).check_golden()
    said = str(refusal.value)
    assert said.endswith(".") and "\n" not in said, said
    return said


def copy_into(folder: Path, name: str) -> Path:
    """A copy of a bundle, whatever stood there before."""
    shutil.rmtree(folder.parent / name, ignore_errors=True)
    return Path(shutil.copytree(folder, folder.parent / name))


def test_what_was_written_is_loaded(folder: Path) -> None:
    bundle = load_bundle(folder, rows=7)
    bundle.check_golden()
    assert bundle.sha256 == hash_bundle(folder) == hash_file(folder / "manifest.json")
    assert bundle.name == bundle.manifest.model[:12] and bundle.schema.rows == 7
    assert (bundle.manifest.positive, bundle.manifest.threshold, bundle.manifest.prior) == ("yes", 0.5, 0.25)
    assert bundle.schema.names == tuple(column["name"] for column in COLUMNS) and len(bundle.background) == 3
    for row in (ROW, {**ROW, "spend": None, "plan": None}, {"months": 3, "senior": 1}):
        expected = compute_probability(row)
        assert bundle.score_one(row) == pytest.approx(expected, abs=1e-12)
        assert bundle.score([row, ROW])[0] == pytest.approx(expected, abs=1e-12)


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Wherever it is written, whatever stood there, in whatever order keys came."""
    content = read_content(folder)
    other = tmp_path / "other"
    other.mkdir()
    (other / "left.txt").write_text("of another time")
    hashes = {write_bundle(to, **content) for to in (other, tmp_path / "a" / "b", folder)}
    assert hashes == {hash_bundle(folder)}
    assert sorted(path.name for path in other.iterdir()) == sorted(FILES)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_other_content_gives_another_hash(folder: Path, tmp_path: Path) -> None:
    content = read_content(folder)
    hashes = {hash_bundle(folder)}
    for key, value in {"background": [], "golden": content["golden"][:1], "trees": b"trees"}.items():
        hashes.add(write_bundle(tmp_path / "other", **{**content, key: value}))
    hashes.add(write_bundle(tmp_path / "other", **{**content, "facts": {**content["facts"], "threshold": 0.6}}))
    assert len(hashes) == 5


@given(name=st.sampled_from(FILES), place=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.booleans())
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_changed_byte_goes_unnoticed(folder: Path, name: str, place: int, byte: int, cut: bool) -> None:
    """A bundle with another byte, or cut short, is refused with its file's name; a manifest may be another bundle's."""
    copy = copy_into(folder, "damaged")
    content = (copy / name).read_bytes()
    place %= len(content)
    changed = content[:place] if cut else content[:place] + bytes([byte]) + content[place + 1 :]
    assume(changed != content)
    (copy / name).write_bytes(changed)
    if name == "manifest.json":
        try:
            assert load_bundle(copy).sha256 != hash_bundle(folder)
        except ProjectError as error:
            assert str(copy) in str(error)  # noqa: PT017 - either may happen
    else:
        assert f"{copy}/{name} is not the file" in refuse(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in refuse(folder)


def test_a_folder_that_is_not_there_is_no_bundle(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'} is not a serving bundle" in refuse(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(1, "format"), "manifest.json has the format 1, expected 2: run `lifecycle upgrade`"),
        (put("2", "format"), "manifest.json has the format '2'"),
        (drop("format"), "manifest.json has the format None"),
        (put([]), "manifest.json has the format None"),
        (put("a bundle"), "manifest.json has the format None"),
        *((drop(key), f"manifest.json: {key}: Field required") for key in (
            "model", "family", "target", "positive", "negative", "threshold", "prior", "hashes", "versions", "files")),
        (put("me", "owner"), "manifest.json: owner: "),
        (put("0.5", "threshold"), "manifest.json: threshold: "),
        (put(None, "prior"), "manifest.json: prior: "),
        (put(None, "files", "plan.json"), "manifest.json: files.plan.json: "),
        (put("0" * 64, "files", "plan.json"), "plan.json is not the file"),
        (drop("files", "golden.json"), "manifest.json lacks golden.json"),
        (put({}, "files"), "manifest.json lacks background.json, golden.json, plan.json, schema.json"),
        (put("0" * 64, "files", "model.joblib"), "names the file 'model.joblib', which is not part of a bundle"),
        (put("0" * 64, "files", "../plan.json"), "names the file '../plan.json', which is not part of a bundle"),
        (put("0" * 64, "files", "trees.bin"), "trees.bin is missing"),
        (put("3.9.1", "versions", "treelite"), "was written with treelite 3.9.1; 4."),
        (put("40.8.1", "versions", "treelite"), "was written with treelite 40.8.1; 4."),
        (put("1.0", "versions", "lightgum"), "needs lightgum 1.0, which is not installed"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong_is_refused(folder: Path, change: Change, said: str) -> None:
    rewrite(folder, "manifest.json", change)
    assert said in refuse(folder)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        *(("plan.json", drop(key), key) for key in ("features", "numbers", "categories", "order", "model", "calibration")),
        *(("plan.json", drop("numbers", key), key) for key in ("names", "low", "high", "fill", "mean", "scale", "missing_indicators")),
        ("plan.json", put([]), "TypeError"),
        ("plan.json", put([1.0, 2.0], "model", "coefficients"), "ValueError"),
        ("plan.json", put(["much"] * 6, "model", "coefficients"), "ValueError"),
        ("plan.json", put(99, "order", 0), "IndexError"),
        ("plan.json", put("spend /", "features", 2, "expression"), "not an expression"),
        ("plan.json", put("__import__('os')", "features", 2, "expression"), "not allowed"),
        ("plan.json", put({"kind": "magic"}, "calibration"), "magic"),
        ("schema.json", drop(0, "dtype"), "dtype"),
        ("schema.json", put("complex", 0, "dtype"), "complex"),
        ("schema.json", put({"months": 1}), "TypeError"),
        ("schema.json", drop(3), "senior"),
        ("golden.json", put([]), "golden"),
        ("golden.json", drop(0, "probability"), "probability"),
        ("golden.json", drop(0, "request"), "request"),
        ("golden.json", put(-1, 1, "request", "months"), "months"),
        ("background.json", put("unknown", 0, "plan"), "plan"),
        ("background.json", put({"rows": 3}), "object"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_that_has_its_hash_is_told_in_a_sentence(
    folder: Path, name: str, change: Change, said: str
) -> None:
    """Another program may have written it: no key may be missing, no value of another type, and nothing is run."""
    rewrite(folder, name, change)
    assert said in refuse(folder)


def test_trees_that_are_none_are_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    plan = {"kind": "trees", "inputs": "float64", "output": "log-odds"}
    content = read_content(folder)
    write_bundle(tmp_path / "trees", **{**content, "plan": {**content["plan"], "model": plan}, "trees": b"no trees"})
    assert str(tmp_path / "trees") in refuse(tmp_path / "trees")


@pytest.mark.parametrize("bad", [{"golden": [float("nan")]}, {"facts": {"threshold": object()}}, {"trees": "text"}])
@pytest.mark.parametrize("there", [False, True])
def test_what_cannot_be_written_replaces_nothing(
    folder: Path, tmp_path: Path, bad: dict[str, Any], there: bool
) -> None:
    content, before = read_content(folder), hash_bundle(folder)
    target = folder if there else tmp_path / "new"
    with pytest.raises((ValueError, TypeError)):
        write_bundle(target, **{**content, **bad})
    if there:
        assert load_bundle(folder).sha256 == before
    else:
        assert not target.exists()
    assert write_bundle(target, **content) == before  # what was left aside is in nobody's way
    assert load_bundle(target).sha256 == before


def write_until(calls: int, folder: Path, content: dict[str, Any]) -> int:
    """Write a bundle in a process that is killed before one of its calls that change the disk; its exit status."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    made = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal made
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove"):
            made += 1
            if made > calls:
                os._exit(9)

    sys.addaudithook(count)
    try:
        write_bundle(folder, **content)
        os._exit(0)
    finally:
        os._exit(1)  # whatever happens, this is not another pytest


@pytest.mark.integration
def test_a_writer_that_is_killed_leaves_a_whole_bundle_or_none(folder: Path) -> None:
    """Before each of its calls in turn; whoever comes next may write."""
    content, first = read_content(folder), hash_bundle(folder)
    content["facts"]["threshold"] = 0.75
    second = write_bundle(folder.with_name("second"), **content)
    seen = []
    for calls in range(100):
        copy = copy_into(folder, "third")
        status = write_until(calls, copy, content)
        try:
            seen.append(load_bundle(copy).sha256)
        except ProjectError:
            seen.append("none")
        assert write_bundle(copy, **content) == second
        if status == 0:
            break
    assert status == 0 and seen[-1] == second
    assert set(seen) <= {first, "none", second} and seen == sorted(seen, key=[first, "none", second].index)
    assert seen.count(first) > 5  # while the new one is being written, the old one is there


@pytest.mark.parametrize(
    "change",
    [
        put(1e-6, "model", "intercept"),
        put(float("inf"), "model", "intercept"),
        *(put(0.123, "model", "coefficients", place) for place in range(4)),
        put([10.0, None, None], "numbers", "high"),
        put(1.000001, "numbers", "scale", 1),
        put("spend / (2 + months)", "features", 2, "expression"),
        put({"basic": 1, "plus": 0, "pro": 2}, "categories", 0, "codes"),
        put({"kind": "sigmoid", "slope": 1.00001, "intercept": 0.0}, "calibration"),
    ],
)
def test_a_model_that_answers_otherwise_than_it_did_is_caught(folder: Path, change: Change) -> None:
    """Its hashes may be right: what is compared is what it says."""
    rewrite(folder, "plan.json", change)
    bundle = load_bundle(folder)
    with pytest.raises(
        ProjectError, match=rf"^bundle {bundle.sha256[:12]}: golden request \d has the probability .*, expected 0\."
    ):
        bundle.check_golden()


@dataclass
class Spoiled:
    """A scorer that answers one row or many with an error added to the truth."""

    bundle: Bundle
    one: float
    many: float
    tolerance: float = 1e-9

    def score_one(self, row: Any) -> float:
        return self.bundle.score_one(row) + self.one

    def score(self, rows: Any) -> np.ndarray:
        return self.bundle.score(rows) + np.array([0.0] * (len(rows) - 1) + [self.many])


@pytest.mark.parametrize("error", [1e-8, -1e-8, float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["one", "many"])
def test_both_ways_of_scoring_are_checked(folder: Path, where: str, error: float) -> None:
    bundle = load_bundle(folder)
    errors = {"one": 0.0, "many": 0.0}
    replace(bundle, scorer=Spoiled(bundle, **errors)).check_golden()
    with pytest.raises(ProjectError, match="golden request"):
        replace(bundle, scorer=Spoiled(bundle, **{**errors, where: error})).check_golden()


LIGHT = """
import importlib.machinery, sys
from pathlib import Path

class Installed(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] not in {hidden!r}:
            return super().find_spec(name, path, target)

sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not importlib.machinery.PathFinder] + [Installed]
unpickled = []
sys.addaudithook(lambda event, arguments: unpickled.append(arguments) if event == 'pickle.find_class' else None)
from lifecycle.serving.bundle import load_bundle
bundle = load_bundle(Path(sys.argv[1]))
bundle.check_golden()
print(bundle.name, unpickled)
"""


def test_a_bundle_of_trees_needs_no_training_package_and_unpickles_nothing(folder: Path, tmp_path: Path) -> None:
    """In a process where none of them can be imported: what the image has."""
    from treelite.model_builder import Metadata, ModelBuilder, PostProcessorFunc, TreeAnnotation

    metadata = Metadata(
        num_feature=6, task_type="kBinaryClf", average_tree_output=False, num_target=1, num_class=[1],
        leaf_vector_shape=(1, 1),
    )  # fmt: skip
    builder = ModelBuilder(
        threshold_type="float64", leaf_output_type="float64", metadata=metadata, base_scores=[0.0],
        tree_annotation=TreeAnnotation(num_tree=1, target_id=[0], class_id=[0]), postprocessor=PostProcessorFunc("sigmoid"),
    )  # fmt: skip
    builder.start_tree()
    builder.start_node(0)
    builder.numerical_test(0, 15.0, default_left=True, opname="<=", left_child_key=1, right_child_key=2)  # the months
    builder.end_node()
    for key, leaf in ((1, 0.0), (2, math.log(3))):
        builder.start_node(key)
        builder.leaf(leaf)
        builder.end_node()
    builder.end_tree()
    content = read_content(folder)
    content["plan"]["model"] = {"kind": "trees", "inputs": "float64", "output": "log-odds"}
    for record in content["golden"]:
        record["probability"] = 0.5 if record["request"]["months"] <= 15 else 0.75
    write_bundle(tmp_path / "trees", **{**content, "trees": builder.commit().serialize_bytes()})
    assert read_json(tmp_path / "trees" / "manifest.json")["versions"] == {"treelite": version("treelite")}
    hidden = (
        "sklearn",
        "scipy",
        "pandas",
        "mlflow",
        "joblib",
        "pyarrow",
        "matplotlib",
        "cloudpickle",
        "fastapi",
        "dvc",
    )
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(hidden=hidden), str(tmp_path / "trees")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == f"{content['facts']['model'][:12]} []\n", done.stderr


def test_a_tables_row_is_told_as_json_holds_it() -> None:
    frame = pd.DataFrame({
        "whole": pd.array([3, None], dtype="Int64"), "solid": [3, 4], "number": [0.5, np.nan],
        "flag": pd.array([True, None], dtype="boolean"), "word": ["a", None],
        "at": pd.to_datetime(["2026-01-31T12:00:00", None]),
    })  # fmt: skip
    first, second = (
        to_request(dict(zip(frame, values, strict=True))) for values in frame.itertuples(index=False, name=None)
    )
    assert first == {"whole": 3, "solid": 3, "number": 0.5, "flag": True, "word": "a", "at": "2026-01-31T12:00:00"}
    assert second == {"whole": None, "solid": 4, "number": None, "flag": None, "word": None, "at": None}
    plain = to_request({"a": np.float32(0.5), "b": np.bool_(True), "c": np.str_("x"), "d": datetime(2026, 1, 2)})  # noqa: DTZ001
    assert json.loads(json.dumps(plain)) == {"a": 0.5, "b": True, "c": "x", "d": "2026-01-02T00:00:00"}


def test_texts_in_a_bundle_have_the_known_words_alone(folder: Path, tmp_path: Path) -> None:
    """A bundle may be in git: what somebody wrote is not, and the probabilities stay."""
    plan = {
        "features": [{"name": "note", "kind": "text", "expression": None, "columns": ["note"], "values": None}],
        "numbers": {key: [] for key in ("names", "low", "high", "fill", "mean", "scale", "missing_indicators")},
        "categories": [], "encoded": [], "order": [0, 1],
        "texts": [{"name": "note", "terms": {"cancel": 0, "not happy": 1}, "idf": [1.0, 2.0], "width": 2, "start": 0}],
        "model": {"kind": "linear", "coefficients": [2.0, 1.0], "intercept": 0.0}, "calibration": {"kind": "none"},
    }  # fmt: skip
    rows = [{"note": "Mrs Smith is not happy"}, {"note": "Cancel, says Smith"}, {"note": "Smith"}, {"note": None}]
    scores = Scorer(plan, {"note": "string"}, None).score(rows).tolist()
    golden = [{"request": row, "probability": score} for row, score in zip(rows, scores, strict=True)]
    columns = [{"name": "note", "dtype": "string", "nullable": True, "values": None, "min": None, "max": None, "unit": "",
                "description": "A note.", "example": "a text"}]  # fmt: skip
    facts = read_content(folder)["facts"]
    write_bundle(tmp_path / "bundle", plan, None, columns, golden, rows, facts)
    bundle = load_bundle(tmp_path / "bundle")
    bundle.check_golden()
    assert bundle.background == [{"note": "▮ not happy"}, {"note": "cancel ▮"}, {"note": "▮"}, {"note": None}]
    assert scores == [pytest.approx(1 / (1 + np.exp(-odds))) for odds in (1, 2, 0, 0)]
    assert not any("mith" in path.read_text() for path in (tmp_path / "bundle").iterdir())
