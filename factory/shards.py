"""Evaluations as tasks: a suite in shards along its committed order, played by whoever has a slot.

A shard is a task under the key ("shard", digest of what is played, place in the order), so it is played
once, whichever run asks. Results are looked at as a contiguous prefix of the order only: which shard
comes back first cannot bias what is decided on the way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from workgym.factory.artifacts import digest_of
from workgym.factory.engines import Answer, Call
from workgym.factory.evaluate import Played, card_from
from workgym.factory.foreman import Foreman, Work
from workgym.factory.records import Scorecard
from workgym.factory.work import Key
from workgym.services.scenario import Scenario, Suite

SHARD = "shard"
SCENARIOS = 128  # of one shard: enough lanes to be cheap, few enough to stop soon
MANY = 1024  # scenarios from which on shards are worth their way, on the twin
AHEAD = 2  # shards of each slot that may be played beyond the last look, where one may stop
WEIGHT = 1 / 16  # of a shard against a chunk, which is meant to last a minute

Stop = Callable[[Scorecard], bool]


def play_shard(
    files: Mapping[str, bytes], kwargs_json: str, scenarios: Sequence[Scenario], backend: str
) -> Answer:
    """What a policy makes of some scenarios: rows of `Played`, or None where faults took one twice."""
    from workgym.agents.policy import load_policy
    from workgym.factory.evaluate import outcomes

    played = outcomes(load_policy(files), scenarios, json.loads(kwargs_json), backend)
    return None, {"rows": [None if one is None else list(one) for one in played]}


@dataclass(frozen=True)
class Evaluation:
    """Plays policies on one suite.

    Attributes:
        foreman: has the shards done.
        suite: what is played.
        env_kwargs: how the env is made.
        env_version: of its dynamics, reward and layout; another one's shards are not the same.
        order: positions of the suite, as committed before the first episode.
        backend: how the env reaches its service.
        size: scenarios of one shard.
    """

    foreman: Foreman
    suite: Suite
    env_kwargs: Mapping[str, Any]
    env_version: str
    order: Sequence[int]
    backend: str = "twin"
    size: int = SCENARIOS

    @property
    def is_worth_it(self) -> bool:
        """Whether shards beat playing the suite in this process."""
        return self.backend != "twin" or len(self.order) >= MANY

    def play(self, policy: str, stop: Stop | None = None) -> Scorecard:
        """A kept policy's results: in the suite's order, or what was played when `stop` said so.

        Args:
            policy: digest of its files in the artifact store; the scorecard's name.
            stop: is shown every longer prefix of the order, and says whether the rest is not needed.
        """
        rows: list[Played | None] = []
        found: dict[int, list[Any]] = {}
        group, asked = self._group(policy), 0
        while len(rows) < len(self.order):
            asked = self._ask(policy, group, asked, None if stop is None else len(rows))
            for work, done in self.foreman.collect():
                found[work.key.seq] = done.result["rows"]
            before = len(rows)
            while (place := len(rows) // self.size) in found and len(rows) < len(self.order):
                rows += [None if row is None else Played(*row) for row in found.pop(place)]
            if stop is not None and before < len(rows) < len(self.order):
                card = self._card(policy, self.order[: len(rows)], rows)
                if stop(card):
                    self.foreman.drop(group)
                    return card
        back = np.argsort(self.order)
        return self._card(policy, range(len(rows)), [rows[at] for at in back])

    def _ask(self, policy: str, group: str, asked: int, seen: int | None) -> int:
        """Ask for the next shards of the order, not far beyond what was looked at; how many are asked."""
        last = -(-len(self.order) // self.size)
        if seen is not None:
            last = min(seen // self.size + AHEAD * self.foreman.engine.slots, last)
        for seq in range(asked, last):
            at = self.order[seq * self.size : (seq + 1) * self.size]
            call = partial(self._call, policy, seq, [self.suite.scenarios[one] for one in at])
            self.foreman.put(Work(Key(SHARD, group, seq), call, urgency=-seq, weight=WEIGHT))
        return max(asked, last)

    def _call(self, policy: str, seq: int, scenarios: Sequence[Scenario]) -> Call:
        files = self.foreman.registry.artifacts.get_folder(policy)
        kwargs = json.dumps(dict(self.env_kwargs), sort_keys=True)
        return Call(f"{policy[:8]} shard {seq}", play_shard, (files, kwargs, scenarios, self.backend))

    def _group(self, policy: str) -> str:
        return digest_of(
            {
                "policy": policy,
                "suite": self.suite.digest,
                "env": [self.suite.env_id, self.env_version, dict(self.env_kwargs), self.suite.split],
                "backend": self.backend,
                "order": list(self.order),
                "size": self.size,
            }
        )

    def _card(self, policy: str, at: Sequence[int], rows: Sequence[Played | None]) -> Scorecard:
        scenarios = [self.suite.scenarios[one] for one in at]
        return card_from(policy, self.suite, scenarios, rows, self.env_kwargs, self.backend)


def like(card: Scorecard, other: Scorecard) -> Scorecard:
    """The rows of a scorecard that another one has, in the other's order."""
    place = {scenario: at for at, scenario in enumerate(zip(card.family, card.seed, strict=True))}
    wanted = zip(other.family, other.seed, strict=True)
    at = np.array([place[scenario] for scenario in wanted if scenario in place], dtype=np.int64)
    return Scorecard(
        policy=card.policy,
        env_id=card.env_id,
        suite=card.suite,
        backend=card.backend,
        family=tuple(card.family[one] for one in at),
        seed=tuple(card.seed[one] for one in at),
        profit=card.profit[at],
        cases=card.cases[at],
        success=card.success[at],
        violations=card.violations[at],
        obligations=card.obligations[at],
        latency_us=card.latency_us,
    )
