"""The gate `robustness`: who copes when the business is not what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from workgym.envs.perturbations import AXES, Perturbation, perturbations
from workgym.factory.builtin_gates.claims import Claim, cents, gain_per_order, sampled, too_few
from workgym.factory.gates import Finding, Numbers, Statistical, gate, short, undecided
from workgym.factory.lab import CANDIDATE, CHAMPION, Lab
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.statistics import Bounds, Mean, rate_difference
from workgym.services.kernel import BadInput, did_you_mean

MOST_RATIO = 4.0  # what is searched for the lower limit of the share that is kept
HALVINGS = 24


class Robustness(Statistical):
    """Options of `robustness`."""

    keeps: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="share of its undisturbed profit per order that the candidate keeps; an axis on which it "
        "keeps less passes only if the champion does no better",
    )
    margin: float = Field(
        default=0.02,
        ge=0,
        lt=1,
        description="share of the champion's undisturbed profit per order by which the candidate may stay "
        "below it when both are disturbed; of the disturbed one, which may be a loss, a share means nothing",
    )
    axes: list[str] = Field(
        default=[], description="which axes, such as demand and capacity; none: all that the env declares"
    )
    per_family: int = Field(default=32, ge=1, description="scenarios of each family and perturbation")
    minimum: int = Field(
        default=32, ge=2, description="scenarios; below, skewed profits mislead the limits too often"
    )


class Pair(NamedTuple):
    """The candidate's results and the champion's, in the same scenarios."""

    ours: Scorecard
    theirs: Scorecard


class Probe(NamedTuple):
    """What one perturbation did.

    Attributes:
        name: the axis, numbered where it has several.
        says: what happened.
        kept: profit per order beyond what must be kept, undisturbed profit being what it is.
        share: of the undisturbed profit that is left; NaN where that was a loss.
        share_low: its lower limit.
        gain: profit per order beyond the champion's and the margin.
        measured: gain on the champion, cents per order.
    """

    name: str
    says: str
    kept: Mean
    share: float
    share_low: float
    gain: Mean
    measured: float

    def holds(self, error: float) -> bool:
        """Whether one of its two claims does; each gets half of the error."""
        return any(claim.holds(error / 2) for claim in self.claims)

    def broken(self, error: float) -> bool:
        """Whether both of its claims are."""
        return all(claim.broken(error) for claim in self.claims)

    @property
    def claims(self) -> list[Claim]:
        """That enough is kept, and that the champion does no better."""
        return [Claim("keeps", self.kept.bounds, 0.0), Claim("gain", self.gain.bounds, 0.0)]


@gate("robustness")
def robustness(candidate: Scorecard, champion: Scorecard, options: Robustness, lab: Lab) -> Finding:
    """Claims that on every axis the candidate keeps most of its profit, or the champion does no better."""
    declared = perturbations(lab.env_id)
    wanted = _wanted(declared, options.axes)
    numbers = sampled(candidate.n, options) | {"keeps": options.keeps, "margin": options.margin}
    if not wanted:
        return undecided(f"{lab.env_id} declares no perturbation; leave this gate out", numbers)
    nominal = Pair(*(lab.play(who, per_family=options.per_family) for who in (CANDIDATE, CHAMPION)))
    if nominal.ours.n < options.minimum:
        return too_few(nominal.ours.n, options.minimum, numbers)
    probes, unplayed = [], []
    for name, one in wanted:
        try:
            probes.append(_probe(name, one, nominal, options, lab))
        except BadInput as error:
            unplayed.append(f"{name} ({error})")
    return _concluded(probes, unplayed, nominal.ours, champion, options, numbers)


def _wanted(declared: tuple[Perturbation, ...], axes: Sequence[str]) -> list[tuple[str, Perturbation]]:
    """The perturbations of the axes, each with a name of its own."""
    for axis in axes:
        if axis not in AXES:
            raise BadInput(did_you_mean("axis", axis, list(AXES)))
    named, seen = [], dict.fromkeys(AXES, 0)
    for one in declared:
        seen[one.axis] += 1
        alone = sum(other.axis == one.axis for other in declared) == 1
        if not axes or one.axis in axes:
            named.append((one.axis if alone else f"{one.axis}-{seen[one.axis]}", one))
    return named


def _probe(name: str, one: Perturbation, nominal: Pair, options: Robustness, lab: Lab) -> Probe:
    asked: dict[str, Any] = {
        "per_family": options.per_family,
        "env_kwargs": one.env_kwargs,
        "reads": one.reads,
    }
    ours, theirs = lab.play(CANDIDATE, **asked), lab.play(CHAMPION, **asked)
    if any(card.seed != ours.seed for card in (theirs, *nominal)):
        raise BadInput(f"expected {nominal.ours.n} scenarios without a dropped one, found {ours.n}")
    usual = nominal.ours.profit_per_case()
    share, low = np.nan, np.nan
    if usual > 0:
        share, low = ours.profit_per_case() / usual, _share_limit(ours, nominal.ours, options.error / 2)
    return Probe(
        name=name,
        says=one.says,
        kept=_kept(ours, nominal.ours, options.keeps),
        share=share,
        share_low=low,
        gain=_gain(ours, theirs, nominal.theirs, options.margin),
        measured=gain_per_order(ours, theirs, 0.0).value,
    )


def _gain(ours: Scorecard, theirs: Scorecard, usual: Scorecard, margin: float) -> Mean:
    """Cents per order gained on the champion, and the margin, which is estimated together with it."""
    allowed = margin * np.sign(usual.profit.sum()) * usual.profit
    gained = (ours.profit - theirs.profit, theirs.cases)
    return rate_difference(gained, (-allowed, usual.cases), theirs.family)


def _kept(ours: Scorecard, nominal: Scorecard, keeps: float) -> Mean:
    """Disturbed profit per order less what must be left of the usual one; a loss may grow by as much."""
    factor = keeps if nominal.profit.sum() >= 0 else 2.0 - keeps
    return rate_difference((ours.profit, ours.cases), (factor * nominal.profit, nominal.cases), ours.family)


def _share_limit(ours: Scorecard, nominal: Scorecard, error: float) -> float:
    """The largest share of which it is sure that it is kept; minus infinity beyond `MOST_RATIO`."""
    low, high = -MOST_RATIO, MOST_RATIO
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        sure = _kept(ours, nominal, middle).bounds(error).low >= 0
        low, high = (middle, high) if sure else (low, middle)
    return low if low > -MOST_RATIO else -np.inf


def _concluded(
    probes: list[Probe],
    unplayed: list[str],
    nominal: Scorecard,
    champion: Scorecard,
    options: Robustness,
    numbers: Numbers,
) -> Finding:
    numbers |= {"played": nominal.n, "perturbations": len(probes), "unplayed": "; ".join(unplayed)}
    for probe in probes:
        numbers |= _numbers(probe, options.error / 2)
    left_out = f"; not played: {'; '.join(unplayed)}" if unplayed else ""
    if not probes or (unplayed and options.axes):
        why = f"cannot be played as asked{left_out} (n={numbers['n']}); leave these axes out"
        return undecided(why, numbers)
    known = [probe.share for probe in probes if np.isfinite(probe.share)]
    numbers |= {"worst_share": min(known)} if known else {}
    each = options.error / len(probes)
    broken = [probe for probe in probes if probe.broken(each)]
    unclear = [probe for probe in probes if not probe.holds(options.error)]
    ending = f"{left_out} ({nominal.n} scenarios each, {options.confidence}, n={numbers['n']})"
    if broken:
        told = "; ".join(_told(probe, champion) for probe in broken)
        return Finding(
            Outcome.FAIL, f"does not cope with {len(broken)} of {len(probes)}: {told}{ending}", numbers
        )
    if unclear:
        told = "; ".join(_told(probe, champion) for probe in unclear)
        return undecided(f"may not cope with {told}{ending}", numbers)
    closest = min(probes, key=lambda probe: probe.share_low if np.isfinite(probe.share_low) else np.inf)
    return Finding(
        Outcome.PASS,
        f"copes with {len(probes)} of {len(probes)} perturbations; the hardest is {_told(closest, champion)}"
        f"{ending}",
        numbers,
    )


def _numbers(probe: Probe, error: float) -> Numbers:
    gain: Bounds = probe.gain.bounds(error)
    shown = {"gain": probe.measured, "gain_low": probe.measured + gain.low - probe.gain.value}
    if np.isfinite(probe.share):
        shown |= {"share": probe.share, "share_low": probe.share_low}
    return {f"{probe.name}.{name}": value for name, value in shown.items()}


def _told(probe: Probe, champion: Scorecard) -> str:
    limit = f"at least {probe.share_low:.1%}" if np.isfinite(probe.share_low) else "no lower limit"
    kept = f"keeps {probe.share:.1%} ({limit}), " if np.isfinite(probe.share) else ""
    return f"{probe.name}, {probe.says}: {kept}{cents(probe.measured)} against {short(champion)}"
