"""The same task for whoever reads and calls tools, as a language model does: text in, a named tool out.

    env = ToolEnv(gym.make("workgym/Orders-v0"))
    env.reset(seed=1)
    env.call("decide", {"action": "hold"})

A task whose actions have names is one tool with a choice; a task of quantities is one tool that takes them
by name. Reward and end are the env's own: the text that an agent writes is never judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike

from workgym.envs.base import Env
from workgym.envs.contract import Bools, Floats, Ints, Task
from workgym.envs.mishaps import Disturbed
from workgym.services.kernel import BadInput, did_you_mean

OVER = "the episode is over; reset to begin another one"
MOST_FEATURES = 64  # that a page tells one by one; a longer list is not read
_LONGEST_KEY = 64  # characters, and only these, are what language models take as the name of an argument
_NOT_OF_A_KEY = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Tool:
    """What an agent can call.

    Attributes:
        name: to call it by.
        description: what it does, for whoever chooses.
        input_schema: JSON schema of its arguments.
    """

    name: str
    description: str
    input_schema: dict[str, Any]


class Observation(NamedTuple):
    """What a reset, a look or a call shows."""

    text: str  # the business as a page
    structured: dict[str, Any]  # the same for programs; JSON
    reward: float  # sum of the terms
    terms: dict[str, int]  # what the last call earned, in the task's unit
    terminated: bool  # the episode reached its end
    truncated: bool  # it was cut
    refused: str | None  # why the last call changed nothing

    @property
    def ended(self) -> bool:
        """Whether nothing can be done any more before a reset."""
        return self.terminated or self.truncated


class Form(Protocol):
    """How a decision is said as the arguments of a tool."""

    tool: Tool

    def action(self, arguments: Mapping[str, Any]) -> ArrayLike:
        """The env's action that these arguments mean (BadInput)."""

    def legal(self, mask: Bools) -> list[str] | dict[str, list[int]] | None:
        """What is legal now; None where everything is that the schema allows."""


class Choice:
    """One action out of several that have names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        choice = {
            "type": "string",
            "enum": self._names,
            "description": "What to do; the page says what is legal",
        }
        self.tool = Tool(
            "decide", "Take the next decision.", _object({"action": choice}, required=["action"])
        )

    def action(self, arguments: Mapping[str, Any]) -> ArrayLike:
        """The position of the named action."""
        _check_names(arguments, ["action"])
        if "action" not in arguments:
            raise BadInput("expected the argument 'action', found none")
        name = arguments["action"]
        if name not in self._names:
            raise BadInput(did_you_mean("action", str(name), self._names))
        return np.int64(self._names.index(name))

    def legal(self, mask: Bools) -> list[str]:
        """Names of the legal actions."""
        return (
            [name for name, may in zip(self._names, mask, strict=True) if may] if len(mask) else self._names
        )


class Quantities:
    """One or more whole numbers that have names; what is not named is 0, or the least that may be."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._least, self._most = _bounds(task)
        names = task.decision_names or tuple(f"decision {d}" for d in range(len(self._most)))
        if len(names) != len(self._most):
            raise BadInput(f"expected {len(self._most)} decision names, found {len(names)}")
        self.keys = keys_of(names)
        self._otherwise = np.maximum(self._least, 0)
        properties = {
            key: {
                "type": "integer",
                "minimum": int(self._least[d]),
                "maximum": int(self._most[d]),
                "default": int(self._otherwise[d]),
                "description": names[d],
            }
            for d, key in enumerate(self.keys)
        }
        asks = f" Each argument is {task.asks}." if task.asks else ""
        about = f"Take the decisions of this period at once.{asks} What is not named is 0."
        self.tool = Tool("order", about, _object(properties))

    def action(self, arguments: Mapping[str, Any]) -> ArrayLike:
        """The quantities, as the env's action space says them."""
        _check_names(arguments, self.keys)
        asked = self._otherwise.copy()
        for d, key in enumerate(self.keys):
            if key in arguments:
                asked[d] = self._whole(d, arguments[key])
        space = self._task.action_space
        if isinstance(space, gym.spaces.Box):
            return self._numbers(asked)
        return asked[0] if isinstance(space, gym.spaces.Discrete) else asked

    def _whole(self, d: int, value: Any) -> int:
        least, most = int(self._least[d]), int(self._most[d])
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole or not least <= value <= most:
            raise BadInput(
                f"expected {self.keys[d]} to be a whole number in {least}..{most}, found {value!r}"
            )
        return int(value)

    def _numbers(self, asked: Ints) -> Floats:
        """The numbers between -1 and 1 that the task decodes to these quantities."""
        span = np.maximum(self._most - self._least, 1)
        numbers: Floats = ((asked - self._least) / span * 2.0 - 1.0).astype(np.float32)
        meant = self._task.understood(numbers[None], 1)[0]
        if (off := np.flatnonzero(meant != asked)).size:
            key, found = self.keys[off[0]], asked[off[0]]
            raise BadInput(
                f"expected a quantity of {key} that the env can say, found {found}; take {meant[off[0]]}"
            )
        return numbers

    def legal(self, mask: Bools) -> dict[str, list[int]] | None:
        """Which numbers each decision may be."""
        if not len(mask):
            return None
        parts = np.split(mask, np.cumsum(self._most + 1)[:-1])
        return {key: np.flatnonzero(part).tolist() for key, part in zip(self.keys, parts, strict=True)}


def form_of(task: Task) -> Form:
    """How the decisions of a task are said."""
    return Choice(task.action_names) if task.action_names else Quantities(task)


def keys_of(names: Sequence[str]) -> list[str]:
    """The names as keys that every language model takes; equal keys are numbered."""
    keys: list[str] = []
    for name in names:
        key = plain = _NOT_OF_A_KEY.sub("_", name).strip("_")[:_LONGEST_KEY] or "decision"
        again = 1
        while key in keys:
            again += 1
            key = f"{plain[: _LONGEST_KEY - 6]}.{again}"
        keys.append(key)
    return keys


def _bounds(task: Task) -> tuple[Ints, Ints]:
    space = task.action_space
    if isinstance(space, gym.spaces.Box):
        ends = [task.understood(np.full((1, *space.shape), end, np.float32), 1)[0] for end in (-1.0, 1.0)]
        return ends[0], ends[1]
    choices = np.atleast_1d(space.n if isinstance(space, gym.spaces.Discrete) else space.nvec).astype(
        np.int64
    )
    return np.zeros_like(choices), choices - 1


def _object(properties: dict[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _check_names(arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in arguments:
        if name not in known:
            raise BadInput(did_you_mean("argument", name, list(known)))


class ToolEnv:
    """An env whose decisions are calls of tools.

    Args:
        env: a workgym env, under whatever wrappers.
        pages: whether the text tells the business; without, it is empty and a live service is read less.
            Where mishaps hide what happened, the business's page is left out: it would give it away.

    Raises:
        BadInput: the env is not one of ours.
    """

    def __init__(self, env: gym.Env[Floats, Any], pages: bool = True) -> None:
        inner = env.unwrapped
        if not isinstance(inner, Env):
            raise BadInput(f"expected a workgym env, found {type(inner).__name__}; make one of workgym.envs")
        self.env = env
        self.pages = pages
        self.inner = inner
        self.task = inner.task
        self._form = form_of(inner.task)
        self._hides = isinstance(inner.backend, Disturbed) and inner.backend.mishaps.hide
        self._shown: Observation | None = None
        self._page = ""

    def tools(self) -> list[Tool]:
        """What can be called."""
        return [self._form.tool]

    def reset(self, seed: int | None = None, family: str | None = None) -> Observation:
        """Begin an episode; see `Env.reset`."""
        obs, info = self.env.reset(seed=seed, options=None if family is None else {"family": family})
        return self._show(obs, info)

    def observe(self) -> Observation:
        """What the last reset or call showed.

        Raises:
            ResetNeeded: there is no episode.
        """
        if self._shown is None:
            raise gym.error.ResetNeeded("call reset() before looking or calling a tool")
        return self._shown

    def call(self, name: str, arguments: Mapping[str, Any]) -> Observation:
        """Call a tool. What cannot be done is refused with a reason, and changes nothing."""
        now = self.observe()
        tool = self._form.tool.name
        try:
            if name != tool:
                raise BadInput(did_you_mean("tool", name, [tool]))
            action = self._form.action(arguments)
        except BadInput as error:
            return self._refuse(now, str(error))
        return self.play(action)

    def play(self, action: ArrayLike) -> Observation:
        """Take an action of the env's own space: the numeric view of the same decision.

        Raises:
            BadInput: it has another shape, or is not of numbers.
        """
        now = self.observe()
        if now.ended:
            return self._refuse(now, OVER)
        obs, reward, terminated, truncated, info = self.env.step(np.asarray(action))
        return self._show(obs, info, float(reward), bool(terminated), bool(truncated))

    def state_hash(self) -> str:
        """Content hash of the business state; see `Env.state_hash`."""
        return self.inner.state_hash()

    def close(self) -> None:
        """Give back what the env holds."""
        self.env.close()  # type: ignore[no-untyped-call]  # Gymnasium gives it no types

    def _refuse(self, now: Observation, reason: str) -> Observation:
        nothing = dict.fromkeys(self.task.terms, 0)
        structured = {**now.structured, "reward_terms": nothing, "constraint_cost": 0.0, "refused": reason}
        text = f"refused: {reason}\n{self._page}" if self.pages else ""
        self._shown = now._replace(
            text=text, structured=structured, reward=0.0, terms=nothing, refused=reason
        )
        return self._shown

    def _show(
        self,
        obs: Floats,
        info: Mapping[str, Any],
        reward: float = 0.0,
        terminated: bool = False,
        truncated: bool = False,
    ) -> Observation:
        terms, refused = dict(info["reward_terms"]), info.get("refused")
        structured = {
            "features": obs.tolist(),
            "legal": self._form.legal(self.inner.mask),
            "reward_terms": terms,
            "constraint_cost": info["constraint_cost"],
            "terminated": terminated,
            "truncated": truncated,
            "refused": refused,
        }
        text = ""
        if self.pages:
            self._page = self._paged(obs, structured["legal"], terminated or truncated)
            text = f"{f'refused: {refused}' if refused else self._earned(terms, reward)}\n{self._page}"
        self._shown = Observation(text, structured, reward, terms, terminated, truncated, refused)
        return self._shown

    def _earned(self, terms: Mapping[str, int], reward: float) -> str:
        booked = ", ".join(f"{name} {amount:,}" for name, amount in terms.items() if amount)
        return f"earned: {booked or 'nothing'}; in all {reward:,.0f} {self.task.unit}"

    def _paged(self, obs: Floats, legal: list[str] | dict[str, list[int]] | None, ended: bool) -> str:
        """The business, what is seen of the decision, and what is legal."""
        names = self.task.feature_names
        lines = [] if self._hides else [self.inner.backend.render(0).rstrip("\n")]
        if obs.ndim == 1 and 0 < len(names) <= MOST_FEATURES and not ended:
            lines += ["seen:", *(f"  {name}: {value:.4g}" for name, value in zip(names, obs, strict=True))]
        if ended:
            lines.append(OVER)
        elif isinstance(legal, list):
            lines.append(f"legal: {', '.join(legal)}")
        return "\n".join(lines) + "\n"
