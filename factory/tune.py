"""Population-based training by Ray Tune.

Tune decides who copies whom and how fields move. A step of a member is our pure chunks, and its
checkpoint is our state with the line of recipes that led to it. What comes back is that line, as a
schedule that replays without Tune to the same weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from workgym.agents import training
from workgym.agents.schedule import ScheduleRecipe, continued, stages_of
from workgym.factory.ray_engine import RayEngine
from workgym.factory.space import SearchSpec

VALUE = "profit_per_case"
STATE, LINEAGE = "state.safetensors", "lineage.json"
LOSSES = 2  # of a member's worker that Tune makes good from its last checkpoint
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class Population:
    """What a population is made of.

    Attributes:
        base: the recipe that its members change.
        per_family: train scenarios of each family on which members are compared.
        stops: chunks after which they are compared; the last one ends the training.
    """

    base: Mapping[str, Any]
    env_id: str
    env_kwargs: Mapping[str, Any]
    seed: int
    per_family: int
    stops: tuple[int, ...]

    def recipe(self, changes: Mapping[str, Any]) -> Any:
        """The recipe of a member."""
        own = {"env_id": self.env_id, "env_kwargs": dict(self.env_kwargs), "seed": self.seed}
        return training.make_recipe({**self.base, **changes, **own})

    def schedule(self, lineage: Sequence[tuple[int, Mapping[str, Any], str]]) -> ScheduleRecipe:
        """The line of recipes that a member came by."""
        return ScheduleRecipe(
            env_id=self.env_id,
            env_kwargs=dict(self.env_kwargs),
            seed=self.seed,
            base=dict(self.base),
            stages=stages_of(lineage),
        )


@dataclass(frozen=True)
class Survivor:
    """A member of a population at its end.

    Attributes:
        params: its last fields.
        value: cents a case on train scenarios.
        final: SHA-256 of its last state.
    """

    params: Mapping[str, Any]
    schedule: ScheduleRecipe
    value: float
    final: str


class Member(tune.Trainable):
    """One training of a population; all share one seed, so that what tells them apart are their recipes."""

    def setup(self, config: dict[str, Any], population: Any = None) -> None:
        """Begin with fields of its own."""
        self.population: Population = population
        self.k = 0
        self.state = b""
        self.lineage: list[tuple[int, dict[str, Any], str]] = []
        self.changes = dict(config)

    def step(self) -> dict[str, Any]:
        """Train to the next stop, and say what the policy earns."""
        from workgym.factory.search import worth

        stops, recipe = self.population.stops, self.population.recipe(self.changes)
        stop = next(stop for stop in stops if stop > self.k)
        while self.k < stop:
            self._chunk(recipe)
        files = training.policy_from(recipe, self.state)
        value = worth(files, self.population.env_id, self.population.env_kwargs, self.population.per_family)
        return {VALUE: value, "chunks": self.k, "done": self.k == stops[-1]}

    def _chunk(self, recipe: Any) -> None:
        parent = _digest(self.state) if self.state else ""
        if not self.state:
            self.state = training.initial_state(recipe)
        elif self.lineage[-1][1] != self.changes:
            before = self.population.recipe(self.lineage[-1][1])
            self.state = continued(self.state, self.k, before, recipe)
        self.state, _ = training.train_chunk(recipe, self.k, self.state)
        self.lineage.append((self.k, self.changes, parent))
        self.k += 1

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the state and how it came about."""
        folder = Path(checkpoint_dir)
        (folder / STATE).write_bytes(self.state)
        (folder / LINEAGE).write_text(json.dumps(self.lineage))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from the state in a folder, one's own or that of the member that is copied."""
        folder = Path(checkpoint)
        self.state = (folder / STATE).read_bytes()
        self.lineage = [(k, changes, parent) for k, changes, parent in json.loads(_text(folder))]
        self.k = len(self.lineage)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Go on with other fields, in the same process."""
        self.changes = dict(new_config)
        self.k, self.state, self.lineage = 0, b"", []
        return True


def evolve(spec: SearchSpec, population: Population, members: Sequence[Mapping[str, Any]]) -> list[Survivor]:
    """Train a population; its members at the end, the best first.

    Args:
        spec: how many are replaced at each stop, and how far fields may move.
        population: what they have in common.
        members: what each begins with.

    Raises:
        RuntimeError: a member's worker was lost too often, or its training refused.
    """
    with tempfile.TemporaryDirectory(prefix="workgym-") as folder, alone(spec.seed, Path(folder)):
        tuner = tune.Tuner(
            tune.with_resources(
                tune.with_parameters(Member, population=population), {"cpu": 1, _here(): 0.001}
            ),
            param_space={name: members[0][name] for name in spec.space},
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(spec),
                search_alg=tune.search.BasicVariantGenerator(points_to_evaluate=[dict(m) for m in members]),
                num_samples=len(members),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=f"{folder}/tune",
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
                failure_config=tune.FailureConfig(max_failures=LOSSES),
            ),
        )
        results = tuner.fit()
        if results.errors:
            raise RuntimeError(f"a member of the population failed: {results.errors[0]}")
        survivors = [_survivor(population, spec, results[i]) for i in range(len(results))]
    return sorted(survivors, key=lambda one: (-one.value, one.final))


def _survivor(population: Population, spec: SearchSpec, result: Any) -> Survivor:
    with result.checkpoint.as_directory() as folder:
        lineage = json.loads(_text(Path(folder)))
        final = _digest((Path(folder) / STATE).read_bytes())
    params = {name: lineage[-1][1][name] for name in spec.space}
    return Survivor(params, population.schedule(lineage), result.metrics[VALUE], final)


def _text(folder: Path) -> str:
    return (folder / LINEAGE).read_text()


def _scheduler(spec: SearchSpec) -> Any:
    moves: dict[str, Any] = {}
    for name, one in spec.space.items():
        low, high = one.ends
        domain = tune.loguniform(low, high) if one.log else tune.uniform(low, high)
        moves[name] = list(one.choices) if one.choices is not None else domain
    return tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        metric=VALUE,
        mode="max",
        perturbation_interval=1,
        hyperparam_mutations=moves,
        quantile_fraction=1 - spec.keep,
        custom_explore_fn=lambda config: {name: _within(spec, name, value) for name, value in config.items()},
        synch=True,
    )


def _within(spec: SearchSpec, name: str, value: Any) -> Any:
    """A value that Tune moved, back in the range that was asked for."""
    one = spec.space[name]
    return value if one.choices is not None else type(value)(min(max(value, one.ends[0]), one.ends[1]))


def _here() -> str:
    """The resource that only this node has: members hand their states over on its disk."""
    return f"node:{ray.util.get_node_ip_address()}"  # type: ignore[no-untyped-call]  # Ray types it not


@contextmanager
def alone(seed: int, home: Path) -> Iterator[None]:
    """Ray, begun here unless it runs; Tune without its own loggers; its dice thrown from a seed."""
    kept, dice = {name: os.environ.get(name) for name in _QUIET}, random.getstate()
    log = logging.getLogger("ray.tune")
    level = log.level
    try:
        with closing(RayEngine(home)) as engine:
            log.setLevel(logging.ERROR)
            os.environ.update(_QUIET)
            engine.begin()
            random.seed(seed)
            yield
    finally:
        random.setstate(dice)
        log.setLevel(level)
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _digest(state: bytes) -> str:
    return hashlib.sha256(state).hexdigest()
