"""The supply chain as an environment: the task over any network, and the twin behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numba import njit
from numpy.typing import NDArray

from workgym.envs import base
from workgym.envs.backends import LOCAL, Sides
from workgym.envs.live import Live
from workgym.envs.perturbations import FAULTS, Perturbation
from workgym.envs.supply_chain import names, view
from workgym.envs.supply_chain.picture import picture_of, require_matplotlib
from workgym.envs.supply_chain.story import Remembered, Story
from workgym.services.compiled import KERNEL, bound
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.scenario import episode_key
from workgym.services.stress import Stress
from workgym.services.supply_chain import rules, scenario, state, twin
from workgym.services.supply_chain.retail import retail
from workgym.services.supply_chain.soundness import sound_network
from workgym.services.supply_chain.spec import Network
from workgym.services.supply_chain.stress import network_under

ENV_ID = "workgym/SupplyChain-v0"
VERSION = "supply-chain-v0.1"
BACKENDS = LOCAL
ENCODINGS = ("units", "box", "cover")
OBSERVATIONS = ("flat", "rows")
_FLOAT, _INT, _FLAG = np.dtype(np.float32), np.dtype(np.int64), np.dtype(np.bool_)


def task_of(
    env_id: str, network: Network, setup: scenario.Setup, actions: str, observation: str, tolerance: int
) -> base.Task:
    """What is asked of whoever orders in a network.

    Raises:
        BadInput: there is no such encoding of actions or observation.
    """
    for kind, name, known in (
        ("encoding of actions", actions, ENCODINGS),
        ("observation", observation, OBSERVATIONS),
    ):
        if name not in known:
            raise BadInput(did_you_mean(kind, name, list(known)))
    decisions, rows = setup.most.size, observation == "rows"
    shape = (decisions, view.FEATURES) if rows else (view.flat_features(setup),)
    most = setup.most.ravel()
    worth = np.maximum(setup.price, setup.lost + setup.waiting + setup.holding)
    usual = float((setup.usual * worth).sum()) / rules.FRACTION
    return base.Task(
        env_id=env_id,
        observation_space=gym.spaces.Box(-view.BOUND, view.BOUND, shape, np.float32),
        action_space=_action_space(most, actions, rows),
        action_names=(),
        terms=rules.ACCOUNTS,
        reasons=rules.REASONS,
        families=tuple(family.name for family in network.families),
        reward_scale=(decisions if rows else 1) / max(usual, 1.0),
        tolerance=tolerance,
        reference="tuned-base-stock",
        version=VERSION,
        decode=partial(units_of, most) if actions == "box" else None,
        rows=decisions if rows else 0,
        unit=network.currency,
        render_modes=("ansi", "rgb_array"),
        decision_names=names.decision_names(network),
        asks=names.asks(network, actions),
        feature_names=names.feature_names(network, setup, rows),
    )


def _action_space(most: NDArray[np.int64], actions: str, rows: bool) -> Any:
    if actions == "box":
        return gym.spaces.Box(-1.0, 1.0, (len(most),), np.float32)
    choices = np.full(len(most), view.COVERS) if actions == "cover" else most + 1
    if rows:
        choices = np.full(len(most), choices.max())
    elif len(most) == 1:
        return gym.spaces.Discrete(int(choices[0]))
    return gym.spaces.MultiDiscrete(choices)


def units_of(most: NDArray[np.int64], numbers: NDArray[np.float32]) -> NDArray[np.int64]:
    """(N, D) orders: -1 is none, 1 the largest that the link takes, rounded to whole units."""
    return np.rint((numbers.astype(np.float64) + 1.0) / 2.0 * most).astype(np.int64)


@njit(**KERNEL)
def _advance(
    setup: Any,
    sheet: Any,
    lanes: Any,
    insight: Any,
    orders: Any,
    kind: int,
    mode: Any,
    actions: Any,
    episodes: Any,
    terms: Any,
    ended: Any,
    refusal: Any,
    violations: Any,
    credit: Any,
    rows: bool,
    obs: Any,
) -> None:
    """Advance every lane and show it; `terms` is (N, accounts), `obs` as `view.look` fills it."""
    skus = setup.most.shape[1]
    for i in range(len(mode)):
        refusal[i] = rules.OK
        missed = lanes.lane[i, twin.MISSED]
        if mode[i] == base.ACT:
            for d in range(len(orders)):
                asked = actions[i, d]
                orders[d] = view.asked_units(
                    setup, sheet, lanes, insight, kind, i, d // skus, d % skus, asked
                )
            refusal[i] = twin.refuse(setup, lanes, i, orders)
            if refusal[i] == rules.OK:
                twin.play_period(setup, lanes, i, orders, terms[i])
                if rows:
                    view.share_credit(setup, sheet, lanes.scratch.profit, credit[i])
        elif mode[i] == base.BEGIN:
            key = episode_key(episodes.salt, episodes.seed[i], episodes.number[i])
            family = episodes.family[i]
            if family < 0:
                family = scenario.drawn_family(key, setup.families.shape[0])
            twin.open_episode(setup, lanes, i, key, family)
            missed = 0
        for account in range(len(rules.ACCOUNTS)):
            lanes.ledger[i, account] += terms[i, account]
        violations[i] = lanes.lane[i, twin.MISSED] - missed
        ended[i] = lanes.lane[i, twin.ENDED] == 1
    view.look(setup, sheet, lanes, insight, rows, kind == view.COVER, ended, obs)


class TwinBackend:
    """N lanes of a network in arrays.

    Args:
        setup: the network.
        lanes: how many worlds.
        actions: `units` or `cover`.
        observation: `flat` or `rows`.
    """

    def __init__(
        self, setup: scenario.Setup, lanes: int, actions: str = "units", observation: str = "flat"
    ) -> None:
        self.lanes = lanes
        self.setup = setup
        self._kind = view.kind_of(actions, observation == "rows")
        self._rows = observation == "rows"
        self._lanes = twin.empty_lanes(setup, lanes)
        self.sheet = view.sheet_of(setup)
        self._insight = view.new_insight(setup, self.sheet, lanes)
        self._orders = np.zeros(setup.most.size, dtype=np.int64)
        self._bind()

    def advance(self, mode: NDArray[np.int8], actions: base.Ints, episodes: base.Episodes) -> base.Board:
        """Let each lane act, begin or stand still."""
        n, decisions = self.lanes, self.setup.most.size
        terms = np.zeros((n, len(rules.ACCOUNTS)), _INT)
        ended, refusal, violations = np.empty(n, _FLAG), np.empty(n, _INT), np.empty(n, _INT)
        credit, obs = np.zeros((n, decisions), _INT), np.empty(self._shape, _FLOAT)
        asked = np.ascontiguousarray(actions).reshape(n, decisions)
        self._run(
            *self._fixed, np.ascontiguousarray(mode), asked, episodes,
            terms, ended, refusal, violations, credit, self._rows, obs,
        )  # fmt: skip
        return board_of(self._rows, obs, terms, ended, refusal, violations, credit)

    def _bind(self) -> None:
        n, decisions = self.lanes, self.setup.most.size
        features = view.FEATURES if self._rows else view.flat_features(self.setup)
        self._shape = (n, decisions if self._rows else 1, features)
        self._fixed = self.setup, self.sheet, self._lanes, self._insight, self._orders, self._kind
        number, flag = np.zeros(n, _INT), np.zeros(n, _FLAG)
        episodes = base.Episodes(np.uint64(0), number, number, number)
        self._run = bound(
            _advance, *self._fixed, np.zeros(n, np.int8), np.zeros((n, decisions), _INT), episodes,
            np.zeros((n, len(rules.ACCOUNTS)), _INT), flag, number, number, np.zeros((n, decisions), _INT),
            self._rows, np.zeros(self._shape, _FLOAT),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled kernel."""
        return {name: value for name, value in vars(self).items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def insight(self) -> view.Insight:
        """What planners see of all lanes: expected demand and positions."""
        view.foresee(self.setup, self.sheet, self._lanes, self._insight)
        return self._insight

    def state_bytes(self, lane: int) -> bytes:
        """The lane's canonical state."""
        return state.of_lane(self._lanes, lane).to_bytes()

    def load_state(self, lane: int, data: bytes) -> base.Board:
        """Put a canonical state into a lane."""
        state.into_lane(self.setup, self._lanes, lane, state.State.from_bytes(data))
        rest = np.full(self.lanes, base.REST, dtype=np.int8)
        nothing = np.zeros(self.lanes, dtype=np.int64)
        asked = np.zeros((self.lanes, self.setup.most.size), dtype=np.int64)
        return self.advance(rest, asked, base.Episodes(np.uint64(0), nothing, nothing, nothing))

    def facts(self, lane: int) -> dict[str, int]:
        """The lane's counters."""
        return facts_of(self._lanes.lane[lane])

    def render(self, lane: int) -> str:
        """The stock as a page of text."""
        return page(self.setup, state.of_lane(self._lanes, lane))

    def close(self) -> None:
        """Nothing to give back."""


def show(
    setup: scenario.Setup,
    sheet: view.Sheet,
    lanes: twin.Lanes,
    insight: view.Insight,
    rows: bool,
    covers: bool,
    terms: base.Ints,
    ended: base.Bools,
    refusal: base.Ints,
    violations: base.Ints,
    credit: base.Ints,
) -> base.Board:
    """What all lanes show, from their state and what the advance booked: `terms` (N, accounts)."""
    n = len(ended)
    decisions = setup.most.size if rows else 1
    features = view.FEATURES if rows else view.flat_features(setup)
    obs = np.empty((n, decisions, features), dtype=np.float32)
    view.look(setup, sheet, lanes, insight, rows, covers, ended, obs)
    return board_of(rows, obs, terms, ended, refusal, violations, credit)


def board_of(
    rows: bool,
    obs: base.Floats,
    terms: base.Ints,
    ended: base.Bools,
    refusal: base.Ints,
    violations: base.Ints,
    credit: base.Ints,
) -> base.Board:
    """A board of observations (N, decisions or 1, features) and `terms` (N, accounts)."""
    return base.Board(
        obs if rows else obs[:, 0],
        np.empty((len(obs), 0), _FLAG),
        np.ascontiguousarray(terms.T),
        ended,
        refusal,
        violations,
        credit if rows else None,
    )


def facts_of(row: NDArray[np.int64]) -> dict[str, int]:
    """The counters of a lane; a case is a unit that a customer asked for."""
    demanded = int(row[twin.DEMANDED])
    return {
        "day": int(row[twin.DAY]),
        "family": int(row[twin.FAMILY]),
        "cases": demanded,
        "obligations": demanded,
        "violations": int(row[twin.MISSED]),
    }


def page(setup: scenario.Setup, now: state.State) -> str:
    """The stock as a page of text: the day, the books, each node."""
    lines = [f"period {now.day} of {setup.periods}{' (over)' if now.ended else ''}, family {now.family}"]
    for s in range(len(setup.opening)):
        coming = sum(int(now.way[a].sum()) for a in range(len(setup.source)) if setup.target[a] == s)
        lines.append(
            f"  node {s}: {int(now.on_hand[s].sum()):>7} on hand, {coming:>7} on the way, "
            f"{int(now.backlog[s].sum()):>6} waited for"
        )
    booked = zip(rules.ACCOUNTS, now.ledger.tolist(), strict=True)
    lines.append("books: " + ", ".join(f"{name} {money:,}" for name, money in booked))
    lines.append(f"result: {int(now.ledger.sum()):,}; missed {now.missed} of {now.demanded} units")
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=64)
def setup_for(network: Network) -> scenario.Setup:
    """A network as arrays; equal networks share them."""
    return scenario.setup_of(network)


class Wish(NamedTuple):
    """How an env is asked for, whatever its network.

    Attributes:
        backend: one of `workgym.envs.backends.BACKENDS`.
        split: `train`, `gate` or `audit`.
        family: business situation of every episode, or None.
        actions: `units`, `box` or `cover`.
        observation: `flat` or `rows`.
        base_url: of the server, with backend `http`.
        transport: how patient to be with it, see `workgym.envs.backends.Transport`.
        mishaps: shares of decisions that meet one, see `workgym.envs.mishaps`.
    """

    backend: str = "twin"
    split: str = "train"
    family: str | None = None
    actions: str = "units"
    observation: str = "flat"
    base_url: str | None = None
    transport: Mapping[str, Any] | None = None
    mishaps: Mapping[str, float] | None = None


class Parts(NamedTuple):
    """What an env is made of."""

    env_id: str
    network: Network
    setup: scenario.Setup
    of_split: Callable[[str], Parts]  # the same with another split's assortment
    tolerance: int = 0  # money a unit of demand, see `Task.tolerance`

    def task(self, wish: Wish) -> base.Task:
        """What is asked."""
        return task_of(self.env_id, self.network, self.setup, wish.actions, wish.observation, self.tolerance)

    def sides(self, wish: Wish) -> Sides:
        """The twin and the live side."""

        def live(lanes: int) -> Live:
            from workgym.envs.supply_chain.embedded import LiveChain  # that module reads this one

            return LiveChain(self.network, self.setup, lanes, wish.actions, wish.observation)

        def twin_lanes(lanes: int) -> TwinBackend:
            return TwinBackend(self.setup, lanes, wish.actions, wish.observation)

        return Sides(self.task(wish), twin_lanes, live, ("insight", "sheet"))


class SupplyChainEnv(base.Env):
    """Whoever runs a supply chain decides in every period how much to order over each link.

    ## Department

    Buying and placement. Suppliers, warehouses and stores are nodes; links supply them after a lead
    time, within a capacity, for a price. Once a period the buyer orders each SKU over each link;
    goods travel and arrive; customers take what is there, and leave or wait for what is not. An
    episode is `network.periods` periods.

    ## Observation

    `Box(-8, 8)` of float32. Two kinds, by `observation`:

    `flat`: the whole state, in units of what usual demand takes over a lead time and two periods.

    | part | length | what |
    |---|---|---|
    | nodes x SKUs | 2 each | stock on hand less waiting customers; estimated demand of a usual period |
    | links x SKUs | 1 + delay + horizon each | owed by the source; orders in the mail and goods on |
    |       |        | their way, both by the period when they get there |
    | SKUs | 1 each | what season and promotions do to demand today, octaves |
    | calendar | 1 | share of the episode that has passed |

    `rows`: (links x SKUs, 35), one row for each decision, relative to the SKU's own demand, so that one
    policy serves all SKUs. Features: `workgym.envs.supply_chain.view.HEAD`, then the pipeline by
    period, then P10, P50 and P90 of the demand over the protection interval.

    ## Action

    One decision for each link and SKU, links outermost, by `actions`:

    - `units`: `MultiDiscrete`, or `Discrete` where there is one decision: units to order, 0 to the
      link's largest order.
    - `box`: `Box(-1, 1)`: -1 orders nothing, 1 the largest order.
    - `cover`: 16 choices a decision: 0 orders nothing, 1 to 15 order up to the expected demand of the
      protection interval plus -1.5, -1.0, ... 5.5 deviations.

    Every action is legal. A source ships what it has: claims that meet too little stock or capacity
    share it in proportion. An order is rounded to whole packs.

    ## Reward

    Money booked in the period, in the network's currency, as `info["reward_terms"]`: `sales`,
    `purchases`, `ordering`, `holding` (on shelves and on the way), `shortage` (lost and waiting
    customers, orders that a source could not ship), `salvage` (what is left at the end).
    `info["constraint_cost"]` counts units that were not served at once. With rows,
    `info["credit"]` is what each decision's SKU earned at the link's target and below.

    ## Episode end

    Terminates after `network.periods` periods.

    ## Start

    `reset(seed)` names the episode: demand, lead times, losses, promotions, shocks.
    `options={"family": ...}` fixes the situation; otherwise the seed draws one of the network's.

    ## Rules

    `services/supply_chain/rules.py`; the order of events in a period is told in
    `services/supply_chain/twin.py`.

    ## Source

    The presets (`workgym/SupplyChain.lost-sales-v0`, ...) name theirs.

    ## Versions

    v0: first version.

    Args:
        network: a `Network`, or its fields as `Network.to_dict` gives them; None for `.retail`'s.
        backend: `twin` (arrays), `embedded` (the live service in process), `http` or `docker`.
        split: `train`, `gate` or `audit`.
        family: business situation of every episode, or None to draw one an episode.
        actions: `units`, `box` or `cover`.
        observation: `flat` or `rows`.
        base_url: of the server, with backend `http`; None for the environment variable WORKGYM_URL.
        transport: fields of `workgym.envs.backends.Transport`, with the backends `http` and `docker`.
        mishaps: shares of decisions that meet a business fault, by name, such as `{"stale-read": 0.05}`; see
            `workgym.envs.mishaps`.
        stress: how much harder it gets than planned, such as `{"demand": 1.25, "lead-time": 2, "capacity":
            0.8}`; see `workgym.services.stress`.
        render_mode: None, `ansi` or `rgb_array`.
    """

    perturbations: tuple[Perturbation, ...] = (
        Perturbation("demand", "demand rises by a quarter, for good", {"stress": {"demand": 1.25}}),
        Perturbation("lead-time", "suppliers take up to 3 periods longer", {"stress": {"lead-time": 3}}),
        Perturbation("capacity", "links carry 4 units where they carried 5", {"stress": {"capacity": 0.8}}),
        FAULTS,
    )

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012  # Gymnasium declares it so

    def __init__(
        self,
        network: Network | Mapping[str, Any] | None = None,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        actions: str = "units",
        observation: str = "flat",
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        mishaps: Mapping[str, float] | None = None,
        stress: Mapping[str, float] | None = None,
        render_mode: str | None = None,
    ) -> None:
        wish = Wish(backend, split, family, actions, observation, base_url, transport, mishaps)
        arguments = arguments_of(network, split) | {"stress": stress}
        self.open(parts_of(network, split, stress), wish, arguments, render_mode)

    def open(self, parts: Parts, wish: Wish, arguments: dict[str, Any], render_mode: str | None) -> None:
        """Make the env of its parts; `arguments` are those of the constructor beyond the wish."""
        self.network = parts.network
        arguments = arguments | wish._asdict()
        self.sides = parts.sides(wish)
        remember = None
        if render_mode == "rgb_array":
            require_matplotlib()
            remember = partial(Remembered, setup=parts.setup, cover=wish.actions == "cover")
        backend = self.sides.lanes(1, arguments, remember)
        super().__init__(self.sides.task, backend, wish.split, wish.family, render_mode, arguments)

    def picture(self) -> NDArray[np.uint8]:
        """(height, width, 3) the running episode so far; all pictures of a network have one size.

        Raises:
            BadInput: the env was not made with `render_mode="rgb_array"`, so nothing was kept.
        """
        story = getattr(self.backend, "story", None)
        if not isinstance(story, Story):
            raise BadInput(f"expected render_mode 'rgb_array' for pictures, found {self.render_mode!r}")
        return picture_of(self.network, story)


def network_of(network: Network | Mapping[str, Any] | None, split: str) -> Network:
    """The network that an argument means."""
    if network is None:
        return retail(split)
    return network if isinstance(network, Network) else sound_network(dict(network))


def arguments_of(network: Network | Mapping[str, Any] | None, split: str) -> dict[str, Any]:
    """An env's arguments beyond the wish, as JSON knows them."""
    return {"network": None if network is None else network_of(network, split).to_dict()}


def parts_of(
    network: Network | Mapping[str, Any] | None, split: str, stress: Mapping[str, float] | None = None
) -> Parts:
    """The parts of an env over any network; other splits of it are as planned, without the stress."""
    given = network_under(Stress.of(stress), network_of(network, split))
    return Parts(ENV_ID, given, setup_for(given), partial(parts_of, network))


def lanes_of(parts: Parts, lanes: int, wish: Wish) -> SupplyChainVectorEnv:
    """A vector env of parts that are at hand, in autoreset mode DISABLED."""
    made = SupplyChainVectorEnv.__new__(SupplyChainVectorEnv)
    made.open(lanes, parts, wish, {}, None, None, AutoresetMode.DISABLED)
    return made


class SupplyChainVectorEnv(base.VectorEnv):
    """N supply chains; see `SupplyChainEnv` for what is decided and for the arguments."""

    def __init__(
        self,
        num_envs: int,
        network: Network | Mapping[str, Any] | None = None,
        backend: str = "twin",
        split: str = "train",
        family: str | None = None,
        actions: str = "units",
        observation: str = "flat",
        base_url: str | None = None,
        transport: Mapping[str, Any] | None = None,
        mishaps: Mapping[str, float] | None = None,
        stress: Mapping[str, float] | None = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ) -> None:
        wish = Wish(backend, split, family, actions, observation, base_url, transport, mishaps)
        parts, arguments = (
            parts_of(network, split, stress),
            arguments_of(network, split) | {"stress": stress},
        )
        self.open(num_envs, parts, wish, arguments, render_mode, max_episode_steps, autoreset_mode)

    def open(
        self,
        num_envs: int,
        parts: Parts,
        wish: Wish,
        arguments: dict[str, Any],
        render_mode: str | None,
        max_episode_steps: int | None,
        autoreset_mode: AutoresetMode | str,
    ) -> None:
        """Make the lanes of an env's parts."""
        if render_mode is not None:
            raise BadInput(
                f"a vector env renders nothing, found render_mode {render_mode!r}; render a single env"
            )
        self.parts = parts
        self.network = parts.network
        self.sides = parts.sides(wish)
        lanes = self.sides.lanes(num_envs, arguments | wish._asdict())
        super().__init__(self.sides.task, lanes, wish.split, wish.family, max_episode_steps, autoreset_mode)


SupplyChainEnv.vector_env = SupplyChainVectorEnv
