"""A network's description: what it refuses, and that it survives JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from workgym.services.kernel import BadInput
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.retail import retail
from workgym.services.supply_chain.scenario import setup_of
from workgym.services.supply_chain.spec import Distribution, Link, Network, Node, network_from

ALL = {
    "lost-sales": presets.lost_sales(),
    "dual-sourcing": presets.dual_sourcing(),
    "serial": presets.serial(),
    "one-warehouse": presets.one_warehouse(),
    "beer-game": presets.beer_game(),
    "or-gym": presets.or_gym(),
    "retail": retail("train", 3, 2, 12),
}
STORE = Node("store", Distribution("poisson", (5.0,)))
SUPPLY = Link("supplier", "store", 2)


@pytest.mark.parametrize("name", ALL)
def test_a_network_survives_json(name):
    network = ALL[name]
    assert network_from(json.loads(json.dumps(network.to_dict()))) == network


@pytest.mark.parametrize("name", ALL)
def test_a_network_can_be_hashed_and_becomes_arrays(name):
    hash(ALL[name])
    setup = setup_of(ALL[name])
    assert len(setup.source) == len(ALL[name].links)
    assert (setup.usual >= 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nodes": (STORE, STORE)}, "names that differ"),
        ({"links": (replace(SUPPLY, target="stores"),)}, "did you mean 'store'"),
        ({"links": (replace(SUPPLY, source="suplier"),)}, "did you mean 'supplier'"),
        ({"links": (replace(SUPPLY, lead_time=((1, 500), (2, 400))),)}, "add up to 1000"),
        ({"links": (replace(SUPPLY, lead_time=99),)}, "lead times in 0..60"),
        ({"links": (replace(SUPPLY, instalments_pm=(500,)),)}, "instalments"),
        ({"links": (replace(SUPPLY, most=(1, 2)),)}, "1 values of most"),
        ({"nodes": (replace(STORE, waits_pm=2000),)}, "waits_pm"),
        ({"nodes": (STORE, Node("lonely"))}, "a link to every node"),
        ({"periods": 0}, "periods"),
        ({"links": ()}, "links"),
    ],
)
def test_a_network_that_makes_no_sense_is_refused(change, said):
    fields = {"name": "n", "nodes": (STORE,), "links": (SUPPLY,), **change}
    with pytest.raises(BadInput, match=said):
        Network(**fields)


def test_a_misspelt_field_is_named_with_the_nearest_known_one():
    given = ALL["lost-sales"].to_dict()
    given["links"][0]["leed_time"] = 3
    with pytest.raises(BadInput, match="did you mean 'lead_time'"):
        network_from(given)


def test_a_missing_field_is_named():
    with pytest.raises(BadInput, match="name"):
        network_from({"nodes": [], "links": []})


def test_each_split_has_an_assortment_of_its_own():
    gate, train = retail("gate"), retail("train")
    assert gate.nodes[1].price != train.nodes[1].price
    assert retail("gate") == gate
