"""From the registry, and from nothing else, to what each page shows."""

from __future__ import annotations

from datetime import UTC, datetime

from workgym.factory.dashboard.book import Book
from workgym.factory.dashboard.chain import chain, entries, lagging
from workgym.factory.dashboard.evidence import Course, course
from workgym.factory.dashboard.results import families, like
from workgym.factory.dashboard.shown import Compared, ModelPage, Overview, RunList, RunPage, VersionPage
from workgym.factory.dashboard.work import parts, work
from workgym.factory.entries import ModelVersion
from workgym.factory.flipped import flipped, replayed
from workgym.factory.lineage import chunks_of
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.states import RunStatus
from workgym.services.kernel import NotFound, did_you_mean

NEWEST = 8  # lines of a list on the overview
PAGE = 20  # lines of a list on a page of its own


def overview(registry: Registry) -> Overview:
    """Every model, and the newest runs."""
    book = Book(registry)
    runs = book.runs(None, NEWEST)
    return Overview(
        models=tuple(book.model(one.name, NEWEST) for one in book.summaries),
        runs=runs.runs,
        older=runs.older,
        abandoned=tuple(run for run in book.all_runs if run.status is RunStatus.ABANDONED),
        ledger=chain(registry),
        mirrors=lagging(registry),
    )


def model_page(
    registry: Registry, name: str, before: int | None = None, release: str | None = None, against: str = ""
) -> ModelPage:
    """A model with so many of its versions as were made before one.

    Args:
        registry: where it is.
        name: the model.
        before: a version's number.
        release: the alias whose trade-offs are shown.
        against: the measure that profit is drawn against.

    Raises:
        NotFound: there is no such model, or no such release.
    """
    book = Book(registry)
    if name not in book.versions:
        raise NotFound(did_you_mean("model", name, list(book.versions)))
    found = [one for one in book.versions[name] if before is None or one.version < before]
    return ModelPage(
        model=book.model(name),
        releases=book.releases(name),
        trade_offs=book.trade_offs(name, release, against),
        tiers=book.tiers(name),
        versions=book.lines(found[:PAGE]),
        older=found[PAGE - 1].version if len(found) > PAGE else None,
        runs=book.runs(None, NEWEST, name).runs,
    )


def version_page(registry: Registry, name: str, number: int) -> VersionPage:
    """A version.

    Raises:
        NotFound: there is no such version.
    """
    version = registry.version(name, number)
    book = Book(registry)
    card = book.cards(version.scorecard_digest).card
    gains, level = book.gains(version)
    best = book.shelf.baselines(version.run_id)[:1]
    theirs = book.cards(best[0].scorecard_digest).card if best else None
    judgements = book.judgements(version, book.shelf.verdicts(version))
    line = book.version(version)
    moves = [move for move in book.history[name] if number in (move.from_version, move.to_version)]
    return VersionPage(
        version=version,
        line=line,
        serves=book.serves(version),
        gains=gains,
        level=str(level),
        judgements=tuple(sorted(judgements, key=lambda one: not one.counts)),
        families=families(card, best[0].name if best else "", theirs, level) if card else (),
        latency_us=card.latency_us if card else None,
        trouble=" ".join(filter(None, (line.trouble, book.baseline_trouble(version.run_id)))),
        dropped=card.dropped if card else 0,
        history=tuple(moves[::-1]),
        courses=_courses(book, version, card) if card else (),
        parts=parts(version, book.numbers(name)),
        compared=_compared(book, version, card) if card else None,
        chunks=tuple(chunk.artifact or "" for chunk in chunks_of(registry, version)),
        ledger=entries(registry, name, tuple(move for move in moves if move.to_version == number)),
    )


def _courses(book: Book, version: ModelVersion, card: Scorecard) -> tuple[tuple[str, str, Course], ...]:
    """How each gate that looks along the way came to be sure, of the verdicts that count."""
    latest = {(verdict.alias, verdict.gate): verdict for verdict in book.shelf.verdicts(version)}
    found = []
    for (alias, gate), verdict in latest.items():
        opponent = book.opponent(version, verdict.champion)
        theirs = book.cards(opponent.scorecard).card if opponent else None
        met = like(theirs, card) if theirs else None
        drawn = course(gate, verdict.numbers, card, met) if met else None
        if opponent and drawn:
            found.append((alias, opponent.label, drawn))
    return tuple(found)


def _compared(book: Book, version: ModelVersion, card: Scorecard) -> Compared | None:
    """Flips against whom a version replaced, where both played one suite."""
    found = book.replaced(version)
    if found is None:
        return None
    opponent, why = found
    theirs = book.cards(opponent.scorecard).card
    if theirs is None or theirs.suite != card.suite:
        return None
    split = str((book.registry.run(version.run_id).spec.get("suite") or {}).get("split", "gate"))
    told = flipped(card, theirs, replayed(version.name, str(version.version), opponent.who, split))
    number = opponent.version.version if opponent.version else None
    return Compared(opponent.label, number, why, told.n, gained=told.lost, lost=told.won)


def run_page(registry: Registry, run_id: int) -> RunPage:
    """A run.

    Raises:
        NotFound: there is no such run.
    """
    run = registry.run(run_id)
    book = Book(registry)
    made = book.made(run_id)
    lines = book.candidates(made)
    built = {(one.name, one.version): parts(one, book.numbers(one.name)) for one in made}
    return RunPage(
        line=book.run(run),
        baselines=book.shelf.baselines(run_id),
        candidates=lines,
        level=str(book.level(made[0])) if made else "",
        work=work(registry, run, datetime.now(UTC).timestamp()),
        assembled=tuple((line, own) for line in lines if (own := built[line.model, line.version])),
    )


def run_list(registry: Registry, before: int | None = None) -> RunList:
    """So many runs that began before one."""
    return Book(registry).runs(before, PAGE)


def addresses(registry: Registry) -> list[str]:
    """Every address worth a suggestion."""
    models = [one.name for one in registry.list_models()]
    versions = [f"/models/{name}/versions/{registry.list_versions(name)[0].version}" for name in models]
    newest = [f"/runs/{run.id}" for run in registry.runs()[:1]]
    return ["/", *(f"/models/{name}" for name in models), *versions, "/runs", *newest]
