"""A company's own order export, read as it is: clean lines, and a reason for every row left out.

A row is rejected for the first of these that applies:

1. it has another number of fields than the header;
2. invoice: missing; a cancellation (the number starts with C where most do not);
3. SKU: missing; a code that is no product (postage, discount, bank charges);
4. quantity: no number; not whole; not positive; too large for the books;
5. price: no number; not positive (a free item); too large for the books;
6. date: unreadable.

A row without a customer is a guest's and is accepted. So is a row that repeats another one: a till
that scans two pieces writes two equal rows. `to_orders` merges equal SKUs of an invoice.
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
from typing import Any

import numpy as np
import pandas as pd

from workgym.services.kernel import BadInput, NotFound, did_you_mean
from workgym.services.orders.baskets import Baskets, from_lines
from workgym.services.orders.rules import MAX_LINES

Numbers = Callable[[str], Decimal | None]
REQUIRED = ("invoice", "sku", "quantity", "price", "date")
COLUMNS = {  # field: what exports call it, without case, spaces and punctuation; the first found wins
    "invoice": "invoiceno invoice invoicenumber invoiceid orderid orderno ordernumber order bestellnummer",
    "sku": "stockcode sku skucode lineitemsku productcode productid itemcode itemid articleno artikelnummer",
    "quantity": "quantity qty units lineitemquantity quantityordered orderquantity pieces menge anzahl",
    "price": "unitprice priceperunit itemprice lineitemprice priceeach saleprice price einzelpreis preis",
    "date": "invoicedate orderdate createdat orderedat placedat orderpurchasetimestamp timestamp date datum",
    "description": "description productname itemname lineitemname title product bezeichnung",
    "customer": "customerid customerno customernumber customer clientid userid email kundennummer kunde",
    "country": "country shippingcountry shipcountry countrycode destination region land",
    "weight_g": "weightg weightgrams grams weightingrams",
}
NOTHING = {"", "nan", "null", "none", "n/a", "<na>", "nat"}
NOT_PRODUCTS = {"POST", "POSTAGE", "DOT", "DOTCOM POSTAGE", "SHIPPING", "FREIGHT", "DELIVERY"}
NOT_PRODUCTS |= {"DISCOUNT", "MANUAL", "ADJUST", "BANK CHARGES", "AMAZONFEE", "GIFT CARD"}
RARE_SHAPE = 0.02  # share of the distinct codes below which a code's shape is odd
MOST_UNITS, MOST_CENTS = 1_000_000, 2**31 - 1
ADJUST_ABOVE = 99.5  # percentile of the quantities
EXAMPLES = 3  # shown for each reason
RAGGED = "the row has another number of fields than the header"
LONGEST_NUMBER = 40  # characters
LONGEST_RECORD = 50  # lines; a quote that stays open for longer was never closed
DATE_ORDER = {True: "day first", False: "month first", None: "year first or with the month's name"}


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
class History:
    """What was read. `accepted + sum(rejected.values()) == rows`, for any file.

    The columns of `lines`: invoice, sku, quantity, unit_price_cents, placed_at (to the minute),
    description, customer, country, weight_g (NaN where not known), row (in the file).
    """

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

    @property
    def largest_quantity(self) -> int:
        """What `to_orders` counts larger quantities as, so that a few pallets do not drown the stock."""
        quantity = self.lines["quantity"].to_numpy()
        return int(np.percentile(quantity, ADJUST_ABOVE, method="higher")) if len(quantity) else 0

    @property
    def adjusted(self) -> int:
        """Accepted rows whose quantity is above `largest_quantity`."""
        return int((self.lines["quantity"] > self.largest_quantity).sum())

    def report(self) -> list[str]:
        """The import in lines for people."""
        share = 100 * self.accepted / max(self.rows, 1)
        text = [f"{self.source}: {self.rows:,} rows, {self.accepted:,} accepted ({share:.1f}%)"]
        for reason, count in self.rejected.items():
            text.append(f"  rejected {count:>7,}  {reason}")
            text += [f"{'':20}row {one.row}: {one.text}" for one in self.examples if one.reason == reason]
        if self.adjusted:
            text.append(
                f"  adjusted {self.adjusted:>7,}  a quantity above {self.largest_quantity} counts as that"
            )
        text.append(f"  read as {self.dialect.sentence()}")
        text.append("  columns " + ", ".join(f"{name}={column}" for name, column in self.mapping.items()))
        return text + [f"  assumed {sentence}" for sentence in self.dialect.assumed]

    def to_dict(self) -> dict[str, Any]:
        """The same for machines."""
        plain = {name: value for name, value in vars(self).items() if name != "lines"}
        counts = {name: getattr(self, name) for name in ("accepted", "adjusted", "largest_quantity")}
        written = {**vars(self.dialect), "assumed": list(self.dialect.assumed)}
        return {**plain, **counts, "examples": [vars(one) for one in self.examples], "dialect": written}


def read_orders(
    path: str | Path, mapping: Mapping[str, str] | None = None, dialect: Dialect | None = None
) -> History:
    """Read an order export, CSV or Parquet, one order line a row.

    A field that `mapping`, as in {"sku": "StockCode"}, does not name is found by its column's name; what
    `dialect` leaves open is guessed from the whole file.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not a table, or a needed column is missing.
    """
    path, given, known = Path(path), dict(mapping or {}), dialect or Dialect()
    if not path.is_file():
        raise NotFound(f"no file at {path}; give the path of a CSV or Parquet export")
    for name in given.keys() - COLUMNS.keys():
        raise BadInput(did_you_mean("field to map", name, list(COLUMNS)))
    if len(known.separator or ";") != 1 or known.decimal not in (None, ".", ","):
        found = f"separator {known.separator!r} and decimal mark {known.decimal!r}"
        raise BadInput(f"expected a separator of one character and a decimal mark . or , and found {found}")
    content = path.read_bytes()
    table = _parquet(content, given, known) if content[:4] == b"PAR1" else _csv(content, given, known)
    return _judged(path.name, table)


@dataclass(frozen=True)
class _Table:
    """Mapped columns as text, the number of each row, and the rows that do not fit the header."""

    columns: dict[str, list[str]]
    numbers: list[int]
    ragged: list[Example]
    dialect: Dialect
    mapping: dict[str, str]


def _parquet(content: bytes, given: dict[str, str], dialect: Dialect) -> _Table:
    from pyarrow import ArrowException, parquet, string

    try:
        table = parquet.read_table(io.BytesIO(content))
        mapping = _map_columns(table.column_names, given)
        texts = {name: table[column].cast(string()).to_pylist() for name, column in mapping.items()}
    except (ArrowException, OSError, KeyError) as error:
        raise BadInput(f"expected a flat Parquet file, found {error}; write it again, or as CSV") from None
    columns = {name: [_clean(text or "") for text in column] for name, column in texts.items()}
    return _Table(columns, list(range(1, table.num_rows + 1)), [], replace(dialect, form="parquet"), mapping)


def _csv(content: bytes, given: dict[str, str], dialect: Dialect) -> _Table:
    if content[:2] == b"PK":
        raise BadInput("expected CSV or Parquet, found a spreadsheet or a zip archive; save the sheet as CSV")
    text, encoding = _decoded(content, dialect.encoding)
    separator = dialect.separator or _guess_separator(text, given)
    header, *rows = _records(text, separator)
    width, mapping = len(header[1]), _map_columns(header[1], given)
    ragged = [Example(number, RAGGED, _shown(row)) for number, row in rows if not _fits(row, width)]
    fitting = [(number, row) for number, row in rows if _fits(row, width)]
    place = {name: header[1].index(column) for name, column in mapping.items()}
    columns = {name: [_clean(row[i]) for _, row in fitting] for name, i in place.items()}
    written = replace(dialect, form="csv", encoding=encoding, separator=separator)
    return _Table(columns, [number for number, _ in fitting], ragged, written, mapping)


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


def _guess_separator(text: str, given: dict[str, str]) -> str:
    """The separator under which the header has most columns that we know, then most columns."""
    top = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0][:10_000]

    def known_columns(separator: str) -> tuple[int, int]:
        header = [name.strip() for name in next(csv.reader([top], delimiter=separator), [])]
        return len(_guessed(header)) + sum(name in header for name in given.values()), len(header)

    return max(";,\t|", key=known_columns)


def _records(text: str, separator: str) -> list[tuple[int, list[str]]]:
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
        raise BadInput("expected a header and rows, found an empty file; export the orders again")
    return records


def _fits(row: list[str], width: int) -> bool:
    """Whether a row has the header's fields; separators at its end are no fields."""
    return len(row) == width or (len(row) > width and not any(row[width:]))


def _clean(text: str) -> str:
    return " ".join(text.replace("\0", " ").split())


def _shown(row: Iterable[str]) -> str:
    text = " | ".join(_clean(cell[:200]) for cell in row)
    return text if len(text) <= 100 else text[:99] + "…"


def _guessed(header: Sequence[str]) -> dict[str, str]:
    spelled = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in reversed(header)}
    hits = ((name, [w for w in words.split() if w in spelled]) for name, words in COLUMNS.items())
    return {name: spelled[found[0]] for name, found in hits if found}


def _map_columns(header: Sequence[str], given: dict[str, str]) -> dict[str, str]:
    for name, column in given.items():
        if column not in header:
            raise BadInput(did_you_mean(f"column for {name}", column, list(header)))
    guessed = {name: column for name, column in _guessed(header).items() if column not in given.values()}
    mapping = {name: column for name in COLUMNS if (column := given.get(name, guessed.get(name, "")))}
    missing = [name for name in REQUIRED if name not in mapping]
    if missing:
        raise BadInput(
            f"expected columns for {', '.join(REQUIRED)}, found none for {', '.join(missing)} among "
            f"{', '.join(map(repr, header))}; name them, for example --map {missing[0]}=COLUMN"
        )
    return mapping


class _Fault(str):
    """Why a text is not the value that it should be."""


def _each(texts: list[str], parse: Callable[[str], Any]) -> list[Any]:
    """Parse every distinct text once."""
    known = {text: parse(text) for text in set(texts)}
    return [known[text] for text in texts]


def _named(text: str) -> str:
    """An identifier, without what spreadsheets add to a number."""
    return "" if text.lower() in NOTHING else re.sub(r"^(\d+)\.0$", r"\1", text)


def _invoice_reader(texts: list[str]) -> Callable[[str], str]:
    named = [text for text in texts if text]
    c_cancels = 2 * sum(text[0] in "Cc" for text in named) < len(named)

    def read(text: str) -> str:
        if c_cancels and re.fullmatch(r"[Cc]\d+", text):
            return _Fault("a cancelled invoice (its number starts with C)")
        return _named(text) or _Fault("no invoice number")

    return read


def _sku_reader(texts: list[str]) -> Callable[[str], str]:
    """SKUs in upper case, without the codes that are no product.

    Besides a few well-known words, a code is no product when it has fewer than three digits and a shape
    that is rare in this file: POST, M or C2 among 85123A and 71053; none among SKU1 to SKU99.
    """
    codes = {_named(text).upper() for text in texts} - {""}
    shapes = Counter(_shape(code) for code in codes)

    def read(text: str) -> str:
        code = _named(text).upper()
        odd = shapes[_shape(code)] < RARE_SHAPE * len(codes) and sum(c.isdigit() for c in code) < 3
        if code in NOT_PRODUCTS or (code and odd):
            return _Fault("a code that is no product (postage, discount, charges)")
        return code or _Fault("no product code")

    return read


def _shape(code: str) -> str:
    return re.sub(r"[^\W\d_]+", "A", re.sub(r"\d+", "9", code))


def _guess_decimal(texts: Iterable[str], dialect: Dialect) -> Dialect:
    """The mark that more distinct numbers write before their decimals than the other one."""
    votes = Counter(_decimal_in(text) for text in set(texts))
    if dialect.decimal is not None:
        return dialect
    if votes["."] != votes[","]:
        return replace(dialect, decimal="." if votes["."] > votes[","] else ",")
    usual = "," if dialect.separator == ";" else "."
    doubt = [f"{usual!r} is the decimal mark: no price tells"] if votes["?"] else []
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


def _number_reader(decimal: str) -> Numbers:
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


def _amount_reader(number: Numbers, noun: str, per_unit: int, most: int) -> Callable[[str], int | _Fault]:
    """A reader of positive whole amounts of `1 / per_unit`, half of which is rounded up."""

    def read(text: str) -> int | _Fault:
        value = number(text)
        if value is None:
            return _Fault(f"the {noun} is not a number")
        if per_unit == 1 and value != int(value):
            return _Fault(f"the {noun} is not a whole number")
        if value * per_unit * 2 < 1:
            return _Fault(f"the {noun} is not positive")
        if value * per_unit > most:
            return _Fault(f"the {noun} is above {most // per_unit:,}")
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


def _date_reader(day_first: bool | None) -> Callable[[str], datetime | _Fault]:
    """A reader of dates with or without a time; a time zone is dropped, for the shop's clock counts."""

    def read(text: str) -> datetime | _Fault:
        plain = _MONTH_NAMED.sub(_numbered, text, count=1)
        found = _YEAR_FIRST.fullmatch(plain) or _YEAR_LAST.fullmatch(plain)
        if found is None:
            return _Fault("the date cannot be read")
        order = (1, 2, 3) if len(found[1]) == 4 else (3, 2, 1) if day_first else (3, 1, 2)
        year, month, day, hour, minute, half = (found[place] for place in (*order, 4, 5, 6))
        hours = int(hour) % 12 + 12 * (half.lower() == "pm") if half else int(hour or 0)
        try:
            return datetime(_year(year), int(month), int(day), hours, int(minute or 0))
        except ValueError:
            return _Fault("the date cannot be read")

    return read


def _guess_order(texts: Iterable[str], dialect: Dialect) -> Dialect:
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
    moments = [moment for moment in map(_date_reader(day_first), texts) if isinstance(moment, datetime)]
    return (max(moments).date() - min(moments).date()).days + 1 if moments else 0


def _judged(source: str, table: _Table) -> History:
    """Lines where every field of a row has a value, and the first reason of each other row."""
    text = table.columns
    dialect = _guess_order(text["date"], _guess_decimal(text["price"], table.dialect))
    values = _values(text, dialect)
    judged = zip(*(values[name] for name in REQUIRED), strict=True)
    faults = [next((value for value in row if isinstance(value, _Fault)), None) for row in judged]
    refused = [*table.ragged]
    for i, fault in enumerate(faults):
        if fault is not None:
            refused.append(Example(table.numbers[i], fault, _shown(column[i] for column in text.values())))
    refused.sort(key=lambda one: one.row)
    rejected = Counter(one.reason for one in refused)
    examples = [one for reason in rejected for one in [r for r in refused if r.reason == reason][:EXAMPLES]]
    kept = [i for i, fault in enumerate(faults) if fault is None]
    columns = {**values, "row": table.numbers}
    lines = pd.DataFrame({name: [column[i] for i in kept] for name, column in columns.items()})
    lines = lines.rename(columns={"price": "unit_price_cents", "date": "placed_at"})
    return History(
        source, lines, len(kept) + len(refused), dict(rejected), tuple(examples), dialect, table.mapping
    )


def _values(text: dict[str, list[str]], dialect: Dialect) -> dict[str, list[Any]]:
    """A value or a fault for each field of each row; columns that the file lacks are empty."""
    number = _number_reader(dialect.decimal or ".")
    readers: dict[str, Callable[[str], Any]] = {
        "invoice": _invoice_reader(text["invoice"]),
        "sku": _sku_reader(text["sku"]),
        "quantity": _amount_reader(number, "quantity", 1, MOST_UNITS),
        "price": _amount_reader(number, "price", 100, MOST_CENTS),
        "date": _date_reader(dialect.day_first),
        "description": str,
        "customer": _named,
        "country": _named,
        "weight_g": lambda cell: float(number(cell) or "nan"),
    }
    return {name: _each(text.get(name, [""] * len(text["sku"])), read) for name, read in readers.items()}


def to_orders(history: History, max_lines: int = MAX_LINES) -> Baskets:
    """A history's invoices as baskets of at most `max_lines` lines.

    Raises:
        BadInput: no row was accepted, or a basket is worth more than a season can count.
    """
    if not history.accepted:
        found = "; ".join(f"{count:,} rejected: {reason}" for reason, count in history.rejected.items())
        raise BadInput(f"expected order lines in {history.source}, found none ({found or 'it has no rows'})")
    return from_lines(history.lines, history.largest_quantity, max_lines)
