"""A case's line in words: what was given, for a reader who has never seen one.

The line is read as Python's syntax and never evaluated: a report imports no operator.
"""

from __future__ import annotations

import ast
import math

_LABELS = {
    "shape": "image (N, C, H, W)",
    "boxes": "boxes",
    "box_indices": "images of the boxes",
    "crop_size": "crop (height, width)",
    "output_size": "output (height, width)",
    "method": "interpolation",
    "extrapolation_value": "value outside",
    "box_rule": "box rule",
    "spatial_scale": "spatial_scale",
    "sampling_ratio": "sampling_ratio",
    "aligned": "aligned",
    "mode": "mode",
    "image_dtype": "type of the image",
    "boxes_dtype": "type of the boxes",
    "layout": "layout of the image",
    "values": "pixels",
}
_MOST_BOXES = 4


def in_words(line: str) -> tuple[tuple[str, str], ...]:
    """(what, value) of each argument that the line gives; the line itself if it is no case."""
    arguments = _arguments(line)
    if not arguments:
        return (("case", line),)
    order = "(index, x1, y1, x2, y2)"
    if line.startswith("Case("):
        order = "(y1, x1, y2, x2)" if "box_rule" not in arguments else "(x1, y1, x2, y2)"
    words = []
    for name, value in arguments.items():
        if name == "boxes":
            words.append((f"boxes {order}", _boxes(value)))
        elif name != "seed":
            label = _LABELS.get(name, name.replace("_", " "))
            text = str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value)
            words.append((label, text))
    return tuple(words)


def size(line: str) -> tuple[float, int]:
    """How large a case is, for the smallest of several: pixels and outputs, then the length of its line."""
    arguments = _arguments(line)
    counts = [_count(arguments.get(name)) for name in ("shape", "crop_size", "output_size")]
    boxes = arguments.get("boxes")
    many = len(boxes.elts) if isinstance(boxes, ast.Tuple) else 0
    return (counts[0] + many * (counts[1] or counts[2]) if arguments else math.inf), len(line)


def _arguments(line: str) -> dict[str, ast.expr]:
    try:
        call = ast.parse(line, mode="eval").body
    except (SyntaxError, ValueError):
        return {}
    return {each.arg: each.value for each in call.keywords if each.arg} if isinstance(call, ast.Call) else {}


def _boxes(value: ast.expr) -> str:
    if not isinstance(value, ast.Tuple):
        return ast.unparse(value)
    boxes = [ast.unparse(each) for each in value.elts]
    more = len(boxes) - _MOST_BOXES
    beyond = (f"and {more} more",) if more > 0 else ()
    return ", ".join((*boxes[:_MOST_BOXES], *beyond)) or "none"


def _count(value: ast.expr | None) -> int:
    """The product of a tuple of numbers, 0 for anything else."""
    if not isinstance(value, ast.Tuple):
        return 0
    numbers = [each.value for each in value.elts if isinstance(each, ast.Constant) and isinstance(each.value, int)]
    return math.prod(numbers) if len(numbers) == len(value.elts) else 0
