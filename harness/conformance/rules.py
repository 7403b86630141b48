"""The rule behind each property, in the words of docs/operators.md, for the page of libraries.

A reader of the page needs the reason why a value is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.operators.arrays import Direction
from harness.operators.sheet import OperatorName


@dataclass(frozen=True)
class Rule:
    """heading: of docs/operators.md; why: the rule in a sentence or two."""

    heading: str
    why: str


_OF_PROPERTIES: dict[tuple[OperatorName, str], Rule] = {
    ("crop_and_resize", "boxes outside"): Rule(
        "Sample positions",
        "A sample outside of [0, L-1] on either axis is the extrapolation value in every channel, and has no gradient.",
    ),
    ("crop_and_resize", "boxes without extent"): Rule(
        "Sample positions",
        "A box whose edges are equal gives a crop that is constant along that axis, an inverted one a flipped crop.",
    ),
    ("crop_and_resize", "nearest"): Rule(
        "Sample positions", "The nearest pixel is roundf(p), which rounds halves away from zero: 0.5 to 1, 2.5 to 3."
    ),
    ("roi_align", "boxes outside"): Rule(
        "roi_align",
        "A sample with p < -1 or p > L adds 0 and still counts in the mean; between, p is clamped to [0, L-1], so that "
        "the edge pixel is taken.",
    ),
    ("roi_align", "boxes without extent"): Rule(
        "roi_align",
        "Unless aligned a box is one pixel long at least. An aligned one has the size end - start, which may be 0 or "
        "negative; an adaptive grid then has no samples, and the result is 0.",
    ),
    ("roi_align", "adaptive grid"): Rule(
        "roi_align", "Where sampling_ratio is not positive, a bin has ceil(size / bins) samples along each axis."
    ),
    ("roi_align", "aligned"): Rule(
        "roi_align", "Aligned boxes are moved by half a pixel, and are not made one pixel long at least."
    ),
    ("roi_align", "maximum of samples"): Rule(
        "roi_align", "The maximum is that of the interpolated samples; a sample outside counts as 0."
    ),
    ("roi_align", "maximum of weighted pixels"): Rule(
        "roi_align",
        "ONNX's maximum is that of weight times pixel over the four pixels of every sample; what has no weight, and a "
        "sample outside, count as 0.",
    ),
}
# Properties that share the rule of another property.
_LIKE = {
    "within bound, maximum with a NaN": "maximum of samples",
    "within bound, mode max": "maximum of samples",
    "within bound, mode weighted_max": "maximum of weighted pixels",
}
_OF_KINDS: dict[str, Rule] = {
    "nothing to do": Rule("Bad input", "A call without boxes, channels or images has an empty result."),
    "bad boxes": Rule("Bad input", "A box that is NaN, infinite or overflows is outside: its crop is that of nothing."),
    "index of no image": Rule(
        "Bad input", "An index of no image is an error, or its crop is NaN; nothing is read there."
    ),
}
_OF_OPERATORS: dict[tuple[OperatorName, bool], Rule] = {
    ("crop_and_resize", True): Rule(
        "Sample positions",
        "Sample i of n lies at p = a1*(L-1) + i*(a2-a1)*(L-1)/(n-1), in the middle where n is 1, and its value is "
        "interpolated between the pixels beside it.",
    ),
    ("crop_and_resize", False): Rule(
        "Gradients",
        "A gradient is the derivative of the forward: each sample gives its share to the pixels it was made of.",
    ),
    ("roi_align", True): Rule(
        "roi_align",
        "A bin is the mean of its samples at p = start + k*bin + (j + 0.5)*bin/s, each interpolated between the pixels "
        "beside it.",
    ),
    ("roi_align", False): Rule(
        "roi_align",
        "The gradient is the derivative of the mean: each sample gives its share to the pixels it was made of.",
    ),
}


def rule_of(operator: OperatorName, property_: str, direction: Direction) -> Rule:
    """The rule behind a property, by default that of the operator's results."""
    default = _OF_OPERATORS[operator, direction == "forward"]
    property_ = _LIKE.get(property_, property_)
    return _OF_PROPERTIES.get((operator, property_)) or _OF_KINDS.get(property_) or default
