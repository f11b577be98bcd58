"""What RLlib's PPO learns of Orders for its CPU seconds, beside Stable-Baselines3's and the best rule.

python -m benchmarks.rllib [seeds]

Trainings take turns in one process of one thread; a first short one compiles and imports. Cents an order
are of 576 seasons of the sealed `audit` split.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Mapping
from typing import Any

from workgym.agents.baselines import baselines, make_baseline
from workgym.agents.policy import Policy, load_policy
from workgym.agents.presets import PRESETS
from workgym.agents.training import initial_state, make_recipe, policy_from, train_chunk
from workgym.factory.evaluate import evaluate, gate_suite

ENV = "workgym/Orders-v0"
PER_FAMILY = 96
SHORT = {"steps": 1024, "chunk_steps": 1024, "lanes": 64, "n_steps": 16, "minibatch": 512}
CONTENDERS: dict[str, Mapping[str, Any]] = {
    "RLlib, preset `rllib`": PRESETS["rllib"],
    "Stable-Baselines3, the same recipe": PRESETS["rllib"] | {"algorithm": "maskable-ppo"},
    "RLlib, the recipe of `profit`": PRESETS["profit"] | {"algorithm": "rllib-ppo"},
    "Stable-Baselines3, preset `profit`": PRESETS["profit"],
}


def cents(policy: Policy) -> float:
    """Cents an order on the audit suite."""
    return evaluate(policy, gate_suite(ENV, {}, "audit", PER_FAMILY), {}).profit_per_case()


def trained(fields: Mapping[str, Any]) -> tuple[Policy, int, float]:
    """The policy of a recipe, the decisions that it learned from, CPU seconds."""
    recipe = make_recipe({"env_id": ENV, **fields})
    state, steps, seconds = initial_state(recipe), 0, 0.0
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
        steps, seconds = steps + report.steps, seconds + report.cpu_seconds
    return load_policy(policy_from(recipe, state, "trained")), steps, seconds


def main() -> None:
    """Print the table."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for algorithm in ("rllib-ppo", "maskable-ppo"):
        trained({**SHORT, "algorithm": algorithm})
    print("| who | seed | decisions | CPU seconds | cents an order |\n|---|---|---|---|---|")
    for name in baselines(ENV, "rule"):
        print(f"| rule `{name}` | | | | {cents(make_baseline(ENV, name)):.1f} |")
    for seed in range(seeds):
        for name, fields in CONTENDERS.items():
            policy, steps, seconds = trained({**fields, "seed": seed})
            print(f"| {name} | {seed} | {steps:,} | {seconds:.1f} | {cents(policy):.1f} |", flush=True)


if __name__ == "__main__":
    main()
