"""How delimited text is written: its encoding, delimiter, quotes and header, detected from the beginning of a file."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

from lifecycle.core.records import Frozen

DELIMITERS = (",", ";", "\t", "|", ":", "^", "~", " ", "#", "=", "*", "&", "\x01", "\x1f")
QUOTES = ('"', "'")
_SAMPLE_BYTES = 1 << 20  # of the file's beginning that are decoded
_SAMPLE_CHARACTERS = 1 << 16  # that are split for each dialect in question
_SAMPLE_RECORDS = 400
_NEAR = 0.9  # of the best score: a dialect as good as that is named as a doubt


class Dialect(Frozen):
    """How a file of delimited text is written.

    Lines end with a line feed, a carriage return, or both. A quote within quotes is doubled, or preceded by `escape`.
    """

    encoding: str = "utf-8"
    delimiter: str = ","  # between cells: one character or more
    quote: str = '"'  # around cells; "" for none
    escape: str = ""  # before a quote or a delimiter that belongs to the cell; "" for none
    skip: int = 0  # lines before the header, or before the first row
    header: bool = True  # whether the first row names the columns
    skip_space: bool = False  # whether spaces after a delimiter are not part of the cell
    quotes_all: bool = False  # whether all cells are quoted, so that quotes do not tell text from missing values


@dataclass(frozen=True)
class Detected:
    """A dialect, and a sentence on each thing that was not certain, which names the option that changes it."""

    dialect: Dialect
    doubts: tuple[str, ...] = ()


class Record(NamedTuple):
    """A record of delimited text: from `start` to `end` in the text, which is line `line` of it, split into cells.

    flaw: "open" if a quote is never closed, "loose" if one stands undoubled within quotes, otherwise empty.
    """

    start: int
    end: int
    line: int
    cells: list[str]
    quoted: list[bool]
    flaw: str

    @property
    def blank(self) -> bool:
        """Whether the record is an empty line."""
        return len(self.cells) == 1 and not self.quoted[0] and not self.cells[0].strip()

    @property
    def empty(self) -> bool:
        """Whether no cell contains anything."""
        return not any(map(str.strip, self.cells))


class Splitter:
    """Splits text into records as a dialect says, and tolerates what the dialect does not foresee.

    A quote within a quoted cell that neither a delimiter nor the end of a line follows is part of the cell, and so is one that
    is never closed.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        delimiter, quote, escape = (re.escape(part) for part in (dialect.delimiter, dialect.quote, dialect.escape))
        escaped = rf"{escape}[\s\S]|" if escape else ""
        plain = rf"(?:{escaped}(?!{delimiter})[^\r\n])*"
        if len(dialect.delimiter) == 1 and not escape:
            plain = rf"[^{delimiter}\r\n]*+"
        before, after, between = "", " *", delimiter
        if dialect.delimiter.startswith(" "):
            after = ""
        if dialect.skip_space:
            between = rf"{delimiter} *"
        if dialect.skip_space and dialect.delimiter == " ":  # columns that are aligned by spaces
            before, between = " *", r" +(?![ \r\n]|\Z)"
            plain += r"(?: +(?=[\r\n]|\Z))?"
        end = rf"(?:{between}|\r\n|\r|\n|\Z)"
        quoted = r"(?!)()"
        if quote:
            # no `*+`, as Python 3.11.2 errs on groups: each text matches in one way alone, or a cell that is not closed takes forever
            inner = rf"(?:[^{quote}{escape}]++|{escaped}{quote}{quote}|{quote}(?!{quote}|{after}{end}))*"
            quoted = rf"{quote}({inner}{quote}?){quote}{after}(?={end})"
        self._cell = re.compile(rf"{before}(?:{quoted}|({plain}))({end})")
        never = "(?!)"
        special = rf"{escape}({escape}|{quote or never}|{delimiter}|\r|\n)" if escape else rf"{never}()"
        self._escaped = re.compile(rf"{special}|{quote or never}({quote})")

    def split(self, text: str, start: int = 0, line: int = 1) -> Iterator[Record]:
        """Yield the records of `text` from `start` on, empty lines as well."""
        quote, escape = self.dialect.quote, self.dialect.escape
        aligned = self.dialect.skip_space and self.dialect.delimiter == " "
        cells: list[str] = []
        quoted: list[bool] = []
        flaw = ""
        for match in self._cell.finditer(text, start):
            inside, plain, end = match.groups()
            if inside is None:
                if aligned:
                    plain = plain.rstrip(" ")
                if quote and plain.startswith(quote):
                    flaw = "open"
                cells.append(self._escaped.sub(r"\1\2", plain) if escape else plain)
            else:
                if quote in inside or (escape and escape in inside):
                    flaw = flaw or ("loose" if quote in self._escaped.sub("", inside) else "")
                    inside = self._escaped.sub(r"\1\2", inside)
                cells.append(inside)
            quoted.append(inside is not None)
            if end and end[0] not in "\r\n":
                continue
            stop = match.end()
            if stop > start or len(cells) > 1:
                yield Record(start, stop, line, cells, quoted, flaw)
            if not end:
                return
            line += count_lines(text[start:stop])
            start, cells, quoted, flaw = stop, [], [], ""


def count_lines(text: str) -> int:
    """Return how many lines end in `text`."""
    return text.count("\n") or text.count("\r")


def detect_dialect(head: bytes, *, name: str, given: Mapping[str, Any] | None = None) -> Detected:
    """Detect the dialect of a file from its first bytes.

    given: fields of Dialect that are known; only the others are detected. name: the file's name in the doubts.
    """
    fixed = dict(given or {})
    doubts: list[str] = []
    if "encoding" not in fixed:
        fixed["encoding"], doubt = _detect_encoding(head[:_SAMPLE_BYTES])
        doubts += [f"The text of {name} is {doubt}; if letters are wrong, set encoding."] if doubt else []
    text = decode_head(head[:_SAMPLE_BYTES], fixed["encoding"])[:_SAMPLE_CHARACTERS]
    whole = len(head) < _SAMPLE_BYTES and len(text) < _SAMPLE_CHARACTERS
    named = re.match(r'"?sep=(.)"?[,;\t|]*(?:\r\n|\r|\n)', text, re.IGNORECASE)
    if named:  # Excel reads its delimiter from such a line
        fixed.setdefault("delimiter", named[1])
        fixed.setdefault("skip", 1)
    tried = [_Trial(text, dialect, whole) for dialect in _candidates(text, fixed)]
    best = max(tried, key=lambda trial: trial.score)
    rival = max(
        (t for t in tried if t.dialect.delimiter != best.dialect.delimiter), key=lambda t: t.score, default=None
    )
    if rival and best.score and rival.score > _NEAR * best.score and rival.width > 1 and "delimiter" not in fixed:
        doubts.append(
            f"The cells of {name} were split at {_show(best.dialect.delimiter)} into {best.width} columns; "
            f"{_show(rival.dialect.delimiter)} would give {rival.width}: set delimiter if that is right."
        )
    table = _find_table(best, fixed, name)
    dialect = best.dialect.model_copy(update={"skip": table.skip, "header": table.header})
    cells = [quoted for record in best.rows[:100] for quoted in record.quoted]
    if "quotes_all" not in fixed and len(best.rows) > 1 and all(cells):
        dialect = dialect.model_copy(update={"quotes_all": True})
    return Detected(dialect, (*doubts, *table.doubts))


def decode_head(head: bytes, encoding: str) -> str:
    """Decode the first bytes of a file, of which the last character may be cut; without a byte order mark."""
    text = codecs.getincrementaldecoder(encoding)("replace").decode(head)
    return text.removeprefix("\ufeff")


def _show(delimiter: str) -> str:
    """Return a delimiter as a sentence names it."""
    return {"\t": "tabs", " ": "spaces"}.get(delimiter, repr(delimiter))


# --- encoding ---------------------------------------------------------------------------------------------------------

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# what files are written in, without rarities that any text seems to fit
_LEGACY = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "mac_roman"),
    *("cp437", "cp850", "cp932", "euc_jp", "gb18030", "big5", "cp949"),
)


def _detect_encoding(head: bytes) -> tuple[str, str]:
    """Return the encoding of a text, and what is not certain of it ("" for nothing)."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, ""
    if b"\0" in head[:4096]:
        even, odd = head[0:4096:2].count(0), head[1:4096:2].count(0)
        if max(even, odd) > 0.3 * len(head[:4096]) / 2 and min(even, odd) < max(even, odd) / 4:
            return ("utf-16-be" if even > odd else "utf-16-le"), ""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError as error:
        # a few broken bytes in a long text with other letters in UTF-8 are damage, not another encoding
        text = head.decode("utf-8", "ignore")
        broken = len(head) - len(text.encode())
        letters = sum(map(len, re.findall(r"[^\x00-\x7f]+", text)))
        if letters > 10 * broken:
            return "utf-8", f"UTF-8 with broken characters, the first at byte {error.start:,}"
        guess = _guess_legacy(head)
        return guess, f"not UTF-8 and was read as {guess}"
    return "utf-8", ""


def _guess_legacy(head: bytes) -> str:
    """Return the most plausible encoding of text that is not Unicode: Western European unless another is plainly better."""
    from charset_normalizer import from_bytes

    sample = b"\n".join(line for line in head.splitlines() if not line.isascii())[:20_000]
    matches = from_bytes(sample, cp_isolation=list(_LEGACY), preemptive_behaviour=False)
    best = matches.best()
    western = next(
        (match for match in matches if match.could_be_from_charset and "cp1252" in match.could_be_from_charset), None
    )
    margin = 0.1 + 1 / max(sum(byte > 0x7F for byte in sample), 1)  # few letters prove little
    if best is None:
        return "cp1252" if _decodes(sample, "cp1252") else "latin-1"
    if western and western.chaos <= best.chaos and western.coherence >= best.coherence - margin:
        return "cp1252"
    return "cp1252" if best.encoding not in _LATIN and _looks_western(sample) else str(best.encoding)


_LATIN = ("cp1250", "cp1254", "cp1257")  # whose letters stand where Western European ones do


def _decodes(sample: bytes, encoding: str) -> bool:
    """Whether all bytes are characters of an encoding."""
    try:
        sample.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _looks_western(sample: bytes) -> bool:
    """Whether a text in Windows' Western European encoding has the usual accented letters, among more plain ones."""
    if not _decodes(sample, "cp1252"):
        return False
    words = [word for word in re.findall(r"\w+", sample.decode("cp1252")) if not word.isascii()]
    letters = "".join(words)
    usual = re.fullmatch(r"[A-Za-z\d_À-ÖØ-öø-ÿœŒšŠºª]*", letters)
    return bool(letters and usual) and sum(map(str.isascii, letters)) >= len(letters) / 2


# --- delimiter and quote ----------------------------------------------------------------------------------------------

_NUMBER = (
    r"[-+]?(?:\d{1,3}(?:(?P<mark>[., '\u2019\u00a0])\d{3})(?:(?P=mark)\d{3})*|\d+)?(?:[.,]\d+|\.)?(?:[eE][-+]?\d+)?"
)
_MONEY = rf"\(?-?(?:[$€£¥]|[A-Z]{{3}})? ?(?=[\d.,+-]){_NUMBER} ?(?:%|[$€£¥]|[A-Z]{{3}})?-?\)?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?: ?[APap]\.?[Mm]\.?)?(?:Z| ?[+-]\d{2}:?\d{2})?"
_DAY = r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}|\d{1,2}[- ][A-Za-z]{3,9}[- ,]+\d{2,4}|[A-Za-z]{3,9} \d{1,2}, ?\d{4}"
_TYPES = {
    "number": re.compile(_MONEY.replace("?P<mark>", "?P<mark>")),
    "date": re.compile(rf"(?:{_DAY})(?:[T ]+{_CLOCK})?"),
    "time": re.compile(_CLOCK),
    "address": re.compile(
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?:https?|ftp|file)://[^\s]+|www\.[^\s]+|\d{1,3}(?:\.\d{1,3}){3}"
    ),
    "flag": re.compile(r"true|false|yes|no|null|nan|n/?a|none|[-?.]+", re.IGNORECASE),
    "word": re.compile(r"[^\W\d_][\w.\-/]*|[\w.\-/\\]+"),
    "words": re.compile(r"[\w .\-/\\()'’+%#@!?&*:\"\[\]<>$€£°ºª]+"),
}
_WORTH = {"number": 1.0, "date": 1.0, "time": 1.0, "address": 1.0, "flag": 1.0, "word": 1.0, "words": 0.9, "": 1.0}


@lru_cache(1 << 16)
def _type_of(cell: str) -> str:
    """Return the kind of value that a cell seems to be: "" for an empty one, "text" for what fits nothing else."""
    cell = cell.strip()
    if not cell:
        return ""
    if len(cell) <= 60:
        for kind, pattern in _TYPES.items():
            if pattern.fullmatch(cell):
                return kind
    return "text"


def _worth(cell: str, quoted: bool) -> float:
    """Return how much a cell looks like one value: less when it contains what may separate values."""
    if quoted:
        return 1.0
    if '"' in cell:
        return 0.3 if cell.strip().startswith('"') or cell.strip().endswith('"') else 0.6
    kind = _type_of(cell)
    if kind in _WORTH:
        return _WORTH[kind]
    if re.search(r"[;\t|]|,\S", cell):
        return 0.3
    return 0.7 if len(cell) > 3 else 0.4


class _Trial:
    """A text split by a dialect in question, and how well that went."""

    def __init__(self, text: str, dialect: Dialect, whole: bool) -> None:
        self.dialect = dialect
        records = list(islice(Splitter(dialect).split(text), _SAMPLE_RECORDS + 1))
        if len(records) > 1 and (len(records) > _SAMPLE_RECORDS or not whole):
            records.pop()  # it may be cut
        self.records = [record for record in records if not record.blank]
        self.body = [record for record in self.records if not text.startswith("#", record.start)] or self.records
        lengths = Counter(len(record.cells) for record in self.body)
        # of rows equally frequent the wider ones
        self.width = max(lengths, key=lambda width: (lengths[width], width), default=1)
        self.rows = [record for record in self.body if len(record.cells) == self.width]

    @cached_property
    def score(self) -> float:
        """How well the dialect fits: many alike rows, cells that look like single values, quotes in their places."""
        if not self.records:
            return 0.0
        common = self.dialect.delimiter in _COMMON
        first = self.body.index(self.rows[0])
        body = len(self.body) - min(first, len(self.body) // 4)  # lines before the table count less
        alike = (len(self.rows) / body) ** (2 if common else 4)
        cells = [(cell, quoted) for row in self.rows[:200] for cell, quoted in zip(row.cells, row.quoted, strict=True)]
        filled = [(cell, quoted) for cell, quoted in cells if quoted or cell.strip()]
        worth = sum(_worth(cell, quoted) for cell, quoted in filled) / max(len(filled), 1)
        filling = 0.5 + 0.5 * len(filled) / len(cells)
        flaws = sum(bool(record.flaw) for record in self.body) / len(self.body)
        columns = sum(any(row.cells[at].strip() for row in self.rows) for at in range(self.width))
        if columns > 1 and not common and len(self.rows) < _FEW:
            columns = 1  # chance
        width = 0.1 if columns <= 1 else 1 - 1 / columns
        if first:
            begun = 0.6 if len(self.body[0].cells) == 1 and _COMMON & set(self.body[0].cells[0]) else 0.8
        else:
            begun = 1.2 if columns > 1 and _is_names(self.body[0].cells) else 1.0
        return alike * worth**2 * width * filling * begun * (1 - flaws / 2) * (1.0 if common else 0.65)


_COMMON = {",", ";", "\t", "|"}
_FEW = 3  # rows that need not mean anything when they are split at an uncommon delimiter


def _candidates(text: str, fixed: dict[str, Any]) -> Iterator[Dialect]:
    """Yield the dialects that may be the text's: those with its delimiters and quotes."""
    lines = max(count_lines(text), 1)
    if "delimiter" in fixed:
        delimiters: Sequence[str] = [fixed["delimiter"]]
    else:
        unused = next((each for each in DELIMITERS if each not in text), ",")  # for a single column
        delimiters = [*(each for each in DELIMITERS if text.count(each) >= lines / 4 and each in text), unused]
    for delimiter in delimiters:
        for quote in [fixed["quote"]] if "quote" in fixed else _quotes(text, delimiter):
            spaced = text.count(delimiter + " ") > (0.6 if delimiter != " " else 0.2) * text.count(delimiter)
            escapes = ["", "\\"] if quote and "\\" + quote in text else [""]
            for escape in [fixed["escape"]] if "escape" in fixed else escapes:
                values = {"delimiter": delimiter, "quote": quote, "escape": escape, "skip_space": spaced} | fixed
                yield Dialect.model_validate(values)


def _quotes(text: str, delimiter: str) -> list[str]:
    """Return the quotes that may be around cells; `"` when there is none, as a later cell may need it."""
    start, end = rf"(?:\A|[\r\n]|{re.escape(delimiter)}) *", rf" *(?=[\r\n]|\Z|{re.escape(delimiter)})"
    found = []
    for quote in QUOTES:
        opened = len(re.findall(start + quote, text))
        # apostrophes begin words, too: most must end a cell as well, as quotes do
        inner = rf"[^\r\n{quote}]*+(?:{quote}{quote}[^\r\n{quote}]*+)*"
        closed = len(re.findall(start + quote + inner + quote + end, text))
        if opened and (quote == '"' or closed >= 0.9 * opened or opened > count_lines(text) / 10):
            found.append(quote)
    return [*found, ""] if found else ['"']


# --- header -----------------------------------------------------------------------------------------------------------

_TYPED = ("number", "date", "time", "address")


@dataclass(frozen=True)
class _Place:
    """Where the table begins in a file, and whether with a header."""

    skip: int
    header: bool
    doubts: list[str]


def _find_table(trial: _Trial, fixed: dict[str, Any], name: str) -> _Place:
    """Find the lines before the table, and whether its first row names the columns."""
    records, width = trial.records, trial.width
    if "skip" in fixed:
        records = [record for record in records if record.line > fixed["skip"]]
    if not records:
        return _Place(fixed.get("skip", 0), fixed.get("header", True), [])
    first = 0 if "skip" in fixed else _find_first(records, width)
    skipped = records[first].line - 1 if first else 0
    doubts = []
    if skipped:
        doubts.append(f"The first {skipped} lines of {name} are not part of the table; set skip if they are.")
    header, sure = _is_header(records[first], records[first + 1 :], width)
    header = fixed.get("header", header)
    if not sure and "header" not in fixed:
        taken = "was taken as the names of the columns" if header else "was taken as data, as the columns have no names"
        doubts.append(f"The first row of {name} {taken}; set header to {str(not header).lower()} otherwise.")
    return _Place(fixed.get("skip", skipped), header, doubts)


def _find_first(records: Sequence[Record], width: int) -> int:
    """Return the position of the table's first record: the header, or the first row of the usual length."""
    first = next((at for at, record in enumerate(records) if len(record.cells) == width), 0)
    for at, record in enumerate(records[first : first + 20], first):
        filled = sum(bool(cell.strip()) for cell in record.cells)
        if len(record.cells) != width or filled > max(1, width // 4) or width < 3:
            continue
        after = next((r for r in records[at + 1 :] if not r.empty), None)
        if after is not None and len(after.cells) == width and _is_names(after.cells):
            first = at + 1 + records[at + 1 :].index(after)
    if first and width > 1:
        before = records[first - 1]
        near = max(2, width / 2) <= len(before.cells) <= 2 * width
        if near and _is_names(before.cells) and not _is_names(records[first].cells):
            return first - 1
    return first


def _is_names(cells: Sequence[str]) -> bool:
    """Whether cells may be the names of columns: distinct words, most of them there."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    plain = all(_type_of(cell) not in _TYPED and len(cell) < 200 for cell in filled)
    return plain and len(filled) >= max(1, len(cells) / 2) and len(set(filled)) >= 0.7 * len(filled)


def _is_header(first: Record, rows: Sequence[Record], width: int) -> tuple[bool, bool]:
    """Return whether a record names the columns, by the rows below it, and whether that is certain."""
    rows = [row for row in rows if len(row.cells) == width][:200]
    kinds = [_type_of(cell) for cell in first.cells]
    if not rows:
        return not any(kind in _TYPED for kind in kinds), True
    names = data = 0
    for at, kind in enumerate(kinds[:width]):
        below = Counter(_type_of(row.cells[at]) for row in rows)
        del below[""]
        usual, count = below.most_common(1)[0] if below else ("", 0)
        typed = usual in _TYPED and count >= 0.7 * below.total()
        if kind in _TYPED:
            data += 1
        elif typed and kind:
            names += 1
    filled = [cell for cell in first.cells if cell.strip()]
    years = [cell.strip() for cell in filled if re.fullmatch(r" *(?:19|20)\d\d *", cell)]
    if (
        data
        and len(years) == data < len(filled)
        and data > 1
        and years in (sorted(set(years)), sorted(set(years))[::-1])
    ):
        return True, False  # years name columns too
    if data:
        return names >= data, not names and (data > 1 or width == 1)
    if names:
        return True, True
    repeated = sum(
        cell in {row.cells[at] for row in rows} for at, cell in enumerate(first.cells[:width]) if cell.strip()
    )
    if repeated > len(filled) / 2:
        return False, False
    return _is_names(first.cells) or repeated == 0, width > 1 and _is_names(first.cells)
