"""The words of the page: a row for each thing that a user of detectors asks of RoIAlign, a word and a colour for each
answer.

A property of the suite belongs to exactly one row, so that no failure is lost on the way to the page and none is
counted twice. Colours are pairs of ground and ink whose contrast a test computes (WCAG 2.1, 1.4.3: at least 4.5:1).
"""

from __future__ import annotations

from dataclasses import dataclass

# Each row of the matrices, in their order, and the question behind it.
ROWS = {
    "forward": "The forward, for boxes inside the image.",
    "gradient": "The gradient of the image, for boxes inside the image.",
    "gradient of boxes": "The gradient of the boxes, for boxes inside the image.",
    "any box": "Lists that mix boxes of every kind, in all that is offered at once.",
    "aligned": "aligned=True: boxes shifted by half a pixel, and no least size of 1.",
    "adaptive grid": "sampling_ratio 0 or less: the size of the bin sets the number of samples.",
    "boxes in pixels": "The pixel boxes of RoIAlign.pytorch's class over crop_and_resize.",
    "box outside": "Boxes that lie across the border or beyond it.",
    "empty box": "Boxes without width or height.",
    "inverted box": "Boxes whose end lies before their start: a flipped crop.",
    "sample on a pixel": "Samples exactly on pixels, at the border, and where the rule jumps.",
    "nothing to do": "An empty list of boxes, no channels or no images: an empty result, a zero gradient.",
    "maximum": "The maximum instead of the mean, by the rule that the library documents.",
    "one sample": "A crop or a bin of one sample an axis: the middle of its box.",
    "nearest": "The nearest pixel instead of bilinear interpolation.",
    "half precision": "float16 and bfloat16 images, rounded once.",
    "integer image": "Images of integers, cast to float32.",
    "NaN in the image": "A NaN or an infinity beside a sample that does not read it.",
    "NaN box": "Boxes that are NaN, infinite or overflow.",
    "index of no image": "A box of an image that does not exist.",
    "memory and calls": "No side effect; every memory layout; permuted, split, repeated and long lists of boxes.",
}
BY_DIRECTION = {"forward": "forward", "grad_image": "gradient", "grad_boxes": "gradient of boxes"}
# Instead of a row's name: the row of the direction.
DIRECTION = "the direction"
ANY, CALLS = "any box", "memory and calls"
ROW_OF = {
    "boxes inside": DIRECTION,
    "within bound, many channels": ANY,
    "adjoint": ANY,
    "constant image": ANY,
    "mirrored image": ANY,
    "one sample": "one sample",
    "one sample an axis": "one sample",
    "power of two": ANY,
    "ramp": ANY,
    "shifted image": ANY,
    "two band matrices": ANY,
    "as TensorFlow's stored results": ANY,
    "as torchvision's stored results": ANY,
    "within bound, large coordinates": ANY,
    "within bound, mode avg": ANY,
    "within bound, normalized boxes": ANY,
    "within bound, plain float32": ANY,
    "aligned": "aligned",
    "within bound where the rule jumps, aligned=True": "sample on a pixel",
    "adaptive grid": "adaptive grid",
    "within bound, bin_centres boxes": "boxes in pixels",
    "within bound, corners boxes": "boxes in pixels",
    "boxes outside": "box outside",
    "boxes without extent": "empty box",
    "inverted box": "inverted box",
    "within bound where the rule jumps, aligned=False": "sample on a pixel",
    "nothing to do": "nothing to do",
    "maximum of samples": "maximum",
    "maximum of weighted pixels": "maximum",
    "within bound, mode max": ANY,
    "within bound, mode weighted_max": ANY,
    "nearest": "nearest",
    "halves are rounded once": "half precision",
    "within bound, bfloat16 images": "half precision",
    "within bound, bfloat16 maps": "half precision",
    "within bound, float16 images": "half precision",
    "within bound, float16 maps": "half precision",
    "within bound, integer images": "integer image",
    "unread pixels": "NaN in the image",
    "within bound, maximum with a NaN": "NaN in the image",
    "within bound, samples an ulp below pixels": "NaN in the image",
    "within bound, samples on pixels": "NaN in the image",
    "bad boxes": "NaN box",
    "index of no image": "index of no image",
    "box given twice": CALLS,
    "every layout": CALLS,
    "expanded image": CALLS,
    "long list": CALLS,
    "no side effect": CALLS,
    "permuted boxes": CALLS,
    "permuted channels": CALLS,
    "split list": CALLS,
    "upstream in the other layout": CALLS,
}
OPERATORS = {"roi_align": "RoIAlign", "crop_and_resize": "crop_and_resize"}
# The words of a cell, the worst first.
HANGS, CRASHES, WRONG, UNCONFIRMED = "hangs", "crashes", "wrong", "unconfirmed"
UNDEFINED_HANG, UNDEFINED = "hangs (undefined)", "crashes (undefined)"
IN_PART, RIGHT, NOT_TRIED, NOT_OFFERED = "right in part", "right", "not tried", "not offered"
WORDS = {
    HANGS: "a call did not end, on input that the library declares",
    CRASHES: "a call ended its process, on input that the library declares",
    WRONG: "a value is wrong, or a call failed; a second formulation in float64 confirms it",
    UNCONFIRMED: "a check failed, and the second formulation did not confirm it: nothing is claimed",
    UNDEFINED_HANG: "a call did not end, on input that the library leaves undefined",
    UNDEFINED: "a call ended its process, on input that the library leaves undefined",
    IN_PART: "all that was tried is right, and a part was not tried",
    RIGHT: "every value lies within its bound; at a jump of the rule, where rounding decides, either side is right",
    NOT_TRIED: "no case could be run",
    NOT_OFFERED: "its documentation leaves this out, so it is no fault",
}
RED = (HANGS, CRASHES, WRONG)
# As a reader meets them.
LEGEND = (
    RIGHT, IN_PART, WRONG, CRASHES, HANGS, UNCONFIRMED, UNDEFINED, UNDEFINED_HANG, NOT_OFFERED, NOT_TRIED
)  # fmt: skip
# Short enough for a column of the picture.
SHORT = {UNDEFINED: "undefined", UNDEFINED_HANG: "undefined", IN_PART: "in part"}


@dataclass(frozen=True)
class Tone:
    """Ground and ink of a word, by day and in the dark."""

    ground: str
    ink: str
    dark_ground: str
    dark_ink: str


PAGE = Tone("#ffffff", "#1c2024", "#14171a", "#e6e9ed")
TONES = {
    "good": Tone("#d3eedd", "#0a4a2c", "#123b2b", "#b4ead0"),
    "soft": Tone("#fdeec0", "#574000", "#453708", "#f6df9a"),
    "bad": Tone("#b3261e", "#ffffff", "#8c1d18", "#ffe9e6"),
    "none": Tone("#f3f5f8", "#565e67", "#1e2328", "#a4adb7"),
}
TONE_OF = {
    **dict.fromkeys(RED, "bad"),
    **dict.fromkeys((UNCONFIRMED, UNDEFINED_HANG, UNDEFINED, IN_PART), "soft"),
    RIGHT: "good",
    **dict.fromkeys((NOT_TRIED, NOT_OFFERED), "none"),
}


def row_of(property_name: str, direction: str, alone: bool = False) -> str:
    """The row of a property in a direction; ValueError for a property that has none yet.

    alone: whether it fails in a single call. Then neither memory nor other calls are the cause.
    """
    row = ROW_OF.get(property_name)
    if row is None:
        raise ValueError(
            f"the property {property_name!r} belongs to no row of the page; give it one in "
            "harness/report/libraries/words.py"
        )
    if alone and row == CALLS:
        return ANY
    return BY_DIRECTION[direction] if row == DIRECTION else row
