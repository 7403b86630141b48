"""Checks of the arguments of both operators, before any kernel, with the same messages on every device.

Everything that can be checked without reading the data is checked here. Each message is a sentence that says what was
given and what is accepted. Faults in the data (an index out of range, a box that is not finite) are raised by the
operators. The contract is docs/operators.md, "Bad input".
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import index

import torch
from torch import Tensor, nn

from roi_align import _library

HALF_DTYPES = (torch.float16, torch.bfloat16)
INTEGER_DTYPES = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32, torch.int64)
IMAGE_DTYPES = (torch.float32, torch.float64, *HALF_DTYPES, *INTEGER_DTYPES)
BOX_DTYPES = (torch.float32, torch.float64)
INDEX_DTYPES = (torch.int32, torch.int64)


def is_tracing() -> bool:
    """Whether torch.jit.trace is recording this call."""
    return torch.jit.is_tracing()  # type: ignore[attr-defined, no-any-return, no-untyped-call]


def is_onnx_export() -> bool:
    """Whether torch.onnx.export is recording this call. torch.onnx is slow to import, so cheaper tests come first."""
    return (is_tracing() or torch.compiler.is_exporting()) and torch.onnx.is_in_onnx_export()


# torch.compile assumes that torch's own test is never true. With this mark it calls this function instead, so that an
# exporter that falls back on the compiler still raises the first error. The mark is that of
# torch.compiler.assume_constant_result, which is not called because it imports the compiler.
is_onnx_export._dynamo_marked_constant = True  # type: ignore[attr-defined]


def checking() -> AbstractContextManager[None]:
    """Entered around the checks: while a call is traced shapes are tensors, and torch warns of each that is looked at.

    No check becomes part of the trace, which is good for other shapes. NotImplementedError within a transform of
    torch.func, where these tensors cannot be looked at.
    """
    if not is_tracing():
        return nullcontext()
    if torch._C._are_functorch_transforms_active():
        raise NotImplementedError(
            "roi_align and crop_and_resize cannot be recorded by torch.jit.trace within a transform of torch.func "
            "(jvp, grad, vmap ...); trace the function without the transform, or use torch.compile."
        )
    return _without_warnings()


@contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


def check_dtype(name: str, tensor: object, dtypes: Sequence[torch.dtype]) -> None:
    """Raise TypeError unless `tensor` is a strided tensor of one of these dtypes."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, not {type(tensor).__name__}.")
    _check_dense(name, tensor)
    if tensor.dtype not in dtypes:
        accepted = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} must be {accepted}, not {tensor.dtype}; convert it with .to(dtype).")


def _check_dense(name: str, tensor: Tensor) -> None:
    """Raise TypeError for a quantized, nested or sparse tensor: the kernels address plain numbers by strides."""
    if tensor.is_quantized:
        raise TypeError(f"{name} must not be quantized; pass {name}.dequantize().")
    if tensor.is_nested:
        raise TypeError(f"{name} must not be nested; pass {name}.to_padded_tensor(0.0), or its tensors one by one.")
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} must be strided, not {tensor.layout}; pass {name}.to_dense().")


def check_box_shape(name: str, boxes: Tensor, count: str, columns: int, meaning: str) -> None:
    """Raise ValueError unless boxes have shape (count, columns); `count` is the letter that the message prints."""
    if boxes.dim() != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name} must have shape ({count}, {columns}), {meaning}, not {tuple(boxes.shape)}.")


def check_image_shape(name: str, image: Tensor) -> None:
    """Raise ValueError unless the image has shape (N, C, H, W) with H and W at least 1."""
    if image.dim() != 4:
        raise ValueError(f"{name} must have shape (N, C, H, W), not {tuple(image.shape)}.")
    if image.shape[2] == 0 or image.shape[3] == 0:
        raise ValueError(f"{name} must have at least one row and one column, not shape {tuple(image.shape)}.")


def check_one_device(**tensors: Tensor) -> None:
    """Raise ValueError unless all tensors are on one device."""
    devices = [tensor.device for tensor in tensors.values()]
    if any(device != devices[0] for device in devices):
        raise ValueError(
            f"{_listing(tensors)} must be on one device, not on {_listing(devices)}; move them with .to(device)."
        )


def check_kernels(name: str, tensor: Tensor) -> None:
    """Raise RuntimeError if the tensor is on CUDA and the CUDA kernels are not loaded."""
    if tensor.is_cuda and not _library.HAS_CUDA:
        raise RuntimeError(
            f"{name} is on {tensor.device}, but {_library.CUDA_MISSING}. Where nvcc and a torch with CUDA are "
            "installed, `ROI_ALIGN_CUDA=1 pip install --no-build-isolation --force-reinstall --no-deps .` in a "
            "checkout builds them."
        )


def check_size(name: str, size: int | Sequence[int], *, or_one: bool = False) -> tuple[int, int]:
    """Height and width, both positive. With `or_one` a single number stands for both.

    Raises TypeError for anything but integers, ValueError for another number of them or one that is not positive.
    """
    accepted = f"{'an integer or two' if or_one else 'two integers'}, (height, width)"
    is_sequence = isinstance(size, Sequence) or getattr(size, "ndim", 0) == 1  # or a NumPy array
    pair = (size, size) if or_one and not is_sequence else size
    try:
        sides = [index(side) for side in pair]  # type: ignore[arg-type, union-attr]
    except TypeError as error:
        raise TypeError(f"{name} must be {accepted}, not {size!r}.") from error
    if len(sides) != 2:
        raise ValueError(f"{name} must be {accepted}, not {size!r}.")
    if sides[0] <= 0 or sides[1] <= 0:
        raise ValueError(f"{name} must be positive in both height and width, not {tuple(sides)}.")
    return sides[0], sides[1]


def check_integer(name: str, value: object) -> int:
    """The value as an int; TypeError unless it is an int or has `__index__`."""
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{name} must be an integer, not {value!r}.") from error


def refuse_script(module: nn.Module) -> nn.Module:
    """The modules' `__prepare_scriptable__`: a TypeError, because torch.jit.script cannot compile the checks."""
    raise TypeError(
        f"torch.jit.script cannot compile {type(module).__name__}; use torch.jit.trace, or torch.export.export."
    )


def is_flag(value: object) -> bool:
    """Whether the value is a bool of Python or NumPy."""
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__.startswith("bool"))


def _listing(items: Iterable[object]) -> str:
    *most, last = [str(item) for item in items]
    return f"{', '.join(most)} and {last}"
