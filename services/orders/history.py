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

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from workgym.services.history import (
    MOST_CENTS,
    Dialect,
    Fault,
    Form,
    Reading,
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
from workgym.services.orders.baskets import Baskets, from_lines
from workgym.services.orders.rules import MAX_LINES

__all__ = ["COLUMNS", "Dialect", "History", "read_orders", "to_orders"]

REQUIRED = ("invoice", "sku", "quantity", "price", "date")
COLUMNS = {  # field: what exports call it, as in a `Form`
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
FORM = Form("orders", COLUMNS, REQUIRED)
MOST_UNITS = 1_000_000
ADJUST_ABOVE = 99.5  # percentile of the quantities


@dataclass(frozen=True, eq=False)
class History(Reading):
    """What was read. `accepted + sum(rejected.values()) == rows`, for any file.

    The columns of `lines`: invoice, sku, quantity, unit_price_cents, placed_at (to the minute),
    description, customer, country, weight_g (NaN where not known), row (in the file).
    """

    COUNTS: ClassVar[tuple[str, ...]] = ("accepted", "adjusted", "largest_quantity")

    @property
    def largest_quantity(self) -> int:
        """What `to_orders` counts larger quantities as, so that a few pallets do not drown the stock."""
        quantity = self.lines["quantity"].to_numpy()
        return int(np.percentile(quantity, ADJUST_ABOVE, method="higher")) if len(quantity) else 0

    @property
    def adjusted(self) -> int:
        """Accepted rows whose quantity is above `largest_quantity`."""
        return int((self.lines["quantity"] > self.largest_quantity).sum())

    def remarks(self) -> list[str]:
        """How many quantities count as less."""
        if not self.adjusted:
            return []
        return [f"adjusted {self.adjusted:>7,}  a quantity above {self.largest_quantity} counts as that"]


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
    table = read_table(path, FORM, mapping, dialect)
    text = table.columns
    written = guess_order(text["date"], guess_decimal(text["price"], table.dialect))
    found = judged(table, _values(text, written), REQUIRED)
    lines = found.lines.rename(columns={"price": "unit_price_cents", "date": "placed_at"})
    return History(Path(path).name, lines, *found[1:], written, table.mapping)


def _invoice_reader(texts: list[str]) -> Callable[[str], str]:
    given = [text for text in texts if text]
    c_cancels = 2 * sum(text[0] in "Cc" for text in given) < len(given)

    def read(text: str) -> str:
        if c_cancels and re.fullmatch(r"[Cc]\d+", text):
            return Fault("a cancelled invoice (its number starts with C)")
        return named(text) or Fault("no invoice number")

    return read


def _values(text: dict[str, list[str]], dialect: Dialect) -> dict[str, list[Any]]:
    """A value or a fault for each field of each row; columns that the file lacks are empty."""
    number = number_reader(dialect.decimal or ".")
    readers: dict[str, Callable[[str], Any]] = {
        "invoice": _invoice_reader(text["invoice"]),
        "sku": sku_reader(text["sku"]),
        "quantity": amount_reader(number, "quantity", 1, MOST_UNITS),
        "price": amount_reader(number, "price", 100, MOST_CENTS),
        "date": date_reader(dialect.day_first),
        "description": str,
        "customer": named,
        "country": named,
        "weight_g": lambda cell: float(number(cell) or "nan"),
    }
    return {name: each(text.get(name, [""] * len(text["sku"])), read) for name, read in readers.items()}


def to_orders(history: History, max_lines: int = MAX_LINES) -> Baskets:
    """A history's invoices as baskets of at most `max_lines` lines.

    Raises:
        BadInput: no row was accepted, or a basket is worth more than a season can count.
    """
    history.require_lines("order lines")
    return from_lines(history.lines, history.largest_quantity, max_lines)
