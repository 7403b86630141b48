"""Properties against the oracle: every output is within its own bound, and a call has no side effects.

Half types have properties of their own, so that they take no cases from the others, and only values that cause
rounding; relations.py ties all of their geometry to float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.judging.trial import judge_case, side_effect
from harness.operators import AnyCase, operator_of, within
from harness.operators.arrays import DIRECTIONS, HALVES, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators.crop_and_resize.case import BOX_RULES
from harness.operators.implementation import Backend
from harness.operators.roi_align import strategy
from harness.operators.roi_align.case import MODES
from harness.operators.sheet import INTEGERS, OperatorName, Sheet
from harness.operators.verdict import Status, Verdict
from harness.properties import Property, ask, may_ask

ROUNDING_VALUES = ["normal", "wide", "ramp", "dyadic", "inf_pixel"]
JUMPS = ["lower_band", "upper_band", "border", "on_pixel", "whole_bins"]


def within_bound(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
    may_ask(backend, case.inputs(), direction)
    return judge_case(backend, case, direction)


def reached_within_bound(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
    """Checks only the pixels of an image gradient that are not zero, or should not be: most of a large image is out of
    reach of its few boxes."""
    may_ask(backend, case.inputs(), direction)
    places = None
    if direction == "grad_image":
        gradient = ask(backend, case.inputs(), direction)
        mask = gradient != 0
        mask.transpose(0, 2, 3, 1)[_reached(case)] = True
        places = [tuple(place) for place in np.argwhere(mask).tolist()]
    return judge_case(backend, case, direction, places)


def _reached(case: AnyCase) -> tuple[Array, ...]:
    """The pixels (n, y, x) that samples read."""
    inputs = case.inputs()
    n, _, height, width = inputs.image.shape
    return np.unravel_index(operator_of(case).reach(inputs).pixels, (n, height, width))


def no_side_effect(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
    may_ask(backend, case.inputs(), direction)
    effect = side_effect(backend, case, direction)
    return Verdict(Status.HOLDS) if effect is None else Verdict(Status.BROKEN, reason=effect)


def bound(
    operator: OperatorName,
    name: str,
    says: str,
    share: int = 1,
    directions: tuple[Direction, ...] = DIRECTIONS,
    **choices: Any,
) -> Property:
    def cases(sheet: Sheet) -> SearchStrategy[Any]:
        return within(sheet, **choices)

    return Property(name, says, operator, directions, cases, within_bound, share=share, is_oracles=True)


_MANY = "as many channels as vectors and blocks have, and a few more or fewer"
_CROPS = (
    *(
        bound(
            "crop_and_resize",
            f"within bound, {rule} boxes",
            f"every output lies within the oracle's bound, under the box rule {rule}",
            box_rules=[rule],
            methods=["bilinear", "nearest"] if rule == "normalized" else ["bilinear"],
            image_dtypes=SINGLE_AND_DOUBLE,
        )
        for rule in BOX_RULES
    ),
    *(
        bound(
            "crop_and_resize",
            f"within bound, {half} images",
            "half images are interpolated and summed in float32 and rounded once",
            share=2,
            box_rules=BOX_RULES,
            methods=["bilinear"],
            image_dtypes=[half],
            values=ROUNDING_VALUES,
            finite_boxes=True,
            empty=(),
        )
        for half in HALVES
    ),
    Property(
        "within bound, large coordinates",
        "where positions are large one ulp of them is many bounds: the pinned order shows, or does not",
        "crop_and_resize",
        DIRECTIONS,
        lambda sheet: within(
            sheet,
            longest_side=600,
            values=["normal"],
            layouts=["contiguous"],
            most_outputs=200,
            image_dtypes=SINGLE_AND_DOUBLE,
        ),
        reached_within_bound,
        is_oracles=True,
    ),
    bound(
        "crop_and_resize",
        "within bound, many channels",
        _MANY,
        share=2,
        channels=(8, 9, 16, 23),
        longest_side=6,
        most_outputs=2000,
    ),
)
_POOLS = (
    *(
        bound(
            "roi_align",
            f"within bound, mode {mode}",
            f"every output lies within the oracle's bound, in mode {mode}",
            directions=("forward",) if mode == "weighted_max" else DIRECTIONS,
            modes=[mode],
            image_dtypes=SINGLE_AND_DOUBLE,
        )
        for mode in MODES
    ),
    bound(
        "roi_align",
        "within bound, maximum with a NaN",
        "a maximum of samples is NaN if one of them is, whichever sample that is",
        share=2,
        directions=("forward",),
        modes=["max"],
        ratios=[2, 3],
        values=["nan_pixel"],
        box_families=["interior"],
        longest_side=4,
        channels=(1, 3, 20),
        image_dtypes=SINGLE_AND_DOUBLE,
    ),
    bound(
        "roi_align",
        "within bound, plain float32",
        "likewise, where nothing but the operator itself decides, and which every peer takes",
        modes=["avg"],
        image_dtypes=["float32"],
        boxes_dtypes=["float32"],
        values=["normal"],
        empty=(),
    ),
    *(
        bound(
            "roi_align",
            f"within bound, {half} maps",
            "half maps are interpolated and summed in float32 and rounded once",
            share=2,
            image_dtypes=[half],
            values=ROUNDING_VALUES,
            empty=(),
        )
        for half in HALVES
    ),
    *(
        bound(
            "roi_align",
            f"within bound where the rule jumps, aligned={aligned}",
            "in the bands beside the map, on their ends, and at whole sizes of an adaptive grid",
            aligned=[aligned],
            box_families=JUMPS,
            image_dtypes=SINGLE_AND_DOUBLE,
            values=["normal"],
            empty=(),
        )
        for aligned in (False, True)
    ),
    bound(
        "roi_align",
        "within bound, many channels",
        _MANY,
        share=2,
        channels=(8, 15, 16, 19, 33, 70),
        longest_side=8,
        most_outputs=700,
        box_families=strategy.SMOOTH_FAMILIES,
    ),
)


_SPECIAL_PIXELS: dict[str, Any] = {
    "image_dtypes": SINGLE_AND_DOUBLE,
    "values": ["nan_pixel", "inf_pixel"],
    "longest_side": 4,
    "empty": (),
}


def _unread(operator: OperatorName, **choices: Any) -> Property:
    return bound(
        operator,
        "within bound, samples on pixels",
        "beside a sample that lies on a pixel a NaN or an infinity is not read, though it would be weighed with 0",
        box_families=["on_pixel", "border"],
        **_SPECIAL_PIXELS,
        **choices,
    )


def _unread_once_cast() -> Property:
    return bound(
        "roi_align",
        "within bound, samples an ulp below pixels",
        "nor beside a sample whose distance from its pixel is lost where it is cast to the type of the sum",
        share=2,
        scales=[1.0],
        ratios=[1],
        boxes_dtypes=["float64"],
        **{**_SPECIAL_PIXELS, "image_dtypes": ["float32"], "box_families": [strategy.BELOW_PIXEL]},
    )


def _effects(operator: OperatorName) -> Property:
    return Property(
        "no side effect",
        "a call writes to no input, shares no memory with the one before, and gives the same again",
        operator,
        DIRECTIONS,
        within,
        no_side_effect,
        share=4,
    )


def _integers(operator: OperatorName) -> Property:
    return Property(
        "within bound, integer images",
        "integer pixels are cast to float32, and rounded nowhere else",
        operator,
        ("forward", "grad_boxes"),
        lambda sheet: within(sheet, image_dtypes=INTEGERS),
        within_bound,
        share=2,
        is_oracles=True,
    )


PROPERTIES = (
    *_CROPS,
    _unread("crop_and_resize"),
    _integers("crop_and_resize"),
    _effects("crop_and_resize"),
    *_POOLS,
    _unread("roi_align", scales=[1.0], ratios=[1, 2]),
    _unread_once_cast(),
    _integers("roi_align"),
    _effects("roi_align"),
)
