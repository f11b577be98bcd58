"""From the registry, and from nothing else, to what each page shows."""

from __future__ import annotations

from workgym.factory.dashboard.book import Book
from workgym.factory.dashboard.results import families
from workgym.factory.dashboard.shown import ModelPage, Overview, RunList, RunPage, VersionPage
from workgym.factory.registry import Registry

NEWEST = 8  # lines of a list on the overview
PAGE = 40  # lines of a list on a page of its own


def overview(registry: Registry) -> Overview:
    """Every model, and the newest runs."""
    book = Book(registry)
    runs = book.runs(None, NEWEST)
    return Overview(tuple(book.model(one.name, NEWEST) for one in book.summaries), runs.runs, runs.older)


def model_page(registry: Registry, name: str, before: int | None = None) -> ModelPage:
    """A model with so many of its versions as were made before one.

    Raises:
        NotFound: there is no such model.
    """
    registry.list_versions(name)
    book = Book(registry)
    found = [one for one in book.versions[name] if before is None or one.version < before]
    older = found[PAGE - 1].version if len(found) > PAGE else None
    lines = tuple(book.version(one) for one in found[:PAGE])
    return ModelPage(book.model(name), lines, older, book.runs(None, PAGE, name).runs)


def version_page(registry: Registry, name: str, number: int) -> VersionPage:
    """A version.

    Raises:
        NotFound: there is no such version.
    """
    version = registry.version(name, number)
    book = Book(registry)
    card = book.cards(version.scorecard_digest).card
    gains, level = book.gains(version)
    best = registry.baselines(version.run_id)[:1]
    theirs = book.cards(best[0].scorecard_digest).card if best else None
    judgements = book.judgements(version, registry.verdicts(version))
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
    )


def run_page(registry: Registry, run_id: int) -> RunPage:
    """A run.

    Raises:
        NotFound: there is no such run.
    """
    run = registry.run(run_id)
    book = Book(registry)
    made = book.made(run_id)
    level = str(book.level(made[0])) if made else ""
    return RunPage(book.run(run), registry.baselines(run_id), book.candidates(made), level)


def run_list(registry: Registry, before: int | None = None) -> RunList:
    """So many runs that began before one."""
    return Book(registry).runs(before, PAGE)


def addresses(registry: Registry) -> list[str]:
    """Every address worth a suggestion."""
    models = [one.name for one in registry.list_models()]
    versions = [f"/models/{name}/versions/{registry.list_versions(name)[0].version}" for name in models]
    newest = [f"/runs/{run.id}" for run in registry.runs()[:1]]
    return ["/", *(f"/models/{name}" for name in models), *versions, "/runs", *newest]
