"""A training at one moment: its lanes, their running episodes, every random generator, as plain arrays.

Put into another process's model, the training goes on as if nothing had been between.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workgym.agents.sb3 import LanesVecEnv
from workgym.agents.states import State
from workgym.envs.contract import Snapshot


def taken(model: Any) -> State:
    """Everything of a learning SB3 model that its weights and its optimiser do not hold."""
    starts = np.asarray(model._last_episode_starts, dtype=np.bool_)
    return {"lanes/starts": starts, **_lanes(model.env), **_generators()}


def restore(model: Any, state: State) -> None:
    """Put the model, its lanes and this process's generators into that moment."""
    env: LanesVecEnv = model.env
    model._last_obs = _load_lanes(env, state)
    model._last_episode_starts = state["lanes/starts"].copy()
    _load_generators(state)


def _lanes(env: LanesVecEnv) -> State:
    moments = [env.env.snapshot(lane) for lane in range(env.env.num_envs)]
    returns, lengths = env.running
    return {
        "lanes/episodes": np.array([(one.seed, one.number, one.elapsed) for one in moments], dtype=np.int64),
        **_joined("lanes/state", [one.state for one in moments]),
        **_joined("lanes/untold", [one.untold for one in moments]),
        "lanes/returns": returns.copy(),
        "lanes/lengths": lengths.copy(),
    }


def _load_lanes(env: LanesVecEnv, state: State) -> NDArray[np.float32]:
    """Put the lanes into that moment; what SB3's lanes show there."""
    env.seed(0)
    seen = env.reset()
    parts = zip(
        state["lanes/episodes"].tolist(),
        _split(state, "lanes/state"),
        _split(state, "lanes/untold"),
        strict=True,
    )
    for lane, ((seed, number, elapsed), business, untold) in enumerate(parts):
        moment = Snapshot(env.env.task.env_id, seed, number, elapsed, business, untold)
        seen = env.restore(lane, moment)
    env.running = state["lanes/returns"].copy(), state["lanes/lengths"].copy()
    return seen


def _joined(name: str, parts: list[bytes]) -> State:
    """Several byte strings as one array, and where each ends."""
    return {
        name: np.frombuffer(b"".join(parts), dtype=np.uint8),
        f"{name}/ends": np.cumsum([len(part) for part in parts], dtype=np.int64),
    }


def _split(state: State, name: str) -> list[bytes]:
    return [part.tobytes() for part in np.split(state[name], state[f"{name}/ends"][:-1])]


def _generators() -> State:
    _, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)
    version, words, python_gauss = random.getstate()
    return {
        "generators/torch": torch.get_rng_state().numpy(),
        "generators/numpy": np.asarray(keys, dtype=np.uint32),
        "generators/numpy/place": np.array([place, has_gauss, gauss], dtype=np.float64),
        "generators/python": np.array([version, *words], dtype=np.int64),
        "generators/python/gauss": np.array([] if python_gauss is None else [python_gauss]),
    }


def _load_generators(state: State) -> None:
    torch.set_rng_state(torch.from_numpy(state["generators/torch"].copy()))
    place, has_gauss, gauss = state["generators/numpy/place"].tolist()
    np.random.set_state(("MT19937", state["generators/numpy"], int(place), int(has_gauss), gauss))
    version, *words = state["generators/python"].tolist()
    kept = state["generators/python/gauss"].tolist()
    random.setstate((version, tuple(words), kept[0] if kept else None))
