"""Tiers: a small policy that asks a large one when unsure, and how the policies that serve differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workgym.agents.mlp import MlpPolicy
from workgym.agents.policy import load_policy
from workgym.agents.routers import escalating
from workgym.agents.seasons import train_seasons
from workgym.factory.judging import card_of, pipeline_of, suite_of
from workgym.factory.pipeline import Pipeline, TierSpec
from workgym.factory.profiles import figure, flip_matrix
from workgym.factory.registry import Registry
from workgym.services.kernel import BadInput, NotFound, did_you_mean


@dataclass(frozen=True)
class Pair:
    """The two candidates, by name, that a router of a tier is put together from."""

    tier: TierSpec
    seed: int
    small: str
    large: str

    @property
    def name(self) -> str:
        """Of the router, as candidates are named."""
        return f"{self.tier.name}/{self.seed}"


def pairs(pipeline: Pipeline, names: Sequence[str]) -> list[Pair]:
    """For each tier, one for every seed that both of its variants were trained with."""
    found = []
    for tier in pipeline.tiers:
        for name in names:
            variant, _, seed = name.partition("/")
            large = f"{tier.large}/{seed}"
            if variant == tier.small and large in names:
                found.append(Pair(tier, int(seed), name, large))
    return found


def assemble(
    pipeline: Pipeline, pair: Pair, small: Mapping[str, bytes], large: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files of a router over two trained policies.

    Its threshold is chosen on seasons of the train split: at most `tier.share` of the decisions there are
    passed on.

    Raises:
        BadInput: one of the two is no network of dense layers, or they do not fit together.
    """
    tier = pair.tier
    policies = [load_policy(files) for files in (small, large)]
    for name, policy in zip((tier.small, tier.large), policies, strict=True):
        if not isinstance(policy, MlpPolicy):
            raise BadInput(f"expected a network of dense layers as {name!r}, found {type(policy).__name__}")
    seasons = train_seasons(pipeline.env, pipeline.env_kwargs, tier.seasons, pair.seed)
    ours, theirs = policies
    assert isinstance(ours, MlpPolicy)
    assert isinstance(theirs, MlpPolicy)
    return escalating(pair.name, ours, theirs, seasons, tier.share).save()


@dataclass(frozen=True)
class Tier:
    """Who serves as an alias.

    Attributes:
        profit: cents per case on the suite.
        flips: by the other aliases, the share of scenarios that this one handles and the other does not.
    """

    alias: str
    version: int
    profit: float
    bytes: float
    flips: dict[str, float]


def tiers(registry: Registry, model: str, aliases: Sequence[str] = ()) -> tuple[Tier, ...]:
    """How those that serve differ, scenario by scenario.

    Args:
        registry: where they are.
        model: whose aliases.
        aliases: of these alone; by default of all.

    Raises:
        NotFound: nobody serves, or there is no such alias.
    """
    known = list(dict.fromkeys(line.alias for line in registry.history(model)))
    for alias in aliases:
        if alias not in known:
            raise NotFound(did_you_mean(f"alias of {model}", alias, known))
    serving = {alias: registry.champion(model, alias) for alias in aliases or known}
    versions = {alias: version for alias, version in serving.items() if version is not None}
    if not versions:
        raise NotFound(f"nobody serves as anything of {model!r} yet; run a pipeline, or promote a version")
    pipeline = pipeline_of(registry, max(versions.values(), key=lambda version: version.version))
    suite = suite_of(pipeline)
    cards = {alias: card_of(registry, version, pipeline, suite) for alias, version in versions.items()}
    matrix = flip_matrix(cards)
    return tuple(
        Tier(
            alias,
            version.version,
            cards[alias].profit_per_case(),
            float(sum(map(len, registry.artifacts.get_folder(version.artifact_digest).values()))),
            dict(zip(versions, matrix[at].tolist(), strict=True)),
        )
        for at, (alias, version) in enumerate(versions.items())
    )


def tiers_table(model: str, found: Sequence[Tier]) -> RenderableType:
    """For people: rows handle what columns do not."""
    table = Table(title=f"{model}: who serves", title_justify="left")
    for column in ("alias", "version", "profit/case", "bytes"):
        table.add_column(column, justify="left" if column == "alias" else "right")
    for one in found:
        table.add_column(f"not {one.alias}", justify="right")
    for one in found:
        shares = ["" if name == one.alias else f"{share:.2%}" for name, share in one.flips.items()]
        table.add_row(one.alias, str(one.version), f"{one.profit:.1f}", figure(one.bytes), *shares)
    told = "A share is of all scenarios: those that the row's policy handles and the column's does not."
    return Group(table, Text(told, style="dim"))
