"""Exports modules with either exporter of torch.onnx, and runs the files in ONNX Runtime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from harness.operators.arrays import Array

EXPORTERS = {"traced": False, "dynamo": True}


class Function(nn.Module):
    """A function as a module, which the exporters require."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.function(*tensors)


def export(
    module: nn.Module, tensors: Sequence[Any], *, dynamo: bool, opset: int = 18, one_size: bool = False
) -> onnx.ModelProto:
    """The model of a module on these tensors, with dynamic sizes except 1 and 0, or with these sizes alone."""
    with warnings.catch_warnings():
        # Both warn of their deprecation, and the tracing exporter of every Python number in the model around the
        # operators.
        warnings.simplefilter("ignore")
        if dynamo:
            size = None if one_size else torch.export.Dim.AUTO
            open_sizes = tuple(dict.fromkeys(range(each.dim()), size) for each in tensors)
            program = torch.onnx.export(
                module, tuple(tensors), dynamo=True, opset_version=opset, verbose=False,
                dynamic_shapes=(open_sizes,) if isinstance(module, Function) else open_sizes,
            )  # fmt: skip
            return program.model_proto
        file, inputs = io.BytesIO(), [f"input_{place}" for place in range(len(tensors))]
        axes = {
            name: {axis: f"{name}_{axis}" for axis in range(each.dim())}
            for name, each in zip(inputs, tensors, strict=True)
            if isinstance(each, Tensor) and not one_size
        }
        torch.onnx.export(
            module, tuple(tensors), file, dynamo=False, opset_version=opset, input_names=inputs, dynamic_axes=axes
        )
        return onnx.load_from_string(file.getvalue())


def session(model: onnx.ModelProto) -> Callable[..., list[Array]]:
    """A function that runs a model on arrays, in the order of its inputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the test reports its failures
    run = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in run.get_inputs()]

    def call(*arrays: Array) -> list[Array]:
        feed = {name: np.ascontiguousarray(each) for name, each in zip(inputs, arrays, strict=True)}
        return [np.asarray(each) for each in run.run(None, feed)]

    return call


def nodes(model: onnx.ModelProto, kind: str) -> list[dict[str, Any]]:
    """The attributes of each node of this kind."""
    return [
        {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        for node in model.graph.node
        if node.op_type == kind
    ]
