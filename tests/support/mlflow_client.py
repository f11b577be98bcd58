"""MLflow's own client at work; it knows nothing of workgym. Prints what it found as JSON.

python tests/support/mlflow_client.py decide sqlite:///mlflow.db models:/orders@champion seen.npz
python tests/support/mlflow_client.py alias sqlite:///mlflow.db orders champion
python tests/support/mlflow_client.py validate cases.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.models import MetricThreshold
from mlflow.models.evaluation import EvaluationResult
from mlflow.models.evaluation.validation import ModelValidationFailedException


def decide(tracking: str, model: str, seen: str) -> dict[str, Any]:
    """What the model does on observations and masks, and what it says that it takes."""
    mlflow.set_tracking_uri(tracking)
    loaded = mlflow.pyfunc.load_model(model)
    with np.load(seen) as arrays:
        answer = loaded.predict({"obs": arrays["obs"], "mask": arrays["mask"]})
    return {
        "action": answer["action"].tolist(),
        "inputs": loaded.metadata.get_input_schema().to_dict(),
        "outputs": loaded.metadata.get_output_schema().to_dict(),
    }


def alias(tracking: str, model: str, name: str) -> dict[str, Any]:
    """The version that an alias stands for, and its run's numbers."""
    client = MlflowClient(tracking_uri=tracking)
    found = client.get_model_version_by_alias(model, name)
    run = client.get_run(found.run_id)
    return {"version": int(found.version), "tags": found.tags, "metrics": run.data.metrics}


def validate(cases: str) -> list[bool]:
    """Whether each pair of results keeps its thresholds, by `mlflow.validate_evaluation_results`."""
    return [_kept(**case) for case in json.loads(Path(cases).read_text())]


def _kept(thresholds: dict[str, Any], candidate: dict[str, float], baseline: dict[str, float]) -> bool:
    try:
        mlflow.validate_evaluation_results(
            {name: MetricThreshold(**limits) for name, limits in thresholds.items()},
            EvaluationResult(metrics=candidate, artifacts={}),
            EvaluationResult(metrics=baseline, artifacts={}),
        )
    except ModelValidationFailedException:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps({"decide": decide, "alias": alias, "validate": validate}[sys.argv[1]](*sys.argv[2:])))
