"""Faults planted in the package's Python: what it checks, what it keeps for a backward, what it tells torch."""

from __future__ import annotations

import functools

from harness.faults.package.building import fault
from harness.kernels.compiling import Change
from harness.operators.arrays import Direction

_FORWARD: tuple[Direction, ...] = ("forward",)
_IMAGE: tuple[Direction, ...] = ("grad_image",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)
_NONE: tuple[Direction, ...] = ()  # shows in what is told to torch or to the user, not in a result

_of_crops = functools.partial(fault, "crop_and_resize")
_of_pooling = functools.partial(fault, "roi_align")

_DERIVATIVES, _BATCHING = "roi_align/_cropping/derivatives.py", "roi_align/_batching.py"
_ROI_DERIVATIVES, _POOLING = "roi_align/_pooling/derivatives.py", "roi_align/_pooling/functional.py"

_OF_CROPS = (
    _of_crops(
        "boxes_alone_get_nothing",
        "the gradient of the boxes is dropped where the image needs none",
        Change(
            _DERIVATIVES,
            "if ctx.needs_input_grad[1]:\n        grad_boxes",
            "if all(ctx.needs_input_grad[:2]):\n        grad_boxes",
        ),
        "shared/against_golden.py",
        _BOXES,
    ),
    _of_crops(
        "gradient_in_another_layout",
        "the layout of the image is forgotten on the way back",
        Change(_DERIVATIVES, "ctx.channels_last = channels_innermost(image)", "ctx.channels_last = False"),
        "shared/layouts.py::test_results_and_gradients_keep_the_layout",
        _IMAGE,
    ),
    _of_crops(
        "edges_transposed",
        "x and y are swapped in the gradient of the boxes",
        Change(
            _DERIVATIVES,
            "grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)",
            "grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)[:, [1, 0, 3, 2]]",
        ),
        "shared/gradients.py::test_gradcheck_of_pixel_boxes",
        _BOXES,
    ),
    _of_crops(
        "image_kept_alive",
        "a backward that needs no image keeps it in memory",
        Change(_DERIVATIVES, "image if ctx.needs_input_grad[1] else None", "image"),
        "shared/gradients.py::test_no_gradient_is_asked_for_in_vain",
        _NONE,
    ),
    _of_crops(
        "second_derivative_bilinear",
        "the double backward of the nearest method is the bilinear one",
        Change(_DERIVATIVES, "*ctx.crop_size, ctx.method, 0.0", "*ctx.crop_size, 0, 0.0"),
        "shared/gradients.py::test_the_double_backward_is_the_forward_again",
        _IMAGE,
    ),
    _of_crops(
        "second_derivative_normalized",
        "the double backward takes pixel boxes for normalised ones",
        Change(_DERIVATIVES, "ctx.method, 0.0, ctx.box_rule, False", "ctx.method, 0.0, 0, False"),
        "shared/gradients.py::test_the_double_backward_is_the_forward_again",
        _IMAGE,
    ),
    _of_crops(
        "second_derivative_extrapolates",
        "the double backward is the forward with its extrapolation, which is not linear",
        Change(_DERIVATIVES, "ctx.method, 0.0, ctx.box_rule, False", "ctx.method, 1.0, ctx.box_rule, False"),
        "shared/gradients.py::test_double_backward_of_the_image",
        _IMAGE,
    ),
    _of_crops(
        "validate_ignored",
        "validate=True is not passed on",
        Change(
            "roi_align/_cropping/functional.py",
            "BOX_RULES[box_rule],\n        validate,",
            "BOX_RULES[box_rule],\n        False,",
        ),
        "shared/bad_input.py",
        _NONE,
    ),
    _of_crops(
        "half_boxes_accepted",
        "boxes of a half type are widened without autocast too, after their positions were lost",
        Change(
            "roi_align/_cropping/functional.py",
            "boxes.dtype in HALF_DTYPES and torch.is_autocast_enabled(boxes.device.type)",
            "boxes.dtype in HALF_DTYPES",
        ),
        "shared/bad_input.py",
        _NONE,
    ),
    _of_crops(
        "vmap_lends_an_image",
        "an index without an image names one of the next call's in a vmap",
        Change(
            _BATCHING,
            "return torch.where(known, box_indices + before, torch.full_like(box_indices, -1))",
            "return box_indices + before",
        ),
        "shared/transforms.py::test_a_bad_index_in_a_vmap_names_no_image_of_its_neighbour",
        _NONE,
    ),
    _of_crops(
        "vmap_writes_to_indices",
        "a vmap moves the caller's own indices on",
        Change(_BATCHING, "known, box_indices + before", "known, box_indices.add_(before)"),
        "shared/transforms.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _of_crops(
        "vmap_mixes_boxes",
        "a vmap moves indices on by the number of calls instead of images",
        Change(_BATCHING, "[:, None] * images", "[:, None] * len(box_indices)"),
        "shared/transforms.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _of_crops(
        "fake_of_another_dtype",
        "a compiled graph is told that the boxes' gradient has the image's dtype",
        Change(
            "roi_align/_cropping/operator.py",
            "box_rule: int) -> Tensor:\n    return boxes.new_empty(boxes.shape)",
            "box_rule: int) -> Tensor:\n    return grad.new_empty(boxes.shape)",
        ),
        "shared/registration.py::test_opcheck[float64-crop_and_resize-0-0]",
        _NONE,
    ),
    _of_crops(
        "fake_without_layout",
        "a compiled graph is told that crops are contiguous",
        Change(
            "roi_align/_cropping/operator.py",
            "image.shape[1], crop_height, crop_width), channels_innermost(image))",
            "image.shape[1], crop_height, crop_width), False)",
        ),
        "shared/registration.py::test_meta_tensors_have_the_shape_and_strides_of_the_result",
        _NONE,
    ),
    _of_crops(
        "fake_gradient_without_layout",
        "a compiled graph is told that the image's gradient is contiguous",
        Change(
            "roi_align/_cropping/operator.py",
            "(images, grad.shape[1], height, width), channels_last)",
            "(images, grad.shape[1], height, width), False)",
        ),
        "shared/registration.py::test_meta_tensors_have_the_shape_and_strides_of_the_result",
        _NONE,
    ),
    _of_crops(
        "function_without_extrapolation",
        "CropAndResizeFunction takes an extrapolation_value and drops it",
        Change(
            "roi_align/_cropping/modules.py",
            '(crop_height, crop_width), "bilinear", extrapolation_value)',
            '(crop_height, crop_width), "bilinear")',
        ),
        "crop_and_resize/modules.py",
        _FORWARD,
    ),
    _of_crops(
        "transform_inverted",
        "transform_fpcoor=True gives corners",
        Change("roi_align/_cropping/modules.py", '"bin_centres" if self', '"bin_centres" if not self'),
        "crop_and_resize/modules.py",
    ),
)

_OF_POOLING = (
    _of_pooling(
        "roi_aligned_inverted",
        "aligned=True is not aligned",
        Change(
            _POOLING,
            "Rule(index(sampling_ratio), bool(aligned), _code(mode)),",
            "Rule(index(sampling_ratio), not aligned, _code(mode)),",
        ),
        "shared/against_golden.py",
    ),
    _of_pooling(
        "roi_module_without_aligned",
        "TorchvisionRoIAlign takes aligned and drops it",
        Change("roi_align/_pooling/modules.py", "self.sampling_ratio, self.aligned, mode", "self.sampling_ratio, mode"),
        "roi_align/modules.py::test_a_module_is_its_function",
    ),
    _of_pooling(
        "roi_validate_ignored",
        "validate=True is not passed on",
        Change(_POOLING, "height, width, rule, validate)", "height, width, rule, False)"),
        "shared/bad_input.py",
        _NONE,
    ),
    _of_pooling(
        "roi_list_of_image_0",
        "all tensors of a list of boxes are taken for the first image's",
        Change(_POOLING, "wide.new_full((wide.shape[0], 1), image)", "wide.new_zeros((wide.shape[0], 1))"),
        "shared/bad_input.py",
    ),
    _of_pooling(
        "roi_boxes_alone_get_nothing",
        "the gradient of the boxes is dropped where the maps need none",
        Change(
            _ROI_DERIVATIVES,
            "ctx.scales, ctx.rule) if of_boxes else None",
            "ctx.scales, ctx.rule) if of_boxes and of_features else None",
        ),
        "shared/properties.py::test_property[roi_align-within_bound_mode_avg-grad_boxes]",
        _BOXES,
    ),
    _of_pooling(
        "roi_gradient_in_another_layout",
        "the layout of the maps is forgotten on the way back",
        Change(_ROI_DERIVATIVES, "ctx.last = channels_innermost(features[0])", "ctx.last = False"),
        "shared/layouts.py::test_results_and_gradients_keep_the_layout",
        _IMAGE,
    ),
    _of_pooling(
        "roi_second_derivative_of_its_own",
        "the double backward of the maximum pools the largest of what arrives, not the samples that were the largest",
        Change(
            _ROI_DERIVATIVES,
            "    if _is_mean(ctx.rule):\n        return roi_align(",
            "    if ctx.rule:\n        return roi_align(",
        ),
        "shared/gradients.py::test_double_backward_of_the_image[roi_align-max]",
        _IMAGE,
    ),
    _of_pooling(
        "roi_canonical_scale_ignored",
        "a pyramid's canonical_scale is always 224",
        Change(_POOLING, "first, float(canonical_scale), index", "first, 224.0, index"),
        "roi_align/multiscale.py::test_a_box_of_the_canonical_scale_belongs_to_the_canonical_level",
    ),
    _of_pooling(
        "roi_module_without_canonical_level",
        "TorchvisionMultiScaleRoIAlign takes canonical_level and drops it",
        Change(
            "roi_align/_pooling/modules.py",
            "            canonical_scale=self.canonical_scale,\n            canonical_level=self.canonical_level,\n",
            "            canonical_scale=self.canonical_scale,\n",
        ),
        "roi_align/multiscale.py::test_a_box_of_the_canonical_scale_belongs_to_the_canonical_level",
    ),
    _of_pooling(
        "roi_vmap_mixes_boxes",
        "a vmap pools the boxes of every call from the first call's images",
        Change(
            "roi_align/_pooling/batching.py",
            "moved_on(boxes[..., 0], images)",
            "moved_on(boxes[..., 0], images) % images",
        ),
        "shared/transforms.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _of_pooling(
        "roi_fake_without_layout",
        "a compiled graph is told that gradients are contiguous",
        Change(
            "roi_align/_pooling/operator.py",
            "grad.shape[1], height, width), channels_last)",
            "grad.shape[1], height, width), False)",
        ),
        "shared/registration.py::test_meta_tensors_have_the_shape_and_strides_of_the_result",
        _NONE,
    ),
)

FAULTS = (*_OF_CROPS, *_OF_POOLING)
