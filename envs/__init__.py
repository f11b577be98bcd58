"""Importing this package registers every environment id with Gymnasium."""

from __future__ import annotations

import gymnasium as gym

ENV_IDS = ("workgym/Orders-v0",)

gym.register(
    id="workgym/Orders-v0",
    entry_point="workgym.envs.orders:OrdersEnv",
    vector_entry_point="workgym.envs.orders:OrdersVectorEnv",
    max_episode_steps=20_000,
)
