"""Exogenous history: what happens *to* a business, as a pure function of (seed, source, time, entity).

Randomness is counted, never streamed: each draw hashes its coordinates, so what happens on day 7
does not depend on what an agent did on day 3, and a twin lane, a live service and two compared
policies all meet the same history (common random numbers).

Source of the mixer: splitmix64, Steele, Lea and Flood (2014), "Fast splittable pseudorandom number
generators".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from workgym.services.compiled import KERNEL, PART

SPLITS = ("train", "gate", "audit")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TIME = np.uint64(0xD1B54A32D192ED03)
ENTITY = np.uint64(0x8CB92BA72F3D8DD7)
_MUL1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@njit(**PART)
def mix(z: np.uint64) -> np.uint64:
    """Scramble 64 bits (splitmix64's finaliser)."""
    z = (z ^ (z >> _S30)) * _MUL1
    z = (z ^ (z >> _S27)) * _MUL2
    return z ^ (z >> _S31)


@njit(**PART)
def draw(key: np.uint64, source: int, time: int, entity: int) -> np.uint64:
    """64 fresh random bits for one happening of one episode."""
    return mix(draw_from(key, source, time) + np.uint64(entity) * ENTITY)


@njit(**PART)
def draw_from(key: np.uint64, source: int, time: int) -> np.uint64:
    """What the draws of all entities start from; each adds its number times `ENTITY` and mixes."""
    return key + np.uint64(source) * _GOLDEN + np.uint64(time) * _TIME


@njit(**KERNEL)
def draws(keys: NDArray[np.uint64], source: int, times: NDArray[np.int64], bits: NDArray[np.uint64]) -> None:
    """Fill `bits` (N,) with the draws of N episodes, each at a time of its own."""
    for i in range(len(keys)):
        bits[i] = draw(keys[i], source, times[i], 0)


@njit(**PART)
def below(bits: np.uint64, n: int) -> int:
    """A number in [0, n) from the low 32 bits of `bits` (multiply-shift; bias under n / 2**32)."""
    return np.int64(((bits & np.uint64(0xFFFFFFFF)) * np.uint64(n)) >> _S32)


@njit(**KERNEL)
def episode_key(salt: np.uint64, seed: int, episode: int) -> np.uint64:
    """The key of episode number `episode` of a lane seeded with `seed`."""
    return mix(mix(salt + np.uint64(seed) * _GOLDEN) + np.uint64(episode) * _TIME)


def split_salt(env_id: str, split: str) -> np.uint64:
    """What keeps the histories of two splits, or of two envs, apart at equal seeds."""
    digest = hashlib.sha256(f"{env_id}/{split}".encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True, order=True)
class Scenario:
    """One episode's exogenous history, named.

    Attributes:
        env_id: Gymnasium id.
        split: `train`, `gate` or `audit`; equal seeds of two splits are different histories.
        family: business situation.
        seed: what `reset(seed=...)` takes.
        parameters: env keyword arguments that change the history.
    """

    env_id: str
    split: str
    family: str
    seed: int
    parameters: Mapping[str, object] = field(default_factory=dict, compare=False)

    def digest(self) -> str:
        """Content hash of the name; two equal digests are the same history."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Suite:
    """A frozen list of scenarios.

    Attributes:
        env_id: Gymnasium id.
        split: the split that all scenarios belong to.
        scenarios: in the order in which they are evaluated.
        content: digest of what the scenarios really contain, so that a changed generator shows.
    """

    env_id: str
    split: str
    scenarios: tuple[Scenario, ...]
    content: str

    @property
    def digest(self) -> str:
        """Hash of the scenarios' names and of what they contain."""
        whole = hashlib.sha256(self.content.encode())
        for scenario in self.scenarios:
            whole.update(scenario.digest().encode())
        return whole.hexdigest()

    def families(self) -> list[str]:
        """Distinct families in order of first appearance."""
        return list(dict.fromkeys(scenario.family for scenario in self.scenarios))


def interleave(families: Iterable[str], per_family: int) -> list[tuple[str, int]]:
    """(family, seed) pairs, families taking turns so that any prefix is balanced."""
    names = list(families)
    return [(name, n * len(names) + i) for n in range(per_family) for i, name in enumerate(names)]
