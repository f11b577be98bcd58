"""A company's own demand: every row is accounted for, and no split sees what comes after it."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.services.history import Dialect
from workgym.services.kernel import BadInput, NotFound
from workgym.services.scenario import SPLITS
from workgym.services.supply_chain.demand_history import (
    COLUMNS,
    EVERYWHERE,
    DemandBook,
    estimated,
    read_demand,
    to_book,
)

HEADER = ["date", "sku", "location", "quantity", "price", "promotion", "stockout", "onhand"]
GOOD = ["2024-01-01", "A-100", "Berlin", "3", "2.50", "0", "no", "12"]
MONDAY = date(2024, 1, 1)


def written(folder: Path, *rows: list[str], header: list[str] = HEADER, separator: str = ",") -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([header, *rows])
    path = folder / "demand.csv"
    path.write_bytes(text.getvalue().encode())
    return path


def changed(**fields: str) -> list[str]:
    return [fields.get(name, value) for name, value in zip(HEADER, GOOD, strict=True)]


def sold(day: int, units: int, **fields: str) -> list[str]:
    return changed(date=str(MONDAY + timedelta(days=day)), quantity=str(units), **fields)


def book_of(folder: Path, *rows: list[str], **limits: int) -> DemandBook:
    return to_book(read_demand(written(folder, *rows)), **limits)


def days_of_sales(count: int, **fields: str) -> list[list[str]]:
    return [sold(day, 1 + day % 5, **fields) for day in range(count)]


# Every row is accounted for

GARBAGE = st.text(st.characters(codec="utf-8"), max_size=20)
WORDS = (
    "1 2 -3 0 POST A-100 A-200 Berlin 2,55 1.234,50 1,234 $5 (7) yes nein x nan 9999999999999999999 1e5 "
    "0.004 1/12/2023 13/12/2023 12/13/2023 2024-01-05T08:26:00Z 31-FEB-2024 2042-01-01 2024-W07 "
    "2024-W60 1901-05-05"
)
PLAUSIBLE = st.sampled_from(WORDS.split())
ROW = st.lists(GARBAGE | PLAUSIBLE, max_size=10) | st.tuples(*[GARBAGE | PLAUSIBLE] * 8).map(list)
NEARLY = st.tuples(st.integers(0, 7), PLAUSIBLE).map(
    lambda one: [*GOOD[: one[0]], one[1], *GOOD[one[0] + 1 :]]
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(ROW | NEARLY, max_size=12), separator=st.sampled_from(",;\t|"))
def test_accepted_and_rejected_add_up_for_any_rows(tmp_path_factory, rows, separator):
    path = written(tmp_path_factory.getbasetemp(), GOOD, *rows, separator=separator)
    history = read_demand(path)
    assert history.accepted + sum(history.rejected.values()) == history.rows
    assert history.rows == 1 + sum(bool(row) for row in rows)
    assert (history.lines[["units", "price_cents"]] >= 0).all(axis=None)
    assert not history.lines.isin([""])[["sku", "location"]].any(axis=None)
    json.dumps(history.to_dict())
    try:
        book = to_book(history)
    except BadInput:
        return
    assert_sound(book)
    assert book.units[book.units > 0].sum() >= history.lines["units"].sum()  # an estimate only adds


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    path.write_bytes(",".join(HEADER).encode() + b"\n" + content)
    try:
        history = read_demand(path)
    except BadInput:
        return
    assert history.accepted + sum(history.rejected.values()) == history.rows


def assert_sound(book: DemandBook) -> None:
    days, places, skus = book.units.shape
    assert (len(book.days), len(book.locations), len(book.skus)) == (days, places, skus)
    assert book.price_by_day.shape == book.promoted.shape == (days, skus)
    assert book.stocked_out.shape == book.units.shape
    assert book.price.shape == (skus,)
    assert {book.units.dtype, book.price_by_day.dtype, book.price.dtype} == {np.dtype(np.int32)}
    known = book.units >= 0
    assert (known[1:] >= known[:-1]).all(), "once listed, always listed"
    assert (book.units[~known] == -1).all()
    assert known.any(axis=(0, 1)).all(), "a SKU that never sold is not in the book"
    assert not book.stocked_out[~known].any()


SALE = st.tuples(st.integers(0, 40), st.integers(0, 5), st.integers(0, 2), st.integers(1, 99))


@settings(max_examples=60, deadline=None)
@given(sales=st.lists(SALE, min_size=1, max_size=60), separator=st.sampled_from(",;\t"))
def test_a_book_holds_what_a_clean_file_says(tmp_path_factory, sales, separator):
    folder = tmp_path_factory.getbasetemp()
    rows = [sold(day, units, sku=f"K{100 + k}", location=f"L{place}") for day, k, place, units in sales]
    path = written(folder, *rows, separator=separator)
    history = read_demand(path, period="day")
    assert (history.accepted, history.rejected) == (len(sales), {})
    book = to_book(history)
    assert_sound(book)
    first = min(day for day, *_ in sales)
    total = np.zeros(book.units.shape, dtype=np.int64)
    for day, k, place, units in sales:
        total[day - first, book.locations.index(f"L{place}"), book.skus.index(f"K{100 + k}")] += units
    np.testing.assert_array_equal(np.maximum(book.units, 0), total)
    np.testing.assert_array_equal(book.units < 0, np.cumsum(total, axis=0) == 0)
    book.save(folder / "a.demand.npz")
    again = DemandBook.load(folder / "a.demand.npz")
    np.testing.assert_array_equal(again.units, book.units)
    assert (again.skus, again.locations, again.digest()) == (book.skus, book.locations, book.digest())


# Each row has one reason, the first that applies

REASONS = [
    ({"sku": " nan ", "quantity": "x"}, "no product code"),
    ({"sku": "Postage"}, "a code that is no product (postage, discount, charges)"),
    ({"location": "", "quantity": "x"}, "no location"),
    ({"quantity": "many", "price": "x"}, "the quantity is not a number"),
    ({"quantity": "", "stockout": "no"}, "the quantity is not a number"),
    ({"quantity": "-4"}, "the quantity is negative (a return)"),
    ({"quantity": "-1.5"}, "the quantity is negative (a return)"),
    ({"quantity": "1.5"}, "the quantity is not a whole number"),
    ({"quantity": "100000001"}, "the quantity is above 100,000,000"),
    ({"price": "dear"}, "the price is not a number"),
    ({"price": "-2"}, "the price is not positive"),
    ({"price": "99999999"}, "the price is above 21,474,836"),
    ({"stockout": "maybe"}, "the stock-out flag is neither yes nor no"),
    ({"onhand": "plenty", "date": "x"}, "the stock on hand is not a number"),
    ({"date": "2024-02-30"}, "the date cannot be read"),
    ({"date": "2024-W54"}, "the date cannot be read"),
    ({"date": "2042-01-01"}, "the date lies more than 366 days away from the others"),
]


@pytest.mark.parametrize(("fields", "reason"), REASONS)
def test_a_row_is_rejected_for_its_first_reason(tmp_path, fields, reason):
    history = read_demand(written(tmp_path, GOOD, GOOD, changed(**fields)))
    assert history.rejected == {reason: 1}
    assert [(one.row, one.reason) for one in history.examples] == [(4, reason)]


@pytest.mark.parametrize("fields", [{"price": ""}, {"price": "0"}, {"promotion": ""}, {"onhand": "nan"}])
def test_an_empty_optional_cell_rejects_nothing(tmp_path, fields):
    history = read_demand(written(tmp_path, GOOD, changed(**fields)))
    assert history.rejected == {}
    assert not history.lines[["promoted", "stocked_out"]].any(axis=None)


def test_a_report_counts_reasons_with_examples_and_says_how_it_read(tmp_path):
    report = read_demand(written(tmp_path, *days_of_sales(3), changed(quantity="-4"))).report()
    assert report[0] == "demand.csv: 4 rows, 3 accepted (75.0%)"
    assert report[1] == "  rejected       1  the quantity is negative (a return)"
    assert report[2].endswith("row 5: 2024-01-01 | A-100 | Berlin | -4 | 2.50 | 0 | no | 12")
    assert "  covers 2024-01-01 to 2024-01-03, by the day" in report
    assert any(line.startswith("  columns date=date, sku=sku, location=location") for line in report)


# Dialects and columns


def test_a_german_file_with_semicolons(tmp_path):
    text = (
        "Datum;Artikelnummer;Filiale;Menge;Preis;Aktion;Ausverkauft\n"
        "01.02.2024;10-4711;München;1.200;1.299,50;ja;nein\n"
        "13.02.2024;10-4711;München;6;1.299,50;nein;ja\n"
        "13.02.2024;10-4711;München;-6;1.299,50;nein;nein\n"
    )
    path = tmp_path / "absatz.csv"
    path.write_bytes(text.encode("cp1252"))
    history = read_demand(path)
    assert history.dialect == Dialect("csv", "cp1252", ";", ",", day_first=True)
    assert history.rejected == {"the quantity is negative (a return)": 1}
    assert history.lines["units"].tolist() == [1200, 6]
    book = to_book(history)
    assert (book.locations, book.first_date, len(book)) == (("München",), "2024-02-01", 13)
    assert book.price.tolist() == [129_950]
    assert book.promoted[:, 0].tolist() == [True] + [False] * 12
    assert book.stocked_out[:, 0, 0].nonzero()[0].tolist() == [12]
    assert book.knows == ("price", "promotion", "stock-outs")


def test_a_parquet_file_of_typed_columns(tmp_path):
    frame = pd.DataFrame(
        {
            "date": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-02"]),
            "store_nbr": [1, 1, 2],
            "item_nbr": [103_665, 103_665, 103_665],
            "unit_sales": [7.0, 2.0, -1.0],
            "onpromotion": [False, True, False],
        }
    )
    frame.to_parquet(tmp_path / "train.parquet")
    history = read_demand(tmp_path / "train.parquet")
    assert (history.dialect.form, history.rejected) == ("parquet", {"the quantity is negative (a return)": 1})
    book = to_book(history)
    assert (book.skus, book.locations, book.knows) == (("103665",), ("1",), ("promotion",))
    assert book.units[:, 0, 0].tolist() == [7, 2]
    assert book.promoted[:, 0].tolist() == [False, True]
    assert book.price.tolist() == [0]


def test_a_file_of_one_location_need_not_name_it(tmp_path):
    history = read_demand(written(tmp_path, ["2024-01-01", "A-1", "3"], header=["ds", "item", "Sales"]))
    assert history.dialect.assumed == (
        "every row is of one location: no column names it",
        "'Sales' counts pieces, not money",
    )
    assert to_book(history).locations == (EVERYWHERE,)


@pytest.mark.parametrize("field", COLUMNS)
def test_every_known_column_name_is_found(tmp_path, field):
    taken = {"date": "date", "sku": "sku", "location": "location", "quantity": "quantity"}
    for name in COLUMNS[field].split():
        header = {**taken, field: name.upper()}
        path = written(tmp_path, [*GOOD[:4], "1"][: len(header)], header=list(header.values()))
        assert read_demand(path).mapping[field] == name.upper()


def test_no_column_name_means_two_fields():
    words = [word for names in COLUMNS.values() for word in names.split()]
    assert len(words) == len(set(words))
    assert all(word.isalnum() and word.isascii() and word == word.lower() for word in words)


def test_a_given_column_wins_over_a_guess(tmp_path):
    path = written(tmp_path, [*GOOD, "9"], header=[*HEADER, "shipped"])
    assert read_demand(path, {"quantity": "shipped"}).lines["units"].tolist() == [9]
    with pytest.raises(BadInput, match=r"found none for sku among .*--map sku=COLUMN"):
        read_demand(written(tmp_path, GOOD, header=["date", "thing", *HEADER[2:]]))


# Time


def test_rows_of_the_same_day_product_and_place_are_summed(tmp_path):
    book = book_of(tmp_path, GOOD, GOOD, changed(quantity="4", price="3.50"), changed(location="Ulm"))
    assert book.units[0, :, 0].tolist() == [10, 3]
    assert book.price.tolist() == [250]


def test_demand_is_unknown_before_the_first_sale_and_zero_in_gaps(tmp_path):
    rows = [sold(0, 5), sold(6, 2), sold(1, 0, sku="A-200"), sold(3, 1, sku="A-200")]
    book = book_of(tmp_path, *rows)
    assert book.skus == ("A-100", "A-200")
    assert book.units[:, 0, 0].tolist() == [5, 0, 0, 0, 0, 0, 2]
    assert book.units[:, 0, 1].tolist() == [-1, -1, -1, 1, 0, 0, 0]


def test_a_mistyped_year_does_not_make_decades(tmp_path):
    rows = [*days_of_sales(10), changed(date="2094-01-04")]
    history = read_demand(written(tmp_path, *rows))
    assert history.rejected == {"the date lies more than 366 days away from the others": 1}
    assert len(to_book(history)) == 10


def test_a_gap_of_a_year_is_part_of_the_history(tmp_path):
    assert len(book_of(tmp_path, sold(0, 1), sold(366, 1))) == 367


WEEKS = [sold(7 * week, 10 + week) for week in range(12)]


def test_a_weekly_file_is_recognised(tmp_path):
    history = read_demand(written(tmp_path, *WEEKS))
    assert (history.period, history.dialect.assumed) == ("week", ())
    book = to_book(history)
    assert (len(book), book.period, book.days[1]) == (12, "week", "2024-01-08")
    assert book.units[:, 0, 0].tolist() == list(range(10, 22))


def test_iso_weeks_are_weeks(tmp_path):
    rows = [changed(date=f"2024-W{week:02}", quantity=str(week)) for week in range(1, 9)]
    book = book_of(tmp_path, *rows)
    assert (book.period, book.first_date) == ("week", "2024-01-01")
    assert book.units[:, 0, 0].tolist() == list(range(1, 9))


def test_a_week_cut_at_the_end_of_the_year_is_an_assumption(tmp_path):
    history = read_demand(written(tmp_path, *WEEKS, sold(79, 5)))
    assert history.period == "week"
    assert history.dialect.assumed == ("the file is by the week: 12 of 13 dates are Mondays",)
    book = to_book(history)
    assert book.units[-1, 0, 0] == 21 + 5


def test_daily_rows_become_whole_weeks_when_asked(tmp_path):
    path = written(tmp_path, *[sold(day, 1) for day in range(17)])
    book = to_book(read_demand(path, period="week"))
    assert (book.first_date, book.units[:, 0, 0].tolist()) == ("2024-01-04", [7, 7])
    assert book.notes == ("left out 3 rows of an incomplete first week",)
    with pytest.raises(BadInput, match="expected 1 to 7,320 weeks, found 5 days"):
        to_book(read_demand(written(tmp_path, *days_of_sales(5)), period="week"))
    with pytest.raises(BadInput, match="did you mean 'week'"):
        read_demand(path, period="weeks")


# Prices and stock-outs


def test_a_price_is_the_days_median_and_stays_until_it_changes(tmp_path):
    rows = [sold(0, 1, price=""), sold(1, 1, price="2.00"), sold(1, 1, price="2.01"), sold(3, 1, price="9")]
    book = book_of(tmp_path, *rows, sold(4, 1, price="0"))
    assert book.price_by_day[:, 0].tolist() == [0, 201, 201, 900, 900]
    assert book.price.tolist() == [551]  # half of 201 + 900, half a cent up


def test_a_stock_out_is_estimated_by_its_weekday(tmp_path):
    rows = [sold(7 * week, units) for week, units in enumerate((2, 5))] + [sold(3, 100), sold(20, 100)]
    book = book_of(tmp_path, *rows, sold(14, 1, stockout="yes"))
    assert book.units[14, 0, 0] == 4  # 3.5, half a unit up
    assert (book.imputed, int(book.stocked_out.sum())) == (1, 1)
    assert "estimated 1 of 1 stock-outs by the same weekday of the 8 weeks before" in book.notes


def test_an_estimate_is_no_less_than_what_was_sold(tmp_path):
    rows = [sold(0, 2), sold(3, 1), sold(7, 9, onhand="0")]
    assert book_of(tmp_path, *rows).units[7, 0, 0] == 9


def test_an_empty_shelf_without_a_quantity_is_a_day_of_unknown_demand(tmp_path):
    rows = [sold(0, 6), sold(3, 1), changed(date="2024-01-08", quantity="", onhand="0")]
    history = read_demand(written(tmp_path, *rows))
    assert history.rejected == {}
    assert to_book(history).units[7, 0, 0] == 6


def test_a_stock_out_with_nothing_to_compare_keeps_what_was_sold(tmp_path):
    book = book_of(tmp_path, sold(0, 1), sold(2, 3, stockout="1"))
    assert (book.units[2, 0, 0], book.imputed) == (3, 0)
    assert "the others keep the units sold" in book.notes[0]


def test_a_shelf_that_is_empty_before_the_first_sale_is_no_stock_out(tmp_path):
    book = book_of(tmp_path, sold(0, 0, stockout="yes"), sold(7, 3), sold(9, 1))
    assert (book.units[0, 0, 0], book.stocked_out.sum(), book.notes) == (-1, 0, ())


@settings(deadline=None)
@given(data=st.data(), step=st.sampled_from([1, 7]), days=st.integers(1, 90))
def test_an_estimate_is_the_mean_of_usable_days_at_most_eight_weeks_back(data, step, days):
    units = np.array(data.draw(st.lists(st.integers(-1, 9), min_size=days, max_size=days)), dtype=np.int32)
    empty = np.array(data.draw(st.lists(st.booleans(), min_size=days, max_size=days))) & (units >= 0)
    demand, count = estimated(units, empty, step)
    expected, estimates = units.copy(), 0
    for day in np.flatnonzero(empty):
        back = [day - k * 7 // step for k in range(1, 9)]
        usable = [int(units[b]) for b in back if b >= 0 and units[b] >= 0 and not empty[b]]
        if usable:
            estimates += 1
            expected[day] = max(int(units[day]), int(np.floor(np.mean(usable) + 0.5)))
    assert demand.tolist() == expected.tolist()
    assert count == estimates


def test_an_estimate_looks_back_only(tmp_path):
    past = [sold(day, 2 + day % 3, stockout="yes" if day % 11 == 10 else "no") for day in range(60)]
    future = [sold(day, 500, price="77") for day in range(60, 90)]
    short, long = book_of(tmp_path, *past), book_of(tmp_path, *past, *future)
    np.testing.assert_array_equal(short.units, long.units[:60])
    np.testing.assert_array_equal(short.price_by_day, long.price_by_day[:60])


# Limits


def test_the_busiest_are_kept_and_the_rest_is_told(tmp_path):
    rows = [sold(day, k + 1, sku=f"A-10{k}") for day in range(10) for k in range(4)]
    book = book_of(
        tmp_path, *rows, *[sold(0, 1, location=f"L{i}") for i in range(3)], most_skus=2, most_locations=1
    )
    assert (book.skus, book.locations) == (("A-103", "A-102"), ("Berlin",))
    assert book.notes == (
        "kept the 1 busiest of 4 locations, by units in the train window; "
        "left out 3 with 3 rows and 3 units (2.9%)",
        "kept the 2 busiest of 4 SKUs, by units in the train window; "
        "left out 2 with 20 rows and 30 units (30.0%)",
    )
    assert set(book.notes) <= {line.strip() for line in book.summary()}


def test_later_windows_do_not_choose_the_products(tmp_path):
    early, late = days_of_sales(60, sku="A-100"), [sold(day, 999, sku="A-200") for day in range(60, 100)]
    assert book_of(tmp_path, *early, *late, most_skus=1).skus == ("A-100",)


def test_what_never_sold_is_left_out(tmp_path):
    book = book_of(tmp_path, GOOD, changed(sku="A-200", quantity="0"))
    assert book.skus == ("A-100",)
    with pytest.raises(BadInput, match="at least one unit sold"):
        book_of(tmp_path, changed(quantity="0"))
    with pytest.raises(BadInput, match="1 rejected: the quantity is negative"):
        book_of(tmp_path, changed(quantity="-1"))
    with pytest.raises(BadInput, match="limits of 1 or more"):
        book_of(tmp_path, GOOD, most_skus=0)


def test_more_units_than_a_book_can_count_are_refused(tmp_path):
    with pytest.raises(BadInput, match="count in cartons"):
        book_of(tmp_path, *[changed(quantity="100000000")] * 22)


def test_a_book_is_told_to_people_and_machines(tmp_path):
    book = book_of(tmp_path, *days_of_sales(4), sold(2, 5, sku="A-200"))
    assert book.summary() == [
        "4 days of 2 SKUs at 1 location from 2024-01-01: 15 units, 25.0% lies before a first sale"
    ]
    assert json.loads(json.dumps(book.to_dict())) == {
        "periods": 4,
        "locations": 1,
        "skus": 2,
        "imputed": 0,
        "first_date": "2024-01-01",
        "knows": ["price", "promotion", "stock-outs"],
        "notes": [],
    }


# Splits


@settings(max_examples=40, deadline=None)
@given(days=st.integers(15, 400))
def test_windows_do_not_overlap_and_cover_the_history(days):
    whole = made(days)
    parts = [whole.partition(split, minimum=3) for split in SPLITS]
    windows = [part.days[part.context :] for part in parts]
    assert sum(windows, ()) == whole.days
    assert min(len(window) for window in windows) >= 3
    assert [len(part) for part in parts] == [len(window) for window in windows]
    for part in parts:
        end = part.context + len(part)
        assert_sound(part)
        for name in ("units", "price_by_day", "promoted", "stocked_out"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:end])


def made(days: int, seed: int = 1) -> DemandBook:
    rng = np.random.default_rng(seed)
    sales = rng.integers(1, 50, (days, 2, 3), dtype=np.int32)
    return DemandBook(
        units=sales,
        price_by_day=rng.integers(100, 900, (days, 3), dtype=np.int32),
        promoted=rng.random((days, 3)) < 0.1,
        stocked_out=np.zeros(sales.shape, dtype=np.bool_),
        skus=("a", "b", "c"),
        locations=("here", "there"),
        first_date="2023-02-27",
        period="day",
        knows=("price",),
        notes=(),
        imputed=0,
    )


def test_what_happens_after_a_window_changes_nothing_in_it():
    whole = made(200)
    units, price = whole.units.copy(), whole.price_by_day.copy()
    units[160:], price[160:] = 7, 77
    later = DemandBook(**{**vars(whole), "units": units, "price_by_day": price})
    assert later.digest() != whole.digest()
    for split in ("train", "gate"):
        assert later.partition(split).digest() == whole.partition(split).digest()
    assert later.partition("audit").price.tolist() == whole.partition("audit").price.tolist()


def test_a_new_product_has_the_price_of_its_launch():
    whole = made(200)
    price = whole.price_by_day.copy()
    price[:150, 1], price[150:, 1], price[:, 2] = 0, 640, 0
    gate = DemandBook(**{**vars(whole), "price_by_day": price}).partition("gate")
    assert gate.price[1:].tolist() == [640, 0]


@pytest.mark.parametrize(("period", "needed"), [("day", 140), ("week", 40)])
def test_a_short_history_is_told_how_long_it_must_be(period, needed):
    short, enough = (DemandBook(**{**vars(made(days)), "period": period}) for days in (needed - 1, needed))
    with pytest.raises(BadInput, match=f"expected {needed} {period}s of demand or more.*found {needed - 1}"):
        short.partition("train")
    assert [len(enough.partition(split)) for split in SPLITS] == [3 * needed // 5, needed // 5, needed // 5]


def test_an_impossible_split_is_refused():
    with pytest.raises(BadInput, match="did you mean 'train'"):
        made(200).partition("trian")
    with pytest.raises(BadInput, match="load the book again"):
        made(200).partition("gate").partition("train")


# The file of a book


def test_equal_books_are_equal_bytes(tmp_path):
    rows = days_of_sales(40, promotion="1")
    first, second = book_of(tmp_path, *rows), book_of(tmp_path, *reversed(rows))
    assert first.save(tmp_path / "a.demand.npz") == second.save(tmp_path / "b.demand.npz") == first.digest()
    assert (tmp_path / "a.demand.npz").read_bytes() == (tmp_path / "b.demand.npz").read_bytes()
    again = DemandBook.load(tmp_path / "a.demand.npz")
    again.save(tmp_path / "b.demand.npz")
    assert (tmp_path / "a.demand.npz").read_bytes() == (tmp_path / "b.demand.npz").read_bytes()
    assert {name: type(value) for name, value in vars(again).items()} == {
        name: type(value) for name, value in vars(first).items()
    }


@pytest.mark.parametrize(
    "name", ["units", "price_by_day", "promoted", "skus", "first_date", "period", "notes"]
)
def test_a_book_with_other_content_has_another_digest(name):
    whole = made(30)
    other = {"skus": ("a", "b", "d"), "first_date": "2023-02-28", "period": "week", "notes": ("x",)}
    value = other.get(name, 1 - getattr(whole, name) if name not in other else None)
    assert DemandBook(**{**vars(whole), name: value}).digest() != whole.digest()


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path, book = tmp_path / "a.demand.npz", made(30)
    book.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:200], whole[:-30], whole.replace(b"skus.npy", b"skvs.npy")):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="import it again"):
            DemandBook.load(path)
    for changes in ({"units": book.units + 1}, {"promoted": book.promoted.astype(np.int8)}, {"imputed": [1]}):
        columns = {**vars(book), "digest": book.digest(), **changes}
        np.savez(path, **{name: np.asarray(value) for name, value in columns.items()})
        with pytest.raises(BadInput, match="does not match its digest"):
            DemandBook.load(path)
    with pytest.raises(NotFound):
        DemandBook.load(tmp_path / "nothing")


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_file_of_demand_runs_no_code(tmp_path):
    path, book = tmp_path / "a.demand.npz", made(30)
    bomb = np.array([Touch(tmp_path / "touched")], dtype=object)
    np.savez(path, **{**vars(book), "digest": book.digest(), "notes": bomb})
    with pytest.raises(BadInput, match="import it again"):
        DemandBook.load(path)
    assert not (tmp_path / "touched").exists()
