"""A version's model card: what it is for, what it was shown, what it proved, and what nobody knows of it.

The JSON has the format `workgym.card/1`: fields are added, never renamed, and equal registries give equal
bytes. The markdown says the same to people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workgym.factory.entries import ModelVersion, RecordedVerdict
from workgym.factory.explain import explain
from workgym.factory.flips import task_of
from workgym.factory.lineage import parts_of, training_of
from workgym.factory.profiles import shown
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry

FORMAT = "workgym.card/1"
# What a version does not show as long as the gate was not asked: gate, what is then unknown.
UNKNOWN = {
    "robustness": "under demand, lead times, capacities and faults that are shifted on purpose",
    "generalisation": "on the sealed audit suite; the choice among candidates may have fitted the gate suite",
    "fidelity": "on the live service; every number is of the twin",
    "serving": "in a serving process, its actions compared one by one",
    "exploits": "beside the adversaries that cheat the reward",
    "constraints": "on constraints; the violations above are counted, not claimed",
}

Card = dict[str, Any]


def card(registry: Registry, model: str, number: int) -> Card:
    """The card as plain JSON.

    Raises:
        NotFound: there is no such model or version.
        Tampered: the stored bytes are not the registered ones.
    """
    version = registry.version(model, number)
    scores = registry.scorecard(version.scorecard_digest)
    spec = registry.run(version.run_id).spec
    verdicts = registry.verdicts(version)
    return {
        "format": FORMAT,
        "model": model,
        "version": number,
        "status": str(version.status),
        "made_at": version.created_at,
        "purpose": _purpose(version, spec),
        "serving": _serving(registry, version),
        "data": _data(version, spec, scores),
        "made_of": [
            {"name": name, "label": label, "artifact": digest}
            for name, label, digest in parts_of(registry, version)
        ],
        "training": _training(registry, version),
        "results": _results(scores),
        "measures": {alias: registry.measures(version, alias) for alias in _aliases(registry, version, spec)},
        "verdicts": [_verdict(one) for one in verdicts],
        "limits": list(_limits(version, scores, verdicts)),
        "load": _load(registry, version),
    }


def write_card(card: Card, folder: Path) -> tuple[Path, Path]:
    """Write markdown and JSON; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{card['model']}-v{card['version']}"
    pages = stem.with_suffix(".md"), stem.with_suffix(".json")
    pages[0].write_text(to_markdown(card))
    pages[1].write_text(to_json(card))
    return pages


def to_json(card: Card) -> str:
    """The card for machines."""
    return json.dumps(card, indent=2, sort_keys=True) + "\n"


def _purpose(version: ModelVersion, spec: dict[str, Any]) -> Card:
    task = task_of(version.env_id, spec.get("env_kwargs", {}))
    decides = list(task.action_names or task.decision_names)
    return {
        "description": spec.get("description", ""),
        "variant": version.lineage.get("variant", ""),
        "purpose": version.lineage.get("purpose", ""),
        "env_id": version.env_id,
        "decides": decides or [task.asks or "quantities"],
        "reward_terms": list(task.terms),
        "unit": task.unit,
        "families": list(task.families),
    }


def _serving(registry: Registry, version: ModelVersion) -> list[Card]:
    told = []
    for alias in sorted({line.alias for line in registry.history(version.name)}):
        one = explain(registry, version.name, version.version, alias)
        told.append({"alias": alias, "serves": one.serves, "headline": one.headline})
    moves = [asdict(line) for line in registry.history(version.name) if line.to_version == version.version]
    return [{**one, "moves": [line for line in moves if line["alias"] == one["alias"]]} for one in told]


def _aliases(registry: Registry, version: ModelVersion, spec: dict[str, Any]) -> list[str]:
    named = {str(release["alias"]) for release in spec.get("releases", [])}
    return sorted(named | {one.alias for one in registry.verdicts(version)})


def _data(version: ModelVersion, spec: dict[str, Any], scores: Scorecard) -> Card:
    return {
        "env_version": version.env_version,
        "env_kwargs": spec.get("env_kwargs", {}),
        "trained_on": "train",
        "judged_on": spec.get("suite", {}).get("split", ""),
        "suite": version.suite_digest,
        "backend": scores.backend,
        "scenarios": scores.n,
        "dropped": scores.dropped,
        "families": {name: scores.family.count(name) for name in dict.fromkeys(scores.family)},
    }


def _training(registry: Registry, version: ModelVersion) -> Card | None:
    training = training_of(registry, version)
    if training is None:
        return None
    return {
        "variant": training.variant,
        "algorithm": training.algorithm,
        "seed": training.seed,
        "steps": training.steps,
        "cpu_seconds": round(training.cpu_seconds, 3),
        "recipe": training.recipe,
        "recipe_digest": training.recipe_digest,
        "code": version.lineage.get("code_version", ""),
        "pipeline": version.lineage.get("spec_digest", ""),
        "parent": version.lineage.get("parent"),
    }


def _results(scores: Scorecard) -> Card:
    families = np.array(scores.family)
    rows = {name: _row(scores, families == name) for name in dict.fromkeys(scores.family)}
    everything = np.ones(scores.n, dtype=np.bool_)
    return {"all": _row(scores, everything), "families": rows, "latency_us": scores.latency_us}


def _row(scores: Scorecard, here: Any) -> Card:
    cases, obligations = int(scores.cases[here].sum()), int(scores.obligations[here].sum())
    return {
        "scenarios": int(here.sum()),
        "profit_per_case": float(scores.profit[here].sum() / max(cases, 1)),
        "handled": float(scores.success[here].mean()),
        "violations": float(scores.violations[here].sum() / max(obligations, 1)),
    }


def _verdict(one: RecordedVerdict) -> Card:
    return {
        "gate": one.gate,
        "outcome": str(one.outcome),
        "sentence": one.sentence,
        "numbers": one.numbers,
        "against": one.champion,
        "alias": one.alias,
        "generation": one.champion_generation,
        "at": one.created_at,
    }


def _limits(version: ModelVersion, scores: Scorecard, verdicts: Sequence[RecordedVerdict]) -> Iterator[str]:
    """What the results do not say."""
    asked = {one.gate for one in verdicts}
    yield (
        f"It was judged on {scores.n} scenarios of {version.env_id} ({version.env_version}) alone; "
        "another version of the env is another business."
    )
    for gate, what in UNKNOWN.items():
        if gate not in asked:
            yield f"It was not judged {what} (gate `{gate}` was not asked)."
    rows = _results(scores)["families"]
    worst = min(rows, key=lambda name: rows[name]["handled"])
    if rows[worst]["handled"] < 1:
        yield (
            f"It handles {rows[worst]['handled']:.0%} of the scenarios of its weakest family, {worst} "
            f"({rows[worst]['scenarios']} scenarios)."
        )
    rare = 1 - 0.05 ** (1 / scores.n)
    yield (
        f"What goes wrong in fewer than {rare:.1%} of all scenarios may not have been seen once "
        f"(95% confidence, n={scores.n})."
    )
    if scores.dropped:
        yield f"{scores.dropped} episodes were lost to infrastructure faults and are in no number."


def _load(registry: Registry, version: ModelVersion) -> Card:
    files = {
        name: len(content) for name, content in registry.artifacts.get_folder(version.artifact_digest).items()
    }
    lines = [
        "from workgym.agents.policy import load_policy",
        "from workgym.factory.registry import open_registry",
        "",
        "with open_registry() as registry:",
        f'    policy = load_policy(registry.artifacts.get_folder("{version.artifact_digest}"))',
    ]
    return {
        "artifact": version.artifact_digest,
        "files": files,
        "bytes": sum(files.values()),
        "python": "\n".join(lines),
    }


# For people


def to_markdown(card: Card) -> str:
    """The card as a page."""
    parts = [_head(card), _trade_offs(card), _shown_data(card), _shown_training(card), _shown_results(card)]
    parts += [_shown_verdicts(card), _list("Limits", card["limits"]), _shown_load(card)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(card: Card) -> str:
    said = card["purpose"]
    lines = [f"# {card['model']} version {card['version']}", "", said["description"], said["purpose"]]
    lines += [one["headline"] for one in card["serving"]]
    about = f"Status: {card['status']}. Made at {card['made_at'][:19]}. Decides in `{said['env_id']}`: "
    lines.append(f"{about}{', '.join(said['decides'])}.")
    lines.append(f"Earns in {said['unit']}: {', '.join(said['reward_terms'])}.")
    return "\n".join([*lines[:2], "\n\n".join(filter(None, lines[2:]))])


def _trade_offs(card: Card) -> str:
    told = [
        f"As {alias}: {', '.join(shown(name, value) for name, value in sorted(own.items()))}."
        for alias, own in card["measures"].items()
        if own
    ]
    for one in card["serving"]:
        for move in one["moves"]:
            profile = f" for {move['profile']!r}" if move["profile"] else ""
            told.append(f"{move['kind']} by {move['actor']} at {move['at'][:19]}{profile}: {move['reason']}")
    return _list("Trade-offs", told)


def _shown_data(card: Card) -> str:
    said = card["data"]
    made = json.dumps(said["env_kwargs"], sort_keys=True) if said["env_kwargs"] else "the defaults"
    families = ", ".join(f"{name} {count}" for name, count in said["families"].items())
    return _list(
        "Data",
        [
            f"Env version {said['env_version']}, made with {made}.",
            f"Trained on split `{said['trained_on']}`, judged on split `{said['judged_on']}`, "
            f"suite `{said['suite']}`, backend {said['backend']}.",
            f"{said['scenarios']} scenarios: {families}; {said['dropped']} were lost to faults.",
        ],
    )


def _shown_training(card: Card) -> str:
    said = card["training"]
    made_of = [f"Made of {one['label']}: `{one['artifact']}`." for one in card["made_of"]]
    if said is None:
        return _list("Training", ["It was not trained here.", *made_of])
    told = [
        f"{said['algorithm']}, variant {said['variant']}, seed {said['seed']}: {said['steps']:,} steps in "
        f"{said['cpu_seconds']:,.1f} CPU seconds.",
        f"Recipe `{said['recipe_digest']}`, code `{said['code']}`, pipeline `{said['pipeline']}`.",
    ]
    repeat = (
        f"`factory reproduce {card['model']} {card['version']}` trains it again and compares every chunk."
    )
    return _list("Training", [*told, *made_of, repeat])


def _shown_results(card: Card) -> str:
    said = card["results"]
    unit = card["purpose"]["unit"]
    head = f"| family | scenarios | {unit} per case | handled | violations |\n|---|---:|---:|---:|---:|"
    rows = [_shown_row("all", said["all"])]
    rows += [_shown_row(name, row) for name, row in said["families"].items()]
    latency = said["latency_us"]
    took = f"\n\nOne decision takes {latency['p99']:,.1f} us at most in 99 of 100." if latency else ""
    return "\n".join(["## Results", "", head, *rows]) + took


def _shown_row(name: str, row: Card) -> str:
    numbers = f"{row['profit_per_case']:,.1f} | {row['handled']:.1%} | {row['violations']:.2%}"
    return f"| {name} | {row['scenarios']} | {numbers} |"


def _shown_verdicts(card: Card) -> str:
    told = [
        f"**{one['gate']}**, {one['outcome']} for {one['alias']}: {one['sentence']}"
        for one in card["verdicts"]
    ]
    return _list("Verdicts", told or ["No gate was asked."])


def _shown_load(card: Card) -> str:
    said = card["load"]
    files = ", ".join(f"{name} ({size:,} bytes)" for name, size in said["files"].items())
    return f"## How to load it\n\n{files}; artifact `{said['artifact']}`.\n\n```python\n{said['python']}\n```"


def _list(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {line}" for line in lines)]) if lines else ""
