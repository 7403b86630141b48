"""Capability sheets: what an implementation declares that it supports.

A judge that demands everything fails every implementation, and one that forgives every refusal cannot tell "not
supported" from "broken". So each implementation declares its capabilities. Undeclared features are skipped and listed;
declared ones have to work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, STRIDES, Direction, Layout, Strides
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, BoxRule, Method
from harness.operators.roi_align.case import MODES, Mode

OperatorName = Literal["crop_and_resize", "roi_align"]
Border = Literal["rule", "zero", "inside"]
BadInput = Literal["boxes", "indices"]
Grid = Literal["fixed", "adaptive"]
Extent = Literal["any", "positive", "positive where adaptive"]
Empty = Literal["boxes", "channels", "images"]

EMPTY: tuple[Empty, ...] = get_args(Empty)
# Finite boxes beyond this count as bad input.
LARGEST = 2.0**20
# A call that takes longer counts as a hang; larger calls get more time.
LIMIT_S = 30.0
INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "int64")


@dataclass(frozen=True)
class Sheet:
    """The capabilities of one implementation of one operator.

    directions    the results it computes: "forward" and its gradients.
    device        torch's name for the device that it runs on.
    title, version   its name in tables; without a title, its backend name and torch's version.
    limit         seconds that a call on a small case may take before it counts as a hang.
    compiles      whether it compiles for each shape: it gets a tenth of the cases.
    image_dtypes, boxes_dtypes, index_dtypes   the dtypes that it accepts; the last is for crop_and_resize only.
    same_dtype    whether boxes must have the image's dtype.
    gradient_dtypes  the image dtypes that have a gradient; () for all floating ones of image_dtypes.
    scale_dtype   roi_align: "float32" if the scale is held in float32 whatever the boxes' dtype.
    layouts       the supported memory layouts of an image.
    boxes_layouts, upstream_layouts   likewise for boxes with their indices, and for the upstream gradient. Callers may
                                      pass any of them, so all are declared unless a sheet says otherwise.
    border        "rule": the operator's own (crop_and_resize: any extrapolation value outside of [0, L-1]; roi_align:
                  the edge pixel down to -1 and up to L, 0 beyond). "zero": crop_and_resize with 0 outside, and no
                  parameter for it. "inside": only boxes whose samples lie inside of the image.
    extent        "any": boxes may be empty or inverted. "positive": x1 < x2 and y1 < y2. "positive where adaptive":
                  positive only where the size of an aligned box determines the grid.
    largest       the largest coordinate of a box that is not bad input.
    bad_input     "boxes": boxes that are NaN, infinite or overflow are outside. "indices": an invalid image index is
                  refused, or its crop is NaN.
    empty         the dimensions that may be 0: "boxes", "channels", "images".
    one_box       whether it accepts one box per call: it is called once per box, and the results are concatenated.
    methods, box_rules   for crop_and_resize; modes, grids and aligned are for roi_align.
    special_values   the directions in which a pixel of weight 0 may be NaN or infinite without affecting the result.
    pinned        the directions whose sample positions, and in crop_and_resize whose interpolation, are rounded in the
                  pinned order: no value may be ambiguous there.
    tensorflow_bits  the directions whose results equal TensorFlow's in every bit, for float32 images and boxes.
    layout_bits   the directions whose bits do not depend on the image's memory layout, or on whether it is a half; in
                  other directions two such results are within bounds of each other.
    list_bits     the directions in which the bits for a box and channel do not depend on the rest of the call.
    unordered     the directions without a fixed order of summation: the same call may give different bits each time.
    """

    operator: OperatorName
    directions: tuple[Direction, ...] = ("forward",)
    device: str = "cpu"
    title: str = ""
    version: str = ""
    limit: float = LIMIT_S
    compiles: bool = False
    image_dtypes: tuple[str, ...] = ("float32",)
    boxes_dtypes: tuple[str, ...] = ("float32",)
    index_dtypes: tuple[str, ...] = ("int64",)
    same_dtype: bool = False
    gradient_dtypes: tuple[str, ...] = ()
    scale_dtype: str = "float64"
    layouts: tuple[Layout, ...] = ("contiguous",)
    boxes_layouts: tuple[Strides, ...] = STRIDES
    upstream_layouts: tuple[Strides, ...] = STRIDES
    border: Border = "rule"
    extent: Extent = "any"
    largest: float = LARGEST
    bad_input: tuple[BadInput, ...] = ()
    empty: tuple[Empty, ...] = ()
    one_box: bool = False
    special_values: tuple[Direction, ...] = ()
    methods: tuple[Method, ...] = ("bilinear",)
    box_rules: tuple[BoxRule, ...] = ("normalized",)
    modes: tuple[Mode, ...] = ("avg",)
    grids: tuple[Grid, ...] = ("fixed",)
    aligned: tuple[bool, ...] = (True, False)
    pinned: tuple[Direction, ...] = ()
    tensorflow_bits: tuple[Direction, ...] = ()
    layout_bits: tuple[Direction, ...] = ()
    list_bits: tuple[Direction, ...] = ()
    unordered: tuple[Direction, ...] = ()

    @property
    def scale_dtypes(self) -> tuple[str, ...]:
        """The dtypes that may hold the scale of a call: float32, or float32 and float64."""
        return ("float32",) if self.scale_dtype == "float32" else ("float32", "float64")

    @property
    def usual_image(self) -> str:
        """The image dtype for checks that do not depend on it: float32 if declared."""
        return "float32" if "float32" in self.image_dtypes else self.image_dtypes[0]

    @property
    def usual_boxes(self) -> str:
        """The dtype of boxes that go with `usual_image`."""
        return self.usual_image if self.same_dtype else self.boxes_dtypes[0]


CHOICES: dict[str, tuple[Any, ...]] = {
    "operator": get_args(OperatorName),
    "image_dtypes": (*FLOATS, *INTEGERS),
    "boxes_dtypes": FLOATS,
    "index_dtypes": ("int32", "int64"),
    "gradient_dtypes": FLOATS,
    "scale_dtype": ("float32", "float64"),
    "layouts": LAYOUTS,
    "border": get_args(Border),
    "extent": get_args(Extent),
    "bad_input": get_args(BadInput),
    "empty": EMPTY,
    "methods": METHODS,
    "box_rules": BOX_RULES,
    "modes": MODES,
    "grids": get_args(Grid),
    "aligned": (True, False),
    **dict.fromkeys(("boxes_layouts", "upstream_layouts"), STRIDES),
    **dict.fromkeys(
        ("directions", "special_values", "pinned", "tensorflow_bits", "layout_bits", "list_bits", "unordered"),
        DIRECTIONS,
    ),
}
# Without a choice for each of these no call is possible.
_NEVER_EMPTY = ("directions", "image_dtypes", "boxes_dtypes", "index_dtypes", "layouts", "modes", "grids", "aligned")


def read(declared: Any, of: str) -> Sheet:
    """The sheet that a dict of fields declares; ValueError for an unknown field or value.

    of: the owner of the sheet, for the error message.
    """
    if not isinstance(declared, dict) or "operator" not in declared:
        raise ValueError(
            f"{of} declares {declared!r}; a capability sheet is a dict that names at least its operator, such as "
            '{"operator": "roi_align", "directions": ["forward", "grad_image"]}.'
        )
    by_name = {field.name: field for field in fields(Sheet)}
    values: dict[str, Any] = {}
    for name, value in declared.items():
        if name not in by_name:
            raise ValueError(f"{of} declares {name!r}, which no sheet has; there are {', '.join(by_name)}.")
        example: Any = by_name[name].default
        many = isinstance(example, tuple)
        if many and (isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset))):
            usual = list(example or CHOICES[name][:1])
            raise ValueError(f"{of} declares {name} = {value!r}; it is a list, such as {usual!r}.")
        if name in _NEVER_EMPTY and not value:
            raise ValueError(f"{of} declares nothing under {name}; it can be {', '.join(map(repr, CHOICES[name]))}.")
        for each in value if many else [value]:
            if name in CHOICES and each not in CHOICES[name]:
                raise ValueError(
                    f"{of} declares {each!r} under {name}; it can be {', '.join(map(repr, CHOICES[name]))}."
                )
        if isinstance(example, bool) and not isinstance(value, bool):
            raise ValueError(f"{of} declares {name} = {value!r}; it is True or False.")
        if isinstance(example, float) and not (type(value) in (int, float) and value > 0):
            raise ValueError(f"{of} declares {name} = {value!r}; it is a number above 0, such as {example:g}.")
        if isinstance(example, str) and not isinstance(value, str):
            raise ValueError(f"{of} declares {name} = {value!r}; it is a string.")
        values[name] = tuple(value) if many else value
    if {"max", "weighted_max"} <= set(values.get("modes", ())):
        raise ValueError(
            f'{of} declares both "max" and "weighted_max" under modes: the maximum of samples and that of weighted '
            'pixels. A function has one of them, and is called with mode="max" for either.'
        )
    return Sheet(**values)
