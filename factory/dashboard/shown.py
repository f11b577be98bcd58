"""What the pages show: frozen records, plain enough for JSON."""

from __future__ import annotations

from dataclasses import dataclass

from workgym.factory.dashboard.chain import Chain, Entry
from workgym.factory.dashboard.evidence import Course
from workgym.factory.dashboard.fronts import TradeOffs
from workgym.factory.dashboard.releases import Release, Waiting
from workgym.factory.dashboard.results import Family, Gain
from workgym.factory.dashboard.serving import Tiers
from workgym.factory.dashboard.work import Part, Work
from workgym.factory.entries import (
    Baseline,
    CurvePoint,
    HistoryLine,
    ModelSummary,
    ModelVersion,
    Run,
    Training,
)
from workgym.factory.flipped import Flip
from workgym.factory.mirror import Report
from workgym.factory.states import TrainingStatus

MISSING = "missing"


@dataclass(frozen=True)
class Judgement:
    """What a gate said.

    Attributes:
        outcome: an `Outcome`, or `MISSING` for a required gate that has not been asked.
        against: whom the version was compared with.
        counts: whether it is the latest of its gate.
    """

    gate: str
    outcome: str
    sentence: str
    against: str
    alias: str
    at: str
    required: bool
    counts: bool


@dataclass(frozen=True)
class VersionLine:
    """A version in a list.

    Attributes:
        standing: a word or two for where it stands; `tone` is the outcome that this amounts to.
        profit: cents per order, or None where its scorecard cannot be read.
        gain: against whom it was judged.
        judgements: those that count, the worst first.
        trouble: what is wrong with its stored bytes, or nothing.
    """

    model: str
    version: int
    variant: str
    run_id: int
    made: str
    standing: str
    tone: str
    profit: float | None
    gain: Gain | None
    judgements: tuple[Judgement, ...]
    trouble: str


@dataclass(frozen=True)
class Holder:
    """Who serves under an alias.

    Attributes:
        line: the move that put it there.
        gains: against each baseline of its run, the best first.
        replaced: its gain on the version it was judged against, where that was no baseline.
        level: how sure the intervals are.
        trouble: what is wrong with the stored bytes of anything here, or nothing.
    """

    alias: str
    version: VersionLine
    line: HistoryLine
    gains: tuple[Gain, ...]
    replaced: Gain | None
    level: str
    trouble: str


@dataclass(frozen=True)
class Curve:
    """A training with its learning curve."""

    variant: str
    training: Training
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True)
class Reference:
    """The baseline that learning curves are drawn against.

    Attributes:
        profit: cents per episode in the mean over the suite.
    """

    name: str
    profit: float


@dataclass(frozen=True)
class RunLine:
    """A run with what came out of it.

    Attributes:
        models: which models it made versions of, or is making one of.
    """

    run: Run
    models: tuple[str, ...]
    curves: tuple[Curve, ...]
    reference: Reference | None

    @property
    def finished(self) -> int:
        """How many of its trainings are done."""
        return sum(curve.training.status is TrainingStatus.FINISHED for curve in self.curves)


@dataclass(frozen=True)
class Latest:
    """The newest run of a model that made versions."""

    run: RunLine
    candidates: tuple[VersionLine, ...]
    level: str


@dataclass(frozen=True)
class Model:
    """A model on the overview and on its own page.

    Attributes:
        holders: who serves, the champion first.
        under_way: its runs that go on.
        history: the newest first.
        earlier: how many lines of history are not shown.
        waiting: versions that earned a protected alias and wait for people.
    """

    summary: ModelSummary
    holders: tuple[Holder, ...]
    waiting: tuple[Waiting, ...]
    under_way: tuple[RunLine, ...]
    latest: Latest
    history: tuple[HistoryLine, ...]
    earlier: int


@dataclass(frozen=True)
class Overview:
    """The first page.

    Attributes:
        older: id of the last run shown where there are older ones.
        abandoned: runs that anybody may resume, the newest first.
        mirrors: those that have not heard everything.
    """

    models: tuple[Model, ...]
    runs: tuple[RunLine, ...]
    older: int | None
    abandoned: tuple[Run, ...]
    ledger: Chain
    mirrors: tuple[Report, ...]


@dataclass(frozen=True)
class ModelPage:
    """All of a model; `older` is the last version shown where there are older ones.

    Attributes:
        tiers: how those that serve differ, where more than one does.
    """

    model: Model
    releases: tuple[Release, ...]
    trade_offs: TradeOffs | None
    tiers: Tiers | None
    versions: tuple[VersionLine, ...]
    older: int | None
    runs: tuple[RunLine, ...]


@dataclass(frozen=True)
class Compared:
    """A version scenario by scenario against another policy.

    Attributes:
        label: who that is; `number` where it is a version.
        why: "whom it replaced as champion", for instance.
        n: scenarios that both played.
        gained: the version handles them and the other fails, the dearest first; its profit is `a_profit`.
        lost: likewise, those that the other handles.
    """

    label: str
    number: int | None
    why: str
    n: int
    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]


@dataclass(frozen=True)
class VersionPage:
    """All of a version.

    Attributes:
        judgements: every verdict, those that count first.
        families: its results by business situation, and over all of them last.
        history: when it began to serve, and when it stopped.
        courses: how its sequential gates came to be sure: alias, against whom, and the course.
        parts: what it was put together from.
        compared: against whom it replaced, or was judged against.
        chunks: hashes of its training's chunks, in their order.
        ledger: the lines about the moves that let it serve.
    """

    version: ModelVersion
    line: VersionLine
    serves: tuple[str, ...]
    gains: tuple[Gain, ...]
    level: str
    judgements: tuple[Judgement, ...]
    families: tuple[Family, ...]
    latency_us: dict[str, float] | None
    trouble: str
    dropped: int
    history: tuple[HistoryLine, ...]
    courses: tuple[tuple[str, str, Course], ...]
    parts: tuple[Part, ...]
    compared: Compared | None
    chunks: tuple[str, ...]
    ledger: tuple[Entry, ...]


@dataclass(frozen=True)
class RunPage:
    """All of a run.

    Attributes:
        assembled: versions that it put together from others, each with its parts.
    """

    line: RunLine
    baselines: tuple[Baseline, ...]
    candidates: tuple[VersionLine, ...]
    level: str
    work: Work
    assembled: tuple[tuple[VersionLine, tuple[Part, ...]], ...]


@dataclass(frozen=True)
class RunList:
    """Runs, the newest first."""

    runs: tuple[RunLine, ...]
    older: int | None
