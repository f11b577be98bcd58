"""A company's own demand history, read as it is: clean rows, a reason for every other one, dense arrays.

A row is rejected for the first of these that applies:

1. it has another number of fields than the header;
2. SKU: missing; a code that is no product (postage, discount, bank charges);
3. location: missing, where the file has such a column;
4. quantity: no number; negative (a return); not whole; too large for the books;
5. price: no number; not positive; too large for the books; empty and zero mean that it is not known;
6. stock-out flag: neither yes nor no; stock on hand: no number;
7. date: unreadable; more than a year away from the other dates (a mistyped year would make decades).

Rows of the same date, SKU and location are summed. Where a file has no row, demand is zero from a
series' first sale on and unknown before: a product that is not yet listed is no product that nobody wants.
A rejected row is like a missing one: where many are, look at the reasons before the zeros are believed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workgym.services.columns import read_columns, require_whole, write_columns
from workgym.services.history import (
    MOST_CENTS,
    NOTHING,
    Dialect,
    Fault,
    Form,
    Numbers,
    Reading,
    Table,
    amount_reader,
    date_reader,
    each,
    guess_decimal,
    guess_order,
    judged,
    named,
    number_reader,
    read_table,
    sku_reader,
)
from workgym.services.kernel import BadInput, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]
Period = Literal["day", "week"]

COLUMNS = {  # field: what exports call it, as in a `Form`
    "date": "date day salesdate saledate transactiondate invoicedate orderdate weekstart weekbeginning "
    "weekending weekdate week period timestamp ds datum tag woche buchungsdatum",
    "sku": "stockcode sku skucode skuid productcode productid itemcode itemid itemnbr item articleno article "
    "product materialnumber material artikelnummer artikel",
    "location": "location locationid store storeid storenbr storeno shop siteid site plant warehouse "
    "warehouseid depot branch dc standort filiale werk lager",
    "quantity": "quantity qty demand units unitssold unitsales salesqty qtysold soldquantity pieces "
    "menge anzahl absatz stckzahl sales",  # Stückzahl, of which only a to z count
    "price": "unitprice priceperunit itemprice sellprice sellingprice saleprice priceeach price einzelpreis "
    "verkaufspreis preis",
    "promotion": "promotion promoted onpromotion ispromotion promo promoflag promotionflag aktion",
    "stocked_out": "stockedout stockout stockoutflag isstockout outofstock oos fehlbestand ausverkauft",
    "on_hand": "onhand onhandstock stockonhand onhandqty onhandquantity closingstock inventorylevel "
    "inventory stock lagerbestand bestand",
}
FORM = Form("demand", COLUMNS, ("date", "sku", "quantity"))
JUDGED = ("sku", "location", "quantity", "price", "stocked_out", "on_hand", "date")
EVERYWHERE = "everywhere"  # the one location of a file that names none
YES = {"1", "y", "yes", "true", "t", "x", "j", "ja", "wahr", "on"}
NO = {"0", "n", "no", "false", "f", "nein", "falsch", "off", "-"} | NOTHING
MOST_UNITS = 100_000_000  # in a row: a wholesaler's week, not a typing error
MOST_PERIODS = 366 * 20  # twenty years of days
LARGEST = 2**31 - 1
LONGEST_GAP = 366  # days without any row; dates beyond a longer one are mistyped
SAME_WEEKDAY = 0.9  # share of the dates that fall on one weekday in a weekly file
WEEKS_BACK = 8  # from which a stock-out day's demand is estimated
SHARES = {"train": (0, 60), "gate": (60, 80), "audit": (80, 100)}  # percent of the days, from and to
MINIMUM = {"day": 28, "week": 8}  # a season's shortest useful length
WEEKDAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
_ISO_WEEK = re.compile(r"((?:19|20)\d{2})[- ]?W(\d{1,2})", re.I | re.A)


@dataclass(frozen=True, eq=False)
class DemandHistory(Reading):
    """What was read. `accepted + sum(rejected.values()) == rows`, for any file.

    The columns of `lines`: date (midnight), sku, location, units, price_cents (0 where not known),
    promoted, stocked_out, row (in the file).
    """

    period: Period

    def remarks(self) -> list[str]:
        """What time the file covers."""
        if not self.accepted:
            return []
        first, last = (str(day.date()) for day in (self.lines["date"].min(), self.lines["date"].max()))
        return [f"covers {first} to {last}, by the {self.period}"]


def read_demand(
    path: str | Path,
    mapping: Mapping[str, str] | None = None,
    dialect: Dialect | None = None,
    period: Period | None = None,
) -> DemandHistory:
    """Read a demand export, CSV or Parquet: date, SKU, location and quantity in a row.

    A field that `mapping`, as in {"sku": "StockCode"}, does not name is found by its column's name; what
    `dialect` leaves open is guessed from the whole file, and so is the period. Location, price,
    promotion, stock-out flag and stock on hand are optional.

    Raises:
        NotFound: there is no such file.
        BadInput: it is not a table, or a needed column is missing.
    """
    if period not in (None, "day", "week"):
        raise BadInput(did_you_mean("period", str(period), ["day", "week"]))
    table = read_table(path, FORM, mapping, dialect)
    text = table.columns
    numbers = [*text.get("price", []), *text["quantity"]]
    written = guess_order(text["date"], guess_decimal(numbers, table.dialect, "number"))
    values = _values(table, written)
    values["date"] = _without_strays(values)
    found = judged(table, values, JUDGED)
    lines = _lines(found.lines)
    guess, doubt = _guess_period(lines)
    assumed = [*written.assumed, *_doubts(table.mapping), *([doubt] if doubt and period is None else [])]
    written = replace(written, assumed=tuple(assumed))
    return DemandHistory(Path(path).name, lines, *found[1:], written, table.mapping, period or guess)


def _values(table: Table, dialect: Dialect) -> dict[str, list[Any]]:
    """A value or a fault for each field of each row; columns that the file lacks are empty."""
    text, number = table.columns, number_reader(dialect.decimal or ".")
    readers: dict[str, Callable[[str], Any]] = {
        "sku": sku_reader(text["sku"]),
        "location": _location if "location" in text else lambda _: EVERYWHERE,
        "quantity": _units_reader(number),
        "price": _price_reader(number),
        "promotion": _promotion_reader(number),
        "stocked_out": _flag,
        "on_hand": _emptiness_reader(number),
        "date": _day_reader(dialect.day_first),
    }
    blank = [""] * len(text["sku"])
    values = {name: each(text.get(name, blank), read) for name, read in readers.items()}
    for i, quantity in enumerate(text["quantity"]):  # nothing to sell, nothing written: still a day of demand
        if quantity.lower() in NOTHING and True in (values["stocked_out"][i], values["on_hand"][i]):
            values["quantity"][i] = 0
    return values


def _location(text: str) -> str:
    return named(text) or Fault("no location")


def _units_reader(number: Numbers) -> Callable[[str], int | Fault]:
    positive = amount_reader(number, "quantity", 1, MOST_UNITS)

    def read(text: str) -> int | Fault:
        value = number(text)
        if value is not None and value < 0:
            return Fault("the quantity is negative (a return)")
        return 0 if value == 0 else positive(text)

    return read


def _price_reader(number: Numbers) -> Callable[[str], int | Fault]:
    positive = amount_reader(number, "price", 100, MOST_CENTS)

    def read(text: str) -> int | Fault:
        return 0 if text.lower() in NOTHING or number(text) == 0 else positive(text)

    return read


def _promotion_reader(number: Numbers) -> Callable[[str], bool]:
    """Yes, a number of offers, or the name of a campaign."""

    def read(text: str) -> bool:
        value = number(text)
        return text.lower() not in NO if value is None else value > 0

    return read


def _flag(text: str) -> bool | Fault:
    word = named(text).lower()
    if word in YES:
        return True
    return False if word in NO else Fault("the stock-out flag is neither yes nor no")


def _emptiness_reader(number: Numbers) -> Callable[[str], bool | Fault]:
    """Whether nothing is on hand; an empty cell does not say so."""

    def read(text: str) -> bool | Fault:
        if text.lower() in NOTHING:
            return False
        value = number(text)
        return Fault("the stock on hand is not a number") if value is None else value <= 0

    return read


def _day_reader(day_first: bool | None) -> Callable[[str], datetime | Fault]:
    """A reader of dates, and of ISO weeks (2024-W05), which are their Mondays."""
    read_date = date_reader(day_first)

    def read(text: str) -> datetime | Fault:
        found = _ISO_WEEK.fullmatch(text)
        if found is None:
            return read_date(text)
        try:
            return datetime.fromisocalendar(int(found[1]), int(found[2]), 1)
        except ValueError:
            return Fault("the date cannot be read")

    return read


def _without_strays(values: Mapping[str, list[Any]]) -> list[Any]:
    """The dates, with a fault for each that lies beyond a long gap from where most good rows are."""
    rows = zip(*(values[name] for name in JUDGED), strict=True)
    good = [not any(isinstance(value, Fault) for value in row) for row in rows]
    numbers = [when.toordinal() if fine else 0 for when, fine in zip(values["date"], good, strict=True)]
    days, rows_of = np.unique([day for day in numbers if day], return_counts=True)
    if not len(days):
        return values["date"]
    run = np.concatenate([[0], np.cumsum(np.diff(days) > LONGEST_GAP)])
    main = days[run == int(np.bincount(run, rows_of).argmax())]
    stray = Fault(f"the date lies more than {LONGEST_GAP} days away from the others")
    apart = [day > 0 and not main[0] <= day <= main[-1] for day in numbers]
    return [stray if away else when for when, away in zip(values["date"], apart, strict=True)]


def _lines(found: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    names = {"quantity": "units", "price": "price_cents", "promotion": "promoted"}
    lines = found.rename(columns=names).drop(columns="on_hand")
    flags = {name: found[name].astype(bool) for name in ("promotion", "stocked_out", "on_hand")}
    return lines.assign(
        date=pd.to_datetime(found["date"]).dt.normalize(),
        units=lines["units"].astype(np.int64),
        price_cents=lines["price_cents"].astype(np.int64),
        promoted=flags["promotion"],
        stocked_out=flags["stocked_out"] | flags["on_hand"],
    )


def _doubts(mapping: Mapping[str, str]) -> list[str]:
    """What the columns leave open."""
    text = []
    if "location" not in mapping:
        text.append("every row is of one location: no column names it")
    if re.sub(r"\W", "", mapping["quantity"]).lower() == "sales":
        text.append(f"{mapping['quantity']!r} counts pieces, not money")
    return text


def _guess_period(lines: pd.DataFrame) -> tuple[Period, str]:
    """Weekly where nearly all of three or more dates fall on one weekday; a sentence where it is in doubt."""
    days = np.unique(_day_numbers(lines))
    if len(days) < 3:
        return "day", ""
    weekday, hits = _usual_weekday(days)
    if hits < SAME_WEEKDAY * len(days):
        return "day", ""
    doubt = f"the file is by the week: {hits} of {len(days)} dates are {WEEKDAYS[weekday]}"
    return "week", doubt if hits < len(days) else ""


def _usual_weekday(days: NDArray[np.int64]) -> tuple[int, int]:
    """The weekday of most days, Monday is 0, and how many fall on it."""
    counts = np.bincount((days + 3) % 7, minlength=7)  # the first of January 1970 was a Thursday
    return int(counts.argmax()), int(counts.max())


def _day_numbers(lines: pd.DataFrame) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = lines["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return numbers


@dataclass(frozen=True, eq=False)
class DemandBook:
    """Demand of T periods at L locations of K SKUs. Two are the same when their digests are.

    A split's book starts with the days before its window, which a forecaster may see, and ends with
    the window's last day: nothing in it comes from later.

    Attributes:
        units: (T, L, K) demand, -1 before the first sale of a SKU at a location.
        price_by_day: (T, K) cents, median of the day, else of the last day that has one; 0 before the first.
        promoted: (T, K) whether the SKU was on promotion somewhere.
        stocked_out: (T, L, K) whether the shelf ran empty; `units` of these is an estimate.
        skus: (K,) codes, those with most units in the train window first.
        locations: (L,) names, in the same order.
        first_date: ISO date of the first period.
        period: what T counts, days or weeks.
        knows: which of price, promotion and stock-outs the file tells; the others are zeros here.
        notes: sentences on what was left out and what was estimated, of the whole history.
        imputed: how many stock-outs have an estimated demand, of the whole history.
        context: leading periods that lie before the window; 0 where all are the window.
    """

    units: Ints
    price_by_day: Ints
    promoted: Flags
    stocked_out: Flags
    skus: tuple[str, ...]
    locations: tuple[str, ...]
    first_date: str
    period: str
    knows: tuple[str, ...]
    notes: tuple[str, ...]
    imputed: int
    context: int = 0

    def __len__(self) -> int:
        """Periods of the window."""
        return len(self.units) - self.context

    @property
    def days(self) -> tuple[str, ...]:
        """(T,) ISO date of each period's first day."""
        first = np.datetime64(self.first_date, "D")
        return tuple(str(day) for day in first + np.arange(len(self.units)) * _STEP[self.period])

    @property
    def price(self) -> Ints:
        """(K,) cents, median over the days that a forecaster may see; without context, the window's own.

        A SKU that has no price by then has its first one, as it is known when sales begin; else 0.
        """
        seen = self.price_by_day[: self.context or None]
        price = np.zeros(len(self.skus), dtype=np.int32)
        for k in range(len(self.skus)):
            told, later = seen[seen[:, k] > 0, k], self.price_by_day[self.price_by_day[:, k] > 0, k]
            price[k] = int(np.median(told) + 0.5) if len(told) else (later[0] if len(later) else 0)
        return price

    def digest(self) -> str:
        """Content hash, the same on every machine."""
        whole = hashlib.sha256()
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                whole.update(json.dumps([name, value.dtype.str, value.shape]).encode())
                whole.update(np.ascontiguousarray(value, value.dtype.newbyteorder("<")).tobytes())
            else:
                whole.update(json.dumps([name, value]).encode())
        return whole.hexdigest()

    def summary(self) -> list[str]:
        """The book in lines for people."""
        days, places, skus = self.units.shape
        sold, unknown = int(self.units[self.units > 0].sum(dtype=np.int64)), float((self.units < 0).mean())
        size = (_counted(days, self.period), _counted(skus, "SKU"), _counted(places, "location"))
        text = "{} of {} at {}".format(*size) + f" from {self.first_date}"
        return [
            f"{text}: {sold:,} units, {100 * unknown:.1f}% lies before a first sale",
            *(f"  {note}" for note in self.notes),
        ]

    def to_dict(self) -> dict[str, Any]:
        """The same for machines."""
        days, places, skus = self.units.shape
        counts = {"periods": days, "locations": places, "skus": skus, "imputed": self.imputed}
        return {**counts, "first_date": self.first_date, "knows": list(self.knows), "notes": list(self.notes)}

    def save(self, path: str | Path) -> str:
        """Write one `.npz` file without pickled objects; returns the digest that `load` verifies."""
        return write_columns(path, vars(self), self.digest())

    @classmethod
    def load(cls, path: str | Path) -> DemandBook:
        """Read what `save` wrote.

        Raises:
            NotFound: there is no such file.
            BadInput: the file is damaged, or something else.
        """
        absent = f"no demand at {Path(path)}; `factory import demand FILE` makes it"
        columns = read_columns(path, [field.name for field in fields(cls)], absent, _damaged)
        book = cls(**{field.name: _restored(columns[field.name], field.name) for field in fields(cls)})
        require_whole(path, columns, book.digest(), _damaged)
        return book

    def partition(self, split: str, minimum: int | None = None) -> DemandBook:
        """A split's window of time, after the days that may be known before it.

        Train is the first 60% of the days, gate the next 20%, audit the last 20%.

        Args:
            split: train, gate or audit.
            minimum: periods that each window needs; 28 days or 8 weeks.

        Raises:
            BadInput: there is no such split, the history is too short, or it is a gate or audit already.
        """
        if split not in SHARES:
            raise BadInput(did_you_mean("split", split, list(SHARES)))
        if self.context:
            raise BadInput("expected a whole history, found the window of a split; load the book again")
        least = MINIMUM[self.period] if minimum is None else max(minimum, 1)
        total, narrowest = len(self), min(to - since for since, to in SHARES.values())
        needed = -(-100 * least // narrowest)
        if total < needed:
            raise BadInput(
                f"expected {needed} {self.period}s of demand or more, so that each of {', '.join(SHARES)} "
                f"has {least}, found {total}; bring a longer history"
            )
        start, end = (total * percent // 100 for percent in SHARES[split])
        return replace(
            self,
            units=self.units[:end],
            price_by_day=self.price_by_day[:end],
            promoted=self.promoted[:end],
            stocked_out=self.stocked_out[:end],
            context=start,
        )


_STEP = {"day": 1, "week": 7}


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _restored(column: NDArray[Any], name: str) -> Any:
    """The value of a field; what has the wrong type differs from the digest afterwards."""
    if name in ("skus", "locations", "knows", "notes"):
        return tuple(map(str, column.ravel().tolist()))
    if name in ("first_date", "period"):
        return str(column)
    return int(column) if column.ndim == 0 and column.dtype.kind in "iu" else column


def _damaged(path: str | Path, found: str) -> BadInput:
    return BadInput(
        f"expected demand in {Path(path)}, found a file that cannot be used: {found}; import it again"
    )


def to_book(history: DemandHistory, most_skus: int = 200, most_locations: int = 20) -> DemandBook:
    """A history as dense arrays of the busiest SKUs at the busiest locations.

    Raises:
        BadInput: nothing was accepted or sold, or the file covers more time than a book can hold.
    """
    if most_skus < 1 or most_locations < 1:
        raise BadInput(f"expected limits of 1 or more, found {most_skus} SKUs and {most_locations} locations")
    history.require_lines("demand")
    clock = _clock(_day_numbers(history.lines), history.period)
    lines = history.lines.assign(at=clock.at)
    notes = (
        [f"left out {(clock.at < 0).sum():,} rows of an incomplete first week"] if clock.at.min() < 0 else []
    )
    lines = lines[lines["at"] >= 0]
    cut = max(clock.periods * SHARES["train"][1] // 100, 1)
    lines, locations, note = _busiest(lines, "location", most_locations, cut)
    lines, skus, more = _busiest(lines, "sku", most_skus, cut)
    shape = (clock.periods, len(locations), len(skus))
    place = (lines["at"].to_numpy(), _positions(locations, lines["location"]), _positions(skus, lines["sku"]))
    cell = np.ravel_multi_index(place, shape)
    sold = _summed(cell, lines["units"].to_numpy(), shape)
    listed = np.logical_or.accumulate(sold > 0, axis=0)
    stocked_out = _marked(cell[lines["stocked_out"].to_numpy()], shape) & listed
    units, imputed = estimated(np.where(listed, sold, -1), stocked_out, _STEP[history.period])
    promoted = lines["promoted"].to_numpy()
    fields_of = {"price": {"price"}, "promotion": {"promotion"}, "stock-outs": {"stocked_out", "on_hand"}}
    return DemandBook(
        units=units,
        price_by_day=_prices(place[0], place[2], lines["price_cents"].to_numpy(), (shape[0], shape[2])),
        promoted=_marked((place[0] * shape[2] + place[2])[promoted], (shape[0], shape[2])),
        stocked_out=stocked_out,
        skus=skus,
        locations=locations,
        first_date=clock.first_date,
        period=history.period,
        knows=tuple(name for name, columns in fields_of.items() if columns & history.mapping.keys()),
        notes=(*notes, *note, *more, *_on_estimates(int(stocked_out.sum()), imputed)),
        imputed=imputed,
    )


class _Clock(NamedTuple):
    """Periods of a history, and the one of each row; -1 lies before the first whole one."""

    first_date: str
    periods: int
    at: NDArray[np.int64]


def _clock(days: NDArray[np.int64], period: Period) -> _Clock:
    """Count the periods; weeks start on the weekday of most dates, or end with the last of daily dates."""
    first, last, step = int(days.min()), int(days.max()), _STEP[period]
    distinct = np.unique(days)
    weekday, hits = _usual_weekday(distinct)
    if period == "week" and hits >= SAME_WEEKDAY * len(distinct):
        first -= (first + 3 - weekday) % 7
    elif period == "week":
        first = last + 1 - (last + 1 - first) // 7 * 7
    periods = (last - first) // step + 1
    if first > last or periods > MOST_PERIODS:
        raise BadInput(
            f"expected 1 to {MOST_PERIODS:,} {period}s, found {last - int(days.min()) + 1:,} days; "
            "bring another part of the history"
        )
    return _Clock(str(date.fromordinal(_EPOCH + first)), periods, np.maximum((days - first) // step, -1))


_EPOCH = date(1970, 1, 1).toordinal()


def _busiest(
    lines: pd.DataFrame, column: str, most: int, cut: int
) -> tuple[pd.DataFrame, tuple[str, ...], list[str]]:
    """Rows of the names with most units, the names in that order, and a sentence on the rest.

    Units of the periods before `cut` decide, so that later windows do not choose what is played.
    """
    total = lines.groupby(column)["units"].sum()
    early = lines[lines["at"] < cut].groupby(column)["units"].sum()
    ever = sorted(name for name, units in total.items() if units > 0)
    names = sorted(ever, key=lambda name: (-int(early.get(name, 0)), name))[:most]
    if not names:
        raise BadInput("expected at least one unit sold, found only zeros; bring another part of the history")
    kept = lines[lines[column].isin(names)]
    rest = len(total) - len(names)
    if not rest:
        return kept, tuple(names), []
    units, whole = int(total.sum() - kept["units"].sum()), int(total.sum())
    noun = {"sku": "SKUs", "location": "locations"}[column]
    note = (
        f"kept the {len(names):,} busiest of {len(total):,} {noun}, by units in the train window; left out "
        f"{rest:,} with {len(lines) - len(kept):,} rows and {units:,} units ({100 * units / whole:.1f}%)"
    )
    return kept, tuple(names), [note]


def _positions(names: tuple[str, ...], wanted: pd.Series) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[name] for name in wanted], dtype=np.int64)


def _summed(cell: NDArray[np.int64], units: NDArray[np.int64], shape: tuple[int, ...]) -> Ints:
    sums = np.bincount(cell, units, minlength=int(np.prod(shape))).reshape(shape)
    if sums.max() > LARGEST:
        raise BadInput(
            f"expected below {LARGEST:,} units in a period, found {sums.max():,.0f}; count in cartons"
        )
    return sums.astype(np.int32)


def _marked(cell: NDArray[np.int64], shape: tuple[int, ...]) -> Flags:
    marks = np.zeros(int(np.prod(shape)), dtype=np.bool_)
    marks[cell] = True
    return marks.reshape(shape)


def _prices(
    at: NDArray[np.int64], sku: NDArray[np.int64], cents: NDArray[np.int64], shape: tuple[int, int]
) -> Ints:
    """(T, K) median price of each period's rows, carried forward."""
    import pandas as pd

    known = cents > 0
    told = pd.Series(cents[known]).groupby([at[known], sku[known]]).median()
    prices = np.zeros(shape, dtype=np.int32)
    for (t, k), median in told.items():
        prices[t, k] = int(median + 0.5)
    last = np.maximum.accumulate(np.where(prices > 0, np.arange(shape[0])[:, None], 0), axis=0)
    return np.take_along_axis(prices, last, axis=0)


def estimated(units: Ints, stocked_out: Flags, step: int) -> tuple[Ints, int]:
    """Demand where the shelf ran empty: what is usual on that weekday, and no less than was sold.

    The mean of the same weekday in the eight weeks before, half a unit rounded up; days that are
    unknown or stocked out themselves do not count. Where none counts, the units sold stand.

    Args:
        units: (T, ...) units sold, -1 where not known.
        stocked_out: (T, ...) whether the shelf ran empty.
        step: days of a period.

    Returns:
        (T, ...) demand, and how many cells have an estimate.
    """
    usable = (units >= 0) & ~stocked_out
    total, count = np.zeros(units.shape, dtype=np.int64), np.zeros(units.shape, dtype=np.int64)
    for lag in range(7 // step, 7 * WEEKS_BACK // step + 1, 7 // step):
        total[lag:] += np.where(usable, units, 0)[:-lag]
        count[lag:] += usable[:-lag]
    known = stocked_out & (count > 0) & (units >= 0)
    mean = (2 * total + count) // np.maximum(2 * count, 1)
    demand = np.where(known, np.maximum(mean, units), units)
    return demand.astype(np.int32), int(known.sum())


def _on_estimates(stock_outs: int, imputed: int) -> list[str]:
    if not stock_outs:
        return []
    weeks = f"the same weekday of the {WEEKS_BACK} weeks before"
    rest = "" if imputed == stock_outs else "; the others keep the units sold, for no such day is known"
    return [f"estimated {imputed:,} of {stock_outs:,} stock-outs by {weeks}{rest}"]
