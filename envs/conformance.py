"""The laws of an environment as a check that anyone can run on their own env.

    from workgym.envs import conformance
    for finding in conformance.check("workgym/Orders-v0"):
        print(finding)

A law is a function from a `Subject` to the number of cases that it tried; it raises `Broken` with a
sentence when one fails. `@law` enters it in the list that `check` runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode

from workgym.envs.base import Bools, Env, Floats, Ints, VectorEnv
from workgym.envs.contract import sample_legal
from workgym.envs.mishaps import Mishaps
from workgym.services.kernel import BadInput, WorkgymError

SEEDS = (3, 11)
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


class Broken(AssertionError):
    """A law does not hold; the text says where."""


@dataclass(frozen=True)
class Finding:
    """What one law came to on one backend.

    Attributes:
        law: the claim.
        backend: what holds the state.
        cases: how many were tried.
        passed: whether all held.
        detail: where it broke; empty when it did not.
    """

    law: str
    backend: str
    cases: int
    passed: bool
    detail: str = ""


class Player(Protocol):
    """Plays an env; see `workgym.agents.policy.Policy`."""

    name: str

    def begin(self, env: VectorEnv) -> None:
        """Meet the env."""

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """Legal actions of all lanes; a mask of no columns says that every action is."""


@dataclass(frozen=True)
class Players:
    """Who plays the task for the law of order: oracle and rules above noop, adversaries gain nothing.

    Attributes:
        oracle: an expert that knows the future, or None while the task has none.
        oracle_kwargs: a season small enough for it.
        rules: what the department does today.
        noop: does nothing.
        adversaries: try to cheat the reward.
    """

    rules: Sequence[Player]
    noop: Player
    adversaries: Sequence[Player]
    oracle: Player | None = None
    oracle_kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """An env under check.

    Attributes:
        env_id: Gymnasium id.
        backend: what holds the state.
        kwargs: other arguments of the env.
        players: policies for the law of order.
        steps: length of a played stretch.
    """

    env_id: str
    backend: str
    kwargs: dict[str, Any]
    players: Players | None
    steps: int

    @property
    def candid(self) -> bool:
        """Whether masks are those of the moment; mishaps may show older ones, which promise nothing."""
        return not Mishaps.of(self.kwargs.get("mishaps")).hide

    def make(self, backend: str | None = None, **more: Any) -> Env:
        """A single env without wrappers."""
        env = gym.make(self.env_id, backend=backend or self.backend, **{**self.kwargs, **more})
        return cast("Env", env.unwrapped)

    def make_vec(self, n: int, **more: Any) -> VectorEnv:
        """The native vector env."""
        made = gym.make_vec(self.env_id, num_envs=n, backend=self.backend, **{**self.kwargs, **more})
        return cast("VectorEnv", made)


Law = Callable[[Subject], int]
LAWS: dict[str, Law] = {}


def law(claim: str) -> Callable[[Law], Law]:
    """Enter a law under its claim."""

    def enter(function: Law) -> Law:
        LAWS[claim] = function
        return function

    return enter


def check(
    env_id: str,
    backends: Sequence[str] | None = None,
    kwargs: dict[str, Any] | None = None,
    players: Players | None = None,
    steps: int = 300,
    only: Sequence[str] | None = None,
) -> list[Finding]:
    """Try every law on every backend.

    Args:
        env_id: Gymnasium id of an env, or of a preset of one.
        backends: what to check; the first is the reference of parity. Default: what `backends_of` finds.
        kwargs: other arguments of the env.
        players: policies for the law of order; without them it is not tried.
        steps: length of a played stretch.
        only: claims to try; default all.
    """
    names = backends or backends_of(env_id)
    found = []
    for backend in names:
        subject = Subject(env_id, backend, kwargs or {}, players, steps)
        subject.make().close()  # a misspelt backend or argument is no broken law
        for claim, one in LAWS.items():
            if (only is None or claim in only) and _speaks_of(one, subject):
                found.append(_try(claim, one, subject))
        if backend != names[0]:
            found.append(_try(f"equals {names[0]}", lambda it: equals_reference(it, names[0]), subject))
    return found


def backends_of(env_id: str) -> Sequence[str]:
    """Names in `BACKENDS` of the module that defines the env, or a class that it inherits from.

    Raises:
        BadInput: no such module names any.
    """
    env = cast("Any", gym.make(env_id))
    kinds = type(env.unwrapped).__mro__
    env.close()
    for kind in kinds:
        if names := getattr(sys.modules[kind.__module__], "BACKENDS", ()):
            return cast("Sequence[str]", names)
    raise BadInput(
        f"expected BACKENDS in {kinds[0].__module__}, found none; name them in check(..., backends)"
    )


def _speaks_of(one: Law, subject: Subject) -> bool:
    """Whether a law can be tried: some need players, or masks that are not old."""
    if one is players_are_ordered:
        return subject.players is not None
    return subject.candid or one is not masks_are_exact


def _try(claim: str, one: Law, subject: Subject) -> Finding:
    try:
        return Finding(claim, subject.backend, one(subject), True)
    except (AssertionError, WorkgymError, gym.error.Error) as error:
        return Finding(claim, subject.backend, 0, False, str(error) or type(error).__name__)


def choose(env: Env, rng: np.random.Generator) -> Any:
    """A random action that is legal now."""
    return sample_legal(env.action_space, env.mask[None], rng)[0]


def choose_all(env: VectorEnv, rng: np.random.Generator) -> Any:
    """A random action for each lane that is legal now."""
    return sample_legal(env.single_action_space, env.mask, rng)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)


def _digest(*parts: Any) -> bytes:
    """Content of a step: arrays by bytes, the rest by canonical JSON."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.tobytes() if isinstance(part, np.ndarray) else _canonical(part))
    return whole.digest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=lambda array: array.tolist()).encode()


def trajectory(env: Env, seed: int, steps: int) -> str:
    """Digest of everything that a random legal play of `steps` steps shows."""
    rng = np.random.default_rng(seed)
    obs, info = env.reset(seed=seed)
    whole = hashlib.sha256(_digest(obs, info))
    for _ in range(steps):
        obs, reward, ended, cut, info = env.step(choose(env, rng))
        whole.update(_digest(obs, reward, ended, cut, info))
        whole.update(env.state_hash().encode())
        if ended:
            obs, info = env.reset()
            whole.update(_digest(obs, info))
    return whole.hexdigest()


@law("Gymnasium's own checker passes")
def gymnasium_check(subject: Subject) -> int:
    """`check_env` raises nothing and warns of nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(subject.make())
    _require(not caught, f"check_env warns: {[str(one.message) for one in caught][:1]}")
    return 1


@law("same seed and actions, same trajectory, in any process")
def deterministic(subject: Subject) -> int:
    """Twice here and once in a fresh process with another hash seed."""
    program = (
        "import sys, json, gymnasium, workgym.envs; from workgym.envs import conformance as c; "
        "a = json.loads(sys.argv[1]); s = c.Subject(a['id'], a['backend'], a['kwargs'], None, a['steps']); "
        "print([c.trajectory(s.make(), seed, s.steps) for seed in a['seeds']])"
    )
    asked = {
        "id": subject.env_id,
        "backend": subject.backend,
        "kwargs": subject.kwargs,
        "steps": subject.steps,
        "seeds": SEEDS,
    }
    here = [trajectory(subject.make(), seed, subject.steps) for seed in SEEDS]
    again = [trajectory(subject.make(), seed, subject.steps) for seed in SEEDS]
    _require(here == again, "two envs of one process play differently")
    environ = {**os.environ, "PYTHONHASHSEED": "4242"}
    command = [sys.executable, "-c", program, json.dumps(asked)]
    printed = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    _require(
        printed.stdout.strip() == str(here), f"another process plays differently: {printed.stderr[-300:]}"
    )
    return 3 * len(SEEDS)


@law("lane i with seed s is the single env with seed s + i, in every autoreset mode")
def lanes_are_singles(subject: Subject) -> int:
    """Plays a vector beside single envs."""
    return sum(_lanes_match(subject, mode, n) for mode in MODES for n in (1, 5))


def _lanes_match(subject: Subject, mode: AutoresetMode, n: int) -> int:
    vector = subject.make_vec(n, autoreset_mode=mode)
    singles = [subject.make() for _ in range(n)]
    rng = np.random.default_rng(n)
    obs, info = vector.reset(seed=20)
    for i, env in enumerate(singles):
        alone, mine = env.reset(seed=20 + i)
        _same_lane(i, 0, (obs, info), (alone, mine))
    over = np.zeros(n, dtype=np.bool_)
    cases = 0
    for step in range(1, subject.steps):
        actions = choose_all(vector, rng)
        if mode is AutoresetMode.DISABLED and over.any():
            obs, info = vector.reset(options={"reset_mask": over.copy()})
            for i in np.flatnonzero(over).tolist():
                _same_lane(i, step, (obs, info), singles[i].reset())
            over[:] = False
            continue
        obs, rewards, ended, _, info = vector.step(actions)
        for i, env in enumerate(singles):
            over[i] = _single_step(env, i, step, actions[i], mode, bool(over[i]), (obs, rewards, ended, info))
            cases += 1
    return cases


def _single_step(
    env: Env, i: int, step: int, action: Any, mode: AutoresetMode, over: bool, lane: Any
) -> bool:
    """Step one single env as its lane stepped; whether its episode is over."""
    obs, rewards, ended, info = lane
    if over and mode is AutoresetMode.NEXT_STEP:
        _same_lane(i, step, (obs, info), env.reset())
        _require(rewards[i] == 0 and not ended[i], f"lane {i} earns on the step that begins its episode")
        return False
    alone, reward, done, _, mine = env.step(action)
    _require(rewards[i] == reward and ended[i] == done, f"lane {i} earns or ends differently at step {step}")
    if done and mode is AutoresetMode.SAME_STEP:
        _require(
            bool((info["final_obs"][i] == alone).all()),
            f"lane {i} has another final observation at step {step}",
        )
        _same_lane(i, step, (obs, info), env.reset())
        return False
    _same_lane(i, step, (obs, info), (alone, mine))
    return done


def _same_lane(
    i: int, step: int, lane: tuple[Floats, dict[str, Any]], single: tuple[Floats, dict[str, Any]]
) -> None:
    obs, info = lane
    alone, mine = single
    _require(obs[i].tobytes() == alone.tobytes(), f"lane {i} observes differently at step {step}")
    for name, what in (("action_mask", "mask"), ("credit", "credit")):
        _require((name in info) == (name in mine), f"lane {i} alone has, or lacks, a {what} at step {step}")
        _require(
            name not in info or bool((info[name][i] == mine[name]).all()),
            f"lane {i} has another {what} at step {step}",
        )
    terms = {
        name: int(values[i]) for name, values in info["reward_terms"].items() if not name.startswith("_")
    }
    _require(terms == mine["reward_terms"], f"lane {i} has other reward terms at step {step}")


@law("snapshot, restore and fork are exact")
def snapshots_are_exact(subject: Subject) -> int:
    """From many moments: restore repeats the future; forks do not disturb each other."""
    env = subject.make()
    rng = np.random.default_rng(5)
    env.reset(seed=5)
    for moment in range(12):
        for _ in range(int(rng.integers(1, 25))):
            _wander(env, rng)
        _one_snapshot(env, int(rng.integers(1 << 30)), moment)
    return 12


def _wander(env: Env, rng: np.random.Generator) -> None:
    """One random legal step, and on to the next episode when it was the last."""
    if env.step(choose(env, rng))[2]:
        env.reset()


def _one_snapshot(env: Env, seed: int, moment: int) -> None:
    here, before = env.snapshot(), env.state_hash()
    first = _future(env, seed)
    env.restore(here)
    _require(env.state_hash() == before, f"restore does not bring back moment {moment}")
    _require(env.snapshot().hash == here.hash, f"a restored snapshot is another one at moment {moment}")
    _require(_future(env, seed) == first, f"the future of moment {moment} does not repeat itself")
    env.restore(here)
    forks = env.fork(2)
    actions = choose_all(forks, np.random.default_rng(seed))
    forks.step(np.array([actions[0], actions[0]]))
    _require(forks.state_hash(0) == forks.state_hash(1), f"two forks of moment {moment} differ")
    _require(env.state_hash() == before, f"a fork disturbed moment {moment}")
    forks.close()
    _require(not len(env.mask) or bool(env.mask.any()), "restore shows no legal action")


def _future(env: Env, seed: int, steps: int = 12) -> list[bytes]:
    rng = np.random.default_rng(seed)
    shown = []
    for _ in range(steps):
        obs, reward, ended, _, info = env.step(choose(env, rng))
        shown.append(_digest(obs, reward, ended, info))
        if ended:
            obs, info = env.reset()
            shown.append(_digest(obs, info))
    return shown


@law("masks are sound and complete; a refused action changes nothing and says why")
def masks_are_exact(subject: Subject) -> int:
    """Tries every choice in many states, on a snapshot of each; without masks, the extremes and samples."""
    env = subject.make()
    rng = np.random.default_rng(9)
    env.reset(seed=9)
    cases = 0
    for _ in range(25):
        for _ in range(7):
            _wander(env, rng)
        here, before = env.snapshot(), env.state_hash()
        for action, allowed in _trials(env, rng):
            _, reward, _, _, after = env.step(action)
            refused = "refused" in after
            _require(refused != allowed, f"action {action}: legal is {allowed}, refused is {refused}")
            if refused:
                _require(
                    env.state_hash() == before and reward == 0, f"refused action {action} changed something"
                )
            env.restore(here)
            cases += 1
    return cases


def _trials(env: Env, rng: np.random.Generator) -> list[tuple[Any, bool]]:
    """Actions and whether each is legal: every choice of the mask, the other decisions being legal ones."""
    space, mask = cast("Any", env.action_space), env.mask
    if not len(mask):
        sampled = sample_legal(space, np.ones((4, 0), dtype=np.bool_), rng)
        return [(action, True) for action in (*_extremes(space), *sampled)]
    if isinstance(space, gym.spaces.Discrete):
        return [(action, bool(allowed)) for action, allowed in enumerate(mask)]
    trials = []
    where = [(decision, choice) for decision, n in enumerate(space.nvec) for choice in range(n)]
    for (decision, choice), allowed in zip(where, mask, strict=True):
        action = choose(env, rng)
        action[decision] = choice
        trials.append((action, bool(allowed)))
    return trials


def _extremes(space: Any) -> tuple[Any, Any]:
    """The action that is lowest in every decision, and the one that is highest."""
    if isinstance(space, gym.spaces.Box):
        return space.low, space.high
    most: Any = space.n if isinstance(space, gym.spaces.Discrete) else space.nvec
    return np.zeros_like(most), most - 1


@law("reward terms sum to the reward; sampled masked actions are legal")
def terms_sum(subject: Subject) -> int:
    """Every step of a play."""
    env = subject.make()
    env.action_space.seed(1)
    env.reset(seed=1)
    for step in range(subject.steps):
        _, reward, ended, _, info = env.step(env.action_space.sample(mask=_sampling_mask(env)))
        legal = "refused" not in info or not subject.candid
        _require(legal, f"a masked sample was refused at step {step}")
        _require(
            sum(info["reward_terms"].values()) == reward, f"terms do not sum to the reward at step {step}"
        )
        if ended:
            env.reset()
    return subject.steps


def _sampling_mask(env: Env) -> Any:
    """The mask as the action space's own `sample` expects it."""
    space, mask = env.action_space, env.mask.astype(np.int8)
    if not len(mask):
        return None
    if isinstance(space, gym.spaces.MultiDiscrete):
        return tuple(np.split(mask, np.cumsum(space.nvec)[:-1]))
    return mask


@law("reading changes nothing that is hashed")
def reads_are_pure(subject: Subject) -> int:
    """Every reading verb, between steps."""
    env = subject.make(render_mode="ansi")
    rng = np.random.default_rng(2)
    env.reset(seed=2)
    for step in range(20):
        before = env.state_hash()
        env.render(), env.facts(), env.mask, env.snapshot()
        _require(env.state_hash() == before, f"a read changed the state at step {step}")
        _wander(env, rng)
    return 20


@law("no global random state is touched")
def randomness_is_private(subject: Subject) -> int:
    """Compares the global generators before and after a play."""
    random_before, numpy_before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # numpy's legacy tuple
    trajectory(subject.make(), 7, 60)
    _require(random.getstate() == random_before, "the global `random` was used")
    _require(np.random.get_state()[1].tobytes() == numpy_before, "the global `numpy.random` was used")  # type: ignore[index]  # numpy's legacy tuple
    return 60


@law("pickles with its state, and its spec survives JSON")
def travels(subject: Subject) -> int:
    """A pickled env plays on as the original; a spec read from JSON makes an equal env."""
    env = subject.make()
    env.reset(seed=4)
    for _ in range(15):
        env.step(choose(env, np.random.default_rng(0)))
    copy = cast("Env", pickle.loads(pickle.dumps(env)))  # our own bytes, made one line ago
    _require(copy.state_hash() == env.state_hash(), "a pickled env holds another state")
    _require(_future(copy, 1) == _future(env, 1), "a pickled env plays on differently")
    made = gym.make(subject.env_id, backend=subject.backend, **subject.kwargs)
    with contextlib.redirect_stdout(io.StringIO()):
        spec = EnvSpec.from_json(cast("EnvSpec", made.spec).to_json())
    again = cast("Env", gym.make(spec).unwrapped)
    _require(trajectory(again, 1, 40) == trajectory(subject.make(), 1, 40), "the spec does not survive JSON")
    return 3


def equals_reference(subject: Subject, reference: str) -> int:
    """Same observations, rewards, ends, infos and state hashes as the reference backend."""
    for seed in SEEDS:
        with contextlib.redirect_stdout(io.StringIO()):
            check_environments_match(
                subject.make(reference),
                subject.make(),
                num_steps=subject.steps,
                seed=seed,
                info_comparison="equivalence",
            )
    families: Sequence[str] = subject.make().task.families
    return 2 * subject.steps + sum(_states_match(subject, reference, family) for family in families)


def _states_match(subject: Subject, reference: str, family: str) -> int:
    ours, theirs = subject.make(), subject.make(reference)
    rng = np.random.default_rng(13)
    options = {"family": family}
    shown = (ours.reset(seed=13, options=options), theirs.reset(seed=13, options=options))
    for step in range(subject.steps // 2):
        _require(_digest(*shown[0]) == _digest(*shown[1]), f"{family}: step {step} shows something else")
        _require(ours.state_hash() == theirs.state_hash(), f"{family}: another state after step {step}")
        anything = sample_legal(ours.action_space, np.ones((1, 0), dtype=np.bool_), rng)[0]
        action = anything if step % 5 == 0 else choose(ours, rng)
        stepped = (ours.step(action), theirs.step(action))
        _require(stepped[0][1:4] == stepped[1][1:4], f"{family}: step {step} earns or ends differently")
        shown = tuple((obs, info) for obs, _, _, _, info in stepped)  # type: ignore[assignment]  # two of them
        if stepped[0][2]:
            shown = (ours.reset(options=options), theirs.reset(options=options))
    here = ours.snapshot()
    theirs.restore(here)
    _require(theirs.state_hash() == ours.state_hash(), f"{family}: a snapshot does not travel to {reference}")
    return subject.steps // 2


@law("oracle and rules beat noop; adversaries gain nothing")
def players_are_ordered(subject: Subject) -> int:
    """Mean profit over one season of each family."""
    players = cast("Players", subject.players)
    rules = {player.name: _profit(subject, player) for player in players.rules}
    noop = _profit(subject, players.noop)
    for name, profit in rules.items():
        _require(profit > noop, f"rule {name} earns {profit:.0f}, noop {noop:.0f}")
    best = max(rules.values())
    for player in players.adversaries:
        profit = _profit(subject, player)
        _require(profit <= best, f"adversary {player.name} earns {profit:.0f}, the best rule {best:.0f}")
    if players.oracle is not None:
        small = Subject(subject.env_id, subject.backend, players.oracle_kwargs, players, subject.steps)
        top = _profit(small, players.oracle)
        for player in players.rules:
            profit = _profit(small, player)
            _require(top >= profit, f"rule {player.name} earns {profit:.0f}, the oracle {top:.0f}")
    return len(rules) + len(players.adversaries) + 1


def _profit(subject: Subject, player: Player) -> float:
    """Mean profit of a season, one of each family at once.

    Who stalls beyond the env's limit is relieved by the noop player, as in every evaluation: a
    truncated season would never show what it owes.
    """
    families = subject.make().task.families
    limit = gym.spec(subject.env_id).max_episode_steps or 20_000
    env = subject.make_vec(
        len(families), split="gate", autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=10 * limit
    )
    obs, _ = env.reset(seed=1, options={"family": list(families)})
    relief = cast("Players", subject.players).noop
    player.begin(env)
    relief.begin(env)
    profit = np.zeros(len(families))
    running = np.ones(len(families), dtype=np.bool_)
    step = 0
    while running.any():
        playing = player if step < limit else relief
        obs, rewards, ended, _, _ = env.step(playing.act(obs, env.mask))
        profit += rewards * running
        running &= ~ended
        step += 1
    env.close()
    return float(profit.mean())


def report(findings: Sequence[Finding]) -> Iterator[str]:
    """One line a finding."""
    for finding in findings:
        verdict = "holds" if finding.passed else f"BROKEN: {finding.detail}"
        yield f"{finding.law} [{finding.backend}] {finding.cases} cases: {verdict}"
