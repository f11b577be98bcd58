"""Networks from the literature: textbook problems whose optimal costs are known."""

from __future__ import annotations

from collections.abc import Sequence

from workgym.services.kernel import BadInput
from workgym.services.supply_chain.spec import SUPPLIER, Calendar, Distribution, Link, Network, Node


def lost_sales(
    lead_time: int = 4,
    penalty: int = 4,
    demand: str = "poisson",
    mean: float = 5.0,
    holding: int = 1,
    most: int = 40,
    periods: int = 100,
) -> Network:
    """One item, unserved demand is lost.

    Source: Zipkin (2008), "Old and new methods for lost-sales inventory systems".
    """
    opening = round(mean)
    store = Node("store", Distribution(demand, (mean,)), holding=holding, lost=penalty, opening=opening)
    link = Link(SUPPLIER, "store", lead_time, most=most, opening=opening)
    return Network("lost-sales", (store,), (link,), periods=periods, currency="cost units", scale=1)


def dual_sourcing(
    regular_lead: int = 2,
    express_cost: int = 105,
    regular_cost: int = 100,
    holding: int = 5,
    backlog: int = 495,
    most: int = 12,
    periods: int = 100,
) -> Network:
    """A slow cheap and a fast dear supplier.

    Source: Veeraraghavan and Scheller-Wolf (2008); the settings of Gijsbrechts et al. (2022).
    """
    store = Node(
        "store", Distribution("uniform", (0, 4)), holding=holding, waiting=backlog, waits_pm=1000, opening=4
    )
    regular = Link(SUPPLIER, "store", regular_lead, most=most, cost=regular_cost, opening=2)
    express = Link(SUPPLIER, "store", 0, most=most, cost=express_cost)
    return Network(
        "dual-sourcing", (store,), (regular, express), periods=periods, currency="cost units", scale=1
    )


def serial(
    mean: float = 5.0,
    deviation: float = 1.0,
    holding: Sequence[float] = (2.0, 4.0, 7.0),
    lead_times: Sequence[int] = (2, 1, 1),
    penalty: float = 37.12,
    step: int = 100,
    periods: int = 100,
) -> Network:
    """Stages in a row, upstream first, echelon accounting of goods on the way.

    Lead times are those of Clark and Scarf's continuous count, as Snyder and Shen (2019) give them: the
    customers' stage covers `lead_times[-1]` periods of demand, so the link to it takes one period less. The
    holding cost of that period is due when goods leave for the customers' stage.
    """
    if len(holding) != len(lead_times) or not holding or lead_times[-1] < 1:
        raise BadInput(
            "expected a holding cost and a lead time for each stage, the last at least 1, "
            f"found {tuple(holding)} and {tuple(lead_times)}"
        )
    scale = 100_000

    def money(cost: float) -> int:
        return round(cost * scale / step)

    n = len(holding)
    names = [f"stage {n - i}" for i in range(n)]
    law = Distribution("normal", (mean * step, deviation * step))
    usual = round(mean * step)
    nodes = [
        Node(
            name,
            law if i == n - 1 else None,
            holding=money(holding[i]),
            waiting=money(penalty) if i == n - 1 else 0,
            waits_pm=1000,
            opening=usual,
        )
        for i, name in enumerate(names)
    ]
    days = [*lead_times[:-1], lead_times[-1] - 1]
    links = [
        Link(
            SUPPLIER if i == 0 else names[i - 1],
            names[i],
            days[i],
            keeps_orders=i > 0,
            most=usual * 8,
            transit=0 if i == 0 else money(holding[i - 1]),
            cost=money(holding[i - 1]) if 0 < i == n - 1 else 0,
            opening=usual,
        )
        for i in range(n)
    ]
    return Network(
        "serial", tuple(nodes), tuple(links), periods=periods, step=step, currency="1/100,000", scale=scale
    )


def one_warehouse(
    retailers: int = 3,
    warehouse_lead: int = 2,
    retailer_leads: Sequence[int] = (1, 1, 1),
    demands: Sequence[Distribution] = (Distribution("poisson", (3.0,)),),
    warehouse_holding: int = 5,
    retailer_holding: int = 10,
    penalty: int = 90,
    waits_pm: int = 1000,
    periods: int = 100,
) -> Network:
    """One warehouse, several retailers.

    Source: Kaynov et al. (2024), International Journal of Production Economics 267, 109088.
    """
    if len(retailer_leads) not in (1, retailers) or len(demands) not in (1, retailers):
        raise BadInput(
            f"expected one lead time and demand, or {retailers} of each, "
            f"found {len(retailer_leads)} and {len(demands)}"
        )
    leads = list(retailer_leads) * (retailers // len(retailer_leads))
    laws = list(demands) * (retailers // len(demands))
    shops = [
        Node(
            f"retailer {n + 1}",
            laws[n],
            holding=retailer_holding,
            lost=penalty,
            waiting=penalty,
            waits_pm=waits_pm,
            opening=10,
        )
        for n in range(retailers)
    ]
    warehouse = Node("warehouse", holding=warehouse_holding, opening=20)
    links = [Link(SUPPLIER, "warehouse", warehouse_lead, most=100)]
    links += [Link("warehouse", shop.name, leads[n], most=60) for n, shop in enumerate(shops)]
    return Network(
        "one-warehouse",
        (warehouse, *shops),
        tuple(links),
        periods=periods,
        currency="tenths",
        scale=10,
    )


def beer_game(periods: int = 36) -> Network:
    """Four stages; goods travel two weeks, orders one week but for the factory's, which is its own brewer.

    On the board players order at the end of a week; here the same order opens the next one.

    Source: Sterman (1989), "Modeling managerial behavior", Management Science 35(3); the bookkeeping of
    Edali and Yasarcan (2014), "A mathematical model of the beer game", JASSS 17(4).
    """
    names = ("factory", "distributor", "wholesaler", "retailer")
    customers = Distribution("constant", (4,), moves=True)  # 8 from the fifth week: 16 steps are one octave
    nodes = [
        Node(
            name, customers if name == "retailer" else None, holding=5, waiting=10, waits_pm=1000, opening=12
        )
        for name in names
    ]
    links = [
        Link(
            SUPPLIER if n == 0 else names[n - 1],
            name,
            2,
            order_delay=1 if n > 0 else 0,
            keeps_orders=n > 0,
            unshipped=10 if n > 0 else 0,
            most=60,
            opening=4,
        )
        for n, name in enumerate(names)
    ]
    season = (tuple([0] * 4 + [16] * (max(periods, 5) - 4)),)
    return Network(
        "beer-game",
        tuple(nodes),
        tuple(links),
        periods=periods,
        calendar=Calendar(season=season, random_start=False),
        currency="tenths",
        scale=10,
    )


def or_gym(lost: bool = False, periods: int = 30) -> Network:
    """OR-Gym's InvManagement: each stage sells to the next, so only its ends move money.

    Source: Hubbs et al. (2020), "OR-Gym", the defaults of version 0.5.0.
    """
    retailer = Node(
        "stage 1",
        Distribution("poisson", (20.0,)),
        price=2000,
        holding=150,
        lost=100,
        waiting=100,
        waits_pm=0 if lost else 1000,
        opening=100,
    )
    second, third = (
        Node("stage 2", holding=100, opening=100),
        Node("stage 3", holding=50, opening=200),
    )
    links = tuple(
        Link(
            source,
            f"stage {n + 1}",
            days,
            most=capacity,
            capacity=capacity,  # of what leaves, orders that had to wait included
            cost=500 if source == SUPPLIER else 0,
            unshipped=penalty,
            keeps_orders=not lost,
        )
        for n, (source, days, capacity, penalty) in enumerate(
            [("stage 2", 3, 100, 75), ("stage 3", 5, 90, 50), (SUPPLIER, 10, 80, 25)]
        )
    )
    return Network(
        "or-gym",
        (retailer, second, third),
        links,
        periods=periods,
        receives_first=False,
        currency="mills",
        scale=1000,
    )
