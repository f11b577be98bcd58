"""Where a version comes from and where it went: a graph whose nodes are named by their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from workgym.factory.entries import LedgerLine, ModelVersion, Training
from workgym.factory.registry import Registry
from workgym.factory.work import Committed
from workgym.services.kernel import BadInput, NotFound


@dataclass(frozen=True)
class Node:
    """A thing that a version was made of, or that was made of it.

    Attributes:
        id: unique in the graph.
        kind: pipeline, code, env, suite, recipe, seed, teacher, chunk, artifact, scorecard, verdict, ledger.
        label: what people call it.
        digest: hash of its content, where it has one.
        facts: more about it.
    """

    id: str
    kind: str
    label: str
    digest: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """`source` was needed to make `target`."""

    source: str
    target: str


@dataclass(frozen=True)
class Lineage:
    """The graph; its nodes are in an order in which each comes after what it needs."""

    model: str
    version: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def to_dot(self) -> str:
        """The graph in Graphviz' language."""
        lines = [f"digraph {_quoted(f'{self.model} version {self.version}')} {{", "  rankdir=LR;"]
        for node in self.nodes:
            short = f"\\n{node.digest[:12]}" if node.digest else ""
            label = _quoted(f"{node.kind}: {node.label}")[:-1] + short + '"'
            lines.append(f"  {_quoted(node.id)} [label={label}, shape=box];")
        lines += [f"  {_quoted(edge.source)} -> {_quoted(edge.target)};" for edge in self.edges]
        return "\n".join([*lines, "}"])

    def to_text(self) -> str:
        """One line a node, with what it was made of."""
        needs: dict[str, list[str]] = {}
        for edge in self.edges:
            needs.setdefault(edge.target, []).append(edge.source)
        wide = max(len(node.kind) for node in self.nodes)
        lines = []
        for node in self.nodes:
            made = f"  <- {', '.join(needs[node.id])}" if node.id in needs else ""
            digest = f" {node.digest[:12]}" if node.digest else ""
            lines.append(f"{node.kind:<{wide}}  {node.label}{digest}{made}")
        return "\n".join(lines)


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []

    def add(self, id_: str, kind: str, label: str, digest: str | None, needs: list[str], **facts: Any) -> str:
        self.nodes.append(Node(id_, kind, label, digest, facts))
        self.edges += [Edge(one, id_) for one in needs]
        return id_


def lineage(registry: Registry, model: str, number: int) -> Lineage:
    """The graph of a version.

    Raises:
        NotFound: there is no such model or version.
    """
    version = registry.version(model, number)
    run = registry.run(version.run_id)
    graph = _Graph()
    pipeline = graph.add("pipeline", "pipeline", run.pipeline, run.spec_digest, [], run=run.id)
    code = graph.add("code", "code", "services, envs, agents and libraries", run.code_version, [])
    env = graph.add("env", "env", f"{version.env_id} {version.env_version}", None, [])
    suite = graph.add("suite", "suite", "gate scenarios", version.suite_digest, [pipeline, env])
    made = list(_made(graph, registry, version, [pipeline, code, env]))
    artifact = graph.add("artifact", "artifact", str(version), version.artifact_digest, made)
    card = registry.scorecard(version.scorecard_digest)
    scorecard = graph.add(
        "scorecard",
        "scorecard",
        f"profit {card.profit_per_case():,.1f} per case in {card.n} scenarios",
        version.scorecard_digest,
        [artifact, suite],
    )
    verdicts = {
        one.id: graph.add(
            f"verdict {one.id}",
            "verdict",
            f"{one.gate}: {one.outcome} against {one.champion}",
            None,
            [scorecard],
            sentence=one.sentence,
            generation=one.champion_generation,
            alias=one.alias,
        )
        for one in registry.verdicts(version)
    }
    for line in registry.ledger(model):
        if _about(line, number):
            _add_line(graph, line, artifact, verdicts)
    return Lineage(model, number, tuple(graph.nodes), tuple(graph.edges))


def _made(graph: _Graph, registry: Registry, version: ModelVersion, basis: list[str]) -> Iterator[str]:
    """What the artifact comes from: the last chunk, other versions, or a hand."""
    inputs = [
        graph.add(f"{name} {digest[:12]}", "teacher", label, digest, [])
        for name, label, digest in parts_of(registry, version)
    ]
    training = training_of(registry, version)
    if training is None:
        yield from [*basis, *inputs]
        return
    recipe = graph.add(
        "recipe",
        "recipe",
        f"{training.variant}, {training.algorithm}",
        training.recipe_digest,
        basis,
        **training.recipe,
    )
    seed = graph.add("seed", "seed", str(training.seed), None, [])
    before = [recipe, seed, *inputs]
    chunks = chunks_of(registry, version)
    for chunk in chunks:
        k = chunk.key.seq + 1
        facts = {"cpu_seconds": chunk.cpu_seconds}
        before = [graph.add(f"chunk {k}", "chunk", f"{k} of {len(chunks)}", chunk.artifact, before, **facts)]
    yield from before


def training_of(registry: Registry, version: ModelVersion) -> Training | None:
    """How a version was trained; None where it was not trained here."""
    if version.training_id is None:
        return None
    return next(one for one in registry.trainings(version.run_id) if one.id == version.training_id)


def chunks_of(registry: Registry, version: ModelVersion) -> tuple[Committed, ...]:
    """The committed chunks of a version's training, by their places."""
    group = version.lineage.get("training")
    return registry.committed("chunk", group) if isinstance(group, str) else ()


def inputs_of(registry: Registry, version: ModelVersion) -> list[tuple[str, str]]:
    """What else a version was made of: its teacher, and the inputs that its lineage names."""
    from workgym.agents.training import make_recipe, needs  # torch is heavy: only where it is needed

    said = version.lineage.get("inputs") or {}
    named = said.items() if isinstance(said, dict) else (("input", one) for one in said)
    found = [(str(name), str(digest)) for name, digest in named]
    training = training_of(registry, version)
    if training is not None:
        try:
            found += [("teacher", one) for one in needs(make_recipe(training.recipe))]
        except BadInput:  # a recipe of another workgym
            found += [("teacher", one) for one in [training.recipe.get("teacher")] if one]
    return list(dict.fromkeys(found))


def parts_of(registry: Registry, version: ModelVersion) -> list[tuple[str, str, str]]:
    """`inputs_of`, with what people call each: name, label, digest."""
    known = {one.artifact_digest: str(one) for one in registry.list_versions(version.name)}
    return [
        (name, f"{name}, {known[digest]}" if digest in known else name, digest)
        for name, digest in inputs_of(registry, version)
    ]


def _about(line: LedgerLine, number: int) -> bool:
    said = line.payload
    return number in (said.get("to_version"), said.get("from_version"), said.get("version"))


def _add_line(graph: _Graph, line: LedgerLine, artifact: str, verdicts: dict[int, str]) -> None:
    said = line.payload
    cited = [verdicts[one["id"]] for one in said.get("verdicts", []) if one["id"] in verdicts]
    what = said["kind"] if line.kind == "move" else line.kind
    to = f" to version {said['to_version']}" if line.kind == "move" else ""
    label = f"{line.seq}: {said['actor']}, {what}{to} as {line.alias}, {said['reason']}"
    graph.add(f"ledger {line.seq}", "ledger", label, line.hash, [artifact, *cited], at=line.at)


def _quoted(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{plain}"'


def require_training(registry: Registry, version: ModelVersion) -> Training:
    """How a version was trained.

    Raises:
        NotFound: it was not trained here.
    """
    training = training_of(registry, version)
    if training is None:
        parts = ", ".join(label for _, label, _ in parts_of(registry, version))
        made = f"; it was put together from {parts}" if parts else ""
        see = f"see `factory lineage {version.name} {version.version}`"
        raise NotFound(f"{version} was not trained here, so there is nothing to train again{made}; {see}")
    return training
