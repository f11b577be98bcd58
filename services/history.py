"""Exports, read as they are: dialect, columns, numbers and dates; every row is accounted for.

What every importer of a company's history shares. A department says which columns it needs (`Form`)
and how it reads each field; a row becomes a line when all its fields have values, and is otherwise
left out for the first reason that applies.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from workgym.services.kernel import BadInput, NotFound, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Numbers = Callable[[str], Decimal | None]
NOTHING = {"", "nan", "null", "none", "n/a", "<na>", "nat"}
NOT_PRODUCTS = {"POST", "POSTAGE", "DOT", "DOTCOM POSTAGE", "SHIPPING", "FREIGHT", "DELIVERY"}
NOT_PRODUCTS |= {"DISCOUNT", "MANUAL", "ADJUST", "BANK CHARGES", "AMAZONFEE", "GIFT CARD"}
RARE_SHAPE = 0.02  # share of the distinct codes below which a code's shape is odd
MOST_CENTS = 2**31 - 1
EXAMPLES = 3  # shown for each reason
RAGGED = "the row has another number of fields than the header"
LONGEST_NUMBER = 40  # characters
LONGEST_RECORD = 50  # lines; a quote that stays open for longer was never closed
DATE_ORDER = {True: "day first", False: "month first", None: "year first or with the month's name"}


class Form(NamedTuple):
    """What an importer looks for in a file.

    Attributes:
        noun: what the rows are, for error messages.
        columns: what exports call each field, without case, spaces and punctuation; the first found wins.
        required: fields without which a file cannot be read.
    """

    noun: str
    columns: dict[str, str]
    required: tuple[str, ...]


@dataclass(frozen=True)
class Dialect:
    """How a file is written; what is not given is guessed from the whole file."""

    form: str = "csv"  # or parquet
    encoding: str | None = None
    separator: str | None = None  # between fields
    decimal: str | None = None  # the mark before the decimals, a point or a comma
    day_first: bool | None = None  # whether 1/12 is in December; None when no date asks
    assumed: tuple[str, ...] = ()  # a sentence for each guess that the file does not settle

    def sentence(self) -> str:
        """What a person would say about it."""
        text = f"{self.encoding} text separated by {self.separator!r}" if self.form == "csv" else "Parquet"
        return f"{text}, decimal mark {self.decimal!r}, dates {DATE_ORDER[self.day_first]}"


@dataclass(frozen=True)
class Example:
    """A rejected row: its number as a spreadsheet shows it, the reason, and what it says."""

    row: int
    reason: str
    text: str


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read. `accepted + sum(rejected.values()) == rows`, for any file."""

    COUNTS: ClassVar[tuple[str, ...]] = ("accepted",)  # properties that `to_dict` adds

    source: str  # name of the file
    lines: pd.DataFrame  # one row for each accepted one
    rows: int  # below the header; blank lines are none
    rejected: dict[str, int]  # rows left out, by reason
    examples: tuple[Example, ...]  # the first few rows of each reason
    dialect: Dialect
    mapping: dict[str, str]  # the column that each field was read from

    @property
    def accepted(self) -> int:
        """Rows that became lines."""
        return len(self.lines)

    def remarks(self) -> list[str]:
        """What a department adds to the report, below the rejected rows."""
        return []

    def report(self) -> list[str]:
        """The import in lines for people."""
        share = 100 * self.accepted / max(self.rows, 1)
        text = [f"{self.source}: {self.rows:,} rows, {self.accepted:,} accepted ({share:.1f}%)"]
        for reason, count in self.rejected.items():
            text.append(f"  rejected {count:>7,}  {reason}")
            text += [f"{'':20}row {one.row}: {one.text}" for one in self.examples if one.reason == reason]
        text += [f"  {remark}" for remark in self.remarks()]
        text.append(f"  read as {self.dialect.sentence()}")
        text.append("  columns " + ", ".join(f"{name}={column}" for name, column in self.mapping.items()))
        return text + [f"  assumed {sentence}" for sentence in self.dialect.assumed]

    def to_dict(self) -> dict[str, Any]:
        """The same for machines."""
        plain = {name: value for name, value in vars(self).items() if name != "lines"}
        counts = {name: getattr(self, name) for name in self.COUNTS}
        written = {**vars(self.dialect), "assumed": list(self.dialect.assumed)}
        return {**plain, **counts, "examples": [vars(one) for one in self.examples], "dialect": written}

    def require_lines(self, noun: str) -> None:
        """Refuse to go on with nothing; `noun` is what a line is.

        Raises:
            BadInput: no row was accepted.
        """
        if not self.accepted:
            found = "; ".join(f"{count:,} rejected: {reason}" for reason, count in self.rejected.items())
            raise BadInput(f"expected {noun} in {self.source}, found none ({found or 'it has no rows'})")


@dataclass(frozen=True)
class Table:
    """Mapped columns as text, the number of each row, and the rows that do not fit the header."""

    columns: dict[str, list[str]]
    numbers: list[int]
    ragged: list[Example]
    dialect: Dialect
    mapping: dict[str, str]


def read_table(
    path: str | Path, form: Form, mapping: Mapping[str, str] | None = None, dialect: Dialect | None = None
) -> Table:
    """The columns of a CSV or Parquet file that a form asks for, as text.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not a table, or a needed column is missing.
    """
    path, given, known = Path(path), dict(mapping or {}), dialect or Dialect()
    if not path.is_file():
        raise NotFound(f"no file at {path}; give the path of a CSV or Parquet export")
    for name in given.keys() - form.columns.keys():
        raise BadInput(did_you_mean("field to map", name, list(form.columns)))
    if len(known.separator or ";") != 1 or known.decimal not in (None, ".", ","):
        found = f"separator {known.separator!r} and decimal mark {known.decimal!r}"
        raise BadInput(f"expected a separator of one character and a decimal mark . or , and found {found}")
    content = path.read_bytes()
    parquet = content[:4] == b"PAR1"
    return _parquet(content, form, given, known) if parquet else _csv(content, form, given, known)


def _parquet(content: bytes, form: Form, given: dict[str, str], dialect: Dialect) -> Table:
    from pyarrow import ArrowException, parquet, string

    try:
        table = parquet.read_table(io.BytesIO(content))
        mapping = _map_columns(table.column_names, form, given)
        texts = {name: table[column].cast(string()).to_pylist() for name, column in mapping.items()}
    except (ArrowException, OSError, KeyError) as error:
        raise BadInput(f"expected a flat Parquet file, found {error}; write it again, or as CSV") from None
    columns = {name: each([text or "" for text in column], clean) for name, column in texts.items()}
    return Table(columns, list(range(1, table.num_rows + 1)), [], replace(dialect, form="parquet"), mapping)


def _csv(content: bytes, form: Form, given: dict[str, str], dialect: Dialect) -> Table:
    if content[:2] == b"PK":
        raise BadInput("expected CSV or Parquet, found a spreadsheet or a zip archive; save the sheet as CSV")
    text, encoding = _decoded(content, dialect.encoding)
    separator = dialect.separator or _guess_separator(text, form, given)
    header, *rows = _records(text, separator, form.noun)
    width, mapping = len(header[1]), _map_columns(header[1], form, given)
    ragged = [Example(number, RAGGED, shown(row)) for number, row in rows if not _fits(row, width)]
    fitting = [(number, row) for number, row in rows if _fits(row, width)]
    place = {name: header[1].index(column) for name, column in mapping.items()}
    columns = {name: each([row[i] for _, row in fitting], clean) for name, i in place.items()}
    written = replace(dialect, form="csv", encoding=encoding, separator=separator)
    return Table(columns, [number for number, _ in fitting], ragged, written, mapping)


def _decoded(content: bytes, encoding: str | None) -> tuple[str, str]:
    """Text and the encoding that it turns out to be in; every byte is a letter in the last one."""
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marked = next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8")
    for candidate in [encoding] if encoding else [marked, "cp1252", "latin-1"]:
        try:
            return content.decode(candidate), candidate
        except (UnicodeError, LookupError):
            continue
    raise BadInput(f"expected text in {encoding}, found other bytes; leave the encoding out to guess it")


def _guess_separator(text: str, form: Form, given: dict[str, str]) -> str:
    """The separator under which the header has most columns that we know, then most columns."""
    top = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0][:10_000]

    def known_columns(separator: str) -> tuple[int, int]:
        header = [name.strip() for name in next(csv.reader([top], delimiter=separator), [])]
        return len(_guessed(header, form)) + sum(name in header for name in given.values()), len(header)

    return max(";,\t|", key=known_columns)


def _records(text: str, separator: str, noun: str) -> list[tuple[int, list[str]]]:
    """Records that are not blank, numbered as a spreadsheet does; the first is the header, stripped."""
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=separator)
    line, records = 0, list[tuple[int, list[str]]]()
    try:
        for number, record in enumerate(reader, start=1):
            if reader.line_num - line > LONGEST_RECORD:
                raise csv.Error(f"a record of {reader.line_num - line} lines")
            line = reader.line_num
            if record:
                records.append((number, record if records else [name.strip() for name in record]))
    except csv.Error as error:
        raise BadInput(f"expected CSV, found {error} after line {line}; close the quote there") from None
    if not records:
        raise BadInput(f"expected a header and rows, found an empty file; export the {noun} again")
    return records


def _fits(row: list[str], width: int) -> bool:
    """Whether a row has the header's fields; separators at its end are no fields."""
    return len(row) == width or (len(row) > width and not any(row[width:]))


def clean(text: str) -> str:
    """A cell without line breaks and with single spaces."""
    return " ".join(text.replace("\0", " ").split())


def shown(row: Iterable[str]) -> str:
    """A row in a line for people."""
    text = " | ".join(clean(cell[:200]) for cell in row)
    return text if len(text) <= 100 else text[:99] + "…"


def _guessed(header: Sequence[str], form: Form) -> dict[str, str]:
    spelled = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    hits = ((name, [w for w in words.split() if w in spelled]) for name, words in form.columns.items())
    return {name: spelled[found[0]] for name, found in hits if found}


def _map_columns(header: Sequence[str], form: Form, given: dict[str, str]) -> dict[str, str]:
    for name, column in given.items():
        if column not in header:
            raise BadInput(did_you_mean(f"column for {name}", column, list(header)))
    guessed = {
        name: column for name, column in _guessed(header, form).items() if column not in given.values()
    }
    mapping = {name: column for name in form.columns if (column := given.get(name, guessed.get(name, "")))}
    missing = [name for name in form.required if name not in mapping]
    if missing:
        raise BadInput(
            f"expected columns for {', '.join(form.required)}, found none for {', '.join(missing)} among "
            f"{', '.join(map(repr, header))}; name them, for example --map {missing[0]}=COLUMN"
        )
    return mapping


class Fault(str):
    """Why a text is not the value that it should be."""


def each(texts: list[str], parse: Callable[[str], Any]) -> list[Any]:
    """Parse every distinct text once."""
    known = {text: parse(text) for text in set(texts)}
    return [known[text] for text in texts]


def named(text: str) -> str:
    """An identifier, without what spreadsheets add to a number."""
    return "" if text.lower() in NOTHING else re.sub(r"^(\d+)\.0$", r"\1", text)


def sku_reader(texts: list[str]) -> Callable[[str], str]:
    """SKUs in upper case, without the codes that are no product.

    Besides a few well-known words, a code is no product when it has fewer than three digits and a shape
    that is rare in this file: POST, M or C2 among 85123A and 71053; none among SKU1 to SKU99.
    """
    codes = {named(text).upper() for text in set(texts)} - {""}
    shapes = Counter(_shape(code) for code in codes)

    def read(text: str) -> str:
        code = named(text).upper()
        odd = shapes[_shape(code)] < RARE_SHAPE * len(codes) and sum(c.isdigit() for c in code) < 3
        if code in NOT_PRODUCTS or (code and odd):
            return Fault("a code that is no product (postage, discount, charges)")
        return code or Fault("no product code")

    return read


def _shape(code: str) -> str:
    return re.sub(r"[^\W\d_]+", "A", re.sub(r"\d+", "9", code))


def guess_decimal(texts: Iterable[str], dialect: Dialect, noun: str = "price") -> Dialect:
    """The mark that more distinct numbers write before their decimals than the other one."""
    votes = Counter(_decimal_in(text) for text in set(texts))
    if dialect.decimal is not None:
        return dialect
    if votes["."] != votes[","]:
        return replace(dialect, decimal="." if votes["."] > votes[","] else ",")
    usual = "," if dialect.separator == ";" else "."
    doubt = [f"{usual!r} is the decimal mark: no {noun} tells"] if votes["?"] else []
    return replace(dialect, decimal=usual, assumed=(*dialect.assumed, *doubt))


def _decimal_in(text: str) -> str:
    """The decimal mark of a number, `?` where it reads both ways (1,234), nothing where it has no mark."""
    marks = re.findall(r"[.,]", text)
    if len(marks) > 1:
        return marks[-1] if marks[-1] != marks[0] else {".": ",", ",": "."}[marks[0]]
    tail = re.search(r"(\d*)[.,](\d*)\D*$", text) if len(text) <= LONGEST_NUMBER else None
    if tail is None:
        return ""
    return "?" if len(tail[2]) == 3 and tail[1] not in ("", "0") else marks[0]


def number_reader(decimal: str) -> Numbers:
    """A reader of numbers with grouped digits, a currency or a sign on either side; None for other texts."""
    gap = r"[.'’ ]" if decimal == "," else r"[,'’ ]"
    grouped = rf"[0-9]{{1,3}}(?:{gap}[0-9]{{2,3}})*{gap}[0-9]{{3}}"
    pattern = re.compile(rf"([0-9]+|{grouped})?(?:[{decimal}]([0-9]*))?")

    def read(text: str) -> Decimal | None:
        bare = re.sub(r"[£$€¥]|\b[A-Z]{3}\b", "", text[: LONGEST_NUMBER + 1].replace("−", "-")).strip()
        found = pattern.fullmatch(bare.strip("()+- "))
        if len(text) > LONGEST_NUMBER or found is None or not (found[1] or found[2]):
            return None
        value = Decimal(f"{re.sub(gap, '', found[1] or '0')}.{found[2] or '0'}")
        return -value if bare[0] in "-(" or bare[-1] == "-" else value

    return read


def amount_reader(number: Numbers, noun: str, per_unit: int, most: int) -> Callable[[str], int | Fault]:
    """A reader of positive whole amounts of `1 / per_unit`, half of which is rounded up."""

    def read(text: str) -> int | Fault:
        value = number(text)
        if value is None:
            return Fault(f"the {noun} is not a number")
        if per_unit == 1 and value != int(value):
            return Fault(f"the {noun} is not a whole number")
        if value * per_unit * 2 < 1:
            return Fault(f"the {noun} is not positive")
        if value * per_unit > most:
            return Fault(f"the {noun} is above {most // per_unit:,}")
        return int(value * per_unit + Decimal("0.5"))

    return read


_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_CLOCK = r"(?:[T, ]+(\d{1,2}):(\d{2})(?::\d{2}(?:[.,]\d+)?)?\s*([ap]m)?\s*(?:Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?"
_YEAR_FIRST = re.compile(r"((?:19|20)\d{2})[-/.](\d{1,2})[-/.](\d{1,2})" + _CLOCK, re.I | re.A)
_YEAR_LAST = re.compile(r"(\d{1,2})[-/. ](\d{1,2})[-/. ]((?:19|20)\d{2}|\d{2})" + _CLOCK, re.I | re.A)
_MONTH_NAMED = re.compile(r"(\d{1,2})[-./ ]+([a-z]{3})[a-z]*\.?[-./ ]+(\d{4}|\d{2})\b", re.I | re.A)


def _numbered(found: re.Match[str]) -> str:
    """The date with its month as a number, year first; a word that is no month becomes month 0."""
    place = _MONTHS.find(found[2].lower())
    return f"{_year(found[3])}-{place // 3 + 1 if place % 3 == 0 else 0}-{found[1]}"


def _year(text: str) -> int:
    """The year; of two digits, 70 and above are of the last century."""
    return int(text) if len(text) == 4 else int(text) + (1900 if int(text) >= 70 else 2000)


def date_reader(day_first: bool | None) -> Callable[[str], datetime | Fault]:
    """A reader of dates with or without a time; a time zone is dropped, for the shop's clock counts."""

    def read(text: str) -> datetime | Fault:
        plain = _MONTH_NAMED.sub(_numbered, text, count=1)
        found = _YEAR_FIRST.fullmatch(plain) or _YEAR_LAST.fullmatch(plain)
        if found is None:
            return Fault("the date cannot be read")
        order = (1, 2, 3) if len(found[1]) == 4 else (3, 2, 1) if day_first else (3, 1, 2)
        year, month, day, hour, minute, half = (found[place] for place in (*order, 4, 5, 6))
        hours = int(hour) % 12 + 12 * (half.lower() == "pm") if half else int(hour or 0)
        try:
            return datetime(_year(year), int(month), int(day), hours, int(minute or 0))
        except ValueError:
            return Fault("the date cannot be read")

    return read


def guess_order(texts: Iterable[str], dialect: Dialect) -> Dialect:
    """Day or month first: as most dates say that can be read one way, else as gives the shorter history."""
    distinct = set(texts)
    found = [match for text in distinct if (match := _YEAR_LAST.fullmatch(text))]
    if dialect.day_first is not None or not found:
        return dialect
    day, month = (sum(int(match[place]) > 12 for match in found) for place in (1, 2))
    spans = {first: _span(distinct, first) for first in (True, False)}
    shorter = spans[True] < spans[False] if spans[True] != spans[False] else dialect.decimal == ","
    first = day > month if day != month else shorter
    both = f"every date reads both ways; so the file spans {spans[first]} days, else {spans[not first]}"
    torn = f"{max(day, month)} different dates can only be read so, {min(day, month)} only the other way"
    doubt = [f"dates are {DATE_ORDER[first]}: {torn if day else both}"] if bool(day) == bool(month) else []
    return replace(dialect, day_first=first, assumed=(*dialect.assumed, *doubt))


def _span(texts: Iterable[str], day_first: bool) -> int:
    """Days from the first to the last date."""
    moments = [moment for moment in map(date_reader(day_first), texts) if isinstance(moment, datetime)]
    return (max(moments).date() - min(moments).date()).days + 1 if moments else 0


class Judged(NamedTuple):
    """The fields that `Reading` shares between departments, of one table."""

    lines: pd.DataFrame
    rows: int
    rejected: dict[str, int]
    examples: tuple[Example, ...]


def judged(table: Table, values: Mapping[str, Sequence[Any]], order: Sequence[str]) -> Judged:
    """Lines where every field of a row has a value, and the first reason of each other row.

    Args:
        table: what was read.
        values: a value or a `Fault` for each field of each of the table's rows.
        order: fields that can have a fault, in the order in which reasons count.
    """
    import pandas as pd

    faults = [
        next((value for value in row if isinstance(value, Fault)), None)
        for row in zip(*(values[name] for name in order), strict=True)
    ]
    refused = [*table.ragged]
    for i, fault in enumerate(faults):
        if fault is not None:
            text = shown(column[i] for column in table.columns.values())
            refused.append(Example(table.numbers[i], fault, text))
    refused.sort(key=lambda one: one.row)
    rejected = Counter(one.reason for one in refused)
    examples = [one for reason in rejected for one in [r for r in refused if r.reason == reason][:EXAMPLES]]
    kept = [i for i, fault in enumerate(faults) if fault is None]
    columns = {**values, "row": table.numbers}
    lines = pd.DataFrame({name: [column[i] for i in kept] for name, column in columns.items()})
    return Judged(lines, len(kept) + len(refused), dict(rejected), tuple(examples))
