"""Textbook problems of the supply chain: what policies cost in the env, beside what is published.

    python -m benchmarks.inventory [--quick] [--only lost-sales dual-sourcing serial or-gym] [--cells N]

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
from functools import partial
from typing import Any, NamedTuple, cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from workgym.agents.baselines import inventory, make_baseline
from workgym.agents.baselines.foresight_lp import upper_bound
from workgym.agents.inventory import dual_sourcing, lost_sales, serial
from workgym.agents.policy import Policy
from workgym.envs.base import VectorEnv
from workgym.services.supply_chain import presets
from workgym.services.supply_chain.scenario import Setup
from workgym.services.supply_chain.state import State

LANES = 4096


class Size(NamedTuple):
    """How much is played and learned."""

    periods: int
    updates: int  # gradient steps of pathwise
    ppo_steps: int
    cells: int | None = None  # of a table, None for all


WHOLE, QUICK = Size(2_000, 800, 3_000_000), Size(200, 100, 100_000, 1)


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


def shown(found: Measured) -> str:
    """A cost and its standard error."""
    return f"{found.cost:.4f} ± {found.error:.4f}"


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


PPO_CELLS = ((4, 4),)  # the others would only cost time


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
        ppo = (lead_time, penalty) in PPO_CELLS
        for name, policy, seconds in _learned(inventory.LOST_SALES, parameters, size, ppo):
            found = measured(inventory.LOST_SALES, policy, size.periods, **parameters)
            _lost_sales_row(parameters, name, "", found, found.cost / best - 1, seconds)


def _lost_sales_row(
    parameters: dict[str, int], name: str, exact: str, found: Measured, gap: float, seconds: float
) -> None:
    at = parameters["lead_time"], parameters["penalty"]
    row(*at, name, published(name, *at), exact, shown(found), f"{gap:+.2%}", f"{seconds:.2f}")


def _learned(env_id: str, parameters: dict[str, Any], size: Size, ppo: bool) -> Iterator[Any]:
    """(name, policy, CPU seconds of its training) of what learns."""
    from workgym.agents.presets import PRESETS

    recipes: dict[str, dict[str, Any]] = {"pathwise": dict(PRESETS["pathwise"])}
    recipes["pathwise"]["updates"] = min(size.updates, recipes["pathwise"]["updates"])
    if ppo:
        recipes["PPO"] = {"algorithm": "ppo", "steps": size.ppo_steps, "gamma": 0.97, "net": (48, 48)}
    for name, fields in recipes.items():
        policy, seconds = timed(partial(trained, {"env_id": env_id, "env_kwargs": parameters, **fields}))
        yield name, policy, seconds


def trained(fields: dict[str, Any]) -> Policy:
    """The policy of a recipe's fields."""
    from workgym.agents import training
    from workgym.agents.policy import load_policy

    recipe = training.make_recipe(fields)
    state = training.initial_state(recipe)
    for k in range(recipe.chunks):
        state, _ = training.train_chunk(recipe, k, state)
    return load_policy(training.policy_from(recipe, state))


# Dual sourcing

CELLS = ((2, 105), (2, 110), (3, 105), (3, 110), (4, 105), (4, 110))  # regular lead time, express cost
GAPS = {  # per cent above the optimum, by cell
    "optimal": (0.0,) * 6,
    "capped-dual-index": (0.00, 0.03, 0.00, 0.06, 0.00, 0.11),
    "dual-index": (0.11, 0.18, 0.27, 0.36, 0.36, 0.49),
    "single-index": (0.56, 1.03, 0.98, 2.11, 1.43, 2.44),
    "tailored-base-surge": (0.06, 0.99, 0.01, 0.71, 0.00, 0.58),
}


def dual_sourcing_table(size: Size) -> None:
    """The six cells of Veeraraghavan and Scheller-Wolf's settings."""
    head(
        "Dual sourcing",
        "l_r", "c_e", "policy", "published gap", "exact", "exact gap", "in the env", "CPU s to find",
    )  # fmt: skip
    for n, cell in enumerate(CELLS[: size.cells]):
        parameters: dict[str, Any] = {"regular_lead": cell[0], "express_cost": cell[1]}
        problem = inventory.dual_sourcing_problem(presets.dual_sourcing(**parameters))
        best = dual_sourcing.optimum(problem).average.cost
        for name in inventory.DUAL_SOURCING_POLICIES:
            policy, seconds = begun(inventory.DUAL_SOURCING, name, parameters)
            exact = dual_sourcing.evaluate(problem, cast(Any, policy).policy).cost
            found = measured(inventory.DUAL_SOURCING, policy, size.periods // 2, **parameters)
            gaps = f"{GAPS[name][n]:.2f}%", f"{exact:.4f}", f"{exact / best - 1:.2%}"
            row(*cell, name, *gaps, shown(found), f"{seconds:.2f}")


# Stages in a row

ROWS = (  # mean, deviation, holding costs and lead times downstream, penalty, published optimum
    (3, 0.5, (5, 8.2), (1, 1), 25.5, 22.21),
    (6, 1.5, (1.9, 4.1), (2, 1), 11.3, 23.07),
    (5, 1, (2, 4, 7), (2, 1, 1), 37.12, 47.65),
    (50, 3, (5, 10, 25), (2, 1, 1), 50, 879.88),
    (100, 5, (25, 25, 50), (1, 2, 2), 100, 10568.23),
    (100, 10, (10, 20, 30), (1, 1, 1), 100, 3630.14),
    (3, 0.4, (4, 5.75, 7.9, 10.8), (1, 1, 1, 1), 35.5, 63.39),
    (5, 1.2, (5, 5, 5, 10), (1, 1, 1, 1), 30, 101.48),
    (80, 4, (10, 20, 30, 40, 50), (1, 1, 1, 1, 1), 200, 8559.85),
    (25, 2, (5, 10, 25, 50, 50), (2, 1, 1, 1, 1), 150, 2500.79),
)


def serial_table(size: Size) -> None:
    """Ten serial systems under Clark and Scarf's policy, found by our recursion and played in the env."""
    head(
        "Serial systems, Clark-Scarf", "row", "stages", "published", "solver", "in the env", "env / published"
    )
    for n, (mean, deviation, holding, lead_times, penalty, published) in enumerate(ROWS[: size.cells], 1):
        parameters: dict[str, Any] = {
            "mean": mean, "deviation": deviation, "holding": holding, "lead_times": lead_times,
            "penalty": penalty, "step": 10 if mean > 20 else 100,
        }  # fmt: skip
        network = presets.serial(**parameters)
        best = serial.optimal_levels(inventory.serial_system(network)).cost / network.scale
        policy, _ = begun(inventory.SERIAL, "clark-scarf", parameters)
        found = measured(inventory.SERIAL, policy, size.periods // 4, lanes=1024, **parameters)
        cost, error = found.cost / network.scale, found.error / network.scale
        told = f"{cost:,.2f} ± {error:.2f}"
        row(n, len(holding), published, f"{best:,.2f}", told, f"{cost / published - 1:+.2%}")


# OR-Gym

ORACLE = {False: "555.7 ± 5.5", True: "552.6 ± 4.6"}  # 30 paths
BASE_STOCK = {False: "409.95 ± .23", True: "407.15 ± .20"}
OR_GYM_DISCOUNT = 0.97


def or_gym_table(size: Size) -> None:
    """Discounted profit of an episode, in OR-Gym's unit of money."""
    head(
        "OR-Gym's InvManagement, discounted profit",
        "version",
        "policy",
        "earlier study",
        "in the env",
        "CPU s",
    )
    lanes = LANES if size.periods == WHOLE.periods else 256
    for lost in (False, True):
        version = "v1 lost sales" if lost else "v0 backlog"
        env = episodes_of(inventory.OR_GYM, lanes, lost=lost)
        policy = inventory.EchelonStock("echelon-base-stock", (0, 0, 0))
        policy.begin(env)
        levels, seconds = timed(partial(inventory.best_levels, policy, OR_GYM_DISCOUNT, lanes // 4))
        found = inventory.episode_money(env, inventory.EchelonStock("found", levels), OR_GYM_DISCOUNT)
        name = f"echelon base-stock, searched: {levels}"
        row(version, name, BASE_STOCK[lost], _profit(found), f"{seconds:.1f}")
        for other in ("tuned-base-stock", "tuned-s-S"):
            money = inventory.episode_money(env, make_baseline(inventory.OR_GYM, other), OR_GYM_DISCOUNT)
            row(version, other, "", _profit(money), "")
        few = lanes // 16
        env = episodes_of(inventory.OR_GYM, few, lost=lost)
        env.reset(seed=0)
        worlds = [State.from_bytes(env.backend.state_bytes(lane)) for lane in range(few)]
        bounds, seconds = timed(partial(_bounds, env.parts.setup, worlds))
        row(version, "perfect information (bound)", ORACLE[lost], _profit(np.array(bounds)), f"{seconds:.1f}")


def _bounds(setup: Setup, worlds: list[State]) -> list[float]:
    return [upper_bound(setup, now.key, now.family, OR_GYM_DISCOUNT) for now in worlds]


def episodes_of(env_id: str, lanes: int, **parameters: Any) -> Any:
    """Lanes that play one episode each."""
    return gym.make_vec(
        env_id, num_envs=lanes, split="gate", autoreset_mode=AutoresetMode.DISABLED, **parameters
    )


def _profit(mills: Any) -> str:
    money = np.asarray(mills) / 1000
    return f"{money.mean():.2f} ± {money.std(ddof=1) / np.sqrt(len(money)):.2f}"


TABLES: dict[str, Callable[[Size], None]] = {
    "lost-sales": lost_sales_table,
    "dual-sourcing": dual_sourcing_table,
    "serial": serial_table,
    "or-gym": or_gym_table,
}


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--only", nargs="*", choices=TABLES, default=list(TABLES))
    arguments.add_argument("--cells", type=int, help="of each table")
    given = arguments.parse_args()
    size = QUICK if given.quick else WHOLE
    for name in given.only:
        TABLES[name](size._replace(cells=given.cells or size.cells))


if __name__ == "__main__":
    main()
