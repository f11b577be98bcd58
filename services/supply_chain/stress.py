"""Harder times for a supply chain: what `workgym.services.stress` means here."""

from __future__ import annotations

import math
from dataclasses import replace

from workgym.services.kernel import BadInput
from workgym.services.stress import Stress
from workgym.services.supply_chain.spec import Distribution, Family, Link, Network

OCTAVE = 16  # steps that double demand


def network_under(stress: Stress, network: Network) -> Network:
    """The network as it is under stress; what is planned, usual demand above all, stays what it was.

    Demand moves for good from a day that each episode draws, in the families whose level does not move
    anyway; suppliers' shipments take up to `lead_time` periods longer than in each family; every link
    that has a capacity has `capacity` times as much.

    Raises:
        BadInput: this network's demand does not move, or no link has a capacity.
    """
    families, links = network.families, network.links
    if stress.demand != 1.0:
        _require_moving(network)
        families = tuple(_busier(family, stress.demand) for family in families)
    if stress.lead_time:
        families = tuple(replace(one, late_days=one.late_days + stress.lead_time) for one in families)
    if stress.capacity != 1.0:
        if not any(link.capacity for link in links):
            raise BadInput(f"expected a link with a capacity for this stress, {network.name} has none")
        links = tuple(_narrower(link, stress.capacity) for link in links)
    return replace(network, families=families, links=links)


def _busier(family: Family, factor: float) -> Family:
    if family.level_steps:
        return family
    return replace(family, level_steps=round(OCTAVE * math.log2(factor)), level_days=0, together=True)


def _narrower(link: Link, factor: float) -> Link:
    return replace(link, capacity=max(round(link.capacity * factor), 1)) if link.capacity else link


def _require_moving(network: Network) -> None:
    laws = [node.demand for node in network.nodes if node.demand is not None]
    each = [law for one in laws for law in ([one] if isinstance(one, Distribution) else one)]
    if not all(law.moves for law in each):
        raise BadInput(f"expected demand that can move for this stress, that of {network.name} does not")
