"""A policy as ONNX, for servers that are not Python.

The graph takes `obs` float32 (N, features) and `mask` bool (N, actions), and gives `action` int64
(N,) and `logits` float32 (N, actions). Needs the extra `onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from workgym.agents.mlp import MlpPolicy
from workgym.services.kernel import BadInput

OPSET = 17
IR_VERSION = 8  # what ONNX Runtime 1.13 and later read
_OPERATORS = {"relu": "Relu", "tanh": "Tanh"}


def to_onnx(files: Mapping[str, bytes]) -> bytes:
    """The policy in `files`, as `MlpPolicy.save` wrote it, as an ONNX model.

    Raises:
        BadInput: the files are no policy, or `onnx` is not installed.
    """
    policy = MlpPolicy.load(files)
    try:
        import onnx
    except ImportError as error:
        raise BadInput("to_onnx needs the onnx package; pip install 'workgym[onnx]'") from error
    model = onnx.helper.make_model(
        _graph(onnx, policy),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="workgym",
    )
    about = {"name": policy.name, "env_id": policy.env_id, "env_version": policy.env_version}
    onnx.helper.set_model_props(model, about | {"digest": policy.digest()})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _graph(onnx: Any, policy: MlpPolicy) -> Any:
    node, tensor = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    kinds = onnx.TensorProto
    nodes, constants, here = [], [], "obs"
    for i, layer in enumerate(policy.layers):
        last = i == len(policy.layers) - 1
        out = "logits" if last else f"sum_{i}"
        constants += [
            onnx.numpy_helper.from_array(layer.weight, f"weight_{i}"),
            onnx.numpy_helper.from_array(layer.bias, f"bias_{i}"),
        ]
        nodes.append(node("Gemm", [here, f"weight_{i}", f"bias_{i}"], [out]))
        here = out
        if not last:
            here = f"hidden_{i}"
            nodes.append(node(_OPERATORS[policy.activation], [out], [here]))
    lowest = np.array(np.finfo(np.float32).min, dtype=np.float32)
    constants.append(onnx.numpy_helper.from_array(lowest, "never"))
    nodes.append(node("Where", ["mask", "logits", "never"], ["legal"]))
    nodes.append(node("ArgMax", ["legal"], ["action"], axis=1, keepdims=0))
    return onnx.helper.make_graph(
        nodes,
        "policy",
        [
            tensor("obs", kinds.FLOAT, ["n", policy.features]),
            tensor("mask", kinds.BOOL, ["n", policy.actions]),
        ],
        [
            tensor("action", kinds.INT64, ["n"]),
            tensor("logits", kinds.FLOAT, ["n", policy.actions]),
        ],
        constants,
    )
