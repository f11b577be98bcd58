"""Textbook problems of the supply chain: what policies cost in the env, beside what is published.

    python -m benchmarks.inventory [--quick] [--only lost-sales dual-sourcing serial or-gym]

Costs are long-run averages a period, played in the env by 4,096 lanes after a warm-up, with a standard
error over lanes. "Exact" is computed from the policy's Markov chain, without the env. The gap is to the
exact optimum. CPU seconds are what it took to find the policy, on one thread.

Sources of the published figures: lost sales: Zipkin (2008), Operations Research 56(5), table 3, and its
heuristics as the invman catalogue (github NimaMan/invman, 6a9826b) carries them. Dual sourcing: gaps of
Gijsbrechts et al. (2022), M&SOM 24(3), figure 9. Serial: Pirhooshyaran and Snyder (2020), arXiv
2006.05608, tables 2 and 3. OR-Gym: a study of ours of version 0.5.0, research notes section 3.1.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

from workgym.agents.baselines import inventory, make_baseline
from workgym.agents.inventory import lost_sales
from workgym.agents.policy import Policy
from workgym.envs.base import VectorEnv
from workgym.services.supply_chain import presets

LANES = 4096


class Size(NamedTuple):
    """How much is played and learned."""

    periods: int
    updates: int  # gradient steps of pathwise
    ppo_steps: int
    cells: int | None = None  # of a table, None for all


WHOLE, QUICK = Size(2_000, 1_000, 3_000_000), Size(200, 150, 100_000, 1)


class Measured(NamedTuple):
    """An average cost a period and its standard error, in the network's unit of money."""

    cost: float
    error: float


def measured(
    env_id: str, policy: Policy, periods: int, lanes: int = LANES, warm_up: int = 100, **parameters: Any
) -> Measured:
    """The average cost a period of a policy in the env, after a warm-up."""
    env = cast(
        VectorEnv, gym.make_vec(env_id, num_envs=lanes, split="gate", periods=warm_up + periods, **parameters)
    )
    obs, _ = env.reset(seed=0)
    policy.begin(env)
    total = np.zeros(lanes)
    for period in range(warm_up + periods):
        obs, reward, _, _, _ = env.step(policy.act(obs, env.mask))
        if period >= warm_up:
            total -= reward
    env.close()
    means = total / periods
    return Measured(float(means.mean()), float(means.std(ddof=1) / np.sqrt(lanes)))


def timed(make: Callable[[], Any]) -> tuple[Any, float]:
    """What is made, and the CPU seconds that it took."""
    began = time.process_time()
    return make(), time.process_time() - began


def begun(env_id: str, name: str, parameters: dict[str, Any]) -> tuple[Policy, float]:
    """A baseline that has found its parameters, and the CPU seconds that it took."""
    env = cast(VectorEnv, gym.make_vec(env_id, num_envs=1, **parameters))
    policy = make_baseline(env_id, name)
    _, seconds = timed(lambda: policy.begin(env))
    env.close()
    return policy, seconds


def row(*cells: object) -> None:
    """Print a line of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(title: str, *cells: str) -> None:
    """Print a title and the head of a table."""
    print(f"\n## {title}\n")
    row(*cells)
    row(*("---" for _ in cells))


# Lost sales

OPTIMAL = {4: (4.04, 4.40, 4.60, 4.73), 9: (5.44, 6.09, 6.53, 6.84)}  # by penalty, lead times 1 to 4
HEURISTICS = {("myopic", 4, 4): 5.06, ("capped-base-stock", 4, 4): 4.80}  # by policy, lead time, penalty


def published(name: str, lead_time: int, penalty: int) -> str:
    """The literature's figure, or nothing."""
    if name == "optimal":
        return f"{OPTIMAL[penalty][lead_time - 1]:.2f}"
    found = HEURISTICS.get((name, lead_time, penalty))
    return "" if found is None else f"{found:.2f}"


def lost_sales_table(size: Size) -> None:
    """Poisson(5), lead times 1 to 4, penalties 4 and 9."""
    head(
        "Lost sales, Poisson(5)",
        "L", "p", "policy", "published", "exact", "in the env", "gap to optimum", "CPU s to find",
    )  # fmt: skip
    cells = [(4, 4), (4, 9), *((L, p) for L in (3, 2, 1) for p in (4, 9))][: size.cells]
    for lead_time, penalty in sorted(cells):
        parameters: dict[str, Any] = {"lead_time": lead_time, "penalty": penalty}
        problem = inventory.lost_sales_problem(presets.lost_sales(**parameters))
        best = lost_sales.optimum(problem).average.cost
        for name in inventory.LOST_SALES_POLICIES:
            policy, seconds = begun(inventory.LOST_SALES, name, parameters)
            exact = lost_sales.evaluate(problem, cast(Any, policy).policy).cost
            found = measured(inventory.LOST_SALES, policy, size.periods, **parameters)
            _lost_sales_row(parameters, name, f"{exact:.4f}", found, exact / best - 1, seconds)
        for name, policy, seconds in _learned(inventory.LOST_SALES, parameters, size):
            found = measured(inventory.LOST_SALES, policy, size.periods, **parameters)
            _lost_sales_row(parameters, name, "", found, found.cost / best - 1, seconds)


def _lost_sales_row(
    parameters: dict[str, int], name: str, exact: str, found: Measured, gap: float, seconds: float
) -> None:
    at = parameters["lead_time"], parameters["penalty"]
    cost = f"{found.cost:.4f} ± {found.error:.4f}"
    row(*at, name, published(name, *at), exact, cost, f"{gap:+.2%}", f"{seconds:.2f}")


def _learned(env_id: str, parameters: dict[str, Any], size: Size) -> Iterator[tuple[str, Policy, float]]:
    """Policies that learn, and the CPU seconds of their training."""
    from workgym.agents.pathwise.learner import train_for_cost

    lead = int(parameters.get("lead_time", parameters.get("regular_lead", 4)))
    window: dict[str, Any] = {"window": 4 * lead + 16, "tail": lead + 4, "lanes": 256}
    policy, seconds = train_for_cost(env_id, env_kwargs=parameters, updates=size.updates, **window)
    yield "pathwise", policy, seconds


TABLES: dict[str, Callable[[Size], None]] = {"lost-sales": lost_sales_table}


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--only", nargs="*", choices=TABLES, default=list(TABLES))
    given = arguments.parse_args()
    for name in given.only:
        TABLES[name](QUICK if given.quick else WHOLE)


if __name__ == "__main__":
    main()
