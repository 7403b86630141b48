"""Faults planted in the package itself: crop_and_resize's here, roi_align's in roi_package_faults.py.

Each is one keystroke or one plausible shortcut away from the code as it is, and changes what a documented call gives.
What would change nothing is left out: that `deterministic` is ignored, say, which on the CPU asks for nothing; or that
a box gradient comes in another dtype, which autograd itself sets right.

32-bit offsets go wrong beyond 2^31 elements, for which no test has the memory: offsets in 16 bits stand in for them.
"""

from __future__ import annotations

from harness import roi_package_faults
from harness.case import DIRECTIONS, Direction
from harness.compiling import Change
from harness.faulty_package import PackageFault

_FORWARD: tuple[Direction, ...] = ("forward",)
_IMAGE: tuple[Direction, ...] = ("grad_image",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)
_NONE: tuple[Direction, ...] = ()  # shows in what is told to torch or to the user, not in a result


def _fault(
    name: str,
    why: str,
    changes: Change | tuple[Change, ...],
    suites: str,
    directions: tuple[Direction, ...] = DIRECTIONS,
) -> PackageFault:
    """`suites` as pytest takes them, without their folder and the prefix test_."""
    each = changes if isinstance(changes, tuple) else (changes,)
    places = tuple(f"suites/correctness/test_{place}" for place in suites.split())
    return PackageFault(name, why, "crop_and_resize", each, places, directions)


_SAMPLING, _BINDING = "csrc/sampling.h", "csrc/torch_binding.cpp"
_TABLE, _PLAN = "csrc/cpu/box_table.cpp", "csrc/cpu/plan.cpp"
_CROPS, _GRAD_IMAGE, _GRAD_BOXES = "csrc/cpu/forward.inl", "csrc/cpu/grad_image.inl", "csrc/cpu/grad_boxes.inl"
_DERIVATIVES, _BATCHING = "roi_align/derivatives.py", "roi_align/batching.py"

_COMPILED = (
    _fault(
        "last_pixel_outside",
        "< L-1 for <= L-1: a sample on the last pixel is extrapolated",
        Change(_SAMPLING, "position <= static_cast<T>(length - 1)", "position < static_cast<T>(length - 1)"),
        "against_golden.py",
    ),
    _fault(
        "read_past_the_edge",
        "a sample on the last pixel reads one past it, with weight 0: it shows where that is NaN",
        Change(_SAMPLING, "ceil < last ? ceil : last", "ceil < last ? ceil : floor + 1"),
        "layouts.py::test_every_layout_gives_the_same_bits",
    ),
    _fault(
        "halves_down",
        "nearest rounds a half down",
        Change(_SAMPLING, "distance >= T(0.5)", "distance > T(0.5)"),
        "against_golden.py",
        ("forward", "grad_image"),
    ),
    _fault(
        "index_n_accepted",
        "an index of N passes the check and the kernel reads behind the image",
        Change("csrc/boxes.cpp", "index >= images", "index > images"),
        "bad_input.py",
        _NONE,
    ),
    _fault(
        "index_in_32_bits",
        "an int64 index is truncated: 2^32 is image 0",
        Change(
            "csrc/boxes.h",
            "? static_cast<const int64_t*>(boxes.indices)[at]",
            "? static_cast<int32_t>(static_cast<const int64_t*>(boxes.indices)[at])",
        ),
        "bad_input.py",
        _NONE,
    ),
    _fault(
        "channels_last_rows",
        "rows of a channels_last image are taken for dense: wrong in a view of a larger one",
        Change(
            _CROPS,
            "+ first, image.stride[2],\n          image.stride[3]};",
            "+ first, image.size[1] * image.size[3],\n          image.stride[3]};",
        ),
        "views.py",
        _FORWARD,
    ),
    _fault(
        "offset_planes",
        "planes that are read where they lie are taken for dense: wrong in a view of a larger image",
        Change(_CROPS, "planes + c * image.stride[1]", "planes + c * image.size[2] * image.size[3]"),
        "layouts.py::test_every_layout_gives_the_same_bits",
        _FORWARD,
    ),
    _fault(
        "offset_rows_turned",
        "the same of rows, where planes are turned",
        Change(
            "csrc/cpu/lanes.inl",
            "turn_rows_in<kBlock>(planes, view.stride[1], view.stride[2],",
            "turn_rows_in<kBlock>(planes, view.stride[1], view.size[3] * view.stride[3],",
        ),
        "layouts.py::test_every_layout_gives_the_same_bits",
        ("forward", "grad_boxes"),
    ),
    _fault(
        "channels_last_gradient",
        "a block of channels of the gradient is written as if there were no others",
        Change(_GRAD_IMAGE, "stride, base + i * image.size[1], large)", "stride, base + i * stride, large)"),
        "layouts.py",
        _IMAGE,
    ),
    _fault(
        "rounded_twice",
        "a half result passes through bfloat16 on its way",
        Change(
            "csrc/torch_cpu.h",
            "torch::stable::to(result, like.scalar_type())",
            "torch::stable::to(torch::stable::to(result, ScalarType::BFloat16), like.scalar_type())",
        ),
        "gradients.py::test_a_long_sum_is_rounded_once",
        ("forward", "grad_image"),
    ),
    _fault(
        "extrapolated_in_float",
        "a float64 crop gets the extrapolation value as float32",
        Change(_CROPS, "= static_cast<T>(extrapolation_value)", "= static_cast<float>(extrapolation_value)"),
        "thresholds.py::test_the_extrapolation_value_is_exact_in_float64",
        _FORWARD,
    ),
    _fault(
        "slopes_in_float",
        "the slopes of float64 images are summed by way of float32",
        Change(
            _GRAD_BOXES, "static_cast<double>(values[lane])", "static_cast<double>(static_cast<float>(values[lane]))"
        ),
        "against_oracle.py::test_within_the_oracles_bound",
        _BOXES,
    ),
    _fault(
        "edges_of_pixel_boxes",
        "the gradient of a pixel box comes as (y1, x1, y2, x2)",
        Change(_GRAD_BOXES, "const int y = rule == BoxRule::kNormalized ? 0 : 1, x", "const int y = 0, x"),
        "gradients.py::test_gradcheck_of_pixel_boxes",
        _BOXES,
    ),
    _fault(
        "written_over_the_boxes",
        "the gradient of the boxes is written over the boxes, which have its shape and dtype",
        Change(_BINDING, "Tensor result = torch::stable::new_empty(boxes, {list.count, 4});", "Tensor result = boxes;"),
        "against_oracle.py::test_calls_have_no_side_effect",
        _BOXES,
    ),
    _fault(
        "stale_rows",
        "rows of a crop that are outside keep what was in memory",
        Change(_CROPS, "std::fill(out, out + width, extrapolation);\n      continue;", "continue;"),
        "bad_input.py",
        _FORWARD,
    ),
    _fault(
        "stale_band",
        "a band of the gradient that no box reaches keeps what was in memory",
        Change(
            _GRAD_IMAGE,
            "clear<T>(image, tile, large);\n      continue;\n    }\n    scratch.assign(static_cast<size_t>(tile.rows() * width",
            "continue;\n    }\n    scratch.assign(static_cast<size_t>(tile.rows() * width",
        ),
        "thresholds.py::test_what_no_box_reaches_is_zero_whatever_was_in_memory",
        _IMAGE,
    ),
    _fault(
        "stale_scratch",
        "what a unit of work summed stays in the scratch for the next",
        Change(
            _GRAD_IMAGE,
            "scratch.assign(static_cast<size_t>(tile.rows() * width * stride), T(0));",
            "scratch.resize(static_cast<size_t>(tile.rows() * width * stride), T(0));",
        ),
        "layouts.py",
        _IMAGE,
    ),
    _fault(
        "shared_scratch",
        "all threads sum in one scratch: additions are lost, by chance and with two threads only",
        Change(
            _GRAD_IMAGE, "std::vector<T> scratch, turned;", "static std::vector<T> scratch;\n  std::vector<T> turned;"
        ),
        "layouts.py::test_threads_that_share_one_image_row_by_row_give_the_same_bits",
        _IMAGE,
    ),
    _fault(
        "lost_between_bands",
        "a sample between two threads' rows adds to the upper one alone: the result depends on the number of threads",
        Change(_GRAD_IMAGE, "if (has_bottom) scatter_channels(", "if (has_bottom && has_top) scatter_channels("),
        "layouts.py::test_threads_that_share_one_image_row_by_row_give_the_same_bits",
        _IMAGE,
    ),
    _fault(
        "order_by_threads",
        "boxes are arranged for as many bands as there are threads, and with them the order of the sums",
        Change(_PLAN, "std::min(wanted, 2 * bands)), 1);", "std::min(wanted, 2 * bands)), std::min(threads, height));"),
        "layouts.py::test_threads_that_share_one_image_row_by_row_give_the_same_bits",
        _IMAGE,
    ),
    _fault(
        "order_by_arrival",
        "boxes are listed in the order in which threads finish them, by an atomic counter: other bits in every run",
        (
            Change("csrc/cpu/box_table.h", "order_, image_begin_;", "order_, image_begin_, arrived_;"),
            Change(_TABLE, "#include <algorithm>", "#include <algorithm>\n#include <atomic>"),
            Change(
                _TABLE,
                "void* memory_for(",
                "std::atomic<int64_t> arrivals{0};\n\nvoid* memory_for(",
            ),
            Change(
                _TABLE,
                "            give_back) {}",
                "            give_back),\n      arrived_(spans_.size()) { arrivals = 0; }",
            ),
            Change(
                _TABLE,
                "fill_as<float, float>(begin, end);\n  }\n",
                "fill_as<float, float>(begin, end);\n  }\n  int64_t at = arrivals.fetch_add(end - begin);\n"
                "  for (int64_t row = begin; row < end; ++row) arrived_[static_cast<size_t>(at++)] = row;\n",
            ),
            Change(
                _TABLE,
                "for (int64_t row = 0; row < count(); ++row) {\n    order_",
                "for (const int64_t row : arrived_) {\n    order_",
            ),
        ),
        "thresholds.py::test_many_boxes_give_the_same_bits_in_every_run",
        _IMAGE,
    ),
    _fault(
        "boxes_past_1024_dropped",
        "a list of the boxes that reach a band has room for 1024",
        Change(
            _GRAD_IMAGE,
            "if (tile.meets(boxes.span(row))) rows",
            "if (tile.meets(boxes.span(row)) && rows->size() < 1024) rows",
        ),
        "gradients.py::test_a_long_sum_is_rounded_once",
        _IMAGE,
    ),
    _fault(
        "indices_past_1024_wrap",
        "indices are read in blocks of 1024, and only the first block is ever loaded",
        Change(_TABLE, "image_index(boxes_, row);", "image_index(boxes_, row % 1024);"),
        "thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "boxes_in_16_bits",
        "a list of boxes counts to 65,535",
        Change(_TABLE, "++)] = row;", "++)] = static_cast<uint16_t>(row);"),
        "thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "crop_offsets_in_16_bits",
        "offsets into the crops wrap at 2^16 elements, standing in for 2^32",
        Change(
            _CROPS,
            "+ row * crops.stride[0] + c * crops.stride[1];",
            "+ static_cast<uint16_t>(row * crops.stride[0] + c * crops.stride[1]);",
        ),
        "thresholds.py::test_many_boxes_give_what_each_gives_alone",
        _FORWARD,
    ),
    _fault(
        "image_offsets_in_16_bits",
        "offsets into the image's gradient wrap at 2^16 elements, standing in for 2^32",
        Change(
            _GRAD_IMAGE,
            "T* const base = static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2] +\n"
            "                  tile.channel_begin * image.stride[1];",
            "T* const base = static_cast<T*>(image.data) +\n"
            "                  static_cast<uint16_t>(tile.n * image.stride[0] + tile.row_begin * image.stride[2] +\n"
            "                                        tile.channel_begin * image.stride[1]);",
        ),
        "thresholds.py::test_a_large_image_gets_each_crops_gradient_where_it_belongs",
        _IMAGE,
    ),
)

_IN_PYTHON = (
    _fault(
        "boxes_alone_get_nothing",
        "the gradient of the boxes is dropped where the image needs none",
        Change(
            _DERIVATIVES,
            "if ctx.needs_input_grad[1]:\n        grad_boxes",
            "if all(ctx.needs_input_grad[:2]):\n        grad_boxes",
        ),
        "against_golden.py",
        _BOXES,
    ),
    _fault(
        "gradient_in_another_layout",
        "the layout of the image is forgotten on the way back",
        Change(_DERIVATIVES, "ctx.channels_last = channels_innermost(image)", "ctx.channels_last = False"),
        "layouts.py::test_crops_and_gradients_keep_the_layout",
        _IMAGE,
    ),
    _fault(
        "edges_transposed",
        "x and y are swapped in the gradient of the boxes",
        Change(
            _DERIVATIVES,
            "grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)",
            "grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)[:, [1, 0, 3, 2]]",
        ),
        "gradients.py::test_gradcheck_of_pixel_boxes",
        _BOXES,
    ),
    _fault(
        "image_kept_alive",
        "a backward that needs no image keeps it in memory",
        Change(_DERIVATIVES, "image if ctx.needs_input_grad[1] else None", "image"),
        "gradients.py::test_no_gradient_is_asked_for_in_vain",
        _NONE,
    ),
    _fault(
        "second_derivative_bilinear",
        "the double backward of the nearest method is the bilinear one",
        Change(_DERIVATIVES, "*ctx.crop_size, ctx.method, 0.0", "*ctx.crop_size, 0, 0.0"),
        "second_derivatives.py",
        _IMAGE,
    ),
    _fault(
        "second_derivative_normalized",
        "the double backward takes pixel boxes for normalised ones",
        Change(_DERIVATIVES, "ctx.method, 0.0, ctx.box_rule, False", "ctx.method, 0.0, 0, False"),
        "second_derivatives.py",
        _IMAGE,
    ),
    _fault(
        "second_derivative_extrapolates",
        "the double backward is the forward with its extrapolation, which is not linear",
        Change(_DERIVATIVES, "ctx.method, 0.0, ctx.box_rule, False", "ctx.method, 1.0, ctx.box_rule, False"),
        "gradients.py::test_double_backward_of_the_image",
        _IMAGE,
    ),
    _fault(
        "validate_ignored",
        "validate=True is not passed on",
        Change(
            "roi_align/functional.py",
            "library.BOX_RULES[box_rule],\n        validate,",
            "library.BOX_RULES[box_rule],\n        False,",
        ),
        "bad_input.py",
        _NONE,
    ),
    _fault(
        "half_boxes_accepted",
        "boxes of a half type are widened without autocast too, after their positions were lost",
        Change(
            "roi_align/functional.py",
            "boxes.dtype in HALF_DTYPES and torch.is_autocast_enabled(boxes.device.type)",
            "boxes.dtype in HALF_DTYPES",
        ),
        "bad_input.py",
        _NONE,
    ),
    _fault(
        "vmap_lends_an_image",
        "an index without an image names one of the next call's in a vmap",
        Change(
            _BATCHING,
            "return torch.where(known, box_indices + before, torch.full_like(box_indices, -1))",
            "return box_indices + before",
        ),
        "transforms.py::test_a_bad_index_in_a_vmap_names_no_image_of_its_neighbour",
        _NONE,
    ),
    _fault(
        "vmap_writes_to_indices",
        "a vmap moves the caller's own indices on",
        Change(_BATCHING, "known, box_indices + before", "known, box_indices.add_(before)"),
        "transforms.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _fault(
        "vmap_mixes_boxes",
        "a vmap moves indices on by the number of calls instead of images",
        Change(_BATCHING, "[:, None] * images", "[:, None] * len(box_indices)"),
        "transforms.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _fault(
        "fake_of_another_dtype",
        "a compiled graph is told that the boxes' gradient has the image's dtype",
        Change(
            "roi_align/library.py",
            "box_rule: int) -> Tensor:\n    return boxes.new_empty(boxes.shape)",
            "box_rule: int) -> Tensor:\n    return grad.new_empty(boxes.shape)",
        ),
        "registration.py::test_opcheck",
        _NONE,
    ),
    _fault(
        "fake_without_layout",
        "a compiled graph is told that crops are contiguous",
        Change(
            "roi_align/library.py",
            "image.shape[1], crop_height, crop_width), channels_innermost(image))",
            "image.shape[1], crop_height, crop_width), False)",
        ),
        "registration.py::test_meta_tensors_have_the_shape_and_strides_of_the_result",
        _NONE,
    ),
    _fault(
        "function_without_extrapolation",
        "CropAndResizeFunction takes an extrapolation_value and drops it",
        Change(
            "roi_align/modules.py",
            '(crop_height, crop_width), "bilinear", extrapolation_value)',
            '(crop_height, crop_width), "bilinear")',
        ),
        "modules.py",
        _FORWARD,
    ),
    _fault(
        "transform_inverted",
        "transform_fpcoor=True gives corners",
        Change("roi_align/modules.py", '"bin_centres" if self', '"bin_centres" if not self'),
        "modules.py",
    ),
)

FAULTS = (*_COMPILED, *_IN_PYTHON, *roi_package_faults.FAULTS)
