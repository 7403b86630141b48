"""`roi_align` and `multiscale_roi_align`, with torchvision's arguments and results: check them, call the operator."""

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
# The scale of each level that a pyramid may have.
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
    """Boxes of feature maps pooled to one size: `torchvision.ops.roi_align`, its arguments and its results.

    On each axis, with an offset of 0.5 if aligned: a box reaches from `a1*spatial_scale - offset` to
    `a2*spatial_scale - offset`, at least 1 further unless aligned, and is cut into as many bins as the output has. A
    bin holds sampling_ratio samples on each axis, evenly spaced, or as many as it is pixels long, rounded up. Each is
    interpolated bilinearly. In the bands of one pixel around [0, L-1] a sample reads the edge pixel; beyond, below -1
    or above L, and where a position is NaN, it is 0, and it counts. An output is the mean of its bin's samples, or
    their maximum. Without samples, as an inverted box is with an adaptive grid, it is 0; so it is where an adaptive
    grid would have 2^31 samples or more on an axis.

    Args:
        input: (N, C, H, W), float32, float64, float16 or bfloat16, uint8, int8, uint16, int16, int32 or int64, any
            strides. H and W at least 1. Half types and integers are interpolated and summed in float32; a half result
            is rounded once.
        boxes: (K, 5), rows (index, x1, y1, x2, y2), the index a whole number in [0, N); or a sequence of tensors
            (K_i, 4), one for each image. float32 or float64, in which positions are computed; float16 and bfloat16
            are widened to float32 first.
        output_size: (height, width) of the output, both positive, or one number for both.
        spatial_scale: how many pixels of the map one unit of a box is.
        sampling_ratio: samples of a bin on each axis; 0 or less for an adaptive number.
        aligned: whether pixel k's value stands at k + 0.5, its centre, and boxes may be shorter than a pixel.
        mode: "avg", or "max" for the largest sample, NaN if one is.
        validate: raise for boxes that are not finite, instead of treating their samples as outside; on CUDA, for
            indices outside of [0, N) too, and wait for the device.

    Returns:
        (K, C, height, width) in the input's dtype, float32 if that is an integer's; channels_last if the input's
        channels lie innermost, or contiguous.

    Differentiable in input and boxes in reverse and forward mode, and twice (docs/operators.md, "Derivatives"); maps
    over batches with torch.func.vmap. The gradient of a box is that of the samples that its edges move, the number of
    samples held fixed. It is 0 on an axis where a sample lies on a pixel centre, in a band at the border or beyond;
    where a box is taken as one pixel long its second edge moves nothing; in mode "max" it is that of the first largest
    sample.

    Raises:
        TypeError: an argument of the wrong type, or a tensor of a dtype that is not listed above.
        ValueError: wrong rank or shape, devices that differ, an unknown mode, an output size that is not positive, an
            input without pixels; with validate=True a box that is not finite, by its row.
        IndexError: an index that is no whole number in [0, N), by its row. On CUDA the call does not wait for the
            device to tell: without validate=True such an output is NaN and adds nothing to any gradient.
        MemoryError: a result that cannot be allocated on the CPU, or whose size in bytes does not fit 64 bits.
        torch.OutOfMemoryError: a result that cannot be allocated on CUDA, or whatever else torch has to say there. Only
            a graph of torch.compile gives a plain RuntimeError, with the device and the bytes.
        NotImplementedError: forward mode within forward mode, or in a compiled or traced graph.
        RuntimeError: tensors on CUDA, and the package was built without its CUDA kernels.
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
    """Boxes pooled from the levels of a feature pyramid, each from one, into one output in one call.

    The rule is equation (1) of "Feature Pyramid Networks" as torchvision.ops.MultiScaleRoIAlign computes it: a box
    belongs to level `floor(canonical_level + log2(sqrt(area) / canonical_scale) + 1e-6)`, or the nearest from the first
    map's to the last map's, where level k is the one of scale 2**-k. As many levels as this is after the first map's,
    as many maps after the first is its own, and its scale is that map's. Where scales do not halve from map to map that
    may be the map of another level (equal scales: the first map has every box), or none, and then the box gives 0
    (1/8 and 1/32: the third of two maps). A box with one side inverted has a negative area, no level, and gives 0 too.
    From there on everything is as in `roi_align`.

    Args:
        features: the levels, (N, C, H_k, W_k) each, of one N, C, dtype and device, the largest first.
        spatial_scales: pixels per unit of a box for each level: powers of two, the last no larger than the first. A
            single level gets every box, and its scale may be any.
        canonical_scale, canonical_level: the side of a square box, in its own units, and the level that it belongs to.
        boxes, output_size, sampling_ratio, aligned, mode, validate: as in `roi_align`.

    Returns:
        (K, C, height, width), the boxes in the order given; dtype and layout as in `roi_align`, from the first level.

    Differentiable and mapped as `roi_align` is; the level of a box is held fixed. Raises what that raises, and
        TypeError: features that are no sequence of tensors.
        ValueError: no levels, on CUDA more than 16, levels that do not fit each other, scales that are not as above, or
            too many or few.
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
    # Compared, not computed: torch.compile takes a scale for a variable, of which it knows no logarithm.
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
        # mmcv's sixth argument is the mode.
        hint = f"; the mode is given by its name, mode={aligned!r}" if isinstance(aligned, str) else ""
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
    """Boxes (K, 5) of a dtype that positions are computed in; TypeError or ValueError, in a sentence, for others."""
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
    """Raise TypeError or ValueError unless these are maps that fit each other."""
    for name, each in zip(names, maps, strict=True):
        _checks.check_dtype(name, each, IMAGE_DTYPES)
        _checks.check_image_shape(name, each)
        if each.shape[:2] != maps[0].shape[:2] or each.dtype != maps[0].dtype or each.device != maps[0].device:
            raise ValueError(
                f"{name} must have the N, C, dtype and device of {names[0]}, {tuple(maps[0].shape[:2])}, "
                f"{maps[0].dtype} and {maps[0].device}, not {tuple(each.shape[:2])}, {each.dtype} and {each.device}."
            )
        _checks.check_kernels(name, each)
