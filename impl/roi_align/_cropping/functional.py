"""`crop_and_resize`: check the arguments, call the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from roi_align import _checks
from roi_align._checks import BOX_DTYPES, HALF_DTYPES, IMAGE_DTYPES, INDEX_DTYPES
from roi_align._cropping import derivatives, onnx
from roi_align._cropping.operator import BOX_RULES, METHODS


def crop_and_resize(
    image: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    crop_size: Sequence[int],
    method: Literal["bilinear", "nearest"] = "bilinear",
    extrapolation_value: float = 0.0,
    *,
    validate: bool = False,
) -> Tensor:
    """Crops of an image, resized to one size: `tf.image.crop_and_resize` in NCHW, equal to TensorFlow in every bit.

    Sample i of n on an axis of length L sits at `a1*(L-1) + i*(((a2-a1)*(L-1))/(n-1))`, and at `0.5*(a1+a2)*(L-1)` if
    n is 1. A sample is inside if that lies in [0, L-1]; outside, and where a box is NaN or overflows, the crop has
    the extrapolation value and no gradient flows. A box whose edges are swapped gives a flipped crop.

    Args:
        image: (N, C, H, W), float32, float64, float16 or bfloat16, uint8, int8, uint16, int16, int32 or int64, any
            strides. H and W at least 1. Half types and integers are interpolated and summed in float32; a half result
            is rounded once.
        boxes: (M, 4), float32 or float64: (y1, x1, y2, x2) in units of H-1 and W-1, so that 1 is the last pixel. Under
            autocast, boxes of a half type are widened to float32.
        box_indices: (M,), int32 or int64, in [0, N): the image that each box crops.
        crop_size: (height, width) of the crops, both positive.
        method: "bilinear", or "nearest" with halves rounded away from zero.
        extrapolation_value: what a sample outside of the image gives.
        validate: raise for boxes that are not finite or overflow, instead of treating them as outside; on CUDA, for
            indices outside of [0, N) too, and wait for the device.

    Returns:
        (M, C, height, width) in the image's dtype, float32 if that is an integer's; channels_last if the image's
        channels lie innermost, or contiguous.

    Differentiable in image and boxes in reverse and forward mode, and twice (docs/operators.md, "Derivatives"); maps
    over batches with torch.func.vmap. The gradient of the boxes is that of the bilinear formula for both methods, as in
    TensorFlow; where a sample lies on a pixel centre it is 0 on that axis.

    Raises:
        TypeError: an argument of the wrong type, or a tensor of a dtype that is not listed above.
        ValueError: wrong rank or shape, lengths or devices that differ, an unknown method, a crop size that is not
            positive, an image without pixels; with validate=True a box that is not finite, by its row.
        IndexError: an index outside of [0, N), by its row. On CUDA the call does not wait for the device to tell:
            without validate=True such a crop is NaN and adds nothing to any gradient.
        MemoryError: a result that cannot be allocated on the CPU, or whose size in bytes does not fit 64 bits.
        torch.OutOfMemoryError: a result that cannot be allocated on CUDA, or whatever else torch has to say there. Only
            a graph of torch.compile gives a plain RuntimeError, with the device and the bytes.
        NotImplementedError: forward mode within forward mode, or in a compiled or traced graph.
        RuntimeError: tensors on CUDA, and the package was built without its CUDA kernels.
    """
    return crop(image, boxes, box_indices, crop_size, method, extrapolation_value, "normalized", validate)


def crop(
    image: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    crop_size: Sequence[int],
    method: str,
    extrapolation_value: float,
    box_rule: str,
    validate: bool,
) -> Tensor:
    """`crop_and_resize` under any of the box rules; what the modules call for boxes in pixels."""
    if isinstance(boxes, Tensor) and boxes.dtype in HALF_DTYPES and torch.is_autocast_enabled(boxes.device.type):
        boxes = boxes.float()  # what a head under autocast predicts; outside of autocast it is refused
    with _checks.checking():
        _check_tensors(image, boxes, box_indices)
    height, width = _checks.check_size("crop_size", crop_size)
    if method not in METHODS:
        raise ValueError(f"method must be 'bilinear' or 'nearest', not {method!r}.")
    if _checks.is_onnx_export():
        value = float(extrapolation_value)
        return onnx.crop(image, boxes, box_indices, height, width, method, value, box_rule, validate)
    return derivatives.crop_and_resize(  # type: ignore[no-any-return]
        image, boxes, box_indices, height, width, METHODS[method], float(extrapolation_value), BOX_RULES[box_rule],
        validate,
    )  # fmt: skip


def _check_tensors(image: Tensor, boxes: Tensor, box_indices: Tensor) -> None:
    """Raise TypeError or ValueError unless the three tensors fit each other."""
    _checks.check_dtype("image", image, IMAGE_DTYPES)
    _checks.check_dtype("boxes", boxes, BOX_DTYPES)
    _checks.check_dtype("box_indices", box_indices, INDEX_DTYPES)
    _checks.check_image_shape("image", image)
    _checks.check_box_shape("boxes", boxes, "M", 4, "four edges a row")
    if box_indices.dim() != 1 or box_indices.shape[0] != boxes.shape[0]:
        raise ValueError(
            f"box_indices must have shape ({boxes.shape[0]},), one index for each of the boxes, not "
            f"{tuple(box_indices.shape)}."
        )
    _checks.check_one_device(image=image, boxes=boxes, box_indices=box_indices)
    _checks.check_kernels("image", image)
