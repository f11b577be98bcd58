"""The supply chain as a game of its nodes, in PettingZoo's parallel API.

    from workgym.envs.supply_chain.parallel import parallel_env
    game = parallel_env("workgym/SupplyChain.beer-game-v0")

Each node orders over the links into it and earns what is booked there. By default it sees no more than
its people do: its own shelves and customers, what others ordered from it and what it owes them, and
what it waits for itself.

Needs PettingZoo: pip install 'workgym[pettingzoo]'.
"""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import workgym.envs  # noqa: F401  the import registers the ids
from workgym.envs.base import Floats, Ints
from workgym.envs.mishaps import Disturbed
from workgym.envs.supply_chain import view
from workgym.envs.supply_chain.env import SupplyChainEnv
from workgym.envs.supply_chain.story import BOOKED, MISSED, Story
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.supply_chain import rules, scenario, twin

try:
    from pettingzoo import ParallelEnv
except ImportError as error:
    raise BadInput(
        "expected PettingZoo for a game of nodes, found none; pip install 'workgym[pettingzoo]'"
    ) from error

INFORMATION = ("local", "full")
Dict = dict[str, Any]


def parallel_env(
    env_id: str = "workgym/SupplyChain.beer-game-v0", information: str = "local", **arguments: Any
) -> SupplyChainParallelEnv:
    """A supply chain by its id, as a game of its nodes.

    Args:
        env_id: Gymnasium id; `workgym/SupplyChain-v0` takes any `network`.
        information: `local` or `full`.
        arguments: of the env: backend, split, family, actions, render_mode, the preset's own.

    Raises:
        BadInput: the id is another department's.
    """
    env = gym.make(env_id, **arguments).unwrapped
    if not isinstance(env, SupplyChainEnv):
        raise BadInput(f"expected a supply chain, found {env_id}; take an id that begins with SupplyChain")
    return SupplyChainParallelEnv(env, information)


class SupplyChainParallelEnv(ParallelEnv[str, Floats, Any]):  # type: ignore[misc]  # it ships no types
    """Every node of a supply chain is an agent; all decide at once.

    **Action**: the env's own decisions over the links into the node, links outermost, then SKUs.

    **Observation**, `information="local"`, `Box(-8, 8)`:

    | part | length | what |
    |---|---|---|
    | SKUs | 4 each | on hand; waiting customers; estimated demand; what customers asked for last |
    | links out x SKUs | 2 each | owed over the link; what the other node's last order was that came here |
    | links in x SKUs | 1 + horizon each | ordered and not sent yet; on the way, by period of arrival |
    | SKUs | 1 each | what season and promotions do to demand today, octaves |
    | calendar | 1 | share of the episode that has passed |

    `information="full"`: what the single env shows, the same for all.

    **Reward**: the money booked at the node; over all nodes it adds up to the single env's reward.
    `info["missed"]` counts units that the node was asked for and did not hand over at once.

    Args:
        env: a supply chain of its own; the game plays it.
        information: `local` or `full`.

    Raises:
        BadInput: there is no such information, or the env has mishaps.
    """

    metadata = {  # noqa: RUF012  # PettingZoo declares it so
        "name": "workgym_supply_chain_v0",
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 4,
        "is_parallelizable": True,
    }

    def __init__(self, env: SupplyChainEnv, information: str = "local") -> None:
        if information not in INFORMATION:
            raise BadInput(did_you_mean("information", information, list(INFORMATION)))
        if isinstance(env.backend, Disturbed):
            raise BadInput(
                "expected an env without mishaps, found some: they happen between one mind and its business, "
                "and here each node is a mind of its own; leave them out"
            )
        self.env = env
        self.render_mode = env.render_mode
        self._local = information == "local"
        setup = cast("scenario.Setup", cast("Any", env.backend).setup)
        self._setup, self._sheet = setup, view.sheet_of(setup)
        self.story = Story(setup, env.arguments["actions"] == "cover")
        self.possible_agents = [node.name for node in env.network.nodes]
        self.agents: list[str] = []
        skus = setup.most.shape[1]
        self._inward = [np.flatnonzero(setup.target == s) for s in range(len(setup.opening))]
        self._outward = [np.flatnonzero(setup.source == s) for s in range(len(setup.opening))]
        self._decisions = [
            (links[:, None] * skus + np.arange(skus)).ravel() for links in self._inward
        ]  # of each node
        self.observation_spaces = {name: self._seen(s) for s, name in enumerate(self.possible_agents)}
        self.action_spaces = {name: self._said(s) for s, name in enumerate(self.possible_agents)}
        self.state_space = env.observation_space
        self._shown: Floats = np.zeros(env.task.observation_space.shape, np.float32)

    def _seen(self, s: int) -> gym.spaces.Box:
        if not self._local:
            return cast("gym.spaces.Box", self.env.observation_space)
        setup = self._setup
        each = 5 + 2 * len(self._outward[s]) + (1 + setup.horizon) * len(self._inward[s])
        return gym.spaces.Box(-view.BOUND, view.BOUND, (each * setup.most.shape[1] + 1,), np.float32)

    def _said(self, s: int) -> Any:
        space, own = self.env.action_space, self._decisions[s]
        if isinstance(space, gym.spaces.Box):
            return gym.spaces.Box(-1.0, 1.0, (len(own),), np.float32)
        choices = np.append(getattr(space, "nvec", []), getattr(space, "n", [])).astype(np.int64)[own]
        return gym.spaces.Discrete(int(choices[0])) if len(own) == 1 else gym.spaces.MultiDiscrete(choices)

    def observation_space(self, agent: str) -> gym.spaces.Box:
        """What a node sees."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """What a node decides."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Dict | None = None) -> tuple[Dict, Dict]:
        """Begin an episode; of the options `family` counts, others are for other games."""
        chosen = {name: value for name, value in (options or {}).items() if name == "family"}
        self._shown, _ = self.env.reset(seed=seed, options=chosen)
        self.story.begin(self.env.backend.state_bytes(0))
        self.agents = list(self.possible_agents)
        return self._observations(), {name: {"missed": 0} for name in self.agents}

    def step(self, actions: Dict) -> tuple[Dict, Dict, Dict, Dict, Dict]:
        """Let all nodes order, and a period pass.

        Raises:
            BadInput: a node is missing, or there is no such node.
        """
        if set(actions) != set(self.agents):
            raise BadInput(f"expected orders of {', '.join(self.agents)}, found those of {sorted(actions)}")
        together = self._together(actions)
        self._shown, _, over, _, info = self.env.step(together)
        if "refused" in info:
            raise BadInput(f"expected orders that the links take, found others: {info['refused']}")
        self.story.play(self.env.task.understood(together[None], 1).reshape(-1))
        told = self.story.told[-1]
        names = self.agents
        rewards = {name: float(told[BOOKED, s]) for s, name in enumerate(names)}
        infos = {name: {"missed": int(told[MISSED, s])} for s, name in enumerate(names)}
        answer = self._observations(), rewards, dict.fromkeys(names, over), dict.fromkeys(names, False), infos
        if over:
            self.agents = []
        return answer

    def _together(self, actions: Dict) -> Any:
        """The single env's action."""
        space = self.env.action_space
        kind = np.float32 if isinstance(space, gym.spaces.Box) else np.int64
        whole = np.zeros(self._setup.most.size, dtype=kind)
        for s, name in enumerate(self.possible_agents):
            own = self.action_spaces[name]
            if not own.contains(actions[name]):
                raise BadInput(f"expected an action of {own} by {name}, found {actions[name]!r}")
            whole[self._decisions[s]] = actions[name]
        return whole[0] if isinstance(space, gym.spaces.Discrete) else whole

    def _observations(self) -> Dict:
        if not self._local:
            return {name: self._shown.copy() for name in self.agents}
        lanes, setup = self.story.lanes, self._setup
        day, family = lanes.lane[0, twin.DAY], lanes.lane[0, twin.FAMILY]
        calendar = [
            scenario.known_steps(setup, lanes.key[0], family, day, k) / 16.0
            for k in range(setup.most.shape[1])
        ]
        known = np.array([*calendar, day / setup.periods])
        return {name: self._local_view(s, known) for s, name in enumerate(self.agents)}

    def _local_view(self, s: int, known: NDArray[np.float64]) -> Floats:
        """What the people of a node see; the layout is in the class's docstring."""
        story, skus = self.story, self._setup.most.shape[1]
        lanes, unit, links = story.lanes, self._sheet.node_scale[s], self._sheet.link_scale
        own: list[Any] = []
        for k in range(skus):
            level = lanes.level[0, s, k] / rules.FRACTION
            own += [
                lanes.on_hand[0, s, k] * unit[k],
                lanes.backlog[0, s, k] * unit[k],
                level * unit[k],
                lanes.asked[0, s, k] * unit[k],
            ]
        for a in self._outward[s]:
            for k in range(skus):
                own += [lanes.owed[0, a, k] * links[a, k], story.reached[a, k] * links[a, k]]
        for a in self._inward[s]:
            for k in range(skus):
                sent: Ints = lanes.way[0, a, k] * links[a, k]
                own += [(lanes.owed[0, a, k] + lanes.mail[0, a, k].sum()) * links[a, k], *sent]
        seen: Floats = np.concatenate([own, known]).astype(np.float32)
        return np.clip(seen, -view.BOUND, view.BOUND)

    def state(self) -> Floats:
        """What the single env shows."""
        return self._shown.copy()

    def render(self) -> Any:
        """As the single env renders."""
        return self.env.render()

    def close(self) -> None:
        """Give back what the env holds."""
        self.env.close()
