"""Metamorphic relations between calls, without an oracle: they find faults that the oracle might share.

Each changes the inputs in a way whose effect on the result is known exactly (lists.py, images.py): sums are avoided or
keep their order. Only if a sheet declares no fixed order of summation, or one that depends on the layout, may two sums
differ, by at most two bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis.strategies import SearchStrategy

from harness.operators import within
from harness.operators.arrays import DIRECTIONS, HALVES, SINGLE_AND_DOUBLE, Direction
from harness.operators.drawing import UndeclaredError
from harness.operators.implementation import Backend
from harness.operators.sheet import OperatorName, Sheet
from harness.properties import Property, for_both, images, lists, relation


def _relation(
    name: str,
    says: str,
    directions: tuple[Direction, ...],
    compare: Callable[[Backend[Any], Any, Direction], str | None],
    *,
    share: int = 1,
    needs: tuple[Direction, ...] = (),
    crops: dict[str, Any] | None = None,
    pools: dict[str, Any] | None = None,
    **both: Any,
) -> tuple[Property, ...]:
    """The relation as a property of each operator; `both` narrows their cases, `crops` and `pools` those of one."""
    choices = {"crop_and_resize": {**both, **(crops or {})}, "roi_align": {**both, **(pools or {})}}

    def define(operator: OperatorName) -> Property:
        def cases(sheet: Sheet) -> SearchStrategy[Any]:
            return within(sheet, **choices[operator])

        return Property(name, says, operator, directions, cases, relation(compare), needs, share)

    return for_both(define)


def _only_if(
    declares: Callable[[Sheet], bool], otherwise: str, properties: tuple[Property, ...]
) -> tuple[Property, ...]:
    """The properties, undeclared for a sheet that does not declare this; `otherwise` says so in words."""

    def narrowed(property_: Property) -> Property:
        def cases(sheet: Sheet) -> SearchStrategy[Any]:
            if not declares(sheet):
                raise UndeclaredError(otherwise)
            return property_.cases(sheet)

        return replace(property_, cases=cases)

    return tuple(map(narrowed, properties))


def _has_layouts(sheet: Sheet) -> bool:
    return not set(sheet.layouts) <= {"contiguous", "expanded"}


def _takes_lists(sheet: Sheet) -> bool:
    return not sheet.one_box


_FORWARD: tuple[Direction, ...] = ("forward",)
_OF_IMAGES: tuple[Direction, ...] = ("forward", "grad_image")
_GRADIENTS: tuple[Direction, ...] = ("grad_image", "grad_boxes")
_OF_BOXES: tuple[Direction, ...] = ("forward", "grad_boxes")
_SUMS: dict[str, Any] = {"values": ["normal"], "finite_boxes": True, "empty": ()}

PROPERTIES = (
    *_relation(
        "permuted boxes",
        "boxes in another order give their results in that order",
        _OF_BOXES,
        lists.permuted_boxes,
        finite_boxes=True,
        empty=(),
    ),
    *_relation(
        "permuted channels",
        "channels in another order give their results in that order",
        _OF_IMAGES,
        images.permuted_channels,
        finite_boxes=True,
        empty=(),
        pools={"modes": ["avg"]},
    ),
    *_relation(
        "split list",
        "a list of boxes in two parts gives the parts of the whole",
        _OF_BOXES,
        lists.split_boxes,
        finite_boxes=True,
        empty=(),
    ),
    *_relation(
        "box given twice",
        "a box given twice gives its crop twice",
        _FORWARD,
        lists.box_twice,
        finite_boxes=True,
        empty=(),
    ),
    *_relation(
        "halves are rounded once",
        "a half image gives the float32 result, rounded once; the gradient of its boxes is not rounded at all",
        DIRECTIONS,
        images.half_is_rounded_once,
        image_dtypes=HALVES,
        channels=(1, 3, 8, 17),
        layouts=["contiguous", "channels_last"],
    ),
    *_relation(
        "power of two",
        "an image or an upstream gradient times a power of two gives the result times that power",
        _OF_IMAGES,
        images.power_of_two,
        image_dtypes=["float32"],
        finite_boxes=True,
        empty=(),
        values=["normal"],
        crops={"boxes_dtypes": ["float32"]},
    ),
    *_only_if(
        _has_layouts,
        "layouts: none but contiguous is declared",
        _relation(
            "every layout",
            "the memory that an image lies in changes no bit: channels_last, views, as far as they are declared",
            DIRECTIONS,
            images.every_layout,
            layouts=["contiguous"],
            most_outputs=5000,
            crops={"channels": (1, 2, 3, 9, 16, 35)},
            pools={"channels": (1, 3, 8, 15, 16, 19, 70)},
        ),
    ),
    *_only_if(
        lambda sheet: sheet.upstream_layouts != ("contiguous",),
        "upstream_layouts: none but contiguous is declared",
        _relation(
            "upstream in the other layout",
            "the layout of the upstream gradient, which need not be that of the image, changes no bit",
            _GRADIENTS,
            images.upstream_in_the_other_layout,
            layouts=["contiguous", "channels_last"],
            upstream_layouts=["contiguous"],
            channels=(2, 3, 9, 16),
            empty=(),
            most_outputs=2000,
        ),
    ),
    *_relation(
        "expanded image",
        "an expanded image, all of whose images are one, gives what its copy gives",
        DIRECTIONS,
        images.expanded_is_its_copy,
        layouts=["expanded"],
        empty=(),
    ),
    *_relation(
        "adjoint",
        "the gradient of the image is the adjoint of the forward: <f(v), u> = <v, f'(u)>",
        ("grad_image",),
        images.adjoint,
        needs=_FORWARD,
        **_SUMS,
        pools={"modes": ["avg"]},
    ),
    # Long lists of a function of one box a call would be so many calls of it, joined by the harness.
    *_only_if(
        _takes_lists,
        "one_box: lists of boxes are not declared",
        _relation(
            "long list",
            "over 1,024 and over 65,535 boxes each gives what it gives among few",
            DIRECTIONS,
            lists.long_list,
            share=15,
            **_SUMS,
            image_dtypes=SINGLE_AND_DOUBLE,
            channels=(1,),
            most_outputs=12,
            longest_side=8,
        ),
    ),
)
