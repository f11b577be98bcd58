"""The gate `bootstrap`, asked while there is no champion."""

from __future__ import annotations

from pydantic import Field

from workgym.factory.builtin_gates.claims import Claim, conclude, gain_per_order, sampled, too_few
from workgym.factory.gates import Finding, Numbers, Statistical, gate, short
from workgym.factory.records import Scorecard
from workgym.factory.statistics import proportion_bounds, ratio

UNLED = "BOOTSTRAP, there is no champion yet: "


class Bootstrap(Statistical):
    """Options of `bootstrap`."""

    profit: float = Field(
        default=0.0, description="cents per order; less than nothing is not worth automating"
    )
    gain: float = Field(
        default=0.0, ge=0, description="cents per order above the department's best baseline, which is free"
    )
    success: float = Field(
        default=0.5,
        ge=0,
        lt=1,
        description="share of scenarios; who fails more than it handles is no champion",
    )
    minimum: int = Field(
        default=32, ge=2, description="scenarios; below, skewed profits mislead the limits too often"
    )


@gate("bootstrap")
def bootstrap(candidate: Scorecard, champion: Scorecard, options: Bootstrap) -> Finding:
    """Claims that a first model earns, beats the best baseline and handles most scenarios."""
    n, handled = candidate.n, int(candidate.success.astype(bool).sum())
    profit = ratio(candidate.profit, champion.cases, champion.family, options.profit)
    gain = gain_per_order(candidate, champion, options.gain)
    claims = [
        Claim("profit", profit.bounds, options.profit, above=True),
        Claim("gain", gain.bounds, options.gain, above=True),
        Claim("success", lambda error: proportion_bounds(handled, n, error), options.success, above=True),
    ]
    values = {"profit": profit.value, "gain": gain.value, "success": handled / n}
    numbers = sampled(n, options)
    for claim in claims:
        low, high = claim.bounds(options.error).low, claim.bounds(options.error / len(claims)).high
        shown = {"": values[claim.name], "_low": low, "_high": high, "_floor": claim.floor}
        numbers |= {f"{claim.name}{what}": value for what, value in shown.items()}
    if n < options.minimum:
        return too_few(n, options.minimum, numbers, UNLED)
    outcome = conclude(claims, options.error)
    ending = f"({options.confidence} each side, n={n} paired scenarios)"
    told = ", ".join(_floor_told(claim, numbers, champion, options.error, len(claims)) for claim in claims)
    return Finding(outcome, f"{UNLED}{told} {ending}", numbers)


def _floor_told(claim: Claim, numbers: Numbers, champion: Scorecard, error: float, claims: int) -> str:
    form = {
        "profit": "earns {:+,.2f} cents per order ({:+,.2f} to {:+,.2f}, floor {:+,.2f}: {})",
        "gain": f"gains {{:+,.2f}} on {short(champion)} ({{:+,.2f}} to {{:+,.2f}}, floor {{:+,.2f}}: {{}})",
        "success": "handles {:.2%} ({:.2%} to {:.2%}, floor {:.2%}: {})",
    }[claim.name]
    missed = "missed" if claim.broken(error / claims) else "open"
    state = "reached" if claim.holds(error) else missed
    return form.format(*(numbers[f"{claim.name}{what}"] for what in ("", "_low", "_high", "_floor")), state)
