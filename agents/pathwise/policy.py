"""A policy that orders quantities: a small network in plain arithmetic, whole units at the end.

Neither torch nor pickle is needed to load or to run it. Every row is computed on its own, in one
fixed order of IEEE operations, exponentials included, so a decision depends neither on the batch that
it came in nor on the processor.

The network sees its (standardised) inputs twice, through two or so hidden layers of ELUs and directly.
What it puts out becomes an order in one of two ways:

- `flat`: one output for each decision, times the decision's own unit;
- `rows`: two outputs for each row, a level to order up to and how much the stock position counts
  against it, both in what the row's SKU sells in a lead time and a period. So one network serves SKUs
  of any size (features by `workgym.envs.supply_chain.view.HEAD`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numba import njit
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from workgym.agents.policy import Bools, Floats, Ints
from workgym.envs.base import VectorEnv
from workgym.services.kernel import BadInput, did_you_mean

FORMAT = 1
KIND = "quantities"
HEADER, WEIGHTS = "policy.json", "policy.safetensors"
MODES = ("flat", "rows")
BEND = 0.25  # how softly an output turns to zero; of its unit
ROW_OUTPUTS = 2
POSITION, SIZE, LEAD = 3, 12, 16  # columns of a row that turn outputs into units
OCTAVES, DAYS = 4.0, 8.0  # what one of `SIZE` and of `LEAD` is
_FIELDS = {
    "format": int,
    "kind": str,
    "mode": str,
    "name": str,
    "env_id": str,
    "env_version": str,
    "features": int,
    "decisions": int,
    "hidden": list,
    "view": dict,
}

# exp(r) for |r| <= ln(2) / 2 as r's power series; its error there is below a float32's last bit.
_SERIES = np.array([1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0])
_LN2 = float(np.log(2.0))


@njit(cache=True)
def _exp(x: Any) -> Any:
    """The exponential of -80 to 80, from additions and multiplications alone: the same everywhere."""
    n = np.floor(x / _LN2 + 0.5)
    r = x - n * _LN2
    value = _SERIES[0]
    for i in range(1, len(_SERIES)):
        value = value * r + _SERIES[i]
    power = 1.0
    for _ in range(int(abs(n))):
        power *= 2.0
    return value * power if n >= 0 else value / power


@njit(cache=True)
def _bent(x: Any) -> Any:
    """Never negative: the straight line x + BEND above zero, an exponential below."""
    return x + BEND if x > 0 else BEND * _exp(max(x / BEND, -80.0))


@njit(cache=True)
def _forward(x: Any, weights: Any, sizes: Any, here: Any, there: Any, out: Any) -> None:
    """Fill `out` from inputs `x`: hidden layers of ELUs, then a sum of the last one and of `x` itself."""
    layers = len(sizes) - 1
    at = 0
    for i in range(sizes[0]):
        here[i] = x[i]
    for layer in range(layers):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        last = layer == layers - 1
        for j in range(n_out):
            there[j] = weights[at + j]
        at += n_out
        for i in range(n_in):
            if here[i] != np.float32(0.0):
                for j in range(n_out):
                    there[j] += here[i] * weights[at + j]
            at += n_out
        for j in range(n_out):
            y = there[j]
            if last:
                out[j] = y
            else:
                here[j] = y if y > np.float32(0.0) else np.float32(_exp(max(y, -80.0)) - 1.0)
    for i in range(sizes[0]):
        for j in range(sizes[layers]):
            out[j] += x[i] * weights[at + j]
        at += sizes[layers]


@njit(cache=True)
def _order_flat(obs: Any, weights: Any, sizes: Any, units: Any, most: Any, orders: Any) -> None:
    """Fill `orders` (N, D) from observations (N, F); -1 where a number is not finite."""
    widest = sizes.max()
    here, there = np.empty(widest, dtype=np.float32), np.empty(widest, dtype=np.float32)
    out = np.empty(sizes[-1], dtype=np.float32)
    for row in range(len(obs)):
        _forward(obs[row], weights, sizes, here, there, out)
        for d in range(orders.shape[1]):
            orders[row, d] = _whole(_bent(out[d]) * units[d], most[d])


@njit(cache=True)
def _order_rows(obs: Any, weights: Any, sizes: Any, most: Any, orders: Any) -> None:
    """Fill `orders` (N, D) from observations (N, D, F); -1 where a number is not finite."""
    widest = sizes.max()
    here, there = np.empty(widest, dtype=np.float32), np.empty(widest, dtype=np.float32)
    out = np.empty(sizes[-1], dtype=np.float32)
    for lane in range(len(obs)):
        for d in range(obs.shape[1]):
            row = obs[lane, d]
            _forward(row, weights, sizes, here, there, out)
            scale = _exp(row[SIZE] * OCTAVES * _LN2) * (1.0 + DAYS * row[LEAD])
            wanted = _bent(out[0]) - _bent(out[1]) * row[POSITION]
            orders[lane, d] = _whole(max(wanted, 0.0) * scale, most[d])


@njit(cache=True)
def _whole(units: Any, most: Any) -> Any:
    """The nearest whole number, a half up, within 0..most."""
    if not np.isfinite(units):
        return -1
    return min(max(np.int64(np.floor(units + 0.5)), 0), most)


class Network(NamedTuple):
    """Weights of a policy: `layers` as (weight (inputs, outputs), bias), then `skip` (features, outputs)."""

    layers: tuple[tuple[Floats, Floats], ...]
    skip: Floats

    @property
    def sizes(self) -> Ints:
        """Width of the inputs and of each layer."""
        return np.array([len(self.skip), *(len(bias) for _, bias in self.layers)], dtype=np.int64)

    def flat(self) -> Floats:
        """All weights in the order in which they are read."""
        parts = [part.ravel() for weight, bias in self.layers for part in (bias, weight)]
        return np.concatenate([*parts, self.skip.ravel()]).astype(np.float32)


class QuantityPolicy:
    """Orders whole units over every link at once.

    Args:
        name: what reports call it.
        env_id: the env that it was trained for.
        env_version: version of that env's observation and actions.
        mode: `flat` or `rows`.
        network: its weights.
        units: (D,) what an output of 1 orders; empty in rows.
        view: arguments of the env that say how this policy sees it and acts in it.

    Raises:
        BadInput: the parts do not fit together, or hold a number that is not finite.
    """

    def __init__(
        self,
        name: str,
        env_id: str,
        env_version: str,
        mode: str,
        network: Network,
        units: Floats | None = None,
        view: Mapping[str, str] | None = None,
    ) -> None:
        if mode not in MODES:
            raise BadInput(did_you_mean("mode", mode, list(MODES)))
        self.name, self.env_id, self.env_version, self.mode = name, env_id, env_version, mode
        self.network, self.view = network, dict(view or {})
        self.units = np.zeros(0, np.float32) if units is None else units
        _check(mode, network, self.units)
        self._sizes, self._weights = network.sizes, network.flat()
        self._most: Ints = np.zeros(0, dtype=np.int64)
        self._space: Any = None

    @property
    def features(self) -> int:
        """Length of an observation, or of one row of it."""
        return int(self._sizes[0])

    @property
    def decisions(self) -> int:
        """Number of quantities; 0 in rows, where it is the env's."""
        return len(self.units)

    def begin(self, env: VectorEnv) -> None:
        """Meet an env: its largest orders.

        Raises:
            BadInput: id, version, observation or actions are not those that the policy was trained for.
        """
        task = env.task
        if (task.env_id, task.version) != (self.env_id, self.env_version):
            raise BadInput(
                f"expected {self.env_id} in version {self.env_version}, found {task.env_id} in version "
                f"{task.version}; train policy {self.name!r} again on this env"
            )
        most = largest_orders(task)
        rows = self.mode == "rows"
        expected = (len(most), self.features) if rows else (self.features,)
        if bool(task.rows) != rows or task.observation_space.shape != expected:
            raise BadInput(
                f"expected observations {expected} in {self.mode}, found {task.observation_space.shape}"
            )
        if not rows and len(most) != self.decisions:
            raise BadInput(f"expected {self.decisions} decisions, found {len(most)}")
        self._most, self._space = most, task.action_space

    def act(self, obs: Floats, mask: Bools) -> NDArray[Any]:
        """Actions for observations (N, F) or (N, D, F), as the env of `begin` takes them.

        Raises:
            BadInput: no env was met yet, the array has another shape, or is not finite.
        """
        if self._space is None:
            raise BadInput("expected begin(env) before the first decision: it tells the largest orders")
        orders = self.quantities(obs, self._most)
        if isinstance(self._space, gym.spaces.Box):
            return (2.0 * orders / np.maximum(self._most, 1) - 1.0).astype(np.float32)
        return orders[:, 0] if isinstance(self._space, gym.spaces.Discrete) else orders

    def quantities(self, obs: Floats, most: Ints) -> Ints:
        """(N, D) whole units for observations, each at most `most` (D,).

        Raises:
            BadInput: the array has another shape, or a row is not finite.
        """
        n, shape = len(obs), (len(most), self.features) if self.mode == "rows" else (self.features,)
        if obs.shape != (n, *shape):
            raise BadInput(f"expected observations (N, {', '.join(map(str, shape))}), found {obs.shape}")
        orders = np.empty((n, len(most)), dtype=np.int64)
        seen = np.ascontiguousarray(obs, dtype=np.float32)
        if self.mode == "rows":
            _order_rows(seen, self._weights, self._sizes, most, orders)
        else:
            _order_flat(seen, self._weights, self._sizes, self.units, most, orders)
        if orders.min(initial=0) < 0:
            row = int(np.flatnonzero((orders < 0).any(axis=1))[0])
            raise BadInput(f"row {row} is an observation that is not finite")
        return orders

    def header(self) -> dict[str, Any]:
        """What `policy.json` says."""
        return {
            "format": FORMAT,
            "kind": KIND,
            "mode": self.mode,
            "name": self.name,
            "env_id": self.env_id,
            "env_version": self.env_version,
            "features": self.features,
            "decisions": self.decisions,
            "hidden": self._sizes[1:-1].tolist(),
            "view": self.view,
        }

    def save(self) -> dict[str, bytes]:
        """The policy as files, name to bytes; equal policies give equal bytes."""
        tensors = {"skip": self.network.skip, "units": self.units}
        for i, (weight, bias) in enumerate(self.network.layers):
            tensors |= {f"{i}.weight": weight, f"{i}.bias": bias}
        header = json.dumps(self.header(), sort_keys=True, indent=2) + "\n"
        plain = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in sorted(tensors)}
        return {HEADER: header.encode(), WEIGHTS: save_tensors(plain)}

    def digest(self) -> str:
        """Content hash of everything but the name."""
        header = json.dumps(self.header() | {"name": ""}, sort_keys=True).encode()
        return hashlib.sha256(header + b"\0" + self._weights.tobytes() + self.units.tobytes()).hexdigest()

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> QuantityPolicy:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged, of another format, or its parts do not fit.
        """
        if missing := {HEADER, WEIGHTS} - set(files):
            raise BadInput(f"expected {HEADER} and {WEIGHTS}, found no {', '.join(sorted(missing))}")
        header = _read_header(files[HEADER])
        network, units = _read_weights(files[WEIGHTS], len(header["hidden"]) + 1)
        name, env_id, env_version, mode = (header[one] for one in ("name", "env_id", "env_version", "mode"))
        policy = cls(name, env_id, env_version, mode, network, units, header["view"])
        if policy.header() != header:
            raise BadInput(f"expected the network that {HEADER} names, {header}, found {policy.header()}")
        return policy


def largest_orders(task: Any) -> Ints:
    """(D,) the most that a task's decisions may order.

    Raises:
        BadInput: its actions do not tell quantities, or not how large each may be.
    """
    space = task.action_space
    if isinstance(space, gym.spaces.Box) and task.decode is not None:
        most: Ints = np.ascontiguousarray(task.decode(np.ones((1, *space.shape), np.float32))[0])
        return most
    if task.rows:
        raise BadInput(f"expected quantities as numbers, found {space}; make the env with actions='box'")
    if isinstance(space, gym.spaces.Discrete):
        return np.array([int(space.n) - 1], dtype=np.int64)
    return np.asarray(space.nvec, dtype=np.int64) - 1


def _read_header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except ValueError as error:
        raise BadInput(f"expected JSON in {HEADER}, found a mistake: {error}") from error
    if not isinstance(header, dict) or (header.get("format"), header.get("kind")) != (FORMAT, KIND):
        raise BadInput(f"expected a policy of {KIND} in format {FORMAT}; this workgym cannot read it")
    if set(header) != set(_FIELDS):
        raise BadInput(f"expected the fields {', '.join(_FIELDS)} in {HEADER}, found {', '.join(header)}")
    for field, kind in _FIELDS.items():
        if type(header[field]) is not kind:
            raise BadInput(f"expected {kind.__name__} as {field} in {HEADER}, found {header[field]!r}")
    return header


def _read_weights(data: bytes, n: int) -> tuple[Network, Floats]:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"expected safetensors in {WEIGHTS}, found damage: {error}") from error
    wanted = {f"{i}.{part}" for i in range(n) for part in ("weight", "bias")} | {"skip", "units"}
    if set(tensors) != wanted:
        raise BadInput(f"expected the tensors {sorted(wanted)} in {WEIGHTS}, found {sorted(tensors)}")
    layers = tuple((tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(n))
    return Network(layers, tensors["skip"]), tensors["units"]


def _check(mode: str, network: Network, units: Floats) -> None:
    inputs = len(network.skip) if network.skip.ndim == 2 else 0
    if not inputs or not network.layers:
        raise BadInput("expected at least one input and one layer, found none")
    for i, (weight, bias) in enumerate(network.layers):
        if bias.ndim != 1 or not len(bias) or weight.shape != (inputs, len(bias)):
            raise BadInput(
                f"expected a weight of shape ({inputs}, outputs) and a bias (outputs,) in layer {i}, "
                f"found {weight.shape} and {bias.shape}"
            )
        inputs = len(bias)
    outputs = ROW_OUTPUTS if mode == "rows" else len(units)
    shapes = inputs, network.skip.shape[1], outputs if mode == "flat" else outputs + len(units)
    if outputs == 0 or shapes != (outputs,) * 3:
        raise BadInput(f"expected {outputs or 'some'} outputs in {mode}, found {inputs}")
    parts = [part for layer in network.layers for part in layer]
    for part in (*parts, network.skip, units):
        if part.dtype != np.float32 or not np.isfinite(part).all():
            raise BadInput("expected finite weights in float32, found others")
