"""From a capability sheet to the cases that it allows: nothing is drawn that would only be refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis.strategies import SearchStrategy

from harness.operators.crop_and_resize import strategy as strategies
from harness.operators.crop_and_resize.case import FLOATS, LAYOUTS, METHODS, SINGLE_AND_DOUBLE, VALUES, Case
from harness.operators.roi_align import strategy as roi_strategies
from harness.operators.roi_align.case import MODES, RoiCase
from harness.operators.sheet import Sheet
from harness.properties import UndeclaredError

_SPECIAL = ("nan_pixel", "inf_pixel")


def within(sheet: Sheet, **wanted: Any) -> SearchStrategy[Any]:
    """Cases of the sheet's operator, of what is wanted and declared; the keywords are those of its strategy.

    UndeclaredError if nothing is left of one of them.
    """
    return _crops(sheet, wanted) if sheet.operator == "crop_and_resize" else _pools(sheet, wanted)


def _crops(sheet: Sheet, wanted: dict[str, Any]) -> SearchStrategy[Case]:
    chosen = _common(sheet, wanted, strategies.IMAGE_DTYPES)
    chosen["box_rules"] = _declared("box rules", wanted.get("box_rules", ("normalized",)), sheet.box_rules)
    chosen["methods"] = _declared("methods", wanted.get("methods", METHODS), sheet.methods)
    chosen["index_dtypes"] = _declared("index dtypes", ("int32", "int64"), sheet.index_dtypes)
    chosen["finite_boxes"] = wanted.get("finite_boxes", False) or "boxes" not in sheet.bad_input
    if sheet.border == "zero":
        chosen["extrapolation_values"] = (0.0,)
    families = wanted.get("box_families", strategies.BOX_FAMILIES)
    chosen["box_families"] = (
        _declared("boxes beside the image", families, ("interior",)) if sheet.border == "inside" else families
    )
    if sheet.same_dtype:
        chosen["image_dtypes"] = _declared("image dtypes", chosen["image_dtypes"], SINGLE_AND_DOUBLE)
        chosen["same_dtype"] = True
    return strategies.cases(**{**wanted, **chosen})


def _pools(sheet: Sheet, wanted: dict[str, Any]) -> SearchStrategy[RoiCase]:
    chosen = _common(sheet, wanted, ("float32", *FLOATS))
    chosen["modes"] = _declared("modes", wanted.get("modes", MODES), sheet.modes)
    chosen["aligned"] = _declared("aligned", wanted.get("aligned", (False, True)), sheet.aligned)
    grids = [("fixed" if ratio > 0 else "adaptive", ratio) for ratio in wanted.get("ratios", (-1, 0, 1, 2, 3))]
    _declared("grids", [grid for grid, _ in grids], sheet.grids)
    chosen["ratios"] = [ratio for grid, ratio in grids if grid in sheet.grids]
    families = wanted.get("box_families", roi_strategies.BOX_FAMILIES)
    if wanted.pop("finite_boxes", False) or "boxes" not in sheet.bad_input:
        families = _declared("boxes", families, roi_strategies.FINITE_FAMILIES)
    inside = ("interior", "tiny") if sheet.border == "inside" else families
    chosen["box_families"] = _declared("boxes beside the map", families, inside)
    if sheet.same_dtype:
        chosen["image_dtypes"] = _declared("image dtypes", chosen["image_dtypes"], SINGLE_AND_DOUBLE)
        chosen["same_dtype"] = True
    return roi_strategies.roi_cases(**{**wanted, **chosen})


def _common(sheet: Sheet, wanted: dict[str, Any], image_dtypes: Sequence[str]) -> dict[str, Any]:
    """The choices that both operators have."""
    plain = [each for each in VALUES if sheet.special_values or each not in _SPECIAL]
    return {
        "image_dtypes": _declared("image dtypes", wanted.get("image_dtypes", image_dtypes), sheet.image_dtypes),
        "boxes_dtypes": _declared("box dtypes", wanted.get("boxes_dtypes", SINGLE_AND_DOUBLE), sheet.boxes_dtypes),
        "layouts": _declared("layouts", wanted.get("layouts", LAYOUTS), sheet.layouts),
        "values": _declared("values", wanted.get("values", VALUES), plain),
        "empty": wanted.get("empty", True) and sheet.empty,
    }


def _declared(what: str, wanted: Iterable[Any], declared: Iterable[Any]) -> list[Any]:
    """Those of the wanted that are declared, in their order."""
    wanted, declared = list(wanted), list(declared)
    left = [each for each in wanted if each in declared]
    if not left:
        raise UndeclaredError(f"{what}: none of {', '.join(map(str, dict.fromkeys(wanted)))} is declared")
    return left
