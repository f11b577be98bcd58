"""Importing this package registers the gyms of every installed service with Gymnasium."""

from __future__ import annotations

import gymnasium

from workgym.services.catalogue import services

_GYMS = tuple(gym for service in services().values() for gym in service.gyms)
ENV_IDS = tuple(gym.env_id for gym in _GYMS)

for _gym in _GYMS:
    gymnasium.register(
        id=_gym.env_id,
        entry_point=_gym.env,
        vector_entry_point=_gym.vector_env,
        max_episode_steps=_gym.max_episode_steps,
    )
