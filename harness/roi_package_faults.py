"""Faults planted in the package's roi_align; see package_faults.py."""

from __future__ import annotations

from harness.case import DIRECTIONS, Direction
from harness.compiling import Change
from harness.faulty_package import PackageFault

_FORWARD: tuple[Direction, ...] = ("forward",)
_MAPS: tuple[Direction, ...] = ("grad_image",)
_BOXES: tuple[Direction, ...] = ("grad_boxes",)
_NONE: tuple[Direction, ...] = ()


def _fault(
    name: str, why: str, change: Change, suites: str, directions: tuple[Direction, ...] = DIRECTIONS
) -> PackageFault:
    """`suites` as pytest takes them, without their folder and the prefix test_."""
    places = tuple(f"suites/correctness/test_{place}" for place in suites.split())
    return PackageFault(f"roi_{name}", why, "roi_align", (change,), places, directions)


_SAMPLING, _TAPS, _TABLES = "csrc/roi_sampling.h", "csrc/roi_taps.h", "csrc/cpu/roi_tables.cpp"
_POOLED, _GRAD_MAPS, _GRAD_BOXES = (
    "csrc/cpu/roi_forward.inl",
    "csrc/cpu/roi_grad_maps.inl",
    "csrc/cpu/roi_grad_boxes.inl",
)
_PLAN, _MAX, _BINDING = "csrc/cpu/roi_plan.cpp", "csrc/cpu/roi_max.cpp", "csrc/torch_roi.cpp"
_DERIVATIVES, _PYTHON = "roi_align/roi_derivatives.py", "roi_align/pooling.py"

_COMPILED = (
    _fault(
        "grid_one_too_many",
        "an adaptive grid of a whole size has a sample too many",
        Change(_SAMPLING, "whole + (bin > static_cast<T>(whole))", "whole + 1"),
        "roi_align_against_golden.py",
    ),
    _fault(
        "size_before_scaling",
        "a side is scaled after its edges are subtracted: at whole sizes that is another adaptive grid",
        Change(_SAMPLING, "T size = end - start;", "T size = (a2 - a1) * scale;"),
        "roi_align_against_oracle.py",
    ),
    _fault(
        "outside_not_counted",
        "the mean is over the samples in reach",
        Change(
            _TAPS,
            "const Acc samples = static_cast<Acc>(axis.grid);",
            "const Acc samples = static_cast<Acc>(span.end - span.begin);",
        ),
        "roi_align_against_golden.py",
    ),
    _fault(
        "no_lower_band",
        "samples in the band above and left of the map are outside",
        Change(_SAMPLING, "samples_between(axis, base, T(-1)", "samples_between(axis, base, T(0)"),
        "roi_align_against_golden.py",
    ),
    _fault(
        "read_past_the_edge",
        "a sample in the band behind the last pixel reads one past it",
        Change(_SAMPLING, "if (low >= length - 1) return", "if (low >= length) return"),
        "roi_align_against_golden.py",
    ),
    _fault(
        "stretched_edge_moves",
        "the second edge of a box that is taken as one pixel long gets a gradient",
        Change(_SAMPLING, "  if (axis.stretched) return {scale, 0.0};\n", ""),
        "roi_align_against_oracle.py",
        _BOXES,
    ),
    _fault(
        "index_n_accepted",
        "an index of N passes the check and the kernel reads behind the maps",
        Change(_TABLES, "image >= images", "image > images"),
        "roi_align_bad_input.py",
        _NONE,
    ),
    _fault(
        "half_an_index",
        "an index of 0.5 is image 0",
        Change("csrc/roi_rows.h", "return static_cast<double>(image) == index ? image : -1;", "return image;"),
        "roi_align_bad_input.py",
        _NONE,
    ),
    _fault(
        "channels_last_upstream",
        "a block of channels reads the upstream gradient as if there were no others",
        Change(_GRAD_MAPS, ".row * bins * job.channels + unit.first;", ".row * bins * channels + unit.first;"),
        "roi_align_sizes.py",
        _MAPS,
    ),
    _fault(
        "offset_planes",
        "planes are taken for dense: wrong in a view of a larger map",
        Change(
            _POOLED,
            "+ image * map.stride[0], map.stride[1], map.stride[2]};",
            "+ image * map.stride[0], map.size[2] * map.stride[2], map.stride[2]};",
        ),
        "roi_align_identities.py::test_every_layout_gives_the_same_bits",
        _FORWARD,
    ),
    _fault(
        "columns_taken_for_dense",
        "a view of every second column is read as if it were all of them",
        Change(_BINDING, ": pixel == 1 || map.size(3) == 1;", ": pixel >= 1;"),
        "views.py",
    ),
    _fault(
        "slopes_in_float",
        "the sums of a float64 box gradient pass through float32",
        Change(
            _GRAD_BOXES,
            "first[c] += slope.first * static_cast<double>(values[c])",
            "first[c] += slope.first * static_cast<float>(values[c])",
        ),
        "roi_align_against_oracle.py",
        _BOXES,
    ),
    _fault(
        "blocks_overwrite",
        "blocks of channels write their share of a box's gradient to one place: all but the last are lost",
        Change(
            _GRAD_BOXES,
            "partial + (first / kBlock * static_cast<int64_t>(tables.boxes.size()) + box.row) * 4",
            "partial + box.row * 4",
        ),
        "roi_align_against_oracle.py",
        _BOXES,
    ),
    _fault(
        "stale_map",
        "planes are added to as they were in memory",
        Change(
            _GRAD_MAPS,
            "  std::fill_n(rows.plane(unit.first), unit.channels * map.size[2] * map.size[3] * job.inner, T(0));\n",
            "",
        ),
        "roi_align_against_golden.py",
        _MAPS,
    ),
    _fault(
        "stale_index_column",
        "the index's column of the gradient keeps what was in memory",
        Change(_BINDING, "    rows[5 * row] = T(0);  // an index has no gradient\n", ""),
        "thresholds.py::test_an_index_has_no_gradient_whatever_was_in_memory",
        _BOXES,
    ),
    _fault(
        "lost_update",
        "the boxes of a map are shared out to the threads, which then own the same planes: the last one's sums stay",
        Change(
            _PLAN,
            "cut_map(maps, map, channels, block, 1, &work);",
            "cut_map(maps, map, channels, block, threads, &work);",
        ),
        "roi_align_registration.py::test_threads_and_instruction_sets_give_the_same_bits",
        _MAPS,
    ),
    _fault(
        "boxes_past_1024_of_image_0",
        "boxes past the 1024th are cut from the first image",
        Change(_TABLES, "box.image = key / kBands % images;", "box.image = row < 1024 ? key / kBands % images : 0;"),
        "thresholds.py::test_many_rois_give_what_each_gives_alone",
    ),
    _fault(
        "boxes_in_16_bits",
        "a list of boxes counts to 65,535",
        Change(_TABLES, "box.row = row;", "box.row = static_cast<uint16_t>(row);"),
        "thresholds.py::test_many_rois_give_what_each_gives_alone",
    ),
    _fault(
        "offsets_in_16_bits",
        "offsets into the output wrap at 2^16 elements, standing in for 2^32",
        Change(
            _POOLED,
            "crops + box.row * crop + unit.first * height * line;",
            "crops + static_cast<uint16_t>(box.row * crop + unit.first * height * line);",
        ),
        "thresholds.py::test_many_rois_give_what_each_gives_alone",
        _FORWARD,
    ),
    _fault(
        "last_of_equal_samples",
        "the gradient of a maximum goes to the last of several that are equal",
        Change(_MAX, "!(value > best.value || value != value)", "!(value >= best.value || value != value)"),
        "roi_align_against_oracle.py",
        ("grad_image", "grad_boxes"),
    ),
)

_IN_PYTHON = (
    _fault(
        "aligned_inverted",
        "aligned=True is not aligned",
        Change(
            _PYTHON,
            "Rule(index(sampling_ratio), bool(aligned), _code(mode)),",
            "Rule(index(sampling_ratio), not aligned, _code(mode)),",
        ),
        "roi_align_against_golden.py",
    ),
    _fault(
        "module_without_aligned",
        "TorchvisionRoIAlign takes aligned and drops it",
        Change("roi_align/pooling_modules.py", "self.sampling_ratio, self.aligned, mode", "self.sampling_ratio, mode"),
        "thresholds.py",
    ),
    _fault(
        "validate_ignored",
        "validate=True is looked at on CUDA only",
        Change(_PYTHON, "    if validate:\n", "    if validate and rows.is_cuda:\n"),
        "roi_align_bad_input.py",
        _NONE,
    ),
    _fault(
        "list_of_image_0",
        "all tensors of a list of boxes are taken for the first image's",
        Change(_PYTHON, "wide.new_full((wide.shape[0], 1), image)", "wide.new_zeros((wide.shape[0], 1))"),
        "roi_align_bad_input.py",
    ),
    _fault(
        "boxes_alone_get_nothing",
        "the gradient of the boxes is dropped where the maps need none",
        Change(
            _DERIVATIVES,
            "ctx.scales, ctx.rule) if of_boxes else None",
            "ctx.scales, ctx.rule) if of_boxes and of_features else None",
        ),
        "roi_align_against_oracle.py",
        _BOXES,
    ),
    _fault(
        "gradient_in_another_layout",
        "the layout of the maps is forgotten on the way back",
        Change(_DERIVATIVES, "ctx.last = channels_innermost(features[0])", "ctx.last = False"),
        "roi_align_registration.py::test_results_and_gradients_keep_the_layout",
        _MAPS,
    ),
    _fault(
        "second_derivative_of_the_mean",
        "the double backward of the maximum is the mean's",
        Change(
            _DERIVATIVES,
            "    if _is_mean(ctx.rule):\n        return roi_align(grad_grads, boxes, ctx.scales, height, width, ctx.rule)\n",
            "    if True:\n        return roi_align(grad_grads, boxes, ctx.scales, height, width, ctx.rule._replace(mode=0))\n",
        ),
        "multiscale_roi_align.py second_derivatives.py",
        _MAPS,
    ),
    _fault(
        "canonical_scale_ignored",
        "a pyramid's canonical_scale is always 224",
        Change(_PYTHON, "first, float(canonical_scale), index", "first, 224.0, index"),
        "multiscale_roi_align.py",
    ),
    _fault(
        "vmap_mixes_boxes",
        "a vmap moves indices on by one for each call, however many images it has",
        Change("roi_align/roi_batching.py", "[:, None, None] * images", "[:, None, None]"),
        "roi_align_registration.py::test_vmap_gives_the_bits_of_single_calls",
    ),
    _fault(
        "fake_without_layout",
        "a compiled graph is told that gradients are contiguous",
        Change(
            "roi_align/roi_library.py",
            "grad.shape[1], height, width), channels_last)",
            "grad.shape[1], height, width), False)",
        ),
        "roi_align_registration.py::test_opcheck",
        _NONE,
    ),
)

FAULTS = (*_COMPILED, *_IN_PYTHON)
