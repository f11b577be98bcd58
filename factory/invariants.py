"""What must hold between rows that are genuine: who served earned it, and the bytes are there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from workgym.factory.artifacts import ArtifactStore, Tampered
from workgym.factory.records import Outcome, Scorecard
from workgym.factory.versions import Said, gates_for, status_after
from workgym.services.kernel import BadInput, NotFound

if TYPE_CHECKING:
    from workgym.factory.proof import Books

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Break:
    """A place that does not hold.

    Attributes:
        place: which line, row or artifact.
        what: what is wrong with it.
    """

    place: str
    what: str


# Each selects the model and the place where its sentence is not true.
INVARIANTS = {
    "does not stand where its last move put it": """
        SELECT a.model, a.model || '@' || a.alias FROM aliases a LEFT JOIN history h
        ON h.model = a.model AND h.alias = a.alias AND h.generation = a.generation
        AND h.to_version = a.version WHERE h.seq IS NULL""",
    "has moves and no place, or moves after its place": """
        SELECT h.model, h.model || '@' || h.alias FROM history h LEFT JOIN aliases a
        ON a.model = h.model AND a.alias = h.alias
        WHERE a.model IS NULL OR h.generation > a.generation""",
    "has a gap in its generations": """
        SELECT model, model || '@' || alias FROM history GROUP BY model, alias
        HAVING min(generation) <> 1 OR max(generation) <> count(*)""",
    "has a move that does not start where the one before ended": """
        SELECT h.model, h.model || '@' || h.alias FROM history h LEFT JOIN history p
        ON p.model = h.model AND p.alias = h.alias AND p.generation = h.generation - 1
        WHERE coalesce(h.from_version, 0) <> coalesce(p.to_version, 0)""",
    "was rolled back to a version that had not served": """
        SELECT h.model, h.model || '@' || h.alias FROM history h WHERE h.kind = 'rollback'
        AND NOT EXISTS (SELECT 1 FROM history p WHERE p.model = h.model AND p.alias = h.alias
        AND p.generation < h.generation AND p.to_version = h.to_version)""",
    "is served by more than one version": """
        SELECT model, model || '@' || alias FROM aliases GROUP BY model, alias HAVING count(*) > 1""",
    "is a committed chunk without bytes": """
        SELECT NULL, 'task ' || id FROM tasks
        WHERE kind = 'chunk' AND status = 'committed' AND artifact IS NULL""",
    "is a finished training without a policy": """
        SELECT NULL, 'training ' || id FROM trainings
        WHERE status = 'finished' AND policy_digest IS NULL""",
}


def standing(session: Session, books: Books) -> Iterator[Break]:
    """What a query can tell."""
    for sentence, query in INVARIANTS.items():
        for model, place in session.execute(text(query)):
            if books.model in (None, model):
                yield Break(place, sentence)


def earned(books: Books) -> Iterator[Break]:
    """Whether each promotion rests on the verdicts and the approvals that it needed."""
    verdicts = {one["id"]: one for one in books["verdicts"]}
    for line, said in books.lines("move"):
        if said["kind"] == "promote":
            place = f"promotion of {line['model']} version {said['to_version']} (ledger line {line['seq']})"
            version = books.version(line["model"], said["to_version"])
            assert version is not None  # every line's version was found before
            cited = [verdicts[one["id"]] for one in said["verdicts"]]
            for wrong in _unearned(version, line["alias"], said["generation"] - 1, cited):
                yield Break(place, wrong)
            for wrong in _unapproved(books, line, said):
                yield Break(place, wrong)
    for version in books["model_versions"]:
        may_be = _statuses(version, books.verdicts_on(version))
        if books.status[version["id"]] not in may_be:
            place = f"{version['name']} version {version['version']}"
            yield Break(
                place, f"is {books.status[version['id']]}, its verdicts say {' or '.join(sorted(may_be))}"
            )


def _unearned(version: Row, alias: str, generation: int, cited: list[dict[str, Any]]) -> Iterator[str]:
    required = gates_for(json.loads(version["required_gates"]), generation)
    if not required:
        yield "needed no gate, so nothing was earned"
    by_gate = {one["gate"]: one for one in cited}
    for gate in gates_for(required, generation):
        one = by_gate.get(gate)
        if one is None:
            yield f"rests on no verdict of gate {gate!r}"
        elif one["outcome"] != Outcome.PASS:
            yield f"rests on verdict {one['id']} of gate {gate!r}, which is {one['outcome']}"
        elif (one["version_id"], one["alias"], one["champion_generation"]) != (
            version["id"],
            alias,
            generation,
        ):
            yield f"rests on verdict {one['id']} of gate {gate!r}, which is about another comparison"


def _unapproved(books: Books, move: Row, said: Row) -> Iterator[str]:
    """Whether people were asked as the alias was protected then."""
    needed = 0
    approved: set[str] = set()
    rejected = False
    for line, words in books.lines("protect", "approve", "reject"):
        if line["seq"] > move["seq"] or line["alias"] != move["alias"] or line["model"] != move["model"]:
            continue
        if line["kind"] == "protect":
            needed = words["approvals"]
        elif (words["version"], words["generation"]) == (said["to_version"], said["generation"] - 1):
            rejected |= line["kind"] == "reject"
            approved.add(words["actor"])
    if needed and rejected:
        yield "was made although somebody rejected it"
    elif needed > len(approved):
        yield f"was made with {len(approved)} approvals, expected {needed}"


def _statuses(version: Row, verdicts: list[dict[str, Any]]) -> set[str]:
    """What a version may be after these verdicts; a rejection is lifted by passes alone."""
    required = json.loads(version["required_gates"])
    said = [Said(one["gate"], one["alias"], one["outcome"], one["champion_generation"]) for one in verdicts]
    after = str(status_after(required, said))
    ever = {str(status_after(required, said[:count])) for count in range(1, len(said) + 1)}
    return {after, "rejected"} if after == "registered" and "rejected" in ever else {after}


def sprung(books: Books) -> Iterator[Break]:
    """Whether each version comes from the run and the training that its lineage says, unchanged."""
    rows = {table: {one["id"]: one for one in books[table]} for table in ("runs", "trainings")}
    for version in books["model_versions"]:
        said = json.loads(version["lineage"])
        run = {
            "spec_digest": said["spec_digest"],
            "code_version": said["code_version"],
            "env_id": version["env_id"],
            "env_version": version["env_version"],
        }
        yield from _differences("run", version, run, rows["runs"].get(version["run_id"]), "spec")
        if version["training_id"] is not None:
            training = {
                "run_id": version["run_id"],
                "recipe_digest": said["recipe_digest"],
                "policy_digest": version["artifact_digest"],
                "seed": said["seeds"][0],
            }
            found = rows["trainings"].get(version["training_id"])
            yield from _differences("training", version, training, found, "recipe")


def _differences(
    noun: str, version: Row, wanted: dict[str, Any], found: Row | None, hashed: str
) -> Iterator[Break]:
    """Where a row is not what a version says of it; the column `hashed` has its digest beside it."""
    this = f"{version['name']} version {version['version']}"
    if found is None:
        yield Break(f"{noun} of {this}", "is gone")
        return
    place = f"{noun} {found['id']} of {this}"
    for name, value in wanted.items():
        if found[name] != value:
            yield Break(place, f"has {name} {found[name]}, expected {value}")
    digest = hashlib.sha256(found[hashed].encode()).hexdigest()
    if digest != wanted[f"{hashed}_digest"]:
        yield Break(place, f"has a {hashed} whose digest is {digest}")


def kept_bytes(session: Session, artifacts: ArtifactStore, books: Books) -> tuple[list[Break], int]:
    """Read everything that rows name; what is wrong, and how many artifacts were read."""
    breaks = []
    seen: set[str] = set()
    for place, digest, folder in _named(session, books):
        if digest in seen:
            continue
        seen.add(digest)
        try:
            artifacts.verify(digest) if folder else artifacts.get(digest)
        except (Tampered, NotFound, BadInput) as error:
            breaks.append(Break(place, str(error)))
    breaks += _wrong_scorecards(artifacts, books, {one.place for one in breaks})
    return breaks, len(seen)


def _named(session: Session, books: Books) -> Iterator[tuple[str, str, bool]]:
    """Every artifact that a row names: where, which, and whether it is a folder."""
    trained = set()
    for one in books["model_versions"]:
        place = f"{one['name']} version {one['version']}"
        trained.add(legible(one["lineage"]).get("training"))
        yield f"policy of {place}", one["artifact_digest"], True
        yield f"scorecard of {place}", one["scorecard_digest"], False
    runs = {one["run_id"] for one in books["model_versions"]}
    for run, name, digest in session.execute(text("SELECT run_id, name, scorecard_digest FROM baselines")):
        if books.model is None or run in runs:
            yield f"baseline {name} of run {run}", digest, False
    query = "SELECT id, run_id, policy_digest FROM trainings WHERE policy_digest IS NOT NULL"
    for key, run, digest in session.execute(text(query)):
        if books.model is None or run in runs:
            yield f"policy of training {key}", digest, True
    query = "SELECT kind, grp, seq, artifact FROM tasks WHERE status = 'committed' AND artifact IS NOT NULL"
    for kind, group, seq, digest in session.execute(text(query)):
        if books.model is None or group in trained:
            yield f"{kind} {seq} of {group[:12]}", digest, False


def _wrong_scorecards(artifacts: ArtifactStore, books: Books, known: set[str]) -> Iterator[Break]:
    for one in books["model_versions"]:
        place = f"scorecard of {one['name']} version {one['version']}"
        if place in known:
            continue
        try:
            card = Scorecard.from_json(artifacts.get(one["scorecard_digest"]).decode())
        except (Tampered, NotFound, BadInput):
            continue  # told under the first row that names it
        if (card.policy, card.suite) != (one["artifact_digest"], one["suite_digest"]):
            yield Break(place, f"is of policy {card.policy} on suite {card.suite}")


def legible(stored: str) -> dict[str, Any]:
    """A stored JSON object, or an empty one where somebody made it illegible."""
    try:
        found = json.loads(stored)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
