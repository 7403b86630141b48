"""A model of one RoiAlign, in ONNX's text format, for libraries that read models and have no function to call.

The scale is an attribute and therefore float32; a sampling ratio of 0 means an adaptive grid. The specification also
allows float16 and bfloat16 but does not define the rounding of their sums, so no sheet declares them.
"""

from __future__ import annotations

from harness.backends.peers.snippets import literal
from harness.operators.roi_align.case import RoiInputs

_TYPES = {"float32": "float", "float64": "double"}


def text(inputs: RoiInputs) -> str:
    """The model for the shapes, dtype and options of a call: its arguments are x, boxes and indices, its result is
    y."""
    boxes, shape = len(inputs.boxes), inputs.image.shape
    result = (boxes, shape[1], *inputs.output_size)
    of = _TYPES[inputs.image.dtype.name]
    attributes = {
        "mode": '"avg"' if inputs.mode == "avg" else '"max"',
        "output_height": inputs.output_size[0],
        "output_width": inputs.output_size[1],
        "sampling_ratio": max(inputs.sampling_ratio, 0),
        "spatial_scale": float(inputs.spatial_scale),
        "coordinate_transformation_mode": '"half_pixel"' if inputs.aligned else '"output_half_pixel"',
    }
    attribute_list = ", ".join(f"{name}={value}" for name, value in attributes.items())
    arguments = f"{of}[{_sizes(shape)}] x, {of}[{boxes}, 4] boxes, int64[{boxes}] indices"
    return (
        f'<ir_version: 9, opset_import: ["": 16]> model ({arguments}) => ({of}[{_sizes(result)}] y)'
        f" {{ y = RoiAlign <{attribute_list}> (x, boxes, indices) }}"
    )


def snippet(inputs: RoiInputs) -> tuple[str, ...]:
    """The lines that make the model, and x, boxes and indices for it."""
    signature, _, node = text(inputs).partition(" { ")
    return (
        "from onnx import parser",
        f"model = parser.parse_model('''{signature}",
        f"  {{ {node}''')",
        f"x = {literal(inputs.image)}",
        f"boxes = {literal(inputs.boxes[:, 1:])}",
        f"indices = {literal(inputs.boxes[:, 0].astype('int64'))}",
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
