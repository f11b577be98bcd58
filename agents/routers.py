"""Two policies behind one door: a router asks one or the other, decision by decision or season by season.

    edge = escalating("edge", small, large, train_seasons(env_id, env_kwargs, 16, seed=0), share=0.2)
    whole = ByFamily("partial", champion, candidate, ("stock-out",))

Saved, a router is one folder with the files of both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workgym.agents.mlp import MlpPolicy
from workgym.agents.policy import HEADER, Bools, Floats, Ints, Policy, load_policy
from workgym.agents.seasons import Seasons, earnings
from workgym.envs.base import VectorEnv
from workgym.services.kernel import BadInput

FORMAT = 1
ESCALATING, BY_FAMILY = "escalating", "by-family"
TRIALS = 8  # thresholds that are tried before the last, which is the most careful, is taken
_COMMON = {"format": int, "kind": str, "name": str, "env_id": str, "env_version": str, "view": dict}


class Saved(Policy, Protocol):
    """A policy that can be written to files."""

    env_id: str
    env_version: str
    view: dict[str, str]

    def save(self) -> dict[str, bytes]:
        """The policy as files, name to bytes."""


class Escalating:
    """A small policy decides; where it is of two minds, a large one does.

    Its doubt is the margin between its two largest legal logits: below `threshold` the large policy is
    asked. With one legal action there is no doubt.

    Args:
        name: what reports call it.
        small: who decides first.
        large: who is asked.
        threshold: least margin at which the small one decides alone; 0 never asks.

    Raises:
        BadInput: the two were not made for the same env, seen in the same way.
    """

    def __init__(self, name: str, small: MlpPolicy, large: MlpPolicy, threshold: float) -> None:
        if not isinstance(small, MlpPolicy) or not isinstance(large, MlpPolicy):
            found = f"{type(small).__name__} and {type(large).__name__}"
            raise BadInput(f"expected two networks of dense layers to escalate between, found {found}")
        if not threshold >= 0 or not np.isfinite(threshold):
            raise BadInput(f"expected a threshold of 0 or more, found {threshold}")
        _check_alike(small, large)
        self.name, self.small, self.large, self.threshold = name, small, large, float(threshold)
        self.env_id, self.env_version, self.view = small.env_id, small.env_version, small.view

    def begin(self, env: VectorEnv) -> None:
        """Refuse an env that the two were not trained for."""
        self.small.begin(env)
        self.large.begin(env)

    def act(self, obs: Floats, mask: Bools) -> Ints:
        """The legal actions of N lanes, as `MlpPolicy.act` takes and gives them."""
        if obs.ndim == 3:
            n, rows, features = obs.shape
            columns = self.small.actions if mask.shape[1] else 0
            return self.act(obs.reshape(-1, features), mask.reshape(n * rows, columns)).reshape(n, rows)
        logits, actions = self.small.decide(obs, mask)
        unsure = margins(logits, mask) < self.threshold
        if unsure.any():
            actions[unsure] = self.large.act(obs[unsure], mask[unsure])
        return actions

    def save(self) -> dict[str, bytes]:
        """The router as files, name to bytes; equal routers give equal bytes."""
        return _saved(self, ESCALATING, {"threshold": self.threshold}, small=self.small, large=self.large)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Escalating:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged, of another format, or its parts do not fit.
        """
        header = _read_header(files, ESCALATING, {"threshold": float})
        small, large = _part(files, "small"), _part(files, "large")
        if not isinstance(small, MlpPolicy) or not isinstance(large, MlpPolicy):
            raise BadInput("expected two networks of dense layers in small/ and large/, found another kind")
        return cls(header["name"], small, large, header["threshold"])


class ByFamily:
    """One policy is kept where named families run, another plays everywhere else.

    A lane's family is what the service's own counters say of the running episode, `facts()["family"]`: it
    is asked once an episode, on any backend. A scenario of the gym has a family by construction. A business
    knows it where it declares its situation, as it does a promotion; one that cannot tell, cannot be routed.

    Args:
        name: what reports call it.
        kept: plays in `families`.
        other: plays elsewhere.
        families: names of business situations.

    Raises:
        BadInput: the two were not made for the same env, seen in the same way, or no family is named.
    """

    def __init__(self, name: str, kept: Saved, other: Saved, families: Sequence[str]) -> None:
        if not families:
            raise BadInput("expected at least one family in which a policy is kept, found none")
        _check_alike(kept, other)
        self.name, self.kept, self.other, self.families = name, kept, other, tuple(sorted(families))
        self.env_id, self.env_version, self.view = kept.env_id, kept.env_version, kept.view
        self._env: VectorEnv | None = None
        self._indices: list[int] = []
        self._known: NDArray[np.int64] = np.zeros((2, 0), dtype=np.int64)
        self._keeps: Bools = np.zeros(0, dtype=np.bool_)

    def begin(self, env: VectorEnv) -> None:
        """Meet the env whose lanes are asked for their families.

        Raises:
            BadInput: the two were not trained for it, or it does not know a family.
        """
        self.kept.begin(env)
        self.other.begin(env)
        self._indices = [env.task.family_index(name) for name in self.families]
        self._env = env
        self._known = np.full((2, env.num_envs), -1, dtype=np.int64)
        self._keeps = np.zeros(env.num_envs, dtype=np.bool_)

    def act(self, obs: Floats, mask: Bools) -> NDArray[Any]:
        """Legal actions of the first N lanes of the env.

        Raises:
            BadInput: no env was met yet, or it has fewer lanes.
        """
        keeps = self.keeps()[: len(obs)]
        if len(keeps) != len(obs):
            raise BadInput(f"expected at most the env's {len(keeps)} lanes, found {len(obs)}")
        if keeps.all():
            return self.kept.act(obs, mask)
        actions: NDArray[Any] = self.other.act(obs, mask)
        if keeps.any():
            actions[keeps] = self.kept.act(obs[keeps], mask[keeps])
        return actions

    def keeps(self) -> Bools:
        """(lanes,) where the kept policy plays now.

        Raises:
            BadInput: no env was met yet.
        """
        if self._env is None:
            raise BadInput("expected begin(env) before the first decision: its lanes tell their families")
        now = np.stack([self._env.episodes.seed, self._env.episodes.number])
        for lane in np.flatnonzero((now != self._known).any(axis=0)).tolist():
            self._keeps[lane] = self._env.facts(lane)["family"] in self._indices
        self._known = now
        return self._keeps

    def save(self) -> dict[str, bytes]:
        """The router as files, name to bytes; equal routers give equal bytes."""
        return _saved(self, BY_FAMILY, {"families": list(self.families)}, kept=self.kept, other=self.other)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> ByFamily:
        """Read what `save` wrote.

        Raises:
            BadInput: a file is missing or damaged, of another format, or its parts do not fit.
        """
        header = _read_header(files, BY_FAMILY, {"families": list})
        if not all(isinstance(name, str) for name in header["families"]):
            raise BadInput(f"expected names as families in {HEADER}, found {header['families']!r}")
        return cls(header["name"], _part(files, "kept"), _part(files, "other"), header["families"])


def margins(logits: Floats, mask: Bools) -> Floats:
    """(N,) how far the best legal logit is above the second best; infinite with one legal action."""
    legal = np.where(mask, logits, np.float32(-np.inf)) if mask.shape[1] else logits
    if legal.shape[1] == 1:
        return np.full(len(legal), np.inf, dtype=np.float32)
    best = np.partition(legal, -2, axis=1)[:, -2:]
    apart: Floats = best[:, 1] - best[:, 0]
    return apart


def escalating(name: str, small: MlpPolicy, large: MlpPolicy, seasons: Seasons, share: float) -> Escalating:
    """A router that asks the large policy in at most `share` of the decisions of some seasons.

    Args:
        name: what reports call it.
        small: who decides first.
        large: who is asked.
        seasons: to choose the threshold on, see `workgym.agents.seasons.train_seasons`.
        share: of the decisions, between 0 and 1.

    Raises:
        BadInput: the share is none, or the policies do not fit together.
    """
    if not 0 <= share <= 1:
        raise BadInput(f"expected a share of decisions between 0 and 1, found {share}")
    router = Escalating(name, small, large, 0.0)
    for trial in range(TRIALS):
        doubts = np.sort(_doubts(router, seasons))
        asked = int(np.searchsorted(doubts, router.threshold))
        if trial and asked <= share * len(doubts):
            break
        finite = doubts[np.isfinite(doubts)]
        threshold = float(finite[min(int(share * len(doubts)), len(finite) - 1)])
        router = Escalating(name, small, large, min(threshold, router.threshold or np.inf))
    return router


def escalated(router: Escalating, seasons: Seasons) -> float:
    """Share of the decisions of some seasons in which the router asks the large policy."""
    return float((_doubts(router, seasons) < router.threshold).mean())


def _doubts(router: Escalating, seasons: Seasons) -> Floats:
    """The small policy's margins in all decisions that the router takes."""
    small, seen = router.small, list[Floats]()

    def watch(obs: Floats, mask: Bools, running: Bools) -> None:
        rows = obs[running].reshape(-1, small.features)
        legal = mask[running].reshape(len(rows), small.actions if mask.shape[1] else 0)
        seen.append(margins(small.logits(rows), legal))

    earnings(router, seasons, watch)
    return np.concatenate(seen)


def _check_alike(one: Saved, other: Saved) -> None:
    ours, theirs = ((part.env_id, part.env_version, part.view) for part in (one, other))
    if ours != theirs:
        raise BadInput(f"expected two policies for one env in one view, found {ours} and {theirs}")


def _saved(router: Escalating | ByFamily, kind: str, own: dict[str, Any], **parts: Saved) -> dict[str, bytes]:
    header = {
        "format": FORMAT,
        "kind": kind,
        "name": router.name,
        "env_id": router.env_id,
        "env_version": router.env_version,
        "view": router.view,
        **own,
    }
    files = {HEADER: (json.dumps(header, sort_keys=True, indent=2) + "\n").encode()}
    for name, part in parts.items():
        files |= {f"{name}/{file}": content for file, content in part.save().items()}
    return files


def _read_header(files: Mapping[str, bytes], kind: str, own: dict[str, type]) -> dict[str, Any]:
    try:
        header = json.loads(files.get(HEADER, b""))
    except ValueError as error:
        raise BadInput(f"expected JSON in {HEADER}, found a mistake: {error}") from error
    fields = _COMMON | own
    if not isinstance(header, dict) or set(header) != set(fields):
        raise BadInput(f"expected the fields {', '.join(fields)} in {HEADER}, found {header!r}")
    for field, type_ in fields.items():
        if type(header[field]) is not type_:
            raise BadInput(f"expected {type_.__name__} as {field} in {HEADER}, found {header[field]!r}")
    if (header["kind"], header["format"]) != (kind, FORMAT):
        raise BadInput(f"expected kind {kind!r} of format {FORMAT}, found {header!r}")
    return header


def _part(files: Mapping[str, bytes], name: str) -> Any:
    inner = {
        file.removeprefix(f"{name}/"): content
        for file, content in files.items()
        if file.startswith(f"{name}/")
    }
    if not inner:
        raise BadInput(f"expected a policy in {name}/, found {', '.join(sorted(files))}")
    return load_policy(inner)
