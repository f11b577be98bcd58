"""The learner: Adam on the gradient of what episodes earn, from orders back to weights.

    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, report = train_chunk(recipe, k, state)
    files = policy_from(recipe, state, "my-policy")

As in `workgym.agents.training`, a chunk draws every random number from (recipe, k) and passes on
nothing but its state. It plays episodes of the train split alone.

Source: Madeka et al. (2022), "Deep inventory management", arXiv 2210.03137; Alvo et al. (2023),
arXiv 2306.11246.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import workgym.envs  # noqa: F401  # registers the ids
from workgym.agents.pathwise.happenings import Happenings, happenings
from workgym.agents.pathwise.policy import (
    BEND,
    DAYS,
    LEAD,
    OCTAVES,
    POSITION,
    ROW_OUTPUTS,
    SIZE,
    Network,
    QuantityPolicy,
    largest_orders,
)
from workgym.agents.pathwise.recipe import PathwiseRecipe, PathwiseReport
from workgym.agents.pathwise.sight import Flat, Rows
from workgym.agents.pathwise.simulator import Simulator, Stock, facts_of
from workgym.agents.policy import view_of
from workgym.agents.states import State, read_state, state_at, state_bytes
from workgym.agents.training import alone, chunk_seed
from workgym.envs.base import Task, VectorEnv
from workgym.envs.supply_chain.env import ENV_ID
from workgym.envs.supply_chain.view import sheet_of
from workgym.services.kernel import BadInput
from workgym.services.scenario import episode_key, split_salt
from workgym.services.supply_chain import rules
from workgym.services.supply_chain.scenario import Setup

DTYPE = torch.float32
ENDLESS = 10**9  # periods of an episode that no window reaches the end of
SURVEY_LANES, SURVEY_PERIODS = 128, 40
NARROWEST = 0.02  # a feature that swings less than this is scaled as if it swung so much
STILL = 1e-6  # a feature that swings less than this tells nothing
FIRST_LEVEL = 1.25  # protection intervals of demand that a policy orders up to before it learns
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Problem:
    """What is learned: a network, how it is seen, whose episodes."""

    task: Task
    setup: Setup
    simulator: Simulator
    eye: Flat | Rows
    salt: np.uint64
    family: int
    units: Tensor  # (D,) what an output of 1 orders, flat
    view: dict[str, str]  # how the env is seen and acted in
    worth: Tensor  # (A, K) money that another unit can make or lose

    @property
    def in_rows(self) -> bool:
        """Whether every decision has a row of its own."""
        return isinstance(self.eye, Rows)

    @property
    def outputs(self) -> int:
        """Of the network."""
        return ROW_OUTPUTS if self.in_rows else len(self.units)

    def draw(self, rng: np.random.Generator, lanes: int, periods: int) -> Happenings:
        """Fresh episodes of the train split."""
        keys = [episode_key(self.salt, int(seed), 0) for seed in rng.integers(2**31, size=lanes)]
        family = np.full(lanes, self.family, dtype=np.int64)
        return happenings(self.setup, np.array(keys, dtype=np.uint64), family, periods, self.eye.ahead)


def problem_of(recipe: PathwiseRecipe) -> Problem:
    """The problem of a recipe.

    Raises:
        BadInput: the env is no supply chain in quantities, or is fixed to another split than train.
    """
    if not recipe.env_id.startswith(ENV_ID.removesuffix("-v0")):
        raise BadInput(f"expected a supply chain to learn pathwise, found {recipe.env_id}")
    kwargs = {"actions": "box", **recipe.env_kwargs}
    if kwargs.get("split", "train") != "train":
        raise BadInput(f"expected to learn on split 'train', found {kwargs['split']!r}")
    how = gym.VectorizeMode.VECTOR_ENTRY_POINT
    env = cast(VectorEnv, gym.make_vec(recipe.env_id, num_envs=1, vectorization_mode=how, **kwargs))
    try:
        task, setup = env.task, getattr(env.backend, "setup", None)
    finally:
        env.close()
    if not isinstance(setup, Setup):
        raise BadInput(f"expected a supply chain on its twin, found {recipe.env_id} with {kwargs}")
    largest_orders(task)
    if recipe.window:
        setup = setup._replace(periods=ENDLESS)
    flow = (setup.reach @ setup.usual)[setup.target] / rules.FRACTION
    units = torch.from_numpy(np.where(flow > 0, flow, 1.0).ravel()).to(DTYPE)
    family = kwargs.get("family")
    eye = (Rows if task.rows else Flat)(setup, DTYPE)
    believes = not (recipe.window and isinstance(eye, Flat) and eye.moves_not)
    return Problem(
        task,
        setup,
        Simulator(setup, DTYPE, order_width=np.maximum(setup.pack, flow), believes=believes),
        eye,
        split_salt(task.env_id, "train"),
        -1 if family is None else task.family_index(family),
        units,
        view_of(kwargs),
        _worth(setup),
    )


class Net(NamedTuple):
    """A policy's weights, for standardised features: (weight, bias) of each layer, then `skip`."""

    weights: list[Tensor]
    mean: Tensor  # (features,)
    scale: Tensor  # (features,) 0 for those that are not looked at

    def seeing(self, features: NDArray[np.int64], gain: NDArray[np.float64]) -> Seeing:
        """The network for inputs that `gain` makes `features` of; the standardisation melts into it."""
        columns = torch.from_numpy(features)
        first, bias, *inner, last, skip = self.weights
        factor = (torch.from_numpy(gain).to(self.scale.dtype) * self.scale[columns])[:, None]
        shift = (self.mean * self.scale)[columns]
        read, past = first[columns], skip[columns]
        return Seeing([factor * read, bias - shift @ read, *inner, last - shift @ past], factor * past)


class Seeing(NamedTuple):
    """A policy's network, for what an eye sees."""

    layers: list[Tensor]
    skip: Tensor

    def frozen(self) -> Seeing:
        """The same network, passing no gradient to its weights."""
        return Seeing([weight.detach() for weight in self.layers], self.skip.detach())

    def orders(self, problem: Problem, seen: Tensor) -> Tensor:
        """(B, A, K) units, in fractions.

        In rows the gradient of later money reaches earlier orders through the position alone. Through the
        network too it explodes: sixty periods of feedback made gradients of 1e8 where these are of 10.
        """
        *hidden, weight, bias = self.layers
        here = read = seen.detach() if problem.in_rows else seen
        for i in range(0, len(hidden), 2):
            here = torch.nn.functional.elu(torch.addmm(hidden[i + 1], here, hidden[i]))
        out = _bent(torch.addmm(torch.addmm(bias, here, weight), read, self.skip))
        shape = (-1, *problem.setup.most.shape)
        if not problem.in_rows:
            return (out * problem.units).view(shape)
        scale = torch.exp2(seen[:, SIZE] * OCTAVES) * (1.0 + DAYS * seen[:, LEAD])
        wanted = out[:, 0] - out[:, 1] * seen[:, POSITION]
        return (wanted.clamp_min(0.0) * scale).view(shape)


def _bent(x: Tensor) -> Tensor:
    return torch.nn.functional.celu(x, BEND) + BEND


def _names(recipe: PathwiseRecipe) -> list[str]:
    return [f"{i}.{part}" for i in range(len(recipe.net) + 1) for part in ("weight", "bias")] + ["skip"]


def _fresh(recipe: PathwiseRecipe, problem: Problem, seed: int) -> list[Tensor]:
    """Weights of a policy that orders up to a level, more or less, for features as they are."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [problem.eye.features, *recipe.net, problem.outputs]
    weights: list[Tensor] = []
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        gain = 0.1 if layer == len(sizes) - 2 else 1.0
        weights.append(torch.randn(n_in, n_out, generator=generator, dtype=DTYPE) * (gain / math.sqrt(n_in)))
        weights.append(torch.zeros(n_out, dtype=DTYPE))
    skip = torch.zeros(sizes[0], sizes[-1], dtype=DTYPE)
    if isinstance(problem.eye, Flat):
        units = problem.units.numpy()
        level = sheet_of(problem.setup).protection[:, None] * units.reshape(problem.setup.most.shape)
        weights[-1] += torch.from_numpy((FIRST_LEVEL * level).ravel() / units - BEND).to(DTYPE)
        skip -= torch.from_numpy(problem.eye.position() / units).to(DTYPE)
    else:
        weights[-1] += torch.tensor([FIRST_LEVEL, 1.0]) - BEND
    return [*weights, skip]


def _standardised(weights: list[Tensor], mean: Tensor, scale: Tensor) -> list[Tensor]:
    """The same policy over standardised features, as far as it reads them past the hidden layers."""
    *layers, bias, skip = weights
    each = torch.where(scale > 0, 1.0 / scale, torch.zeros_like(scale))
    return [*layers, bias + mean @ skip, skip * each[:, None]]


def scattered(problem: Problem, rng: np.random.Generator, stock: Stock, share: float) -> Stock:
    """The same lanes, of which this share holds and awaits anything from nothing to plenty."""
    if share == 0.0:
        return stock
    setup, batch = problem.setup, len(stock.on_hand)
    flow = setup.reach @ setup.usual / rules.FRACTION
    periods = np.zeros(len(setup.opening))
    np.maximum.at(periods, setup.target, setup.leads.max(axis=1) + 2.0)
    elsewhere = torch.from_numpy(rng.random(batch) < share)[:, None, None]

    def some(usual: NDArray[np.float64], most: float) -> Tensor:
        return torch.from_numpy(np.rint(rng.uniform(0, most, (batch, *usual.shape)) * usual)).to(DTYPE)

    on_hand = torch.where(elsewhere, some(flow * periods[:, None], 1.5), stock.on_hand)
    way = list(stock.way)
    for h in range(1, int(setup.leads[:, 0].max())):
        units = way[h]
        usual = flow[setup.target] * (setup.leads[:, :1] > h)
        way[h] = torch.where(elsewhere, some(usual, 2.0), torch.zeros(()) if units is None else units)
    return stock._replace(on_hand=on_hand, way=tuple(way))


def _play(
    problem: Problem, net: Net, stock: Stock, told: Happenings, periods: int, tail: int, whole: bool
) -> tuple[Stock, Tensor]:
    """Play periods; the stock afterwards and (B,) money."""
    bound = problem.worth * (problem.task.reward_scale / (periods * len(stock.on_hand)))
    facts, money, seeing = facts_of(told, DTYPE), [], net.seeing(problem.eye.columns, problem.eye.gain)
    for t in range(periods):
        if t == periods - tail:
            seeing = seeing.frozen()
        orders = seeing.orders(problem, problem.eye.see(stock, told, t))
        if orders.requires_grad:
            orders.register_hook(partial(_bounded, bound))  # type: ignore[no-untyped-call]  # torch's own
        if whole:
            orders = _in_packs(problem, orders)
        stock, books = problem.simulator.play(stock, orders, facts, t, told)
        money += [earned for _, earned in books]
    return stock, torch.stack(money).sum(dim=0)


def _bounded(bound: Tensor, slope: Tensor) -> Tensor:
    """What another unit of each order is worth, within what it can be worth.

    A policy that reacts too hard to its own stock makes slopes grow from period to period, backwards,
    without end; the true ones are bounded by what a unit sells for and saves.
    """
    return torch.clamp(slope, -bound, bound)


def _worth(setup: Setup) -> Tensor:
    """(A, K) money that another unit of an order can make or lose, with room to spare."""
    protection = sheet_of(setup).protection[:, None]
    at_once, each = setup.price + setup.lost + setup.salvage, setup.waiting + setup.holding
    reach = (setup.reach[setup.target] > 0)[:, :, None]
    most = (at_once[None] * reach).max(axis=1) + (each[None] * reach).max(axis=1) * protection
    return torch.from_numpy(most + setup.cost + setup.holding[setup.target] * protection).to(DTYPE)


def _in_packs(problem: Problem, orders: Tensor) -> Tensor:
    """Whole packs forwards, fractions backwards (a straight-through estimate of the gradient)."""
    pack = problem.simulator.pack
    return orders + (torch.floor(orders.detach() / pack + 0.5) * pack - orders.detach())


def _survey(
    recipe: PathwiseRecipe, problem: Problem, weights: list[Tensor], seed: int
) -> tuple[Tensor, Tensor]:
    """Mean and scale of every feature under the first policy; 0 as scale of those that tell nothing."""
    rng = np.random.default_rng(seed)
    eye, nothing = problem.eye, torch.zeros(problem.eye.features)
    first = Net(weights, nothing, nothing + 1.0).seeing(eye.columns, eye.gain)
    periods = min(SURVEY_PERIODS, problem.setup.periods)
    told = problem.draw(rng, SURVEY_LANES, periods)
    facts, seen = facts_of(told, DTYPE), []
    with torch.no_grad():
        stock = scattered(problem, rng, problem.simulator.opened(SURVEY_LANES), recipe.scatter)
        for t in range(periods):
            seen.append(eye.look(stock, told, t))
            orders = first.orders(problem, eye.see(stock, told, t))
            orders *= torch.from_numpy(rng.uniform(0.0, 2.0, orders.shape)).to(DTYPE)
            stock, _ = problem.simulator.play(stock, orders, facts, t, told)
    rows = torch.cat(seen)
    mean, swing = rows.mean(dim=0), rows.std(dim=0)
    scale = torch.where(swing > STILL, 1.0 / swing.clamp_min(NARROWEST), torch.zeros_like(swing))
    if recipe.window and isinstance(problem.eye, Flat):
        scale[torch.from_numpy(problem.eye.idle)] = 0.0
    return mean, scale


def initial_state(recipe: PathwiseRecipe) -> bytes:
    """The state before the first chunk: random weights, features measured under them."""
    with alone():
        seed = chunk_seed(recipe, -1)
        problem = problem_of(recipe)
        weights = _fresh(recipe, problem, seed)
        mean, scale = _survey(recipe, problem, weights, seed)
        weights = _standardised(weights, mean, scale)
        tensors = {f"weights/{name}": w.numpy() for name, w in zip(_names(recipe), weights, strict=True)}
        return state_bytes(recipe, 0, tensors | {"mean": mean.numpy(), "scale": scale.numpy()})


def _net_of(recipe: PathwiseRecipe, tensors: State) -> Net:
    weights = [torch.from_numpy(tensors[f"weights/{name}"].copy()) for name in _names(recipe)]
    mean, scale = (torch.from_numpy(tensors[name].copy()) for name in ("mean", "scale"))
    return Net(weights, mean, scale)


def train_chunk(recipe: PathwiseRecipe, k: int, state: bytes) -> tuple[bytes, PathwiseReport]:
    """Follow the gradient for chunk k from the state after k chunks; the next state and how it went.

    Raises:
        BadInput: the state is damaged, of another recipe, or not the one after k chunks.
    """
    began = time.process_time()
    tensors = state_at(recipe, k, state)
    with alone():
        net = _net_of(recipe, tensors)
        problem = problem_of(recipe)
        problem = replace(problem, eye=problem.eye.only((net.scale != 0).numpy()))
        for weight in net.weights:
            weight.requires_grad_(True)
        adam = torch.optim.Adam(net.weights, foreach=False)
        _load_moments(recipe, adam, net, tensors)
        told = _follow(recipe, k, problem, net, adam)
        after = {f"weights/{n}": w.detach().numpy() for n, w in zip(_names(recipe), net.weights, strict=True)}
        after |= {"mean": net.mean.numpy(), "scale": net.scale.numpy()} | _moments(recipe, adam, net)
    periods = recipe.window or problem.setup.periods
    steps = len(recipe.span(k)) * recipe.lanes * periods * problem.setup.most.size
    last = told[-max(len(told) // 10, 1) :]
    mean_return, gradient = (float(x) for x in np.mean(last, axis=0))
    report = PathwiseReport(steps, time.process_time() - began, mean_return, gradient)
    return state_bytes(recipe, k + 1, after), report


def _follow(
    recipe: PathwiseRecipe, k: int, problem: Problem, net: Net, adam: torch.optim.Adam
) -> list[tuple[float, float]]:
    """Take the gradient steps of chunk k; the mean money and the length of the gradient of each."""
    rng = np.random.default_rng(chunk_seed(recipe, k))
    whole, periods = recipe.rounding == "whole", recipe.window or problem.setup.periods
    unit = problem.task.reward_scale / periods
    stock = scattered(problem, rng, problem.simulator.opened(recipe.lanes), recipe.scatter)
    if recipe.window and recipe.warm_up:
        with torch.no_grad():
            told = problem.draw(rng, recipe.lanes, recipe.warm_up)
            stock, _ = _play(problem, net, stock, told, recipe.warm_up, 0, whole)
    report = []
    for update in recipe.span(k):
        if not recipe.window:
            opened = problem.simulator.opened(recipe.lanes)
            stock = scattered(problem, rng, opened, recipe.scatter)
        told = problem.draw(rng, recipe.lanes, periods)
        stock, money = _play(problem, net, stock.detached(), told, periods, recipe.tail, whole)
        adam.zero_grad()
        (-money.mean() * unit).backward()  # type: ignore[no-untyped-call]  # torch's own
        length = torch.nn.utils.clip_grad_norm_(net.weights, recipe.max_grad_norm, foreach=False)
        adam.param_groups[0]["lr"] = _rate(recipe, update)
        adam.step()
        report.append((float(money.detach().mean()), float(length)))
    return report


def _rate(recipe: PathwiseRecipe, update: int) -> float:
    """Half a cosine from the learning rate to its final share."""
    left = 0.5 * (1.0 + math.cos(math.pi * update / recipe.updates))
    return recipe.learning_rate * (recipe.final_rate + (1.0 - recipe.final_rate) * left)


def _moments(recipe: PathwiseRecipe, adam: torch.optim.Adam, net: Net) -> State:
    return {
        f"adam/{name}/{moment}": adam.state[weight][moment].numpy()
        for name, weight in zip(_names(recipe), net.weights, strict=True)
        for moment in _MOMENTS
    }


def _load_moments(recipe: PathwiseRecipe, adam: torch.optim.Adam, net: Net, tensors: State) -> None:
    for name, weight in zip(_names(recipe), net.weights, strict=True):
        if f"adam/{name}/step" in tensors:
            adam.state[weight] = {
                moment: torch.from_numpy(tensors[f"adam/{name}/{moment}"].copy()) for moment in _MOMENTS
            }


def policy_from(recipe: PathwiseRecipe, state: bytes, name: str = "") -> dict[str, bytes]:
    """The policy in a state, as files that `QuantityPolicy.load` reads.

    Raises:
        BadInput: the state is damaged or of another recipe.
    """
    tensors = read_state(recipe, state)
    problem = problem_of(recipe)
    return _policy(recipe, problem, tensors, name).save()


def _policy(recipe: PathwiseRecipe, problem: Problem, tensors: State, name: str) -> QuantityPolicy:
    """The policy of these weights, with the standardisation folded into those that read the inputs."""
    weights = [torch.from_numpy(tensors[f"weights/{part}"].astype(np.float64)) for part in _names(recipe)]
    mean, scale = (torch.from_numpy(tensors[part].astype(np.float64)) for part in ("mean", "scale"))
    seeing = Net(weights, mean, scale).seeing(np.arange(len(mean)), np.ones(len(mean)))
    plain = [np.ascontiguousarray(part.numpy(), dtype=np.float32) for part in (*seeing.layers, seeing.skip)]
    network = Network(tuple(zip(plain[0:-1:2], plain[1:-1:2], strict=True)), plain[-1])
    return QuantityPolicy(
        name or f"{recipe.algorithm}-{recipe.digest()[:12]}",
        recipe.env_id,
        problem.task.version,
        "rows" if problem.in_rows else "flat",
        network,
        None if problem.in_rows else problem.units.numpy(),
        problem.view,
    )


def train_for_cost(env_id: str, name: str = "", **fields: Any) -> tuple[QuantityPolicy, float]:
    """Train a policy from the fields of a recipe; the policy and the processor seconds that it took.

    Example:
        >>> policy, seconds = train_for_cost(
        ...     "workgym/SupplyChain.lost-sales-v0", env_kwargs={"lead_time": 4}, **PRESETS["pathwise"]
        ... )  # doctest: +SKIP
    """
    recipe = PathwiseRecipe(env_id, **fields)
    began = time.process_time()
    state = initial_state(recipe)
    for k in range(recipe.chunks):
        state, _ = train_chunk(recipe, k, state)
    policy = QuantityPolicy.load(policy_from(recipe, state, name))
    return policy, time.process_time() - began
