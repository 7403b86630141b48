"""One property per feature of a library, such as an adaptive grid or boxes outside the image.

Other properties draw everything that is declared at once, and find errors that need a combination; their failures do
not say which feature is broken. Here only one feature can fail.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from harness.operators import AnyCase, within
from harness.operators.arrays import DIRECTIONS, SINGLE_AND_DOUBLE
from harness.operators.crop_and_resize.case import Case
from harness.operators.drawing import UndeclaredError
from harness.operators.sheet import Empty, OperatorName, Sheet
from harness.properties import Property
from harness.properties.bounds import bound, within_bound

_PLAIN: dict[str, Any] = {
    "image_dtypes": SINGLE_AND_DOUBLE,
    "values": ["normal"],
    "empty": (),
    "extent": "positive",
    "longest_side": 12,
}
_SEVERAL = (2, 7)
_BILINEAR: dict[str, Any] = {"methods": ["bilinear"], "crop_sides": _SEVERAL}
_FIXED = {"modes": ["avg"], "ratios": [1, 2, 3]}
# (name, end of the sentence, choices) for each operator.
_FEATURES: dict[OperatorName, tuple[tuple[str, str, dict[str, Any]], ...]] = {
    "crop_and_resize": (
        ("boxes inside", "of boxes inside of the image", {"box_families": ["interior"], **_BILINEAR}),
        (
            "one sample an axis",
            "of a crop of one sample, which lies in the middle of its box",
            {"box_families": ["interior"], "methods": ["bilinear"], "crop_sides": (1, 1)},
        ),
        (
            "nearest",
            "by the nearest pixel",
            {"box_families": ["interior"], "methods": ["nearest"], "crop_sides": _SEVERAL},
        ),
        (
            "boxes outside",
            "of boxes that reach over the edge, or lie beyond it",
            {"box_families": ["partly_outside", "outside"], **_BILINEAR},
        ),
        (
            "boxes without extent",
            "of boxes that are empty or inverted",
            {"box_families": ["zero_area", "inverted"], "extent": "any", **_BILINEAR},
        ),
    ),
    "roi_align": (
        ("boxes inside", "of boxes inside of the map", {"box_families": ["interior"], "aligned": [False], **_FIXED}),
        ("aligned", "where boxes are aligned with pixels", {"box_families": ["interior"], "aligned": [True], **_FIXED}),
        (
            "maximum of samples",
            "of the largest sample",
            {"box_families": ["interior"], "modes": ["max"], "ratios": [1, 2, 3]},
        ),
        (
            "maximum of weighted pixels",
            "of the largest pixel times its weight, which is ONNX's maximum",
            {"box_families": ["interior"], "modes": ["weighted_max"], "ratios": [1, 2, 3]},
        ),
        (
            "adaptive grid",
            "with as many samples as a bin has pixels",
            {"box_families": ["interior"], "modes": ["avg"], "ratios": [0, -1]},
        ),
        (
            "boxes outside",
            "of boxes that reach over the edge, or lie beyond it",
            {"box_families": ["lower_band", "upper_band", "covering", "outside"], **_FIXED},
        ),
        (
            "boxes without extent",
            "of boxes that are empty or inverted",
            {"box_families": ["zero_size", "inverted"], "modes": ["avg"], "extent": "any"},
        ),
    ),
}


def _features(operator: OperatorName) -> tuple[Property, ...]:
    """One property for each feature of the operator."""
    return (
        *(
            bound(
                operator,
                name,
                f"every output {says} is right",
                2,
                ("forward",) if choices.get("modes") == ["weighted_max"] else DIRECTIONS,
                **{**_PLAIN, **choices},
            )
            for name, says, choices in _FEATURES[operator]
        ),
        Property(
            "nothing to do",
            "a call without boxes, channels or images has an empty result, and gradients of 0",
            operator,
            DIRECTIONS,
            _without,
            within_bound,
            share=4,
            is_oracles=True,
        ),
    )


def _without(sheet: Sheet) -> SearchStrategy[Any]:
    """Cases without boxes, channels or images, as far as the sheet declares them."""
    if not sheet.empty:
        raise UndeclaredError("empty: none of boxes, channels and images may be missing")
    return st.builds(_empty_case, within(sheet, empty=()), st.sampled_from(sheet.empty))


def _empty_case(case: AnyCase, kind: Empty) -> AnyCase:
    images, channels, height, width = case.shape
    if kind == "channels":
        return replace(case, shape=(images, 0, height, width))
    per_box: dict[str, Any] = {"boxes": (), **({"box_indices": ()} if isinstance(case, Case) else {})}
    return replace(case, shape=(images if kind == "boxes" else 0, channels, height, width), **per_box)


PROPERTIES = (*_features("crop_and_resize"), *_features("roi_align"))
