"""What an env can be disturbed by: declared in its class, equal on every backend, and harder than usual."""

from typing import Any

import pytest

from workgym.agents.baselines import make_baseline
from workgym.envs import ENV_IDS
from workgym.envs.perturbations import Perturbation, perturbations
from workgym.factory.lab import CHAMPION, REFERENCE, Lab, Player
from workgym.services.kernel import BadInput
from workgym.services.stress import Stress

ORDERS, RETAIL = "workgym/Orders-v0", "workgym/SupplyChain.retail-v0"
SMALL: dict[str, dict[str, Any]] = {
    ORDERS: {"days": 3, "orders_per_day": 6.0},
    RETAIL: {"skus": 2, "stores": 1, "periods": 12},
}
DECLARED = [(env_id, one) for env_id in SMALL for one in perturbations(env_id)]
RULES = {ORDERS: "cheapest-feasible", RETAIL: "tuned-base-stock"}


def lab(env_id: str) -> Lab:
    rule = Player(make_baseline(env_id, RULES[env_id]))
    return Lab(env_id, SMALL[env_id], rule, rule)


@pytest.mark.parametrize("env_id", [env_id for env_id in ENV_IDS if env_id.startswith("workgym/")])
def test_every_env_of_ours_can_be_disturbed(env_id: str) -> None:
    assert {one.axis for one in perturbations(env_id)} >= {"demand", "lead-time", "capacity", "faults"}


@pytest.mark.parametrize(("env_id", "one"), DECLARED, ids=lambda part: getattr(part, "says", str(part)))
def test_the_live_service_is_disturbed_as_the_twin_is(env_id: str, one: Perturbation) -> None:
    here = lab(env_id)
    asked: dict[str, Any] = {"per_family": 1, "env_kwargs": one.env_kwargs, "reads": one.reads}
    twin, live = (here.play(CHAMPION, backend=backend, **asked) for backend in ("twin", "embedded"))
    assert live.profit.tolist() == twin.profit.tolist()
    assert live.violations.tolist() == twin.violations.tolist()


@pytest.mark.parametrize("name", ["demand", "lead-time", "capacity"])
def test_stress_makes_the_business_harder(name: str) -> None:
    here = lab(ORDERS)
    disturbance = next(one for one in perturbations(ORDERS) if one.axis == name)
    usual = here.play(REFERENCE, per_family=16)
    hard = here.play(REFERENCE, per_family=16, env_kwargs=disturbance.env_kwargs)
    assert hard.profit_per_case() < usual.profit_per_case()
    assert (hard.cases.sum() > usual.cases.sum()) == (name == "demand")


def test_no_stress_is_the_season_as_planned() -> None:
    here = lab(ORDERS)
    nothing = here.play(CHAMPION, per_family=1, env_kwargs={"stress": {"demand": 1.0, "lead-time": 0}})
    assert nothing.profit.tolist() == here.play(CHAMPION, per_family=1).profit.tolist()


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"demnad": 1.5}, "no stress named 'demnad'; did you mean 'demand'"),
        ({"demand": 0}, r"a factor in 0.1..4 as stress\['demand'\], found 0"),
        ({"demand": True}, "found True"),
        ({"lead-time": 1.5}, r"whole days in 0..30 as stress\['lead-time'\], found 1.5"),
        (3, "as a mapping from names to numbers, found 3"),
    ],
)
def test_a_stress_that_means_nothing_is_refused(given: Any, found: str) -> None:
    with pytest.raises(BadInput, match=found):
        Stress.of(given)


@pytest.mark.parametrize(
    ("stress", "found"),
    [({"demand": 1.25}, "demand that can move"), ({"capacity": 0.5}, "a link with a capacity")],
)
def test_a_network_that_a_stress_cannot_reach_says_so(stress: dict[str, float], found: str) -> None:
    rule = Player(make_baseline("workgym/SupplyChain.lost-sales-v0", "noop"))
    with pytest.raises(BadInput, match=found):
        Lab("workgym/SupplyChain.lost-sales-v0", {}, rule, rule).play(CHAMPION, env_kwargs={"stress": stress})


def test_an_unknown_env_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(BadInput, match="no env named 'workgym/Order-v0'; did you mean 'workgym/Orders-v0'"):
        perturbations("workgym/Order-v0")
