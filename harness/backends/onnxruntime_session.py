"""A model of one node in ONNX Runtime, on the CPU. Not a backend: what those share that are written with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime  # type: ignore[import-untyped, unused-ignore]
from onnx import helper


def session_of(node: Any, arguments: Sequence[Any], result: Any) -> Any:
    """A session of the node, its arguments and its result described by onnx.helper."""
    graph = helper.make_graph([node], "one_node", list(arguments), [result])
    domains = [helper.make_opsetid("", 16), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=domains, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
