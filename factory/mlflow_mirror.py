"""The registry as MLflow shows it: `models:/orders@champion` for any MLflow client.

Each of our versions becomes a version of a registered model with the same name, and a run with its
numbers. A policy that has an ONNX form is a pyfunc model of the onnx flavour: a client needs onnxruntime
and nothing of ours. Any other policy is mirrored as its files. Needs the extra `mlflow`.

Nothing is made twice: before something is made, it is looked for by the tags that it is made with.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url, select

from workgym.factory.entries import ModelVersion, RecordedVerdict
from workgym.factory.mirror import ALIAS_MOVED, Line
from workgym.factory.records import Scorecard
from workgym.factory.registry import Registry
from workgym.factory.tables import MeasureRow
from workgym.services.kernel import BadInput, InfrastructureFault

if TYPE_CHECKING:
    from workgym.agents.mlp import MlpPolicy

NAME = "mlflow"
SETTING = "WORKGYM_MLFLOW"
EXPERIMENT = "workgym"
FOLDER = "model"  # of the artifacts of a run
_PROBE_S = 3.0
_BATCH = 1000  # metrics in one call; MLflow's own limit
_TEXT_LENGTH = 5000  # of a tag or parameter; MLflow's own limit
_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)  # aliases that MLflow keeps for itself
# One try a request: what is retried blindly may be made twice, and the next sync tries again anyway.
_CLIENT_SETTINGS = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # there, ours is JSON
}


def configured(registry: Registry) -> MlflowMirror | None:
    """The mirror that `WORKGYM_MLFLOW` asks for, if it does."""
    uri = os.environ.get(SETTING)
    return MlflowMirror(registry, partial(connect, uri)) if uri else None


def connect(uri: str) -> Any:
    """A client of the tracking server or database at `uri`.

    Raises:
        BadInput: MLflow is not installed.
        InfrastructureFault: no server answers.
    """
    if uri.startswith(("http://", "https://")):
        _require_answer(uri)
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise BadInput("the mirror needs MLflow's client; pip install 'workgym[mlflow]'") from error
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _require_answer(uri: str) -> None:
    import requests

    try:
        requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_S).raise_for_status()
    except requests.RequestException as error:
        raise InfrastructureFault(
            f"no MLflow server answers at {uri} ({type(error).__name__}); start it, or change ${SETTING}",
            committed="no",
        ) from error


class MlflowMirror:
    """Makes MLflow say what the registry says.

    Args:
        registry: where the facts stand.
        connect: makes an `mlflow.MlflowClient`; called when the first line is heard.
    """

    name = NAME

    def __init__(self, registry: Registry, connect: Callable[[], Any]) -> None:
        self._registry = registry
        self._connect = connect

    @cached_property
    def _client(self) -> Any:
        return self._connect()

    def hear(self, line: Line) -> None:
        """Bring the version that the line names up to date, and the alias if one moved."""
        if "version" not in line.payload:  # of no interest to whoever loads models
            return
        model, number = line.payload["model"], line.payload["version"]
        there = self._version(self._registry.version(model, number))
        if line.topic == ALIAS_MOVED:
            self._tag(there, {"workgym.ledger": str(line.payload.get("ledger", ""))})
            self._alias(model, line.payload["alias"])

    def _version(self, version: ModelVersion) -> Any:
        """MLflow's version of ours, made if need be, with today's numbers and tags."""
        there = self._find(version) or self._make(version)
        self._measure(there.run_id, version)
        self._tag(there, self._facts(version))
        return there

    def _make(self, version: ModelVersion) -> Any:
        self._model(version)
        run_id = self._run(version)
        self._describe(run_id, version)
        self._upload(run_id, version)
        self._client.set_terminated(run_id)
        return self._client.create_model_version(
            name=version.name,
            source=f"{self._client.get_run(run_id).info.artifact_uri}/{FOLDER}",
            run_id=run_id,
            tags=identity(version) | self._facts(version),
            description=f"{version} of workgym, {version.env_id}",
            await_creation_for=0,
        )

    def _model(self, version: ModelVersion) -> None:
        if not self._client.search_registered_models(f"name = '{version.name}'"):
            self._client.create_registered_model(version.name, tags={"workgym.env": version.env_id})

    def _find(self, version: ModelVersion) -> Any | None:
        wanted = identity(version)
        conditions = [f"tag.`{name}` = '{value}'" for name, value in wanted.items()]
        found = self._client.search_model_versions(" and ".join([f"name = '{version.name}'", *conditions]))
        return min(found, key=lambda one: int(one.version)) if found else None

    def _run(self, version: ModelVersion) -> str:
        wanted = {**identity(version), "workgym.model": version.name}
        conditions = [f"tags.`{name}` = '{value}'" for name, value in wanted.items()]
        found = self._client.search_runs([self._experiment], " and ".join(conditions), max_results=1)
        if found:
            return str(found[0].info.run_id)
        made = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(version.created_at),
            tags=wanted,
            run_name=f"{version.name}-{version.version}",
        )
        return str(made.info.run_id)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        place = artifact_folder(self._client.tracking_uri)
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=place))

    def _describe(self, run_id: str, version: ModelVersion) -> None:
        from mlflow.entities import Param

        said = {name: value[:_TEXT_LENGTH] for name, value in parameters(version).items() if value}
        self._client.log_batch(run_id, params=[Param(name, value) for name, value in said.items()])

    def _measure(self, run_id: str, version: ModelVersion) -> None:
        """Log every number with the time it was taken, so that the same one again changes nothing."""
        from mlflow.entities import Metric

        metrics = [Metric(name, value, at, step) for name, value, at, step in self._numbers(version)]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _BATCH])

    def _numbers(self, version: ModelVersion) -> Iterator[tuple[str, float, int, int]]:
        """Every number of a version: name, value, when it was taken, and at which step."""
        made = _milliseconds(version.created_at)
        card = self._registry.scorecard(version.scorecard_digest)
        numbers = {**scores(card), **self._measures(version)}
        yield from ((name, value, made, 0) for name, value in numbers.items())
        for verdict in self._registry.verdicts(version):
            taken = _milliseconds(verdict.created_at)
            yield from ((name, value, taken, 0) for name, value in judged(verdict).items())
        if version.training_id is not None:
            for point in self._registry.curve(version.training_id):
                yield "training.mean_return", point.value, made, point.steps

    def _measures(self, version: ModelVersion) -> dict[str, float]:
        with self._registry.database.read() as session:
            rows = session.scalars(select(MeasureRow).filter_by(version_id=version.id))
            return {f"measure.{row.alias}.{row.name}": row.value for row in rows}

    def _upload(self, run_id: str, version: ModelVersion) -> None:
        files = self._registry.artifacts.get_folder(version.artifact_digest)
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder) / FOLDER, files, identity(version))
            self._client.log_artifacts(run_id, str(Path(folder) / FOLDER), FOLDER)

    def _facts(self, version: ModelVersion) -> dict[str, str]:
        """What the registry says of a version today."""
        latest = {verdict.gate: verdict for verdict in self._registry.verdicts(version)}
        return {
            "workgym.env": version.env_id,
            "workgym.env_version": version.env_version,
            "workgym.suite": version.suite_digest,
            "workgym.status": str(version.status),
            **{f"gate.{gate}": str(verdict.outcome) for gate, verdict in latest.items()},
        }

    def _tag(self, there: Any, facts: Mapping[str, str]) -> None:
        for name, value in facts.items():
            if there.tags.get(name) != value[:_TEXT_LENGTH]:
                self._client.set_model_version_tag(there.name, there.version, name, value[:_TEXT_LENGTH])

    def _alias(self, model: str, alias: str) -> None:
        """Point MLflow's alias where ours points now."""
        now = self._registry.alias(model, alias)
        if now is None:
            return
        there = self._version(self._registry.version(model, now.version))
        self._client.set_registered_model_tag(model, f"workgym.alias.{alias}", str(now.generation))
        if not _RESERVED.fullmatch(alias):
            self._client.set_registered_model_alias(model, alias, there.version)


def identity(version: ModelVersion) -> dict[str, str]:
    """The tags by which a version is found again."""
    return {"workgym.version": str(version.version), "workgym.artifact": version.artifact_digest}


def parameters(version: ModelVersion) -> dict[str, str]:
    """Where a version comes from; never changes."""
    said = {"env_id": version.env_id, "env_version": version.env_version, "suite": version.suite_digest}
    lineage = {f"lineage.{name}": json.dumps(value) for name, value in sorted(version.lineage.items())}
    return {**said, "required_gates": ", ".join(version.required_gates), **lineage}


def scores(card: Scorecard) -> dict[str, float]:
    """A scorecard's totals, and its profit per case by family."""
    totals = {
        "profit_per_case": card.profit_per_case(),
        "success_rate": float(card.success.mean()),
        "violation_rate": float(card.violations.sum() / max(int(card.obligations.sum()), 1)),
        "scenarios": float(card.n),
        "dropped": float(card.dropped),
    }
    for family in sorted(set(card.family)):
        of = [one == family for one in card.family]
        cases = max(int(card.cases[of].sum()), 1)
        totals[f"family.{family}.profit_per_case"] = float(card.profit[of].sum() / cases)
    latency = {f"latency_us.{name}": float(value) for name, value in (card.latency_us or {}).items()}
    return {**totals, **latency}


def judged(verdict: RecordedVerdict) -> dict[str, float]:
    """A verdict's numbers, those that are finite."""
    numbers = {name: value for name, value in verdict.numbers.items() if isinstance(value, (int, float))}
    return {f"gate.{verdict.gate}.{name}": float(v) for name, v in numbers.items() if math.isfinite(v)}


def artifact_folder(uri: str) -> str | None:
    """Beside a SQLite database; a server decides for itself."""
    if not uri.startswith("sqlite"):
        return None
    return Path(f"{make_url(uri).database}.artifacts").absolute().as_uri()


def write_model(folder: Path, files: Mapping[str, bytes], metadata: Mapping[str, str]) -> None:
    """A policy as an MLflow model in a folder, beside its own files.

    Without an ONNX form there are only the files, and MLflow can hand them out but not run them.
    """
    from workgym.agents.onnx import to_onnx

    policy = _mlp(files)
    if policy is not None:
        _write_onnx(folder, policy, to_onnx(files), metadata)
    for name, content in files.items():
        path = folder / "policy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _mlp(files: Mapping[str, bytes]) -> MlpPolicy | None:
    """The policy, if it is one that ONNX can say."""
    from workgym.agents.mlp import MlpPolicy
    from workgym.agents.policy import load_policy

    try:
        policy = load_policy(files)
    except BadInput:  # a kind that only another workgym reads
        return None
    return policy if isinstance(policy, MlpPolicy) else None


def _write_onnx(folder: Path, policy: MlpPolicy, model: bytes, metadata: Mapping[str, str]) -> None:
    import mlflow.onnx
    import onnx

    mlflow.onnx.save_model(
        onnx.load_from_string(model),
        str(folder),
        signature=_signature(policy),
        pip_requirements=["numpy>=2", "onnxruntime>=1.20"],
        onnx_execution_providers=["CPUExecutionProvider"],
        metadata={**metadata, "policy": policy.name, "view": policy.view},
        save_as_external_data=False,
    )


def _signature(policy: MlpPolicy) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def tensor(name: str, kind: str, *shape: int) -> Any:
        return TensorSpec(np.dtype(kind), (-1, *shape), name)

    return ModelSignature(
        inputs=Schema([tensor("obs", "float32", policy.features), tensor("mask", "bool", policy.actions)]),
        outputs=Schema([tensor("action", "int64"), tensor("logits", "float32", policy.actions)]),
    )


def _milliseconds(at: str) -> int:
    return int(datetime.fromisoformat(at).timestamp() * 1000)
