"""Importing this package registers every environment id with Gymnasium."""

from __future__ import annotations

import gymnasium as gym

_CHAIN = "workgym.envs.supply_chain"
_ENTRIES = {  # id: the env, its vector env, and the steps after which an episode is cut
    "workgym/Orders-v0": ("workgym.envs.orders:OrdersEnv", "workgym.envs.orders:OrdersVectorEnv", 20_000),
    "workgym/SupplyChain-v0": (f"{_CHAIN}.env:SupplyChainEnv", f"{_CHAIN}.env:SupplyChainVectorEnv", None),
    **{
        f"workgym/SupplyChain.{preset}-v0": (
            f"{_CHAIN}.presets:{name}Env",
            f"{_CHAIN}.presets:{name}VectorEnv",
            None,
        )
        for preset, name in (
            ("retail", "Retail"),
            ("lost-sales", "LostSales"),
            ("dual-sourcing", "DualSourcing"),
            ("serial", "Serial"),
            ("one-warehouse", "OneWarehouse"),
            ("beer-game", "BeerGame"),
            ("or-gym", "OrGym"),
        )
    },
}
ENV_IDS = tuple(_ENTRIES)

for _id, (_single, _vector, _limit) in _ENTRIES.items():
    gym.register(id=_id, entry_point=_single, vector_entry_point=_vector, max_episode_steps=_limit)
