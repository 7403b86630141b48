"""Faults planted in the C++ of crop_and_resize on the CPU.

32-bit offsets go wrong beyond 2^31 elements, for which no test has the memory: offsets in 16 bits stand in for them.
"""

from __future__ import annotations

import functools

from harness.faults.package.building import fault
from harness.kernels.compiling import Change
from harness.operators.arrays import Direction

_FORWARD: tuple[Direction, ...] = ("forward",)
_IMAGE: tuple[Direction, ...] = ("grad_image",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)
_NONE: tuple[Direction, ...] = ()  # shows in what is told to torch or to the user, not in a result

_fault = functools.partial(fault, "crop_and_resize")

_SAMPLING, _BINDING = "csrc/crop_and_resize/rule.h", "csrc/crop_and_resize/torch_cpu.cpp"
_TABLE, _PLAN = "csrc/crop_and_resize/cpu/tables.cpp", "csrc/crop_and_resize/cpu/plan.cpp"
_CROPS, _GRAD_IMAGE = "csrc/crop_and_resize/cpu/forward.inl", "csrc/crop_and_resize/cpu/grad_image.inl"
_TILE, _SCATTER = "csrc/crop_and_resize/cpu/tile.inl", "csrc/crop_and_resize/cpu/scatter.inl"
_SLOPES = "csrc/crop_and_resize/cpu/slopes.inl"

FAULTS = (
    _fault(
        "last_pixel_outside",
        "< L-1 for <= L-1: a sample on the last pixel is extrapolated",
        Change(_SAMPLING, "position <= static_cast<T>(length - 1)", "position < static_cast<T>(length - 1)"),
        "shared/against_golden.py",
    ),
    _fault(
        "read_past_the_edge",
        "a sample on the last pixel reads one past it, with weight 0: it shows where that is NaN",
        Change(_SAMPLING, "ceil < last ? ceil : last", "ceil < last ? ceil : floor + 1"),
        "shared/properties.py::test_property[crop_and_resize-every_layout-forward] "
        "shared/properties.py::test_property[crop_and_resize-every_layout-grad_image]",
    ),
    _fault(
        "halves_down",
        "nearest rounds a half down",
        Change(_SAMPLING, "distance >= T(0.5)", "distance > T(0.5)"),
        "shared/against_golden.py",
        ("forward", "grad_image"),
    ),
    _fault(
        "index_n_accepted",
        "an index of N passes the check and the kernel reads behind the image",
        Change("csrc/crop_and_resize/boxes.cpp", "index >= images", "index > images"),
        "shared/bad_input.py",
        _NONE,
    ),
    _fault(
        "index_in_32_bits",
        "an int64 index is truncated: 2^32 is image 0",
        Change(
            "csrc/crop_and_resize/boxes.h",
            "? static_cast<const int64_t*>(boxes.indices)[at]",
            "? static_cast<int32_t>(static_cast<const int64_t*>(boxes.indices)[at])",
        ),
        "shared/bad_input.py",
        _NONE,
    ),
    _fault(
        "channels_last_rows",
        "rows of a channels_last image are taken for dense: wrong in a view of a larger one",
        Change(
            _CROPS,
            "+ first,\n                                   image.stride[2], image.stride[3]};",
            "+ first,\n                                   image.size[1] * image.size[3], image.stride[3]};",
        ),
        "shared/layouts.py::test_views_give_the_bits_of_their_copies",
        _FORWARD,
    ),
    _fault(
        "offset_planes",
        "planes that are read where they lie are taken for dense: wrong in a view of a larger image",
        Change(_CROPS, "planes + c * image.stride[1]", "planes + c * image.size[2] * image.size[3]"),
        "shared/properties.py::test_property[crop_and_resize-every_layout-forward] "
        "shared/properties.py::test_property[crop_and_resize-every_layout-grad_image]",
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
        "shared/properties.py::test_property[crop_and_resize-every_layout-forward] "
        "shared/properties.py::test_property[crop_and_resize-every_layout-grad_image]",
        ("forward", "grad_boxes"),
    ),
    _fault(
        "channels_last_gradient",
        "a block of channels of the gradient is written as if there were no others",
        Change(_TILE, "stride, base + i * image.size[1], large)", "stride, base + i * stride, large)"),
        "shared/thresholds.py::test_a_wide_image_has_one_gradient_in_both_layouts",
        _IMAGE,
    ),
    _fault(
        "rounded_twice",
        "a half result passes through bfloat16 on its way",
        Change(
            "csrc/cpu/torch_cpu.h",
            "torch::stable::to(result, like.scalar_type())",
            "torch::stable::to(torch::stable::to(result, ScalarType::BFloat16), like.scalar_type())",
        ),
        "shared/gradients.py::test_a_long_sum_is_rounded_once",
        ("forward", "grad_image"),
    ),
    _fault(
        "extrapolated_in_float",
        "a float64 crop gets the extrapolation value as float32",
        Change(_CROPS, "= static_cast<T>(extrapolation_value)", "= static_cast<float>(extrapolation_value)"),
        "shared/properties.py::test_property[crop_and_resize-within_bound_normalized_boxes-forward]",
        _FORWARD,
    ),
    _fault(
        "slopes_in_float",
        "the slopes of float64 images are summed by way of float32",
        Change(_SLOPES, "static_cast<double>(values[lane])", "static_cast<double>(static_cast<float>(values[lane]))"),
        "shared/properties.py::test_property[crop_and_resize-within_bound_normalized_boxes-grad_boxes]",
        _BOXES,
    ),
    _fault(
        "edges_of_pixel_boxes",
        "the gradient of a pixel box comes as (y1, x1, y2, x2)",
        Change(_SLOPES, "const int y = rule == BoxRule::kNormalized ? 0 : 1, x", "const int y = 0, x"),
        "shared/gradients.py::test_gradcheck_of_pixel_boxes",
        _BOXES,
    ),
    _fault(
        "written_over_the_boxes",
        "the gradient of the boxes is written over the boxes, which have its shape and dtype",
        Change(_BINDING, "Tensor result = torch::stable::new_empty(boxes, {list.count, 4});", "Tensor result = boxes;"),
        "shared/properties.py::test_property[crop_and_resize-no_side_effect-grad_boxes]",
        _BOXES,
    ),
    _fault(
        "stale_rows",
        "rows of a crop that are outside keep what was in memory",
        Change(_CROPS, "std::fill(out, out + width, extrapolation);\n      continue;", "continue;"),
        "shared/bad_input.py",
        _FORWARD,
    ),
    _fault(
        "stale_band",
        "a band of the gradient that no box reaches keeps what was in memory",
        Change(
            _GRAD_IMAGE,
            "clear<T>(image, tile, large);\n      continue;\n    }\n"
            "    scratch.assign(static_cast<size_t>(tile.rows() * width",
            "continue;\n    }\n    scratch.assign(static_cast<size_t>(tile.rows() * width",
        ),
        "shared/thresholds.py::test_what_no_box_reaches_is_zero_whatever_was_in_memory",
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
        "shared/properties.py::test_property[crop_and_resize-every_layout-grad_image]",
        _IMAGE,
    ),
    _fault(
        "shared_scratch",
        "all threads sum in one scratch: additions are lost, by chance and with two threads only",
        Change(
            _GRAD_IMAGE, "std::vector<T> scratch, turned;", "static std::vector<T> scratch;\n  std::vector<T> turned;"
        ),
        "shared/thresholds.py::test_many_boxes_give_the_same_bits_in_every_run",
        _IMAGE,
    ),
    _fault(
        "lost_between_bands",
        "a sample between the rows of two units of work adds to the upper unit's alone",
        Change(_SCATTER, "if (has_bottom) scatter_channels(", "if (has_bottom && has_top) scatter_channels("),
        "shared/properties.py::test_property[crop_and_resize-adjoint-grad_image]",
        _IMAGE,
    ),
    _fault(
        "order_by_threads",
        "boxes are arranged for as many bands as there are threads, and with them the order of the sums",
        Change(_PLAN, "std::min(wanted, 2 * bands)), 1);", "std::min(wanted, 2 * bands)), std::min(threads, height));"),
        "shared/layouts.py::test_threads_that_share_one_image_row_by_row_give_the_same_bits",
        _IMAGE,
    ),
    _fault(
        "order_by_arrival",
        "boxes are listed in the order in which threads finish them, by an atomic counter: other bits in every run",
        (
            Change("csrc/crop_and_resize/cpu/tables.h", "order_, image_begin_;", "order_, image_begin_, arrived_;"),
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
                "decltype(edge)>(begin, end); });\n  });\n",
                "decltype(edge)>(begin, end); });\n  });\n  int64_t at = arrivals.fetch_add(end - begin);\n"
                "  for (int64_t row = begin; row < end; ++row) arrived_[static_cast<size_t>(at++)] = row;\n",
            ),
            Change(
                _TABLE,
                "for (int64_t row = 0; row < count(); ++row) {\n    order_",
                "for (const int64_t row : arrived_) {\n    order_",
            ),
        ),
        "shared/thresholds.py::test_many_boxes_give_the_same_bits_in_every_run",
        _IMAGE,
    ),
    _fault(
        "boxes_past_1024_dropped",
        "a list of the boxes that reach a band has room for 1024",
        Change(
            _TILE,
            "if (tile.meets(boxes.span(row))) rows",
            "if (tile.meets(boxes.span(row)) && rows->size() < 1024) rows",
        ),
        "shared/gradients.py::test_a_long_sum_is_rounded_once",
        _IMAGE,
    ),
    _fault(
        "indices_past_1024_wrap",
        "indices are read in blocks of 1024, and only the first block is ever loaded",
        Change(_TABLE, "image_index(boxes_, row);", "image_index(boxes_, row % 1024);"),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "boxes_in_16_bits",
        "a list of boxes counts to 65,535",
        Change(_TABLE, "++)] = row;", "++)] = static_cast<uint16_t>(row);"),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "crop_offsets_in_16_bits",
        "offsets into the crops wrap at 2^16 elements, standing in for 2^32",
        Change(
            _CROPS,
            "+ row * crops.stride[0] + c * crops.stride[1];",
            "+ static_cast<uint16_t>(row * crops.stride[0] + c * crops.stride[1]);",
        ),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
        _FORWARD,
    ),
    _fault(
        "image_offsets_in_16_bits",
        "offsets into the image's gradient wrap at 2^16 elements, standing in for 2^32",
        Change(
            _TILE,
            "static_cast<T*>(image.data) + tile.n * image.stride[0] + tile.row_begin * image.stride[2] +\n"
            "                  tile.channel_begin * image.stride[1];",
            "static_cast<T*>(image.data) + static_cast<uint16_t>(tile.n * image.stride[0] +\n"
            "                  tile.row_begin * image.stride[2] + tile.channel_begin * image.stride[1]);",
        ),
        "shared/thresholds.py::test_rows_of_a_large_image_are_copied_and_given_back",
        _IMAGE,
    ),
)
