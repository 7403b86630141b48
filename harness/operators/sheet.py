"""What an implementation declares of itself: its capability sheet.

A judge that asks for everything fails everybody, and one that forgives a refusal cannot tell "not meant to" from
"broken". So each implementation says what it does. What it does not declare is skipped and listed; what it declares has
to work.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from harness.operators.arrays import DIRECTIONS, FLOATS, LAYOUTS, Direction, Layout
from harness.operators.crop_and_resize.case import BOX_RULES, METHODS, BoxRule, Method
from harness.operators.roi_align.case import MODES, Mode

OperatorName = Literal["crop_and_resize", "roi_align"]
Border = Literal["rule", "zero", "inside"]
BadInput = Literal["boxes", "indices"]
Grid = Literal["fixed", "adaptive"]

# Beyond this a finite box counts as bad input.
LARGEST = 2.0**20
INTEGERS = ("uint8", "int8", "uint16", "int16", "int32", "int64")


@dataclass(frozen=True)
class Sheet:
    """What one implementation of one operator can be asked for.

    directions    the results it has: "forward" and the gradients it knows.
    device        torch's name of the device that it runs on.
    border        "rule": the operator's own (crop_and_resize: any extrapolation value outside of [0, L-1]; roi_align:
                  the edge pixel down to -1 and up to L, 0 beyond). "zero": crop_and_resize with 0 outside, and no
                  parameter for it. "inside": only boxes whose samples lie inside of the image.
    bad_input     "boxes": those that are NaN, infinite or overflow are outside. "indices": one of no image is refused,
                  or its crop is NaN.
    same_dtype    whether boxes must be of the image's own dtype.
    empty         whether no boxes, no channels and no images are taken.
    methods, box_rules, index_dtypes   crop_and_resize's; modes, grids and aligned are roi_align's.
    special_values   whether a pixel that has no weight may be NaN or infinite: multiplied by 0 it would show.
    pinned        the directions whose sample positions are rounded in the pinned order: no ambiguity is excused there.
    tensorflow_bits  the directions whose results are TensorFlow's in every bit, for float32 images and boxes.
    layout_order  the directions that are summed in another order in another layout or image dtype: there these agree
                  within bounds and not in every bit.
    unordered     the directions that are summed in no fixed order: the same call may give other bits each time.
    """

    operator: OperatorName
    directions: tuple[Direction, ...] = ("forward",)
    device: str = "cpu"
    image_dtypes: tuple[str, ...] = ("float32",)
    boxes_dtypes: tuple[str, ...] = ("float32",)
    index_dtypes: tuple[str, ...] = ("int64",)
    layouts: tuple[Layout, ...] = ("contiguous",)
    border: Border = "rule"
    bad_input: tuple[BadInput, ...] = ()
    same_dtype: bool = False
    empty: bool = False
    special_values: bool = False
    methods: tuple[Method, ...] = ("bilinear",)
    box_rules: tuple[BoxRule, ...] = ("normalized",)
    modes: tuple[Mode, ...] = ("avg",)
    grids: tuple[Grid, ...] = ("fixed",)
    aligned: tuple[bool, ...] = (True, False)
    pinned: tuple[Direction, ...] = ()
    tensorflow_bits: tuple[Direction, ...] = ()
    layout_order: tuple[Direction, ...] = ()
    unordered: tuple[Direction, ...] = ()

    @property
    def usual_image(self) -> str:
        """The dtype of an image whose dtype plays no part: float32 where that is declared."""
        return "float32" if "float32" in self.image_dtypes else self.image_dtypes[0]

    @property
    def usual_boxes(self) -> str:
        """The dtype of boxes beside such an image."""
        return self.usual_image if self.same_dtype else self.boxes_dtypes[0]


_CHOICES: dict[str, tuple[Any, ...]] = {
    "operator": get_args(OperatorName),
    "directions": DIRECTIONS,
    "image_dtypes": (*FLOATS, *INTEGERS),
    "boxes_dtypes": FLOATS,
    "index_dtypes": ("int32", "int64"),
    "layouts": LAYOUTS,
    "border": get_args(Border),
    "bad_input": get_args(BadInput),
    "methods": METHODS,
    "box_rules": BOX_RULES,
    "modes": MODES,
    "grids": get_args(Grid),
    "pinned": DIRECTIONS,
    "tensorflow_bits": DIRECTIONS,
    "layout_order": DIRECTIONS,
    "unordered": DIRECTIONS,
}


def read(declared: Any, of: str) -> Sheet:
    """The sheet that a dict of its fields declares; ValueError for what is no field, or no choice of one.

    of: whose it is, for the sentence.
    """
    if not isinstance(declared, dict) or "operator" not in declared:
        raise ValueError(
            f"{of} declares {declared!r}; a capability sheet is a dict that names at least its operator, such as "
            '{"operator": "roi_align", "directions": ["forward", "grad_image"]}.'
        )
    known = {field.name: field for field in fields(Sheet)}
    made: dict[str, Any] = {}
    for name, value in declared.items():
        if name not in known:
            raise ValueError(f"{of} declares {name!r}, which no sheet has; there are {', '.join(known)}.")
        example: Any = known[name].default
        many = isinstance(example, tuple)
        if many and (isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset))):
            raise ValueError(f"{of} declares {name} = {value!r}; it is a list, such as {list(example)!r}.")
        for each in value if many else [value]:
            if name in _CHOICES and each not in _CHOICES[name]:
                raise ValueError(
                    f"{of} declares {each!r} under {name}; it can be {', '.join(map(repr, _CHOICES[name]))}."
                )
        if isinstance(example, bool) and not isinstance(value, bool):
            raise ValueError(f"{of} declares {name} = {value!r}; it is True or False.")
        made[name] = tuple(value) if many else value
    if {"max", "weighted_max"} <= set(made.get("modes", ())):
        raise ValueError(
            f'{of} declares both "max" and "weighted_max" under modes: the maximum of samples and that of weighted '
            'pixels. A function has one of them, and is called with mode="max" for either.'
        )
    return Sheet(**made)
