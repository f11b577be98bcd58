"""A trained policy: a masked argmax over a small network, decided by one compiled loop.

Neither torch nor pickle is needed to load or to run it. Every row is computed on its own, in one
fixed order of IEEE operations, so the action for an observation depends neither on the batch that
it came in nor, with relu, on the processor's vector width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numba import njit
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from workgym.agents.policy import Bools, Floats, Ints
from workgym.envs.base import VectorEnv
from workgym.services.kernel import BadInput, did_you_mean

FORMAT = 1
HEADER, WEIGHTS = "policy.json", "policy.safetensors"
ACTIVATIONS = ("relu", "tanh")
_FIELDS = {
    "format": int,
    "name": str,
    "env_id": str,
    "env_version": str,
    "features": int,
    "actions": int,
    "hidden": list,
    "activation": str,
}


@njit(cache=True)
def _decide(obs: Any, mask: Any, weights: Any, sizes: Any, tanh: bool, logits: Any, actions: Any) -> None:
    """Fill `logits` (N, actions) and `actions` (N,); an action is -1 where no legal logit is a number.

    A mask (N, 0) rules nothing out.
    Each output sums its inputs in their order: vectors run over outputs, so no sum is reassociated.
    """
    last = len(sizes) - 2
    widest = sizes.max()
    free = mask.shape[1] == 0
    here = np.empty(widest, dtype=np.float32)
    there = np.empty(widest, dtype=np.float32)
    for row in range(obs.shape[0]):
        for i in range(sizes[0]):
            here[i] = obs[row, i]
        at = 0
        for layer in range(last + 1):
            n_in, n_out = sizes[layer], sizes[layer + 1]
            bias = weights[at : at + n_out]
            at += n_out
            out = logits[row] if layer == last else there[:n_out]
            for j in range(n_out):
                out[j] = bias[j]
            for i in range(n_in):
                x = here[i]
                line = weights[at : at + n_out]
                at += n_out
                if x != np.float32(0.0):
                    for j in range(n_out):
                        out[j] += x * line[j]
            if layer < last:
                for j in range(n_out):
                    x = out[j]
                    here[j] = np.tanh(x) if tanh else (np.float32(0.0) if x < np.float32(0.0) else x)
        best = np.float32(-np.inf)
        actions[row] = -1
        for j in range(sizes[last + 1]):
            if (free or mask[row, j]) and logits[row, j] > best:
                best = logits[row, j]
                actions[row] = j


@dataclass(frozen=True)
class Layer:
    """One dense layer."""

    weight: Floats  # (inputs, outputs)
    bias: Floats  # (outputs,)


class MlpPolicy:
    """The legal action with the largest logit; the lowest index on a tie.

    Args:
        name: what reports call it.
        env_id: the env that it was trained for.
        env_version: version of that env's observation and actions.
        layers: from the observation to one logit an action.
        activation: between layers, `relu` or `tanh`.
        view: arguments of the env that say how this policy sees it and acts in it, such as an encoding
            of actions; whoever plays the policy makes the env with them.

    Raises:
        BadInput: the layers do not fit together, or hold a number that is not finite.
    """

    def __init__(
        self,
        name: str,
        env_id: str,
        env_version: str,
        layers: Sequence[Layer],
        activation: str = "relu",
        view: Mapping[str, str] | None = None,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise BadInput(did_you_mean("activation", activation, list(ACTIVATIONS)))
        _check_layers(layers)
        self.name = name
        self.env_id = env_id
        self.env_version = env_version
        self.layers = tuple(layers)
        self.activation = activation
        self.view = dict(view or {})
        sizes = [len(layers[0].weight), *(len(layer.bias) for layer in layers)]
        self._sizes = np.array(sizes, dtype=np.int64)
        parts = [part.ravel() for layer in layers for part in (layer.bias, layer.weight)]
        self._weights: Floats = np.concatenate(parts).astype(np.float32)

    @property
    def features(self) -> int:
        """Length of an observation."""
        return int(self._sizes[0])

    @property
    def actions(self) -> int:
        """Number of actions."""
        return int(self._sizes[-1])

    @property
    def multiplications(self) -> int:
        """In one decision; what it costs wherever it runs."""
        return int((self._sizes[:-1] * self._sizes[1:]).sum())

    def begin(self, env: VectorEnv) -> None:
        """Refuse an env that the policy was not trained for.

        Raises:
            BadInput: id, version, observation or actions differ.
        """
        task = env.task
        if (task.env_id, task.version) != (self.env_id, self.env_version):
            raise BadInput(
                f"expected {self.env_id} in version {self.env_version}, found {task.env_id} in version "
                f"{task.version}; train policy {self.name!r} again on this env"
            )
        seen, space = task.decision
        if seen.shape != (self.features,) or space != Discrete(self.actions):
            raise BadInput(
                f"expected {self.features} features and {self.actions} actions a decision, "
                f"found an observation of shape {seen.shape} and actions {space}"
            )

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """The best legal actions of N lanes.

        Args:
            obs: (N, features), or (N, rows, features): every row is decided alike.
            mask: (N, actions), or (N, rows * actions); of no columns where every action is legal.

        Returns:
            (N,) actions, or (N, rows).

        Raises:
            BadInput: the arrays have other shapes, a row has no legal action, or is not finite.
        """
        return self._act_rows(obs, mask) if obs.ndim == 3 else self.decide(obs, mask)[1]

    def decide(self, obs: Floats, mask: Bools) -> tuple[Floats, Ints]:
        """Logits and the best legal actions of N single decisions, as `logits` and `act` give them.

        Raises:
            BadInput: the arrays have other shapes, a row has no legal action, or is not finite.
        """
        logits, actions = self._run(obs, mask)
        if actions.min(initial=0) < 0:
            row = int(np.flatnonzero(actions < 0)[0])
            raise BadInput(f"row {row} has no legal action, or an observation that is not finite")
        return logits, actions

    def _act_rows(self, obs: Floats, mask: Bools) -> Ints:
        n, rows, features = obs.shape
        if mask.shape not in ((n, 0), (n, rows * self.actions)):
            raise BadInput(
                f"expected masks ({n}, {rows * self.actions}) for {rows} rows of {self.actions} actions, "
                f"or ({n}, 0), found {mask.shape}"
            )
        columns = self.actions if mask.shape[1] else 0
        return self.act(obs.reshape(-1, features), mask.reshape(n * rows, columns)).reshape(n, rows)

    def logits(self, obs: Floats) -> Floats:
        """(N, actions) how much the policy prefers each action, legal or not."""
        return self._run(obs, np.empty((len(obs), 0), dtype=np.bool_))[0]

    def _run(self, obs: Floats, mask: Bools) -> tuple[Floats, Ints]:
        n = len(obs)
        if obs.shape != (n, self.features) or mask.shape not in ((n, 0), (n, self.actions)):
            raise BadInput(
                f"expected observations (N, {self.features}) and masks (N, {self.actions}) or (N, 0), "
                f"found {obs.shape} and {mask.shape}"
            )
        logits = np.empty((n, self.actions), dtype=np.float32)
        actions = np.empty(n, dtype=np.int64)
        obs = np.ascontiguousarray(obs, dtype=np.float32)
        mask = np.ascontiguousarray(mask, dtype=np.bool_)
        _decide(obs, mask, self._weights, self._sizes, self.activation == "tanh", logits, actions)
        return logits, actions

    def header(self) -> dict[str, Any]:
        """What `policy.json` says."""
        seen = {"view": self.view} if self.view else {}
        return {
            **seen,
            "format": FORMAT,
            "name": self.name,
            "env_id": self.env_id,
            "env_version": self.env_version,
            "features": self.features,
            "actions": self.actions,
            "hidden": self._sizes[1:-1].tolist(),
            "activation": self.activation,
        }

    def save(self) -> dict[str, bytes]:
        """The policy as files, name to bytes; equal policies give equal bytes."""
        tensors = {
            f"{i}.{part}": np.ascontiguousarray(getattr(layer, part), dtype=np.float32)
            for i, layer in enumerate(self.layers)
            for part in ("weight", "bias")
        }
        header = json.dumps(self.header(), sort_keys=True, indent=2) + "\n"
        return {HEADER: header.encode(), WEIGHTS: save_tensors(tensors)}

    def digest(self) -> str:
        """Content hash of everything but the name."""
        header = json.dumps(self.header() | {"name": ""}, sort_keys=True)
        return hashlib.sha256(header.encode() + b"\0" + self._weights.tobytes()).hexdigest()

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> MlpPolicy:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged, of another format, or its parts do not fit.
        """
        if missing := {HEADER, WEIGHTS} - set(files):
            raise BadInput(f"expected {HEADER} and {WEIGHTS}, found no {', '.join(sorted(missing))}")
        header = _read_header(files[HEADER])
        layers = _read_layers(files[WEIGHTS], len(header["hidden"]) + 1)
        policy = cls(
            header["name"],
            header["env_id"],
            header["env_version"],
            layers,
            header["activation"],
            header.get("view"),
        )
        if policy.header() != header:
            raise BadInput(f"expected the layers that {HEADER} names, {header}, found {policy.header()}")
        return policy


def _read_header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except ValueError as error:
        raise BadInput(f"expected JSON in {HEADER}, found a mistake: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise BadInput(f"expected a policy of format {FORMAT}, found {found!r}; this workgym cannot read it")
    if set(header) - {"view"} != set(_FIELDS):
        raise BadInput(f"expected the fields {', '.join(_FIELDS)} in {HEADER}, found {', '.join(header)}")
    for field, kind in _FIELDS.items():
        if type(header[field]) is not kind:
            raise BadInput(f"expected {kind.__name__} as {field} in {HEADER}, found {header[field]!r}")
    view = header.get("view", {})
    if not isinstance(view, dict) or not all(isinstance(value, str) for value in view.values()):
        raise BadInput(f"expected names and texts as view in {HEADER}, found {view!r}")
    return header


def _read_layers(data: bytes, n: int) -> list[Layer]:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadInput(f"expected safetensors in {WEIGHTS}, found damage: {error}") from error
    wanted = {f"{i}.{part}" for i in range(n) for part in ("weight", "bias")}
    if set(tensors) != wanted:
        raise BadInput(f"expected the tensors {sorted(wanted)} in {WEIGHTS}, found {sorted(tensors)}")
    return [Layer(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(n)]


def _check_layers(layers: Sequence[Layer]) -> None:
    if not layers:
        raise BadInput("expected at least one layer, found none")
    inputs = layers[0].weight.shape[0] if layers[0].weight.ndim == 2 else 0
    for i, layer in enumerate(layers):
        outputs = layer.bias.shape[0] if layer.bias.ndim == 1 else 0
        if layer.weight.shape != (inputs, outputs) or not inputs or not outputs:
            raise BadInput(
                f"expected a weight of shape ({inputs}, outputs) and a bias (outputs,) in layer {i}, "
                f"found {layer.weight.shape} and {layer.bias.shape}"
            )
        for part in (layer.weight, layer.bias):
            if part.dtype != np.float32:
                raise BadInput(f"expected float32 in layer {i}, found {part.dtype}")
            if not np.isfinite(part).all():
                raise BadInput(f"expected finite weights, found NaN or infinity in layer {i}")
        inputs = outputs


def folded(layers: Sequence[Layer], mean: Floats, scale: Floats) -> list[Layer]:
    """Layers for features as they are, from layers for (features - mean) * scale."""
    first, *rest = layers
    wide = first.weight.astype(np.float64)
    weight = wide * scale.astype(np.float64)[:, None]
    bias = first.bias.astype(np.float64) - (mean.astype(np.float64) * scale.astype(np.float64)) @ wide
    whole = [Layer(weight, bias), *rest]  # type: ignore[arg-type]  # rounded in the next line
    return [
        Layer(np.ascontiguousarray(one.weight, dtype=np.float32), one.bias.astype(np.float32))
        for one in whole
    ]


def random_policy(
    name: str, env_id: str, env_version: str, sizes: Sequence[int], activation: str = "relu", seed: int = 0
) -> MlpPolicy:
    """A policy with random weights: what is measured or tested before anything is trained."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Floats:
        return rng.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)

    layers = [Layer(normal(a, b), normal(b)) for a, b in pairwise(sizes)]
    return MlpPolicy(name, env_id, env_version, layers, activation)
