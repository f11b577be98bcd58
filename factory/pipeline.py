"""The pipeline: one TOML file that says what is trained, judged and promoted."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from workgym.factory.space import Dimension, SearchSpec
from workgym.services.kernel import BadInput, NotFound, did_you_mean


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SuiteSpec(_Part):
    """What candidates are judged on."""

    split: Literal["gate", "audit"] = "gate"
    per_family: int = Field(default=64, ge=1, le=10_000, description="scenarios of each family")


class ResourcesSpec(_Part):
    """What a chunk of training needs of a machine; a cluster that scales by itself is asked for it."""

    cpus: float = Field(default=1.0, gt=0)
    memory_mb: int = Field(default=0, ge=0, description="0 asks for nothing")
    custom: dict[str, float] = Field(default_factory=dict, description="by the names that the nodes offer")


class TrainingSpec(_Part):
    """What all variants share; a variant's own `recipe` wins over `recipe`."""

    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    recipe: dict[str, Any] = Field(default_factory=dict, description="fields of agents.training.Recipe")
    resources: ResourcesSpec = ResourcesSpec()


class VariantSpec(_Part):
    """One kind of candidate: an algorithm with hyper-parameters, for a stated purpose."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    purpose: str = ""
    preset: str | None = None
    view: dict[str, str] = Field(
        default_factory=dict, description="how this variant sees the env and acts in it: actions, observation"
    )
    seeds: tuple[int, ...] | None = Field(default=None, min_length=1)
    teacher: str | None = Field(
        default=None,
        pattern=r"^([a-z][a-z0-9-]*|version:[1-9][0-9]*|variant:[a-z0-9][a-z0-9-]*)$",
        description="whom it begins as or learns from: an alias as champion, version:3, or variant:reliable "
        "of this run with the same seed",
    )
    recipe: dict[str, Any] = Field(default_factory=dict)
    search: SearchSpec | None = Field(default=None, description="looks for the recipe; docs/design/search.md")


class TierSpec(_Part):
    """Two variants behind one door: a small one decides, and asks a large one where it is unsure."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    small: str = Field(description="the variant that is asked first")
    large: str = Field(description="the variant that is asked when it is of two minds")
    share: float = Field(default=0.2, gt=0, lt=1, description="of the decisions that may be passed on")
    seasons: int = Field(default=16, ge=1, description="train seasons of each family that set the threshold")


class ReleaseSpec(_Part):
    """What a promoted policy is for: an alias, and the profile by which its policy is chosen."""

    alias: str = Field(default="champion", pattern=r"^[a-z][a-z0-9-]*$")
    profile: str = Field(default="profit", description="what is chosen for; factory/profiles.py names them")
    limits: dict[str, float] = Field(
        default_factory=dict, description="worst allowed value of measures: { bytes = 20_000 }"
    )
    gates: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="options of gates that differ for this release"
    )


class Pipeline(_Part):
    """From an environment to a champion.

    Attributes:
        name: the model's name in the registry.
        env: Gymnasium id.
        env_kwargs: how the env is made; part of every lineage.
        suite: what candidates are judged on.
        training: what variants share.
        variants: what is tried.
        tiers: routers over two variants, candidates beside them.
        gates: options of each gate, by its name; a candidate must pass all of them.
        releases: what is promoted, and for what.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    env: str
    description: str = ""
    env_kwargs: dict[str, Any] = Field(default_factory=dict)
    suite: SuiteSpec = SuiteSpec()
    training: TrainingSpec = TrainingSpec()
    variants: tuple[VariantSpec, ...] = Field(min_length=1)
    tiers: tuple[TierSpec, ...] = ()
    gates: dict[str, dict[str, Any]] = Field(min_length=1)
    releases: tuple[ReleaseSpec, ...] = Field(default=(ReleaseSpec(),), min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _one_release(cls, fields: Any) -> Any:
        """`[promotion]` is short for a single release."""
        if isinstance(fields, dict) and "promotion" in fields:
            if "releases" in fields:
                raise ValueError("expected [promotion] or [[releases]], found both; keep [[releases]]")
            fields = {**fields, "releases": [fields["promotion"]]}
            del fields["promotion"]
        return fields

    @model_validator(mode="after")
    def _names_are_unique(self) -> Pipeline:
        for what, names in (
            (
                "names of variants and tiers",
                [one.name for one in self.variants] + [one.name for one in self.tiers],
            ),
            ("aliases of releases", [release.alias for release in self.releases]),
        ):
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"{what} must differ, found {', '.join(sorted(twice))} twice")
        return self

    @model_validator(mode="after")
    def _teachers_are_others(self) -> Pipeline:
        taught = {variant.name: (variant.teacher or "") for variant in self.variants}
        for name in taught:
            seen, at = [name], name
            while taught[at].startswith("variant:"):
                at = taught[at].removeprefix("variant:")
                if at not in taught:
                    raise ValueError(did_you_mean(f"teacher of variant {seen[-1]!r}", at, sorted(taught)))
                if at in seen:
                    raise ValueError(f"variants teach each other in a circle: {' <- '.join([*seen, at])}")
                seen.append(at)
        return self

    @model_validator(mode="after")
    def _tiers_fit(self) -> Pipeline:
        names = {variant.name for variant in self.variants if variant.search is None}
        for tier in self.tiers:
            for name in (tier.small, tier.large):
                if name not in names:
                    raise ValueError(did_you_mean(f"variant for tier {tier.name!r}", name, sorted(names)))
        return self

    @model_validator(mode="after")
    def _releases_fit(self) -> Pipeline:
        for release in self.releases:
            for name in release.gates:
                if name not in self.gates:
                    raise ValueError(
                        did_you_mean(f"gate of release {release.alias!r}", name, sorted(self.gates))
                    )
        return self

    def gates_of(self, release: ReleaseSpec) -> dict[str, dict[str, Any]]:
        """Options of every gate for a release."""
        return {name: {**options, **release.gates.get(name, {})} for name, options in self.gates.items()}

    def digest(self) -> str:
        """Content hash of the specification."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def read_pipeline(path: Path) -> Pipeline:
    """Read a pipeline file.

    Raises:
        NotFound: there is no such file.
        BadInput: it is no TOML or no pipeline; the text names the line or the field.
    """
    if not path.is_file():
        raise NotFound(f"no pipeline file at {path}; pipelines/orders.toml in the repository is an example")
    try:
        return Pipeline.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"expected TOML in {path}, found a mistake: {error}") from error
    except ValidationError as error:
        raise BadInput(
            f"{path} is no pipeline:\n" + "\n".join(_explain(one) for one in error.errors())
        ) from error


def _explain(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] != "extra_forbidden":
        return f"  {where}: {error['msg']}, found {error['input']!r:.80}"
    owner = _owner(error["loc"])
    return f"  {where}: {did_you_mean('field', str(error['loc'][-1]), sorted(owner.model_fields))}"


def _owner(loc: tuple[str | int, ...]) -> type[BaseModel]:
    parts: dict[str, type[BaseModel]] = {
        "suite": SuiteSpec,
        "training": TrainingSpec,
        "variants": VariantSpec,
        "tiers": TierSpec,
        "promotion": ReleaseSpec,
        "releases": ReleaseSpec,
    }
    if "resources" in loc[:-1]:
        return ResourcesSpec
    if "search" in loc[:-1]:
        return Dimension if "space" in loc else SearchSpec
    return parts.get(str(loc[0]), Pipeline) if len(loc) > 1 else Pipeline
