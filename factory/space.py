"""What a search may try: the `[variants.search]` part of a pipeline."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Dimension(_Part):
    """Where a field of the recipe may lie: between two numbers, or one of several choices."""

    low: float | None = None
    high: float | None = None
    log: bool = Field(default=False, description="whether a factor counts rather than a difference")
    choices: tuple[Any, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _is_a_range_or_choices(self) -> Dimension:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("expected low and high, or choices")
        if self.choices is None and not self.ends[0] < self.ends[1]:
            raise ValueError(f"expected low below high, found {self.low} and {self.high}")
        if self.log and not self.ends[0] > 0:
            raise ValueError("expected low above 0 with log = true")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Low and high; 0 and 0 where there are choices."""
        return self.low or 0.0, self.high or 0.0


class SearchSpec(_Part):
    """How a variant's recipe is looked for.

    Attributes:
        engine: `halving` stops the worse trials at every rung. `pbt` lets the worse ones of a population go
            on from copies of the better ones, with their fields moved; Ray Tune does that.
        space: fields of the recipe, and where each may lie.
        trials: recipes that are tried; with `pbt` the population.
        batch: recipes that are asked for together; the next ones learn from how these did. For `halving`.
        rungs: numbers of chunks after which trials are compared.
        keep: share of a batch that goes on from each rung; the others train no more, or become copies.
        sampler: `tpe` learns from earlier batches; `random` does not. For `halving`.
        seed: another one tries other recipes.
        per_family: scenarios of each family of the *train* split on which trials are compared.
        best: how many are trained to the end and go on to the gates.
    """

    engine: Literal["halving", "pbt"] = "halving"
    space: dict[str, Dimension] = Field(min_length=1)
    trials: int = Field(default=16, ge=2, le=10_000)
    batch: int = Field(default=8, ge=1, le=1_000)
    rungs: tuple[int, ...] = Field(default=(1,), min_length=1)
    keep: float = Field(default=0.5, gt=0.0, lt=1.0)
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**31)
    per_family: int = Field(default=16, ge=1, le=10_000)
    best: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> SearchSpec:
        if list(self.rungs) != sorted(set(self.rungs)) or self.rungs[0] < 1:
            raise ValueError(f"expected rungs as growing numbers of chunks, found {list(self.rungs)}")
        if self.best > self.trials:
            raise ValueError(f"expected best to be at most {self.trials} trials, found {self.best}")
        if self.engine == "pbt" and self.keep < 0.5:
            raise ValueError(f"expected keep of 0.5 or more with engine 'pbt', found {self.keep}")
        return self
