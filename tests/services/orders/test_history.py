"""A company's own history: every row is accounted for, whatever the file, and becomes honest baskets."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workgym.services.kernel import BadInput, NotFound
from workgym.services.orders.baskets import Baskets, even_parts, region_of, synthetic, weekday_volumes
from workgym.services.orders.figures import ONLINE_RETAIL
from workgym.services.orders.history import COLUMNS, Dialect, History, read_orders, to_orders
from workgym.services.orders.rules import MAX_LINES
from workgym.services.scenario import SPLITS

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "tests" / "data"
REAL = ROOT.parent / "shared" / "data" / "online_retail_sample.csv"
HEADER = ["invoice", "sku", "quantity", "price", "date", "customer", "country"]
GOOD = ["1", "85123A", "2", "2.50", "2010-12-01 08:26", "17850", "France"]


def written(folder: Path, *rows: list[str], header: list[str] = HEADER, separator: str = ",") -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([header, *rows])
    path = folder / "orders.csv"
    path.write_bytes(text.getvalue().encode())
    return path


def changed(**fields: str) -> list[str]:
    return [fields.get(name, value) for name, value in zip(HEADER, GOOD, strict=True)]


def columns(history: History, *names: str) -> list[tuple]:
    return list(zip(*(history.lines[name].tolist() for name in names), strict=True))


@pytest.fixture(scope="session")
def real() -> History:
    if not REAL.is_file():
        pytest.skip(
            "found no ../shared/data/online_retail_sample.csv; make it of the first 10,000 lines of "
            "UCI Online Retail, doi 10.24432/C5BW33"
        )
    return read_orders(REAL)


# Every row is accounted for

GARBAGE = st.text(st.characters(codec="utf-8"), max_size=20)
WORDS = (
    "1 2 -3 0 C536379 POST 85123A 2,55 1.234,50 1,234.50 1,234 $5 (7) 8- 1/12/2010 13/12/2010 12/13/2010 "
    "2010-12-01T08:26:00Z 31-FEB-2010 nan 99999999999999999999 1e5 -0.001 0.004"
)
PLAUSIBLE = st.sampled_from(WORDS.split())
ROW = st.lists(GARBAGE | PLAUSIBLE, max_size=9) | st.tuples(*[GARBAGE | PLAUSIBLE] * 7).map(list)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(ROW, max_size=12), separator=st.sampled_from(",;\t|"))
def test_accepted_and_rejected_add_up_for_any_rows(tmp_path_factory, rows, separator):
    path = written(tmp_path_factory.getbasetemp(), GOOD, *rows, separator=separator)
    history = read_orders(path)
    assert history.accepted + sum(history.rejected.values()) == history.rows
    assert history.rows == 1 + sum(bool(row) for row in rows)
    assert (history.lines[["quantity", "unit_price_cents"]] > 0).all(axis=None)
    assert not history.lines.isin([""])[["invoice", "sku"]].any(axis=None)
    json.dumps(history.to_dict())


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=300), header=st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, header):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    path.write_bytes(",".join(HEADER).encode() * header + b"\n" + content)
    try:
        history = read_orders(path)
    except BadInput:
        return
    assert history.accepted + sum(history.rejected.values()) == history.rows


def test_the_real_file_adds_up_to_ten_thousand(real):
    assert real.rows == 10_000
    assert real.accepted == 9_818
    assert real.rejected == {
        "a code that is no product (postage, discount, charges)": 36,
        "a cancelled invoice (its number starts with C)": 100,
        "the price is not positive": 16,
        "the quantity is not positive": 30,
    }
    assert (real.dialect.separator, real.dialect.decimal, real.dialect.day_first) == (";", ",", True)
    assert real.lines["placed_at"].dt.date.astype(str).unique().tolist() == [
        *("2010-12-01", "2010-12-02", "2010-12-03", "2010-12-05")
    ]


# Each row has one reason, the first that applies

REASONS = [
    ({"invoice": ""}, "no invoice number"),
    ({"invoice": "C12", "quantity": "-1", "sku": ""}, "a cancelled invoice (its number starts with C)"),
    ({"sku": " nan "}, "no product code"),
    ({"sku": "Bank  Charges"}, "a code that is no product (postage, discount, charges)"),
    ({"quantity": "many", "price": "0"}, "the quantity is not a number"),
    ({"quantity": "1.5"}, "the quantity is not a whole number"),
    ({"quantity": "-4", "price": "x"}, "the quantity is not positive"),
    ({"quantity": "0"}, "the quantity is not positive"),
    ({"quantity": "1000001"}, "the quantity is above 1,000,000"),
    ({"price": ""}, "the price is not a number"),
    ({"price": "0.004", "date": "x"}, "the price is not positive"),
    ({"price": "99999999"}, "the price is above 21,474,836"),
    ({"date": "2010-02-30"}, "the date cannot be read"),
    ({"date": "40513.35"}, "the date cannot be read"),
]


@pytest.mark.parametrize(("fields", "reason"), REASONS)
def test_a_row_is_rejected_for_its_first_reason(tmp_path, fields, reason):
    history = read_orders(written(tmp_path, GOOD, GOOD, changed(**fields)))
    assert history.rejected == {reason: 1}
    assert [(one.row, one.reason) for one in history.examples] == [(4, reason)]


def test_a_row_of_another_width_is_rejected_unless_the_rest_is_empty(tmp_path):
    history = read_orders(written(tmp_path, GOOD, [*GOOD, "", ""], [*GOOD, "x"], GOOD[:-1]))
    assert history.rejected == {"the row has another number of fields than the header": 2}


def test_a_guest_and_a_repeated_row_are_accepted(tmp_path):
    history = read_orders(written(tmp_path, GOOD, GOOD, changed(customer="")))
    assert (history.accepted, history.rejected) == (3, {})
    assert to_orders(history).qty.tolist() == [[6, 0, 0, 0]]


def test_examples_are_few_and_counts_complete(tmp_path):
    history = read_orders(written(tmp_path, GOOD, *[changed(price="0", sku="x" * 500)] * 50))
    assert history.rejected == {"the price is not positive": 50}
    assert len(history.examples) == 3
    assert max(len(one.text) for one in history.examples) <= 100


def coded(*codes: str) -> list[list[str]]:
    return [changed(invoice=str(i), sku=code) for i, code in enumerate(codes)]


@pytest.mark.parametrize("odd", ["M", "D", "C2", "CRUK"])
def test_an_odd_code_is_no_product_among_numbered_ones(tmp_path, odd):
    history = read_orders(written(tmp_path, *coded(odd, *(f"{10000 + i}" for i in range(200)))))
    assert history.rejected == {"a code that is no product (postage, discount, charges)": 1}


@pytest.mark.parametrize(
    "codes",
    [[f"SKU{i}" for i in range(1, 300)], [str(i) for i in range(1, 300)], ["RED", "BLUE", "GREEN-XL", "M"]],
    ids=["SKU1", "1", "words"],
)
def test_a_code_of_the_usual_shape_is_a_product(tmp_path, codes):
    assert read_orders(written(tmp_path, *coded(*codes))).rejected == {}


def test_c_cancels_nothing_where_every_invoice_has_it(tmp_path):
    history = read_orders(written(tmp_path, *(changed(invoice=f"C{i}") for i in range(3))))
    assert history.rejected == {}


# Dialects


def test_a_comma_separated_american_file():
    history = read_orders(DATA / "us_comma.csv")
    assert history.dialect == Dialect("csv", "utf-8", ",", ".", day_first=False)
    assert columns(history, "sku", "quantity", "unit_price_cents", "placed_at", "description") == [
        ("RED-MUG", 2, 1250, pd.Timestamp("2023-12-31 09:05"), "Red mug"),
        ("BLUE-MUG", 1, 125_000, pd.Timestamp("2023-12-31 09:05"), "Blue mug"),
        ("RED-MUG", 1200, 1250, pd.Timestamp("2024-01-02 12:30"), "Red mug"),
        ("DESK-OAK", 1, 39_999, pd.Timestamp("2024-01-03 23:59"), "Desk, oak"),
        ("LAMP", 3, 2000, pd.Timestamp("2024-01-04 00:01"), "Lamp"),
    ]
    assert sum(history.rejected.values()) == 2
    assert to_orders(history).region[2:].tolist() == [4, 5]


def test_a_semicolon_separated_german_file():
    history = read_orders(DATA / "german.csv")
    assert history.dialect == Dialect("csv", "cp1252", ";", ",", day_first=True)
    assert columns(history, "sku", "quantity", "unit_price_cents", "description") == [
        ("10-4711", 1, 129_900, "Kaffeemühle, weiß"),
        ("10-4712", 6, 350, "Tasse"),
        ("10-4713", 10, 100, "Löffel"),
    ]
    assert history.rejected == {"the quantity is not a whole number": 1, "the quantity is not positive": 1}


def test_a_tab_separated_file_with_weights_and_a_blank_line():
    history = read_orders(DATA / "tabs.tsv")
    assert history.dialect == Dialect("csv", "utf-8", "\t", ".")
    assert columns(history, "invoice", "sku", "row") == [("A-1", "P1", 2), ("A-2", "P2", 5)]
    assert [one.row for one in history.examples] == [3, 6, 7]
    assert history.rows == 5
    baskets = to_orders(history)
    assert dict(zip(baskets.codes, baskets.weight_g.tolist(), strict=True)) == {"P1": 250, "P2": 80}


def test_quotes_hold_separators_lines_and_quotes():
    history = read_orders(DATA / "quoted.csv")
    assert history.lines["description"].tolist() == ['12" ruler, steel', "two lines", "another; name"]
    assert to_orders(history).names == ('12" ruler, steel', "two lines")


def test_a_parquet_file_of_typed_columns():
    history = read_orders(DATA / "orders.parquet")
    assert history.dialect == Dialect("parquet", decimal=".")
    assert columns(history, "invoice", "sku", "quantity", "unit_price_cents", "customer", "row") == [
        ("1", "85123A", 6, 255, "17850", 1),
        ("1", "71053", 1, 339, "17850", 2),
        ("2", "85123A", 2, 255, "", 3),
    ]
    assert history.lines["placed_at"].iloc[2] == pd.Timestamp("2010-12-13 09:01")
    assert sum(history.rejected.values()) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_marked_encodings_are_recognised(tmp_path, encoding):
    text = written(tmp_path, changed(country="Österreich")).read_text()
    (tmp_path / "orders.csv").write_bytes(text.encode(encoding))
    history = read_orders(tmp_path / "orders.csv")
    assert history.lines["country"].tolist() == ["Österreich"]
    assert history.dialect.encoding == encoding


@pytest.mark.parametrize(
    ("dates", "day_first", "first"),
    [
        (["1/12/2010", "13/12/2010"], True, "2010-12-01"),
        (["1/12/2010", "1/13/2010"], False, "2010-01-12"),
        (["1.2.24 10:00", "31.1.24"], True, "2024-01-31"),
        (["2010-12-01", "20101202", "3 Dec 2010"], None, "2010-12-01"),
    ],
)
def test_the_whole_column_tells_the_order_of_dates(tmp_path, dates, day_first, first):
    rows = [
        changed(invoice=str(i), date=date.replace("20101202", "2010/12/02")) for i, date in enumerate(dates)
    ]
    history = read_orders(written(tmp_path, *rows))
    assert (history.dialect.day_first, history.dialect.assumed, history.rejected) == (day_first, (), {})
    assert str(history.lines["placed_at"].min().date()) == first


def test_dates_that_read_both_ways_are_an_assumption_and_can_be_told(tmp_path):
    path = written(tmp_path, changed(date="1/12/2010"), changed(date="2/12/2010"))
    history = read_orders(path)
    assert history.dialect.day_first is True
    assert "every date reads both ways; so the file spans 2 days, else 32" in history.dialect.assumed[0]
    assert history.dialect.assumed[0] in "\n".join(history.report())
    told = read_orders(path, dialect=Dialect(day_first=False))
    assert told.dialect.assumed == ()
    assert told.lines["placed_at"].dt.month.tolist() == [1, 2]


def test_dates_that_contradict_each_other_are_an_assumption(tmp_path):
    dates = ["13/1/2010", "14/1/2010", "1/15/2010"]
    history = read_orders(written(tmp_path, *(changed(date=date) for date in dates)))
    assert history.rejected == {"the date cannot be read": 1}
    assert "2 different dates can only be read so, 1 only the other way" in history.dialect.assumed[0]


def test_prices_that_read_both_ways_are_an_assumption(tmp_path):
    history = read_orders(written(tmp_path, changed(price="1,234"), separator=";"))
    assert history.lines["unit_price_cents"].tolist() == [123]
    assert history.dialect.assumed == ("',' is the decimal mark: no price tells",)


@settings(max_examples=100, deadline=None)
@given(
    cents=st.integers(1, 10**9),
    decimal=st.sampled_from(".,"),
    grouped=st.booleans(),
    form=st.sampled_from(["{}", "£{}", "{} €", "EUR {}", "+{}"]),
)
def test_a_price_survives_its_notation(tmp_path_factory, cents, decimal, grouped, form):
    english = f"{Decimal(cents) / 100:{',' if grouped else ''}.2f}"
    text = english if decimal == "." else english.translate(str.maketrans(",.", ".,"))
    path = written(tmp_path_factory.getbasetemp(), changed(price=form.format(text)), separator=";")
    assert read_orders(path).lines["unit_price_cents"].tolist() == [cents]


# Columns


@pytest.mark.parametrize("field", COLUMNS)
def test_every_known_column_name_is_found(tmp_path, field):
    taken = {"invoice": "order_id", "sku": "sku", "quantity": "qty", "price": "price", "date": "date"}
    for name in COLUMNS[field].split():
        header = {**taken, field: name.upper()}
        path = written(tmp_path, [GOOD[0], *GOOD[1:5], "7"][: len(header)], header=list(header.values()))
        assert read_orders(path).mapping[field] == name.upper()


def test_a_given_column_wins_over_a_guess(tmp_path):
    path = written(tmp_path, [*GOOD, "9.00"], header=[*HEADER, "net"])
    history = read_orders(path, {"price": "net"})
    assert history.mapping["price"] == "net"
    assert history.lines["unit_price_cents"].tolist() == [900]


def test_a_missing_column_names_the_way_out(tmp_path):
    path = written(tmp_path, GOOD, header=["invoice", "thing", *HEADER[2:]])
    with pytest.raises(BadInput, match=r"found none for sku among 'invoice', 'thing'.*--map sku=COLUMN"):
        read_orders(path)
    assert read_orders(path, {"sku": "thing"}).accepted == 1


@pytest.mark.parametrize(
    ("mapping", "hint"),
    [
        ({"skuu": "sku"}, "did you mean 'sku'"),
        ({"sku": "skku"}, "no column for sku named 'skku'; did you mean 'sku'"),
    ],
)
def test_a_wrong_mapping_is_refused_with_a_hint(tmp_path, mapping, hint):
    with pytest.raises(BadInput, match=hint):
        read_orders(written(tmp_path, GOOD), mapping)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"", "empty file"),
        (b"PK\x03\x04", "save the sheet as CSV"),
        (b"PAR1 and nothing else", "flat Parquet"),
        (b'invoice,sku,quantity,price,date\n1,"a' + b"\n1,2" * 60, "close the quote"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, hint):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(BadInput, match=hint):
        read_orders(tmp_path / "file")
    with pytest.raises(NotFound):
        read_orders(tmp_path / "nothing")


@pytest.mark.parametrize(
    "dialect", [Dialect(separator="::"), Dialect(decimal=";"), Dialect(encoding="ascii")]
)
def test_an_impossible_dialect_is_refused(tmp_path, dialect):
    with pytest.raises(BadInput, match="expected"):
        read_orders(written(tmp_path, changed(country="Österreich")), dialect=dialect)


# Baskets


@given(counts=st.lists(st.integers(1, 600), min_size=1, max_size=30), largest=st.integers(1, 9))
def test_an_invoice_is_cut_into_few_and_even_parts(counts, largest):
    parts, sizes = even_parts(np.array(counts, dtype=np.int32), largest)
    assert parts.tolist() == [-(-count // largest) for count in counts]
    for count, own in zip(counts, np.split(sizes, np.cumsum(parts)[:-1]), strict=True):
        assert own.sum() == count
        assert own.max() <= largest
        assert own.max() - own.min() <= 1
        assert own.tolist() == sorted(own, reverse=True)


def content(baskets: Baskets) -> Counter[tuple[str, str]]:
    """Units of each (invoice, SKU), which also counts how often a pair occurs."""
    listed = [(b, m) for b in range(len(baskets)) for m in range(int(baskets.lines[b]))]
    units: Counter[tuple[str, str]] = Counter()
    for b, m in listed:
        units[baskets.invoice[b], baskets.codes[baskets.sku[b, m]]] += int(baskets.qty[b, m])
    assert len(units) == len(listed), "a SKU stands on one line of an invoice"
    return units


LINE = st.tuples(
    st.integers(0, 5), st.integers(0, 9), st.integers(1, 9), st.integers(1, 999), st.integers(1, 28)
)


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(LINE, min_size=1, max_size=60), most=st.integers(1, 5))
def test_baskets_hold_what_the_lines_say(tmp_path_factory, lines, most):
    rows = [
        changed(
            invoice=f"i{i}",
            sku=f"p{100 + k}",
            quantity=str(q),
            price=f"{p / 100:.2f}",
            date=f"2024-02-{d:02}",
        )
        for i, k, q, p, d in lines
    ]
    history = read_orders(written(tmp_path_factory.getbasetemp(), *rows))
    baskets = to_orders(history, most)
    total: Counter[tuple[str, str]] = Counter()
    for i, k, q, _, _ in lines:
        total[f"i{i}", f"P{100 + k}"] += min(q, history.largest_quantity)
    assert content(baskets) == total
    assert_sound(baskets, most)


def assert_sound(baskets: Baskets, width: int = MAX_LINES) -> None:
    b, k = len(baskets), len(baskets.codes)
    listed = np.arange(width) < baskets.lines[:, None]
    assert baskets.sku.shape == baskets.qty.shape == (b, width)
    assert ((baskets.sku >= 0) == listed).all()
    assert ((baskets.qty > 0) == listed).all()
    assert baskets.sku.max() < k
    assert baskets.lines.min() >= 1
    assert set(baskets.day.tolist()) == set(range(len(baskets.days)))
    assert list(baskets.days) == sorted(baskets.days)
    assert set(baskets.region.tolist()) <= set(range(6))
    assert len(baskets.invoice) == b
    arrays = [value for value in vars(baskets).values() if isinstance(value, np.ndarray)]
    assert {array.dtype for array in arrays} == {np.dtype(np.int32)}
    assert (baskets.cost_cents <= baskets.price_cents).all()
    assert min(baskets.cost_cents.min(), baskets.weight_g.min(), baskets.weekday_pm.min()) > 0
    assert (
        len(baskets.names)
        == len(baskets.price_cents)
        == len(baskets.cost_cents)
        == len(baskets.weight_g)
        == k
    )


def test_the_real_file_becomes_sound_baskets(real):
    baskets = to_orders(real)
    assert_sound(baskets)
    assert (len(baskets), len(baskets.codes)) == (2549, 1958)
    assert baskets.codes[0] == "22632"
    assert (real.largest_quantity, real.adjusted) == (144, 34)


def test_pallets_are_adjusted_and_counted(tmp_path):
    rows = [changed(invoice=str(i), quantity="2") for i in range(399)] + [
        changed(invoice="x", quantity="5000")
    ]
    history = read_orders(written(tmp_path, *rows))
    assert (history.accepted, history.largest_quantity, history.adjusted) == (400, 2, 1)
    assert to_orders(history).qty.max() == 2
    assert "adjusted       1  a quantity above 2 counts as that" in "\n".join(history.report())


def test_estimates_follow_the_median_price(tmp_path):
    prices = ["1.00", "3.00", "500.00"]
    baskets = to_orders(read_orders(written(tmp_path, *(changed(price=price) for price in prices))))
    assert (baskets.price_cents[0], baskets.cost_cents[0], baskets.weight_g[0]) == (300, 165, 220)


def test_a_basket_beyond_counting_is_refused(tmp_path):
    history = read_orders(written(tmp_path, changed(price="20000000", quantity="900")))
    with pytest.raises(BadInput, match="on invoice '1'"):
        to_orders(history)


def test_a_history_without_lines_makes_no_baskets(tmp_path):
    with pytest.raises(BadInput, match="1 rejected: the price is not positive"):
        to_orders(read_orders(written(tmp_path, changed(price="0"))))
    with pytest.raises(BadInput, match="it has no rows"):
        to_orders(read_orders(written(tmp_path)))


@pytest.mark.parametrize(
    ("country", "home", "regions"),
    [
        ("United Kingdom", "United Kingdom", {0, 1, 2, 3}),
        ("EIRE", "United Kingdom", {4}),
        ("Japan", "United Kingdom", {5}),
        ("Germany", "USA", {5}),
        ("Canada", "USA", {4}),
        ("", "United Kingdom", {0, 1, 2, 3}),
        ("Unspecified", "United Kingdom", {0, 1, 2, 3}),
        ("Texas", "California", {0, 1, 2, 3}),
    ],
)
def test_customers_live_at_home_near_or_far(country, home, regions):
    assert {region_of(country, home, f"customer {i}") for i in range(100)} == regions


def test_a_customer_stays_in_one_region_and_an_invoice_too(real):
    baskets = to_orders(real)
    homes = {
        (invoice, region) for invoice, region in zip(baskets.invoice, baskets.region.tolist(), strict=True)
    }
    assert len(homes) == len(set(baskets.invoice))


def test_days_off_are_left_out_and_unknown_weekdays_are_average():
    volumes = weekday_volumes({"2010-12-01": 10, "2010-12-03": 30})  # Wednesday and Friday
    assert volumes == [None, None, 10, 0, 30, None, None]


# Splits


@pytest.mark.parametrize("source", ["real", "synthetic"])
def test_no_invoice_is_in_two_splits_and_none_is_lost(source, request):
    whole = to_orders(request.getfixturevalue("real")) if source == "real" else synthetic("train")
    parts = {split: whole.partition(split) for split in SPLITS}
    invoices = [set(part.invoice) for part in parts.values()]
    assert sum(map(len, invoices)) == len(set.union(*invoices)) == len(set(whole.invoice))
    assert sum(map(len, parts.values())) == len(whole)
    for split, share in {"train": 0.60, "gate": 0.25, "audit": 0.15}.items():
        assert len(set(parts[split].invoice)) / len(set(whole.invoice)) == pytest.approx(share, abs=0.05)
        assert_sound(parts[split])
        assert (parts[split].codes, parts[split].orders_per_day) == (whole.codes, whole.orders_per_day)


def test_a_tiny_history_cannot_be_split(tmp_path):
    baskets = to_orders(read_orders(written(tmp_path, GOOD)))
    with pytest.raises(BadInput, match="bring a history of 30 invoices or more"):
        baskets.partition("train")
    with pytest.raises(BadInput, match="did you mean 'train'"):
        baskets.partition("trian")


# The file of baskets


def test_baskets_survive_their_file(tmp_path):
    baskets = synthetic("gate", n=50)
    digest = baskets.save(tmp_path / "baskets.npz")
    again = Baskets.load(tmp_path / "baskets.npz")
    assert again.digest() == digest == baskets.digest()
    assert again.invoice == baskets.invoice
    assert again.orders_per_day == baskets.orders_per_day
    baskets.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "baskets.npz").read_bytes()


def test_an_imported_history_survives_its_file(tmp_path, real):
    digest = to_orders(real).save(tmp_path / "baskets")
    assert Baskets.load(tmp_path / "baskets").digest() == digest


def test_a_damaged_file_of_baskets_is_refused(tmp_path):
    path = tmp_path / "baskets.npz"
    baskets = synthetic("gate", n=5)
    baskets.save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"hello", whole[:200], whole[:-30], whole.replace(b"sku.npy", b"skv.npy")):
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="import it again"):
            Baskets.load(path)
    changed_columns = {**vars(baskets), "qty": baskets.qty * 2, "digest": baskets.digest()}
    np.savez(path, **{name: np.asarray(value) for name, value in changed_columns.items()})
    with pytest.raises(BadInput, match="does not match its digest"):
        Baskets.load(path)
    with pytest.raises(NotFound):
        Baskets.load(tmp_path / "nothing")


# The default shop

FROZEN = {"train": "208f83c3bc827b87", "gate": "44435002c8e8f74d", "audit": "6395bccab9f427fa"}


@pytest.mark.parametrize("split", SPLITS)
def test_the_default_shop_is_sound_and_always_the_same(split):
    baskets = synthetic(split)
    assert_sound(baskets)
    assert len(baskets) == 2048
    assert baskets.digest() == synthetic(split).digest()
    assert baskets.qty.max() == ONLINE_RETAIL.quantity[-1] == 25


def test_the_default_shop_is_the_frozen_one():
    """A change here changes every suite that was frozen on the default shop."""
    assert {split: synthetic(split).digest()[:16] for split in SPLITS} == FROZEN


def test_splits_share_the_catalogue_and_the_volume_but_no_invoice():
    shops = [synthetic(split) for split in SPLITS]
    for name in ("codes", "names", "price_cents", "cost_cents", "weight_g", "orders_per_day", "weekday_pm"):
        assert len({json.dumps(np.asarray(getattr(shop, name)).tolist()) for shop in shops}) == 1
    assert not set.intersection(*(set(shop.invoice) for shop in shops))
    assert len({shop.sku.tobytes() for shop in shops}) == 3


@pytest.mark.parametrize(("n", "n_skus"), [(1, 1), (7, 3), (300, 128)])
def test_the_default_shop_comes_in_other_sizes(n, n_skus):
    baskets = synthetic("train", n, n_skus)
    assert_sound(baskets)
    assert (len(baskets), len(baskets.codes)) == (n, n_skus)


@pytest.mark.parametrize(("n", "n_skus"), [(0, 32), (10, 0), (10, 129)])
def test_an_impossible_shop_is_refused(n, n_skus):
    with pytest.raises(BadInput, match=r"n_skus in 1\.\.128"):
        synthetic("train", n, n_skus)


def test_the_default_shop_resembles_the_real_one(real):
    """Within a fifth on what freight and stock depend on; its catalogue is 60 times smaller."""
    ours, theirs = synthetic("train"), to_orders(real)
    clipped = np.minimum(theirs.qty, ONLINE_RETAIL.quantity[-1])
    assert ours.lines.mean() == pytest.approx(theirs.lines.mean(), rel=0.05)
    assert ours.qty.sum() / ours.lines.sum() == pytest.approx(clipped.sum() / theirs.lines.sum(), rel=0.2)
    assert worth(ours, ours.qty) == pytest.approx(worth(theirs, clipped), rel=0.2)
    assert (ours.region >= 4).mean() == pytest.approx((theirs.region >= 4).mean(), abs=0.03)


def worth(baskets: Baskets, qty: np.ndarray) -> float:
    """Mean cents of a line."""
    return float((baskets.price_cents[np.maximum(baskets.sku, 0)] * qty).sum() / baskets.lines.sum())


def test_the_published_figures_are_those_of_the_real_file(real):
    spec = importlib.util.spec_from_file_location("figures_benchmark", ROOT / "benchmarks" / "figures.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.measure(real) == ONLINE_RETAIL
