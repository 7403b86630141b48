"""`roi_align` and `multiscale_roi_align`, with torchvision's arguments: checks of them, then the operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from roi_align import _checks
from roi_align._checks import BOX_DTYPES, HALF_DTYPES, IMAGE_DTYPES
from roi_align._pooling import derivatives, onnx
from roi_align._pooling.operator import MODES, Rule

Boxes = Tensor | Sequence[Tensor]
Mode = Literal["avg", "max"]
# The scale of every level that a pyramid may have.
_SCALE_OF = {level: 2.0**-level for level in range(-16, 33)}


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    mode: Mode = "avg",
    validate: bool = False,
) -> Tensor:
    """Pool boxes of feature maps to one size: `torchvision.ops.roi_align`, with its arguments and its results.

    On each axis of length L, with an offset of 0.5 if aligned, a box extends from `a1*spatial_scale - offset` to
    `a2*spatial_scale - offset`, in pixels of the map. Unless aligned, a box shorter than 1 pixel is extended to 1. The
    box is divided into as many bins as the output has, and a bin has sampling_ratio evenly spaced samples on each axis,
    or with an adaptive grid as many as its length in pixels, rounded up. Each sample is interpolated bilinearly. In the
    bands [-1, 0) and (L-1, L] a sample reads the edge pixel; below -1, above L and at NaN it is 0, and still counts. An
    output is the mean or the maximum of its bin's samples. It is 0 for a bin without samples: an inverted box with an
    adaptive grid, or an adaptive grid of 2^31 samples or more on an axis.

    The rule is that of torchvision's CPU kernel, `roi_align_common.h` (docs/operators.md, "roi_align"). torchvision
    has no maximum: that of the samples is Mask R-CNN's.

    The result is differentiable in input and boxes, in reverse and forward mode, and twice (docs/operators.md,
    "Derivatives"). torch.func.vmap maps the function over batches. The gradient of a box is that of the samples that
    its edges move, with the number of samples held fixed. A sample on a pixel centre, in a band at the border or beyond
    adds 0 to it on that axis. The second edge of a box that is extended to 1 has gradient 0. In mode "max" only the
    first largest sample counts.

    Args:
        input: (N, C, H, W), float32, float64, float16, bfloat16, uint8, int8, uint16, int16, int32 or int64, with any
            strides; H and W at least 1. Half types and integers are interpolated and summed in float32; a half result
            is rounded once.
        boxes: (K, 5) with rows (index, x1, y1, x2, y2), the index a whole number in [0, N); or a sequence of tensors
            (K_i, 4), one for each image. float32 or float64, the dtype in which positions are computed; float16 and
            bfloat16 are widened to float32.
        output_size: (height, width) of the output in bins, both positive, or one number for both.
        spatial_scale: Pixels of the map per unit of a box.
        sampling_ratio: Samples of a bin on each axis; 0 or less for an adaptive grid.
        aligned: Whether the centre of pixel k is at k + 0.5 in the boxes' coordinates, and a box may be shorter than a
            pixel. Otherwise it is at k.
        mode: "avg" for the mean, or "max" for the largest sample, which is NaN if any sample is.
        validate: Raise ValueError for boxes that are not finite, instead of treating their samples as outside. On CUDA
            the call then waits for the device and also raises IndexError for indices outside of [0, N).

    Returns:
        (K, C, height, width) in the input's dtype, or float32 for an integer input; channels_last if the input's
            channels are innermost, else contiguous.

    Raises:
        TypeError: An argument has the wrong type, or a tensor has a dtype that is not listed above.
        ValueError: A rank or shape is wrong, devices differ, the mode is unknown, the output size is not positive, or
            the input has no pixels. With validate=True: a box is not finite; the message gives its row.
        IndexError: An index is not a whole number in [0, N); the message gives its row. On CUDA only with
            validate=True: otherwise the call does not wait for the device, and such an output is NaN and adds nothing
            to any gradient.
        MemoryError: A result cannot be allocated on the CPU, or its size in bytes does not fit 64 bits.
        torch.OutOfMemoryError: A result cannot be allocated on CUDA. If torch has another reason, such as an earlier
            kernel's fault, its own error is raised; in a graph of torch.compile it is a RuntimeError with the device
            and the number of bytes.
        NotImplementedError: Forward mode within forward mode, or in a compiled or traced graph.
        RuntimeError: The tensors are on CUDA, and the package's CUDA kernels are missing.
    """
    return _pool(
        [input], ["input"], boxes, output_size, [float(spatial_scale)], _rule(sampling_ratio, aligned, mode), validate
    )


def multiscale_roi_align(
    features: Sequence[Tensor],
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    *,
    mode: Mode = "avg",
    canonical_scale: float = 224,
    canonical_level: int = 4,
    validate: bool = False,
) -> Tensor:
    """Pool boxes from the levels of a feature pyramid, each box from one level, into one output in one call.

    The rule is equation (1) of "Feature Pyramid Networks" as torchvision.ops.MultiScaleRoIAlign computes it
    (docs/operators.md, "Levels"). The level of a box is `floor(canonical_level + log2(sqrt(area) / canonical_scale) +
    1e-6)`, clamped to the range from the first map's level to the last map's; level k is that of scale 2**-k. The box
    is pooled from the map at position `level - first level`, at that map's scale, as in `roi_align`.

    If scales do not halve from map to map, that map may belong to another level: with equal scales, the first map gets
    every box. It may also not exist, and then the output is 0: with scales 1/8 and 1/32, the map of level 5 would
    be the third of two. A box with one side inverted has a negative area, no level, and the output 0.

    The result is differentiable and maps over batches like that of `roi_align`; the level of a box is held fixed.

    Args:
        features: The levels, (N, C, H_k, W_k) each, with the same N, C, dtype and device, the largest first; dtypes and
            strides as in `roi_align`.
        boxes: (K, 5), or one tensor (K_i, 4) for each image, as in `roi_align`.
        output_size: (height, width) of the output in bins, both positive, or one number for both.
        spatial_scales: Pixels per unit of a box for each level: powers of two, the last no larger than the first. A
            single level gets every box and may have any scale.
        sampling_ratio: Samples of a bin on each axis; 0 or less for an adaptive grid.
        aligned: As in `roi_align`.
        mode: "avg" or "max", as in `roi_align`.
        canonical_scale: The side, in units of the boxes, of a square box that belongs to canonical_level; positive.
        canonical_level: The level of such a box.
        validate: As in `roi_align`.

    Returns:
        (K, C, height, width), in the order of the boxes; dtype and layout as in `roi_align`, from the first level.

    Raises:
        TypeError: As in `roi_align`, or features is not a sequence of tensors.
        ValueError: As in `roi_align`, or there are no levels (on CUDA, more than 16), levels differ in N, C, dtype or
            device, spatial_scales has another length than features or breaks the rule above, or canonical_scale is not
            positive.
        IndexError: As in `roi_align`.
        MemoryError: As in `roi_align`.
        torch.OutOfMemoryError: As in `roi_align`.
        NotImplementedError: As in `roi_align`.
        RuntimeError: As in `roi_align`.
    """
    if isinstance(features, Tensor) or not isinstance(features, Sequence):
        raise TypeError(f"features must be a sequence of tensors, one for each level, not {type(features).__name__}.")
    maps = list(features)
    if not maps:
        raise ValueError("features must hold at least one level, not none.")
    scales = [float(scale) for scale in spatial_scales]
    if len(scales) != len(maps):
        raise ValueError(f"spatial_scales must hold one scale for each of the {len(maps)} levels, not {len(scales)}.")
    if not canonical_scale > 0:
        raise ValueError(f"canonical_scale must be positive, not {canonical_scale!r}.")
    first = _first_level(scales) if len(scales) > 1 else 0
    level = _checks.check_integer("canonical_level", canonical_level)
    rule = _rule(sampling_ratio, aligned, mode)._replace(
        first_level=first, canonical_scale=float(canonical_scale), canonical_level=level
    )
    names = [f"features[{level}]" for level in range(len(maps))]
    return _pool(maps, names, boxes, output_size, scales, rule, validate)


def _first_level(scales: list[float]) -> int:
    # A lookup instead of a logarithm: torch.compile treats a scale as a symbolic float, whose logarithm it cannot take.
    levels = [next((level for level, of in _SCALE_OF.items() if scale == of), None) for scale in scales]
    for scale, level in zip(scales, levels, strict=True):
        if level is None:
            raise ValueError(f"spatial_scales must be powers of two, like 1/4, not {scale!r}.")
    if levels[0] is None or scales[-1] > scales[0]:
        raise ValueError(f"spatial_scales must not grow from the first to the last, like 1/4, 1/8, 1/16, not {scales}.")
    return levels[0]


def _rule(sampling_ratio: int, aligned: bool, mode: str) -> Rule:
    ratio = _checks.check_integer("sampling_ratio", sampling_ratio)
    if not _checks.is_flag(aligned):
        # The sixth argument of mmcv's function is the mode.
        hint = f"; pass the mode by its name, mode={aligned!r}" if isinstance(aligned, str) else ""
        raise TypeError(f"aligned must be True or False, not {aligned!r}{hint}.")
    if mode not in MODES:
        raise ValueError(f"mode must be 'avg' or 'max', not {mode!r}.")
    return Rule(ratio, bool(aligned), MODES[mode])


def _pool(
    maps: list[Tensor],
    names: list[str],
    boxes: Boxes,
    output_size: int | Sequence[int],
    scales: list[float],
    rule: Rule,
    validate: bool,
) -> Tensor:
    with _checks.checking():
        _check_maps(maps, names)
        rows = _rows(boxes, maps[0])
        _checks.check_one_device(input=maps[0], boxes=rows)
    height, width = _checks.check_size("output_size", output_size, or_one=True)
    if _checks.is_onnx_export():
        return onnx.pool(maps, rows, scales, height, width, rule, validate)
    return derivatives.roi_align(maps, rows, scales, height, width, *rule, validate)  # type: ignore[no-any-return]


def _rows(boxes: Boxes, of: Tensor) -> Tensor:
    """Boxes (K, 5) in float32 or float64, from either form; TypeError or ValueError for anything else."""
    if isinstance(boxes, Tensor):
        _check_boxes("boxes", boxes, 5, "five columns (index, x1, y1, x2, y2)")
        return boxes.float() if boxes.dtype in HALF_DTYPES else boxes
    if not isinstance(boxes, Sequence) or isinstance(boxes, str):
        raise TypeError(f"boxes must be a tensor (K, 5) or a sequence of tensors (K_i, 4), not {type(boxes).__name__}.")
    if not boxes:
        if of.shape[0] == 0:
            return torch.empty((0, 5), device=of.device)
        raise ValueError("boxes must hold one tensor (K_i, 4) for each image, not none.")
    rows = []
    for image, each in enumerate(boxes):
        _check_boxes(f"boxes[{image}]", each, 4, "four columns (x1, y1, x2, y2)")
        wide = each.float() if each.dtype in HALF_DTYPES else each
        rows.append(torch.cat([wide.new_full((wide.shape[0], 1), image), wide], dim=1))
    if any(each.device != rows[0].device for each in rows):
        raise ValueError("boxes must be on one device; move them with .to(device).")
    return torch.cat(rows)


def _check_boxes(name: str, boxes: Tensor, columns: int, meaning: str) -> None:
    _checks.check_dtype(name, boxes, (*BOX_DTYPES, *HALF_DTYPES))
    _checks.check_box_shape(name, boxes, "K", columns, meaning)


def _check_maps(maps: list[Tensor], names: list[str]) -> None:
    """Raise TypeError or ValueError unless all maps are images of the same N, C, dtype and device."""
    for name, each in zip(names, maps, strict=True):
        _checks.check_dtype(name, each, IMAGE_DTYPES)
        _checks.check_image_shape(name, each)
        if each.shape[:2] != maps[0].shape[:2] or each.dtype != maps[0].dtype or each.device != maps[0].device:
            raise ValueError(
                f"{name} must have the N, C, dtype and device of {names[0]}, {tuple(maps[0].shape[:2])}, "
                f"{maps[0].dtype} and {maps[0].device}, not {tuple(each.shape[:2])}, {each.dtype} and {each.device}."
            )
        _checks.check_kernels(name, each)
