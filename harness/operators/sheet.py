"""What an implementation declares of itself: its capability sheet.

A judge that asks for everything fails everybody, and one that forgives a refusal cannot tell "not meant to" from
"broken". So each implementation says what it does. What it does not declare is skipped and listed; what it declares has
to work.
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
# Beyond this a finite box counts as bad input.
LARGEST = 2.0**20
# A call that takes longer is taken for one that never ends; where there is more to do it is granted more.
LIMIT_S = 30.0
INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "int64")


@dataclass(frozen=True)
class Sheet:
    """What one implementation of one operator can be asked for.

    directions    the results it has: "forward" and the gradients it knows.
    device        torch's name of the device that it runs on.
    title, version   what tables call it; without a title, its name and torch's version.
    limit         seconds that a call on a small case may take before it counts as one that never ends.
    compiles      whether it is compiled anew for each shape: it is asked for a tenth of the cases.
    image_dtypes, boxes_dtypes, index_dtypes   what is taken; the last is crop_and_resize's.
    same_dtype    whether boxes must be of the image's own dtype.
    gradient_dtypes  the images that have a gradient; () for all floating ones of image_dtypes.
    scale_dtype   roi_align: "float32" if the scale is held in float32 whatever the boxes' dtype.
    layouts       how an image may lie in memory.
    boxes_layouts, upstream_layouts   likewise of boxes with their indices, and of the upstream gradient. A caller may
                  hand over any of them, so that all are declared unless a sheet says otherwise.
    border        "rule": the operator's own (crop_and_resize: any extrapolation value outside of [0, L-1]; roi_align:
                  the edge pixel down to -1 and up to L, 0 beyond). "zero": crop_and_resize with 0 outside, and no
                  parameter for it. "inside": only boxes whose samples lie inside of the image.
    extent        "any": boxes may be empty or inverted. "positive": x1 < x2 and y1 < y2. "positive where adaptive": so
                  where the size of an aligned box makes the grid.
    largest       the largest coordinate of a box that is no bad input.
    bad_input     "boxes": those that are NaN, infinite or overflow are outside. "indices": one of no image is refused,
                  or its crop is NaN.
    empty         of what there may be none: "boxes", "channels", "images".
    one_box       whether it takes one box a call: it is called for each, and the results are put together.
    methods, box_rules   crop_and_resize's; modes, grids and aligned are roi_align's.
    special_values   the directions in which a pixel that has no weight may be NaN or infinite: multiplied by 0 it would
                  show.
    pinned        the directions whose sample positions are rounded in the pinned order: no ambiguity is excused there.
    tensorflow_bits  the directions whose results are TensorFlow's in every bit, for float32 images and boxes.
    layout_bits   the directions whose bits do not depend on the memory that an image lies in, or on whether it is a
                  half; elsewhere two such results are within bounds of each other.
    list_bits     the directions in which a box and a channel have the same bits whatever else is in the call.
    unordered     the directions that are summed in no fixed order: the same call may give other bits each time.
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
        """The types that hold the scale of a call exactly, any of which will do."""
        return ("float32",) if self.scale_dtype == "float32" else ("float32", "float64")

    @property
    def usual_image(self) -> str:
        """The dtype of an image whose dtype plays no part: float32 where that is declared."""
        return "float32" if "float32" in self.image_dtypes else self.image_dtypes[0]

    @property
    def usual_boxes(self) -> str:
        """The dtype of boxes beside such an image."""
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
# Nothing can be asked for where one of these has no choice.
_NEVER_EMPTY = ("directions", "image_dtypes", "boxes_dtypes", "index_dtypes", "layouts", "modes", "grids", "aligned")


def read(declared: Any, of: str) -> Sheet:
    """The sheet that a dict of its fields declares; ValueError for what is no field, or no choice of one.

    of: whose it is, for the sentence.
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
