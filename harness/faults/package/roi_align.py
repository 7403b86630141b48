"""Faults planted in the C++ of roi_align on the CPU. Offsets in 16 bits stand in for those in 32."""

from __future__ import annotations

import functools

from harness.faults.package.building import fault
from harness.kernels.compiling import Change
from harness.operators.arrays import Direction

_FORWARD: tuple[Direction, ...] = ("forward",)
_IMAGE: tuple[Direction, ...] = ("grad_image",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)
_NONE: tuple[Direction, ...] = ()  # shows in what is told to torch or to the user, not in a result

_fault = functools.partial(fault, "roi_align")

_SAMPLING, _TAPS, _TABLES = "csrc/roi_align/rule.h", "csrc/roi_align/taps.h", "csrc/roi_align/cpu/tables.cpp"
_POOLED, _GRAD_BOXES = "csrc/roi_align/cpu/forward.inl", "csrc/roi_align/cpu/grad_boxes.inl"
_GRAD_MAPS, _PLAN = "csrc/roi_align/cpu/grad_image.inl", "csrc/roi_align/cpu/plan.cpp"
_LARGEST, _BINDING = "csrc/roi_align/largest.h", "csrc/roi_align/torch_cpu.cpp"

FAULTS = (
    _fault(
        "roi_grid_one_too_many",
        "an adaptive grid of a whole size has a sample too many",
        Change(_SAMPLING, "whole + (bin > static_cast<T>(whole))", "whole + 1"),
        "shared/against_golden.py",
    ),
    _fault(
        "roi_size_before_scaling",
        "a side is scaled after its edges are subtracted: at whole sizes that is another adaptive grid",
        Change(_SAMPLING, "T size = end - start;", "T size = (a2 - a1) * scale;"),
        "shared/properties.py::test_property[roi_align-within_bound_where_the_rule_jumps_aligned_False-forward] "
        "shared/properties.py::test_property[roi_align-within_bound_where_the_rule_jumps_aligned_True-forward]",
    ),
    _fault(
        "roi_outside_not_counted",
        "the mean is over the samples in reach",
        Change(
            _TAPS,
            "const Acc samples = static_cast<Acc>(axis.grid);",
            "const Acc samples = static_cast<Acc>(span.end - span.begin);",
        ),
        "shared/against_golden.py",
    ),
    _fault(
        "roi_no_lower_band",
        "samples in the band above and left of the map are outside",
        Change(_SAMPLING, "samples_between(axis, base, T(-1)", "samples_between(axis, base, T(0)"),
        "shared/against_golden.py",
    ),
    _fault(
        "roi_read_past_the_edge",
        "a sample in the band behind the last pixel reads one past it",
        Change(_SAMPLING, "if (low >= length - 1) return", "if (low >= length) return"),
        "shared/against_golden.py",
    ),
    _fault(
        "roi_stretched_edge_moves",
        "the second edge of a box that is taken as one pixel long gets a gradient",
        Change(_SAMPLING, "  if (axis.stretched) return {scale, 0.0};\n", ""),
        "shared/properties.py::test_property[roi_align-within_bound_mode_avg-grad_boxes]",
        _BOXES,
    ),
    _fault(
        "roi_index_n_accepted",
        "an index of N passes the check and the kernel reads behind the maps",
        Change("csrc/roi_align/boxes.cpp", "image >= images", "image > images"),
        "shared/bad_input.py",
        _NONE,
    ),
    _fault(
        "roi_half_an_index",
        "an index of 0.5 is image 0",
        Change("csrc/roi_align/boxes.h", "return static_cast<double>(image) == index ? image : -1;", "return image;"),
        "shared/bad_input.py",
        _NONE,
    ),
    _fault(
        "roi_channels_last_upstream",
        "a block of channels reads the upstream gradient as if there were no others",
        Change(_GRAD_MAPS, ".row * bins * job.channels + unit.first;", ".row * bins * channels + unit.first;"),
        "roi_align/sizes.py",
        _IMAGE,
    ),
    _fault(
        "roi_offset_planes",
        "planes are taken for dense: wrong in a view of a larger map",
        Change(
            _POOLED,
            "+ image * map.stride[0], map.stride[1], map.stride[2]};",
            "+ image * map.stride[0], map.size[2] * map.stride[2], map.stride[2]};",
        ),
        "shared/properties.py::test_property[roi_align-every_layout-forward]",
        _FORWARD,
    ),
    _fault(
        "roi_columns_taken_for_dense",
        "a view of every second column is read as if it were all of them",
        Change(_BINDING, ": pixel == 1 || map.size(3) == 1;", ": pixel >= 1;"),
        "shared/layouts.py::test_views_give_the_bits_of_their_copies",
    ),
    _fault(
        "roi_slopes_in_float",
        "the sums of a float64 box gradient pass through float32",
        Change(
            _GRAD_BOXES,
            "first[c] += slope.first * static_cast<double>(values[c])",
            "first[c] += slope.first * static_cast<float>(values[c])",
        ),
        "shared/properties.py::test_property[roi_align-within_bound_mode_avg-grad_boxes]",
        _BOXES,
    ),
    _fault(
        "roi_blocks_overwrite",
        "blocks of channels write their share of a box's gradient to one place: all but the last are lost",
        Change(
            _GRAD_BOXES,
            "partial + (first / kBlock * static_cast<int64_t>(tables.boxes.size()) + box.row) * 4",
            "partial + box.row * 4",
        ),
        "shared/properties.py::test_property[roi_align-within_bound_many_channels-grad_boxes]",
        _BOXES,
    ),
    _fault(
        "roi_stale_map",
        "planes are added to as they were in memory",
        Change(
            _GRAD_MAPS,
            "  std::fill_n(rows.plane(unit.first), unit.channels * map.size[2] * map.size[3] * job.inner, T(0));\n",
            "",
        ),
        "shared/against_golden.py",
        _IMAGE,
    ),
    _fault(
        "roi_stale_index_column",
        "the index's column of the gradient keeps what was in memory",
        Change(_BINDING, "    rows[5 * row] = T(0);  // an index has no gradient\n", ""),
        "shared/thresholds.py::test_an_index_has_no_gradient_whatever_was_in_memory",
        _BOXES,
    ),
    _fault(
        "roi_lost_update",
        "the boxes of a map are shared out to the threads, which then own the same planes: the last one's sums stay",
        Change(
            _PLAN,
            "cut_map(maps, map, channels, block, 1, &work);",
            "cut_map(maps, map, channels, block, threads, &work);",
        ),
        "roi_align/multiscale.py::test_threads_and_instruction_sets_give_the_same_bits",
        _IMAGE,
    ),
    _fault(
        "roi_boxes_past_1024_of_image_0",
        "boxes past the 1024th are cut from the first image",
        Change(_TABLES, "box.image = key / kBands % images;", "box.image = row < 1024 ? key / kBands % images : 0;"),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "roi_boxes_in_16_bits",
        "a list of boxes counts to 65,535",
        Change(_TABLES, "box.row = row;", "box.row = static_cast<uint16_t>(row);"),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
    ),
    _fault(
        "roi_offsets_in_16_bits",
        "offsets into the output wrap at 2^16 elements, standing in for 2^32",
        Change(
            _POOLED,
            "crops + box.row * crop + unit.first * height * line;",
            "crops + static_cast<uint16_t>(box.row * crop + unit.first * height * line);",
        ),
        "shared/thresholds.py::test_many_boxes_give_what_each_gives_alone",
        _FORWARD,
    ),
    _fault(
        "roi_last_of_equal_samples",
        "the gradient of a maximum goes to the last of several that are equal",
        Change(_LARGEST, "!(other.value > best.value ||", "!(other.value >= best.value ||"),
        "shared/properties.py::test_property[roi_align-within_bound_mode_max-grad_image]",
        ("grad_image", "grad_boxes"),
    ),
)
