"""Recipes that work, by what they are for. A pipeline's variants name them and may change any field."""

from __future__ import annotations

from typing import Any

# Half the default lanes see twice as much of each season in a rollout; three epochs are two thirds of
# the price of the usual ten for the same profit at this minibatch (benchmarks/README.md).
_COMMON: dict[str, Any] = {"lanes": 512, "n_steps": 64, "epochs": 3}

_PATHWISE: dict[str, Any] = {"algorithm": "pathwise", "chunk_updates": 200}

PRESETS: dict[str, dict[str, Any]] = {
    # Profit alone: shows what promises cost, and breaks more of them than the rules do.
    "profit": {**_COMMON},
    # Keeps promises: each broken one costs the learner as much as an apology to a priority customer.
    "reliable": {**_COMMON, "violation_cost": 1000},
    # A tenth of the weights, for the same promises: for the edge.
    "small": {**_COMMON, "violation_cost": 1000, "net": (16, 16)},
    # Looks two days ahead instead of one.
    "patient": {**_COMMON, "violation_cost": 1000, "gamma": 0.975, "gae_lambda": 0.95},
    # RLlib's PPO for the fewest CPU seconds that earn clearly more than the best rule: over half of what
    # `profit` gains on it, from an eighth of the decisions.
    "rllib": {
        "algorithm": "rllib-ppo",
        "steps": 204_800,
        "chunk_steps": 204_800,
        "lanes": 256,
        "n_steps": 32,
        "minibatch": 1024,
    },
    # A champion goes on learning, held to what it handles; name it as teacher and sweep focal_weight.
    "update": {
        **_COMMON,
        "algorithm": "focal-ppo",
        "steps": 600_000,
        "chunk_steps": 300_000,
        "learning_rate": 1e-3,
    },
    # An edge-sized student of a teacher; half a minute of one core.
    "student": {"algorithm": "distil", "net": (16, 16)},
    # Supply chains on an endless horizon whose customers leave unserved: flat observations.
    "pathwise": {**_PATHWISE, "window": 24, "tail": 8, "updates": 1200, "learning_rate": 0.02},
    # The same where customers wait: there large steps run away.
    "pathwise-steady": {**_PATHWISE, "window": 24, "tail": 8, "updates": 800, "learning_rate": 0.005},
    # Supply chains of many SKUs in whole episodes: observation="rows", one network for all of them.
    "pathwise-rows": {
        **_PATHWISE,
        "lanes": 14,
        "updates": 280,
        "chunk_updates": 70,
        "learning_rate": 0.004,
        "final_rate": 0.02,
        "scatter": 0.0,
        "rounding": "whole",
    },
    # The same with PPO over order-up-to levels (view actions="cover"): far behind, for comparison.
    "cover": {
        "algorithm": "ppo",
        "lanes": 16,
        "n_steps": 60,
        "minibatch": 20,
        "steps": 28_800,
        "chunk_steps": 9_600,
        "epochs": 4,
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "ent_coef": 0.0,
        "final_rate": 0.1,
    },
}
