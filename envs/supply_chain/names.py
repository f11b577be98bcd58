"""What decisions and features of a supply chain are called, for whoever reads instead of counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from workgym.envs.supply_chain import view
from workgym.services.supply_chain.scenario import Setup
from workgym.services.supply_chain.spec import Network

_ASKS = {
    "units": "an order in units of quantity; 0 orders nothing",
    "box": "an order in units of quantity; 0 orders nothing",
    "cover": "0 orders nothing; 1 to 15 order up to the expected demand of the protection interval plus "
    "-1.5, -1.0, ... 5.5 deviations",
}


def asks(network: Network, actions: str) -> str:
    """What one decision says, by the encoding of actions."""
    size = f"; {network.step} units of quantity are one that people count" if network.step > 1 else ""
    return _ASKS[actions] + size


def link_names(network: Network) -> tuple[str, ...]:
    """One name a link: where it leads from and to; links between the same nodes are numbered."""
    plain = [f"{link.source} to {link.target}" for link in network.links]
    often, seen = Counter(plain), Counter[str]()
    names = []
    for name in plain:
        seen[name] += 1
        names.append(f"{name}, link {seen[name]}" if often[name] > 1 else name)
    return tuple(names)


def decision_names(network: Network) -> tuple[str, ...]:
    """One name a decision, links outermost: `supplier to centre, SKU 001`."""
    links = link_names(network)
    if len(network.skus) == 1:
        return links
    return tuple(f"{link}, {sku}" for link in links for sku in network.skus)


def feature_names(network: Network, setup: Setup, rows: bool) -> tuple[str, ...]:
    """One name a feature of `view.observe_row` or `view.observe_flat`."""
    return _of_a_row() if rows else tuple(_of_the_whole(network, setup))


def _of_a_row() -> tuple[str, ...]:
    coming = [f"arrives in period {h}" for h in range(1, view.SLOTS)]
    return (*view.HEAD, *coming, f"arrives in period {view.SLOTS} or later", *view.OUTLOOK)


def _of_the_whole(network: Network, setup: Setup) -> Iterator[str]:
    for node in network.nodes:
        for sku in network.skus:
            yield f"{node.name}, {sku}: on hand less waiting customers"
            yield f"{node.name}, {sku}: estimated demand"
    for link in link_names(network):
        for sku in network.skus:
            yield f"{link}, {sku}: owed"
            for h in range(1, setup.delay + 1):
                yield f"{link}, {sku}: ordered, gets there in period {h}"
            for h in range(1, setup.horizon + 1):
                yield f"{link}, {sku}: arrives in period {h}"
    for sku in network.skus:
        yield f"{sku}: season and promotions, octaves"
    yield "share of the episode that has passed"
