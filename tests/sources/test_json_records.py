"""JSON as a table: whatever its layout, exact values, nested records, broken lines."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.core.errors import ProjectError
from lifecycle.core.tables import Reject
from lifecycle.sources import blocks, json_records
from lifecycle.sources.dispatch import open_source, read_source
from lifecycle.sources.json_records import flatten

RECORDS: list[dict[str, Any]] = [{"a": 1, "b": 'say "{[\\'}, {"a": 2, "b": "é]}"}, {"a": None, "b": ""}]


def read(path: Path) -> pa.Table:
    return read_source(path.name, path.parent)[0]


def save(folder: Path, *lines: str, name: str = "t.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(params=[1 << 20, 7])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that hold the whole file, and blocks that end within every record."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(json_records, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("name", ["t.json", "t.jsonl", "t"])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, RECORDS)),
        "\r\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS) + "\r\n\r\n",
        json.dumps(RECORDS),
        "\ufeff  " + json.dumps(RECORDS, indent=2),
        json.dumps({"count": 3, "rows": RECORDS, "pages": [1, 2], "meta": {"tags": ["x"]}}),
        json.dumps({"meta": {"inner": [{"no": 1}]}, "none": [], "rows": RECORDS}, indent=1),
        "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    ],
    ids=["lines", "crlf", "list", "indented list", "object", "indented object", "indented records"],
)
def test_records_are_found_in_every_layout(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    if name == "t.jsonl" and text.startswith('{"count"'):  # one line, and so one record
        assert read(tmp_path / name)["count"].to_pylist() == [3]
        return
    table = read(tmp_path / name)
    assert table.to_pylist() == RECORDS
    assert table.schema == pa.schema([("a", pa.int64()), ("b", pa.string())])


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "2.5", "null"], pa.float64(), [1.0, 2.5, None]),
        (["1", '"0"', "true", "2.50", "null"], pa.string(), ["1", "0", "true", "2.50", None]),
        (["1.10", '"x"', "[1.10, 2]", "{}"], pa.string(), ["1.10", "x", "[1.1,2]", "{}"]),
        (["9007199254740993", "1"], pa.int64(), [9007199254740993, 1]),
        (["9007199254740993", "0.5"], pa.string(), ["9007199254740993", "0.5"]),
        (["89111702272002019001", "1"], pa.string(), ["89111702272002019001", "1"]),
        (["[89111702272002019001]"], pa.string(), ["[89111702272002019001]"]),
        (["true", "null", "false"], pa.bool_(), [True, None, False]),
        (["true", "1"], pa.string(), ["true", "1"]),
        (['"2026-01-01T00:00:00"', '"2026-01-02T00:00:00Z"'], pa.string(), ["2026-01-01T00:00:00", "2026-01-02T00:00:00Z"]),
        (["{}", "{}"], pa.string(), ["{}", "{}"]),
        (["[]", '["a", {"b": 1}]'], pa.string(), ["[]", '["a",{"b":1}]']),
        (["null", "null"], pa.string(), [None, None]),
        (["NaN", "1"], pa.float64(), [float("nan"), 1.0]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1 << 20, 20])
def test_values_stay_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], kind: pa.DataType, values: list[Any], size: int
) -> None:
    """A column of one kind has its type, another is text; in one block and in several."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", size)
    column = read(save(tmp_path, *(f'{{"n": {cell}, "y": "no"}}' for cell in cells)))["n"]
    assert column.type == kind
    assert str(column.to_pylist()) == str(values)


def test_nested_records_are_columns(tmp_path: Path) -> None:
    path = save(
        tmp_path, '{"at": {"x": 1, "deep": {"y": "a"}}, "n": 1}', '{"at": {"x": 2.5}, "n": 2}', '{"at": null, "n": 3}'
    )
    assert read(path).to_pylist() == [
        {"at.x": 1.0, "at.deep.y": "a", "n": 1, "at": None},
        {"at.x": 2.5, "at.deep.y": None, "n": 2, "at": None},
        {"at.x": None, "at.deep.y": None, "n": 3, "at": None},
    ]
    assert flatten({"a": {}, "b": [{}], "c": {"d": {}}}) == {"a": "{}", "b": "[{}]", "c.d": "{}"}
    with pytest.raises(ValueError, match=r"two values for 'a\.b'"):
        flatten({"a.b": 1, "a": {"b": 2}})


def test_a_broken_record_is_rejected_with_its_line(tmp_path: Path) -> None:
    lines = ['{"a": 1}', '{"a": ', "", "[1]", '{"a.b": 1, "a": {"b": 2}}', "x" * 20, '{"a": 2}']
    with open_source(save(tmp_path, *lines).name, tmp_path) as stream:
        for _ in range(2):
            assert [row["a"] for batch in stream for row in batch.to_pylist()] == [1, 2]
            assert stream.rejected.rows == [
                Reject("t.jsonl, line 2", '{"a":', "not JSON: Expecting value"),
                Reject("t.jsonl, line 4", "[1]", "not an object"),
                Reject("t.jsonl, line 5", lines[4], "two values for 'a.b'"),
                Reject("t.jsonl, line 6", "x" * 20, "not JSON: Expecting value"),
            ]


def test_bytes_that_are_not_unicode_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_bytes(b'{"a": "x"}\n{"a": "M\xfcller"}\n{"a": "y"}\n')
    with open_source("t.jsonl", tmp_path) as stream:
        assert [row["a"] for batch in stream for row in batch.to_pylist()] == ["x", "y"]
        assert [(row.where, row.reason) for row in stream.rejected.rows] == [("t.jsonl, line 2", "not UTF-8 text")]


def test_half_of_a_character_is_rejected(tmp_path: Path) -> None:
    lines = ['{"a": "x"}', r'{"a": "cut \ud83d", "b": 1}', r'{"a": "\ud83d\ude00"}', r'{"\udead": 1}']
    with open_source(save(tmp_path, *lines).name, tmp_path) as stream:
        assert [row["a"] for batch in stream for row in batch.to_pylist()] == ["x", "😀"]
        assert [(row.where, row.reason) for row in stream.rejected.rows] == [
            ("t.jsonl, line 2", "half of a character, as of a cut emoji"),
            ("t.jsonl, line 4", "half of a character, as of a cut emoji"),
        ]


@pytest.mark.usefixtures("cut")
def test_a_broken_element_of_a_list_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"a": 1}, {"a": 02}, {"a": 3}, 7,null, {"a": 4}, {"a"')
    with open_source("t.json", tmp_path) as stream:
        assert [row["a"] for batch in stream for row in batch.to_pylist()] == [1, 3, 4]
        assert [row.where for row in stream.rejected.rows] == [f"t.json, record {n}" for n in (2, 4, 5, 7)]
        assert [row.text for row in stream.rejected.rows][1:3] == ["7", "null"]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(min_size=1, max_size=2), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@given(records=st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), min_size=1, max_size=8))
def test_no_value_is_lost_in_any_layout(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]
) -> None:
    """Numbers, words and nothing are read back from the table as they were in the file, whatever stood beside them."""
    folder = tmp_path_factory.mktemp("json")
    try:
        flat = [flatten(json.loads(json.dumps(record))) for record in records]
    except ValueError:
        return
    save(folder, *(json.dumps(record) for record in records))
    (folder / "t.json").write_text(json.dumps(records, indent=1))
    tables = [read(folder / name) for name in ("t.jsonl", "t.json")]
    assert tables[0] == tables[1]
    for row, record in zip(tables[0].to_pylist(), flat, strict=True):
        for name, found in row.items():
            value = record.get(name)
            if found is None or isinstance(value, str):
                assert found == value
            elif tables[0].schema.field(name).type == pa.string():
                assert json.loads(found) == value
            else:
                assert found == value


def test_json_in_another_encoding_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes('[{"a": 1}]'.encode("utf-16"))
    with pytest.raises(ProjectError, match=r"t\.json is UTF-16 text: expected JSON in UTF-8"):
        read(tmp_path / "t.json")
