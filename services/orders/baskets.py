"""What customers order, as arrays: a company's own baskets, or the default shop's.

A basket is the content of one fulfilment order: up to `MAX_LINES` lines of one invoice. Longer
invoices become several baskets of even size. A season draws its orders from these arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workgym.services.columns import read_columns, require_whole, write_columns
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.orders.figures import KNOTS, ONLINE_RETAIL, Figures
from workgym.services.orders.rules import MAX_LINES
from workgym.services.scenario import SPLITS

if TYPE_CHECKING:
    import pandas as pd

Ints = NDArray[np.int32]

SHARES = {"train": 60, "gate": 25, "audit": 15}  # percent of invoices
ENOUGH_INVOICES = 30  # with 30, a split of 15% stays empty in under 1% of the histories
COST_PERCENT = 55  # cost of goods in percent of the price: a gift wholesaler's usual mark-up
N_DOMESTIC, NEAR, FAR = 4, 4, 5  # regions 0..3 are at home
LARGEST = 2**31 - 1
NOWHERE = {"", "unspecified", "unknown", "other"}


def _places(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(","))


EUROPE = _places(
    "albania, austria, belarus, belgium, bosnia and herzegovina, bulgaria, channel islands, croatia, cyprus, "
    "czech republic, czechia, denmark, eire, estonia, european community, finland, france, germany, greece, "
    "hungary, iceland, ireland, italy, latvia, lithuania, luxembourg, malta, moldova, monaco, montenegro, "
    "netherlands, north macedonia, norway, poland, portugal, romania, serbia, slovakia, slovenia, spain, "
    "sweden, switzerland, uk, ukraine, united kingdom, al, at, ba, be, bg, by, ch, cy, cz, de, dk, ee, es, "
    "fi, fr, gb, gr, hr, hu, ie, is, it, li, lt, lu, lv, mc, md, me, mk, mt, nl, no, pl, pt, ro, rs, se, si, "
    "sk, ua"
)
AMERICA = _places("united states, united states of america, usa, us, canada, ca, mexico, mx")
PACIFIC = _places("australia, au, new zealand, nz")
NEIGHBOURS = (EUROPE, AMERICA, PACIFIC)


@dataclass(frozen=True, eq=False)
class Baskets:
    """B baskets of K SKUs, M lines at most. Two are the same when their digests are.

    Attributes:
        sku: (B, M) index into `codes`, -1 where there is no line.
        qty: (B, M) units, 0 where there is no line.
        lines: (B,) lines of each basket, at least one.
        region: (B,) 0..3 at home, 4 near abroad, 5 far abroad.
        day: (B,) index into `days`.
        invoice: (B,) invoice that the basket is (a part of).
        codes: (K,) SKU codes, the most often ordered first.
        names: (K,) what people call them.
        price_cents: (K,) median unit price.
        cost_cents: (K,) cost of goods of one unit.
        weight_g: (K,) weight of one unit.
        days: ISO dates with at least one order, ascending.
        orders_per_day: mean over `days` of the whole history, also in a partition.
        weekday_pm: volume of each weekday that the shop works, Monday first, per mille of their mean;
            of the whole history, also in a partition.
    """

    sku: Ints
    qty: Ints
    lines: Ints
    region: Ints
    day: Ints
    invoice: tuple[str, ...]
    codes: tuple[str, ...]
    names: tuple[str, ...]
    price_cents: Ints
    cost_cents: Ints
    weight_g: Ints
    days: tuple[str, ...]
    orders_per_day: float
    weekday_pm: Ints

    def __len__(self) -> int:
        return len(self.lines)

    def digest(self) -> str:
        """Content hash, the same on every machine."""
        whole = hashlib.sha256()
        for name, value in vars(self).items():
            plain = value.tolist() if isinstance(value, np.ndarray) else value
            whole.update(json.dumps([name, plain]).encode())
        return whole.hexdigest()

    def save(self, path: str | Path) -> str:
        """Write one `.npz` file without pickled objects; returns the digest that `load` verifies."""
        return write_columns(path, vars(self), self.digest())

    @classmethod
    def load(cls, path: str | Path) -> Baskets:
        """Read what `save` wrote.

        Raises:
            NotFound: there is no such file.
            BadInput: the file is damaged, or something else.
        """
        absent = f"no baskets at {Path(path)}; `factory import orders FILE` makes them"
        columns = read_columns(path, [field.name for field in fields(cls)], absent, _damaged)
        baskets = cls(**{field.name: _restored(columns[field.name]) for field in fields(cls)})
        require_whole(path, columns, baskets.digest(), _damaged)
        return baskets

    def partition(self, split: str) -> Baskets:
        """The baskets of a split's invoices; no invoice is in two splits.

        Raises:
            BadInput: there is no such split, or the history is too small to fill all three.
        """
        _known_split(split)
        of_invoice = {invoice: _split_of(invoice) for invoice in self.invoice}
        empty = [name for name in SPLITS if name not in of_invoice.values()]
        if empty:
            raise BadInput(
                f"expected invoices for each of {', '.join(SPLITS)}, found none for {', '.join(empty)} "
                f"among {len(of_invoice)}; bring a history of {ENOUGH_INVOICES} invoices or more"
            )
        return self._only(np.array([of_invoice[invoice] == split for invoice in self.invoice]))

    def _only(self, chosen: NDArray[np.bool_]) -> Baskets:
        used, day = np.unique(self.day[chosen], return_inverse=True)
        return replace(
            self,
            sku=self.sku[chosen],
            qty=self.qty[chosen],
            lines=self.lines[chosen],
            region=self.region[chosen],
            day=day.astype(np.int32),
            days=tuple(self.days[i] for i in used),
            invoice=tuple(name for name, kept in zip(self.invoice, chosen, strict=True) if kept),
        )


def _restored(column: NDArray[Any]) -> Any:
    if column.dtype.kind == "U":
        return tuple(column.tolist())
    return float(column) if column.ndim == 0 else column


def _damaged(path: str | Path, found: str) -> BadInput:
    return BadInput(
        f"expected baskets in {Path(path)}, found a file that cannot be used: {found}; import it again"
    )


def _known_split(split: str) -> None:
    if split not in SPLITS:
        raise BadInput(did_you_mean("split", split, list(SPLITS)))


def _split_of(invoice: str) -> str:
    percent = stable_number("split", invoice) % 100
    if percent < SHARES["train"]:
        return "train"
    return "gate" if percent < SHARES["train"] + SHARES["gate"] else "audit"


def stable_number(purpose: str, name: str) -> int:
    """A number from a name, the same everywhere; two purposes give unrelated numbers."""
    return int.from_bytes(hashlib.sha256(f"{purpose}/{name}".encode()).digest()[:8], "little")


def even_parts(counts: Ints, largest: int = MAX_LINES) -> tuple[Ints, Ints]:
    """Cut groups of `counts` members into as few parts as hold `largest` each, of even size.

    Args:
        counts: (I,) members of each group, at least one.
        largest: members that a part can hold.

    Returns:
        (I,) parts of each group, and (P,) members of each part; 13 with 4 gives 4, 3, 3, 3.
    """
    parts = -(-counts // largest)
    group = np.repeat(np.arange(len(counts)), parts)
    first = np.cumsum(parts) - parts
    position = np.arange(len(group)) - first[group]
    sizes = counts[group] // parts[group] + (position < counts[group] % parts[group])
    return parts.astype(np.int32), sizes.astype(np.int32)


def as_rows(values: Ints, sizes: Ints, width: int, padding: int) -> Ints:
    """Lay consecutive runs of `sizes` values out as rows of a padded (B, width) array."""
    rows = np.full((len(sizes), width), padding, dtype=np.int32)
    rows[np.arange(width) < sizes[:, None]] = values
    return rows


def weekday_volumes(came: Mapping[str, int]) -> list[float | None]:
    """(7,) mean of each weekday's dates, Monday first; 0 is a day off, None lies outside the history.

    Args:
        came: how many orders came on each ISO date that had any.
    """
    dates = np.array(sorted(came), dtype="datetime64[D]")
    covered = np.arange(dates[0], dates[-1] + 1)
    total = np.bincount(_weekday(dates), [came[str(date)] for date in dates], minlength=7)
    dates_of = np.bincount(_weekday(covered), minlength=7)
    return [float(total[w] / dates_of[w]) if dates_of[w] else None for w in range(7)]


def _weekday(dates: NDArray[Any]) -> NDArray[np.int64]:
    """Monday is 0; the first of January 1970 was a Thursday."""
    return (dates.astype(np.int64) + 3) % 7


def _profile(volumes: Iterable[float | None]) -> Ints:
    """(W,) volumes of the days that the shop works, per mille of their mean; an unknown one is average."""
    known = list(volumes)
    mean = _mean_open(known)
    worked = [mean if volume is None else volume for volume in known if volume is None or volume > 0]
    return np.maximum(np.rint(np.array(worked) * 1000 / mean), 1).astype(np.int32)


def _mean_open(volumes: Iterable[float | None]) -> float:
    """Mean of the weekdays that are known to be worked."""
    worked = [volume for volume in volumes if volume]
    return sum(worked) / len(worked)


def cost_of(price_cents: Ints) -> Ints:
    """(K,) cost of goods where the books do not tell: a share of the price, rounded, at least a cent."""
    return np.maximum((price_cents.astype(np.int64) * COST_PERCENT + 50) // 100, 1).astype(np.int32)


def weight_of(price_cents: Ints) -> Ints:
    """(K,) grams where nobody weighed: 100 g and 40 g for each unit of currency, 5 kg at most."""
    return np.minimum(100 + price_cents.astype(np.int64) * 40 // 100, 5000).astype(np.int32)


def from_lines(lines: pd.DataFrame, largest_quantity: int, max_lines: int = MAX_LINES) -> Baskets:
    """Baskets of the accepted lines of a history.

    A row's quantity counts at most `largest_quantity`; equal SKUs of an invoice are one line. Invoices
    stand in the order of their first moment, lines in the order of the file.

    Raises:
        BadInput: a basket is worth or weighs more than a season can count.
    """
    goods, heads = _goods(lines), _heads(lines)
    counted = lines.assign(quantity=lines["quantity"].clip(upper=largest_quantity))
    pairs = counted.groupby(["invoice", "sku"], sort=False)
    merged = pairs.agg(units=("quantity", "sum"), row=("row", "min")).reset_index()
    number = _positions(heads.index, merged["invoice"])
    order = np.lexsort((merged["row"].to_numpy(), number))
    parts, sizes = even_parts(np.bincount(number).astype(np.int32), max_lines)
    owner = np.repeat(np.arange(len(heads)), parts)
    sku = _positions(goods.index, merged["sku"])[order]
    qty = np.minimum(merged["units"].to_numpy()[order], LARGEST).astype(np.int32)
    days, day = np.unique(heads["placed_at"].to_numpy().astype("datetime64[D]"), return_inverse=True)
    dates = tuple(str(date) for date in days)
    per_day = np.bincount(day[owner])
    price = np.maximum(np.rint(goods["price"].to_numpy()), 1).astype(np.int32)
    baskets = Baskets(
        sku=as_rows(sku, sizes, max_lines, -1),
        qty=as_rows(qty, sizes, max_lines, 0),
        lines=sizes,
        region=_regions_of(heads)[owner],
        day=day[owner].astype(np.int32),
        invoice=tuple(heads.index[i] for i in owner),
        codes=tuple(goods.index),
        names=tuple(goods["name"]),
        price_cents=price,
        cost_cents=cost_of(price),
        weight_g=_weights(goods["weight_g"].to_numpy(), price),
        days=dates,
        orders_per_day=float(per_day.mean()),
        weekday_pm=_profile(weekday_volumes(dict(zip(dates, per_day.tolist(), strict=True)))),
    )
    _require_totals_fit(baskets)
    return baskets


def _heads(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each invoice, by its first moment; of several customers or countries the last by name."""
    facts = {"placed_at": "min", "customer": "max", "country": "max", "row": "min"}
    return lines.groupby("invoice", sort=False).agg(facts).sort_values(["placed_at", "row"])


def _goods(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each SKU, the most often ordered first."""
    goods = lines.groupby("sku").agg(
        lines=("row", "size"), price=("unit_price_cents", "median"), weight_g=("weight_g", "median")
    )
    named = lines[lines["description"] != ""].drop_duplicates("sku").set_index("sku")["description"]
    goods["name"] = [named.get(code, code) for code in goods.index]
    return goods.sort_values("lines", ascending=False, kind="stable")


def _positions(names: Iterable[str], wanted: Iterable[str]) -> Ints:
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[name] for name in wanted], dtype=np.int32)


def _weights(measured: NDArray[np.float64], price_cents: Ints) -> Ints:
    """(K,) measured grams where they are known and positive, else the estimate."""
    known = np.nan_to_num(measured, nan=0.0, posinf=0.0)
    return np.where(known >= 0.5, np.rint(np.minimum(known, LARGEST)), weight_of(price_cents)).astype(
        np.int32
    )


def _regions_of(heads: pd.DataFrame) -> Ints:
    """(I,) region of each invoice; a guest lives where the invoice's number says."""
    countries = heads["country"].tolist()
    known = Counter(country for country in countries if country.lower() not in NOWHERE)
    home = known.most_common(1)[0][0] if known else ""
    people = zip(heads.index, heads["customer"], countries, strict=True)
    return np.array(
        [region_of(country, home, who or invoice) for invoice, who, country in people], dtype=np.int32
    )


def region_of(country: str, home: str, customer: str) -> int:
    """The region of a customer of a shop whose home country is `home`.

    Near is abroad on the home country's continent, far is elsewhere. Where the country is not known, or
    the shop's own is none that we know (a column of states or towns), the customer counts as at home.
    """
    around = next((places for places in NEIGHBOURS if home.lower() in places), None)
    if around is None or country == home or country.lower() in NOWHERE:
        return stable_number("region", customer) % N_DOMESTIC
    return NEAR if country.lower() in around else FAR


def _require_totals_fit(baskets: Baskets) -> None:
    sku = np.maximum(baskets.sku, 0)
    for total, each in (("worth", baskets.price_cents), ("weight", baskets.weight_g)):
        sums = (each[sku].astype(np.int64) * baskets.qty).sum(axis=1)
        if sums.max() > LARGEST:
            raise BadInput(
                f"expected each basket's {total} below {LARGEST:,} cents or grams, found {sums.max():,} on "
                f"invoice {baskets.invoice[int(sums.argmax())]!r}; take it out, or give a larger unit"
            )


def synthetic(split: str, n: int = 2048, n_skus: int = 32) -> Baskets:
    """The default shop: `n` baskets drawn from the published figures of a real one.

    All splits share one catalogue and one calendar; invoices differ. The last invoice is cut where
    `n` is reached. Quantities stop at the figures' 95% quantile: a season is about parcels, not pallets.

    Raises:
        BadInput: there is no such split, or a number is outside its range.
    """
    _known_split(split)
    most = len(ONLINE_RETAIL.popularity)
    if n < 1 or not 1 <= n_skus <= most:
        raise BadInput(f"expected n of 1 or more and n_skus in 1..{most}, found n={n} and n_skus={n_skus}")
    shop, rng = ONLINE_RETAIL, _generator(split)
    price, band = _catalogue(shop, n_skus)
    counts = np.minimum(_drawn(rng.random(n), shop.lines_per_invoice), n_skus)
    parts, sizes = even_parts(counts)
    sizes, owner = sizes[:n], np.repeat(np.arange(n), parts)[:n]
    sku = _without_replacement(rng.random((n, n_skus)), shop.popularity[:n_skus], counts)[: sizes.sum()]
    qty = _quantities(rng.random(len(sku)), band[sku], shop)
    region = _regions(rng.random((n, 2)), shop)
    days, day_of_invoice = _calendar(shop, int(owner[-1]) + 1)
    return Baskets(
        sku=as_rows(sku, sizes, MAX_LINES, -1),
        qty=as_rows(qty, sizes, MAX_LINES, 0),
        lines=sizes,
        region=region[owner],
        day=day_of_invoice[owner],
        invoice=tuple(f"{split}-{i:06d}" for i in owner),
        codes=tuple(f"A{k + 1:03d}" for k in range(n_skus)),
        names=tuple(f"article {k + 1}" for k in range(n_skus)),
        price_cents=price,
        cost_cents=cost_of(price),
        weight_g=weight_of(price),
        days=days,
        orders_per_day=_expected_orders_per_day(shop, n_skus),
        weekday_pm=_profile(shop.invoices_by_weekday),
    )


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(stable_number("synthetic", name)))


def _catalogue(shop: Figures, n_skus: int) -> tuple[Ints, Ints]:
    """(K,) prices at evenly spread quantiles in a fixed shuffle, and the price band of each."""
    level = (np.argsort(_generator("catalogue").random(n_skus)) + 0.5) / n_skus
    band = (level * len(shop.quantity_by_price)).astype(np.int32)
    return _drawn(level, shop.price_cents), band


def _drawn(level: NDArray[np.float64], quantiles: tuple[int, ...]) -> Ints:
    """Whole numbers at the given levels of a distribution known by its quantiles."""
    return np.rint(np.interp(level, KNOTS[: len(quantiles)], quantiles)).astype(np.int32)


def _without_replacement(level: NDArray[np.float64], popularity: tuple[int, ...], counts: Ints) -> Ints:
    """The first `counts` of each row's SKUs in order of exponential arrival times with rate popularity.

    Source: Efraimidis and Spirakis (2006), "Weighted random sampling with a reservoir".
    """
    arrival = -np.log1p(-level) / np.asarray(popularity)
    ranked = np.argsort(arrival, axis=1, kind="stable").astype(np.int32)
    return ranked[np.arange(ranked.shape[1]) < counts[:, None]]


def _quantities(level: NDArray[np.float64], band: Ints, shop: Figures) -> Ints:
    by_band = [_drawn(level, quantiles) for quantiles in shop.quantity_by_price]
    return np.minimum(np.choose(band, by_band), shop.quantity[-1]).astype(np.int32)


def _regions(level: NDArray[np.float64], shop: Figures) -> Ints:
    abroad = np.searchsorted(
        np.cumsum(shop.invoices_by_distance), level[:, 0] * sum(shop.invoices_by_distance), "right"
    )
    at_home = (level[:, 1] * N_DOMESTIC).astype(np.int32)
    return np.where(abroad == 0, at_home, abroad + NEAR - 1).astype(np.int32)


def _calendar(shop: Figures, n_invoices: int) -> tuple[tuple[str, ...], Ints]:
    """Dates from the figures' first day on, each filled with its weekday's invoices; days off are skipped."""
    average = round(_mean_open(shop.invoices_by_weekday))
    days: list[str] = []
    filled: list[int] = []
    date = np.datetime64(shop.first_day, "D")
    while len(filled) < n_invoices:
        volume = shop.invoices_by_weekday[int(_weekday(np.array([date]))[0])]
        today = average if volume is None else volume
        if today:
            filled += [len(days)] * today
            days.append(str(date))
        date += np.timedelta64(1, "D")
    return tuple(days), np.array(filled[:n_invoices], dtype=np.int32)


def _expected_orders_per_day(shop: Figures, n_skus: int) -> float:
    """Mean invoices of an open day times mean baskets of an invoice, from the figures alone."""
    level = (np.arange(1000) + 0.5) / 1000
    parts, _ = even_parts(np.minimum(_drawn(level, shop.lines_per_invoice), n_skus))
    return _mean_open(shop.invoices_by_weekday) * int(parts.sum()) / len(parts)
