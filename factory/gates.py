"""Gates: what a candidate must show before it may take the place of the policy that serves today.

A gate is a function of two scorecards of one suite and its options. A new one is a decorated function in
any package that names its module in the entry point group `workgym.gates`; the built-in ones below enter
by the same decorator, and all of them are asked by name:

    class Thrift(Options):
        spend: float = Field(default=5.0, description="cents per order, what the carriers' contract allows")

    @gate("thrift")
    def thrift(candidate: Scorecard, champion: Scorecard, options: Thrift) -> Finding: ...

A gate that must know more than the scorecards takes a fourth parameter, `lab: Lab`: there it can let both
policies play other scenarios, and read their files. Without a lab it is inconclusive.

Before it decides, every gate makes sure that the scorecards can be compared at all (`Gate`), so no gate,
ours or a plug-in's, passes on an empty suite, lost episodes or values that are not numbers. What each gate
claims and how often it errs stands in docs/design/gates.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workgym.factory.records import Outcome, Scorecard, Verdict
from workgym.services.kernel import BadInput, did_you_mean
from workgym.services.plugins import Plugins

if TYPE_CHECKING:
    from workgym.factory.lab import Lab

OURS = {"builtin": "workgym.factory.builtin_gates", "probing": "workgym.factory.probing_gates"}
Numbers = dict[str, float | int | str]


class Options(BaseModel):
    """What every gate can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    dropped: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of a suite's episodes that faults may take; hard scenarios may fault more",
    )


class Statistical(Options):
    """What every gate that draws a conclusion from a sample can be told."""

    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="chance of a wrong answer; the convention of the field"
    )
    candidates: int = Field(
        default=1,
        ge=1,
        description="how many were tried on this suite; each gets alpha / candidates, or the best of 40 "
        "worthless ones would pass by luck in most runs",
    )

    @property
    def error(self) -> float:
        """The chance of a wrong answer that one candidate may use up."""
        return self.alpha / self.candidates

    @property
    def level(self) -> str:
        """The confidence in percent."""
        return f"{100 * (1 - self.alpha):g}%"

    @property
    def jointly(self) -> str:
        """For how many candidates the confidence holds at once, when there are several."""
        return f" jointly over {self.candidates} candidates" if self.candidates > 1 else ""

    @property
    def confidence(self) -> str:
        """The confidence of all candidates' limits together."""
        return f"{self.level} confidence{self.jointly}"


class Finding(NamedTuple):
    """What a gate found, not yet bound to whom it judged."""

    outcome: Outcome
    sentence: str
    numbers: Numbers


O_ = TypeVar("O_", bound=Options)
Decide = Callable[..., Finding]  # (candidate, champion, options) or (candidate, champion, options, lab)


@dataclass(frozen=True)
class Gate(Generic[O_]):
    """A named gate: refuses what cannot be compared, holds back what cannot be judged, then decides.

    Attributes:
        name: what a pipeline calls it.
        kind: the model of its options.
        decide: the gate's own function; it sees at least one scenario, all paired.
        sequential: whether it may be asked again and again as scenarios come in; its numbers then say
            in `n_used` after how many it was sure, 0 while it is not.
        plays: whether it takes a lab, in which it lets the policies play more than the scorecards tell.
    """

    name: str
    kind: type[O_]
    decide: Decide
    sequential: bool = False
    plays: bool = False

    def __call__(
        self, candidate: Scorecard, champion: Scorecard, options: O_ | None = None, lab: Lab | None = None
    ) -> Verdict:
        """Judge the candidate against the champion.

        Raises:
            BadInput: the two were not evaluated on the same scenarios in the same order.
        """
        chosen = self.kind() if options is None else options
        finding = self._find(candidate, champion, chosen, lab)
        names = (candidate.policy, champion.policy, candidate.suite)
        return Verdict(self.name, finding.outcome, finding.sentence, finding.numbers, *names)

    def _find(self, candidate: Scorecard, champion: Scorecard, options: O_, lab: Lab | None) -> Finding:
        _same_suite(candidate, champion)
        reason = _lost(candidate, champion, options.dropped)
        if not reason:
            candidate, champion = paired(candidate, champion)
            reason = _unusable(candidate, champion)
        if reason:
            return undecided(f"cannot be judged: {reason} (n={candidate.n})", {"n": candidate.n})
        finding = _sound(self._decided(candidate, champion, options, lab))
        if _identical(candidate, champion):
            told = f"IDENTICAL results to {short(champion)} in every scenario: {finding.sentence}"
            return finding._replace(sentence=told)
        return finding

    def _decided(self, candidate: Scorecard, champion: Scorecard, options: O_, lab: Lab | None) -> Finding:
        if not self.plays:
            return self.decide(candidate, champion, options)
        if lab is None:
            needs = "needs the policy itself, found its results alone; judge it where its files are, in a lab"
            return undecided(f"{needs} (n={candidate.n})", {"n": candidate.n})
        return self.decide(candidate, champion, options, lab)


def undecided(sentence: str, numbers: Numbers) -> Finding:
    """The finding of a gate that cannot tell."""
    return Finding(Outcome.INCONCLUSIVE, sentence, numbers)


def short(card: Scorecard) -> str:
    """What people call a policy: a baseline's name, or the first digits of a model's digest."""
    digits = card.policy.removeprefix("sha256:")
    is_digest = len(digits) >= 40 and not set(digits) - set("0123456789abcdef")
    return digits[:12] if is_digest else card.policy


def _same_suite(candidate: Scorecard, champion: Scorecard) -> None:
    for name in ("env_id", "suite"):
        ours, theirs = getattr(candidate, name), getattr(champion, name)
        if ours != theirs:
            raise BadInput(
                f"expected scorecards of one {name}, found {ours!r} for the candidate and {theirs!r} for the "
                "champion; evaluate both on the same suite"
            )


def _lost(candidate: Scorecard, champion: Scorecard, tolerated: float) -> str:
    """Why too many episodes are missing, or nothing."""
    for card in (candidate, champion):
        share = card.dropped / max(card.n + card.dropped, 1)
        if share > tolerated:
            return (
                f"{card.dropped} episodes of {short(card)} were lost to infrastructure faults ({share:.2%}, "
                f"tolerated {tolerated:.2%}); evaluate them again"
            )
    return ""


def paired(candidate: Scorecard, champion: Scorecard) -> tuple[Scorecard, Scorecard]:
    """The two cut to the scenarios that both played; all of them unless episodes were lost.

    Raises:
        BadInput: they were not evaluated on the same scenarios in the same order.
    """
    ours, theirs = _scenarios(candidate), _scenarios(champion)
    if ours == theirs:
        return candidate, champion
    both = set(ours) & set(theirs)
    lost = (len(theirs) - len(both), len(ours) - len(both))
    kept = [at for at, scenario in enumerate(ours) if scenario in both]
    same = [at for at, scenario in enumerate(theirs) if scenario in both]
    ordered = [ours[at] for at in kept] == [theirs[at] for at in same]
    if not ordered or lost[0] > candidate.dropped or lost[1] > champion.dropped:
        raise BadInput(
            f"expected the same scenarios in the same order, found {_first_difference(ours, theirs)}; "
            f"evaluate both on suite {candidate.suite}"
        )
    return select(candidate, kept), select(champion, same)


def _scenarios(card: Scorecard) -> list[tuple[str, int]]:
    return list(zip(card.family, card.seed, strict=True))


def _first_difference(ours: list[tuple[str, int]], theirs: list[tuple[str, int]]) -> str:
    for at, (our, their) in enumerate(zip(ours, theirs, strict=False)):
        if our != their:
            return f"{our} for the candidate and {their} for the champion at position {at}"
    return f"{len(ours)} for the candidate and {len(theirs)} for the champion"


_PER_SCENARIO = ("profit", "cases", "success", "violations", "obligations")


def select(card: Scorecard, positions: list[int]) -> Scorecard:
    """The card of some of its scenarios, in the order given."""
    columns = {name: getattr(card, name)[positions] for name in _PER_SCENARIO}
    family, seed = (tuple(getattr(card, name)[at] for at in positions) for name in ("family", "seed"))
    return replace(card, family=family, seed=seed, **columns)


def _unusable(candidate: Scorecard, champion: Scorecard) -> str:
    """Why these results allow no conclusion, or nothing."""
    if candidate.n == 0:
        return "the suite is empty"
    for card in (candidate, champion):
        for name in _PER_SCENARIO:
            values = np.asarray(getattr(card, name), dtype=np.float64)
            if not np.isfinite(values).all():
                return f"the {name} of {short(card)} holds NaN or infinity; evaluate it again"
            if name != "profit" and values.min() < 0:
                return f"the {name} of {short(card)} holds negative counts; evaluate it again"
    if champion.cases.sum() == 0:
        return f"{short(champion)} decided no case; put scenarios with work into the suite"
    if candidate.policy == champion.policy and not _identical(candidate, champion):
        return f"{short(candidate)} got two results for the same scenarios; make its evaluation deterministic"
    return ""


def _identical(candidate: Scorecard, champion: Scorecard) -> bool:
    return all(np.array_equal(getattr(candidate, name), getattr(champion, name)) for name in _PER_SCENARIO)


def _sound(finding: Finding) -> Finding:
    """Plain numbers only, and no pass that rests on one that is not finite."""
    numbers = {name: _plain(value) for name, value in finding.numbers.items()}
    odd = [name for name, value in finding.numbers.items() if numbers[name] != value]
    if odd and finding.outcome is Outcome.PASS:
        return undecided(f"cannot be judged: {', '.join(odd)} is not a number; {finding.sentence}", numbers)
    return finding._replace(numbers=numbers)


def _plain(value: Any) -> float | int | str:
    """A value that canonical JSON can hold."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return int(value) if isinstance(value, bool) else value


_GATES = Plugins[str, Gate[Any]]("workgym.gates", "gates", OURS)


def gate(name: str, sequential: bool = False) -> Callable[[Decide], Gate[Any]]:
    """Enter a function `(candidate, champion, options) -> Finding` as the gate `name`.

    Its third parameter's annotation is the model of its options; a fourth one gets the lab.
    """

    def enter(decide: Decide) -> Gate[Any]:
        parameters = list(inspect.signature(decide).parameters)
        kind = get_type_hints(decide)[parameters[2]]
        entry = Gate(name, kind, decide, sequential, plays=len(parameters) > 3)
        return _GATES.enter(name, entry, decide, repr(name))

    return enter


def known_gates() -> dict[str, Gate[Any]]:
    """Every gate by name, ours and those of installed packages."""
    return _GATES.known()


def configure(gates: Mapping[str, Mapping[str, Any]], candidates: int = 1) -> dict[str, Options]:
    """Read the options of each named gate, so that a pipeline is refused before it trains.

    Raises:
        BadInput: there is no such gate or option, or a value is out of range.
    """
    known = known_gates()
    for name in gates:
        if name not in known:
            raise BadInput(did_you_mean("gate", name, list(known)))
    return {name: _options(known[name], given, candidates) for name, given in gates.items()}


def _options(gate: Gate[Any], given: Mapping[str, Any], candidates: int) -> Options:
    for option in given:
        if option not in gate.kind.model_fields:
            raise BadInput(
                did_you_mean(f"option of gate {gate.name!r}", option, list(gate.kind.model_fields))
            )
    if candidates < 1:
        raise BadInput(f"expected at least 1 candidate, found {candidates}")
    try:
        options: Options = gate.kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        found = f"{first['msg']}, found {first['input']!r}"
        raise BadInput(f"option {where!r} of gate {gate.name!r}: {found}") from None
    if isinstance(options, Statistical):
        return options.model_copy(update={"candidates": max(candidates, options.candidates)})
    return options


def judge(
    candidate: Scorecard,
    champion: Scorecard,
    gates: Mapping[str, Mapping[str, Any]],
    candidates: int = 1,
    bootstrap: bool = False,
    lab: Lab | None = None,
) -> list[Verdict]:
    """Ask each named gate; the verdicts in the order given.

    Gates that play are asked last, and no more once a gate has failed: they cost time, and a sealed suite
    that is shown to a candidate without a chance is worn out for nothing.

    Args:
        candidate: results of the policy that wants in.
        champion: results of the one that serves today; a baseline when there is none yet.
        gates: options by gate name, `{"flips": {"budget": 0.01}}`.
        candidates: how many were tried on this suite, the judged one included.
        bootstrap: whether there is no champion yet. The `bootstrap` gate is then asked whether it is
            named or not; otherwise it is read and left out.
        lab: where gates can let the policies play; those that need one are inconclusive without it.
    """
    known = known_gates()
    asked = configure({**gates, "bootstrap": gates.get("bootstrap", {})}, candidates)
    named = [name for name in asked if bootstrap or name != "bootstrap"]
    said: dict[str, Verdict] = {}
    for name in sorted(named, key=lambda one: known[one].plays):
        failed = [verdict.gate for verdict in said.values() if verdict.outcome is Outcome.FAIL]
        if failed and known[name].plays:
            finding = undecided(f"was not played, {failed[0]} failed (n={candidate.n})", {"n": candidate.n})
            said[name] = Verdict(name, *finding, candidate.policy, champion.policy, candidate.suite)
        else:
            said[name] = known[name](candidate, champion, asked[name], lab)
    return [said[name] for name in named]


def promotable(verdicts: list[Verdict]) -> bool:
    """Whether every gate passed and there was at least one.

    Raises:
        BadInput: the verdicts are about different candidates.
    """
    judged = {verdict.candidate for verdict in verdicts}
    if len(judged) > 1:
        raise BadInput(f"expected verdicts on one candidate, found {sorted(judged)}; ask per candidate")
    return bool(verdicts) and all(verdict.passed for verdict in verdicts)
