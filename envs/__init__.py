"""Importing this package registers the gyms of every installed service with Gymnasium."""

from __future__ import annotations

import gymnasium

from workgym.envs.gyms import gyms

ENV_IDS = tuple(gym.env_id for gym in gyms())

for _gym in gyms():
    gymnasium.register(
        id=_gym.env_id,
        entry_point=_gym.env,
        vector_entry_point=_gym.vector_env,
        max_episode_steps=_gym.max_episode_steps,
    )
