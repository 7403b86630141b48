"""From a capability sheet to the cases that it allows: nothing is drawn that would only be refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.operators.arrays import LAYOUTS, SINGLE_AND_DOUBLE, VALUES
from harness.operators.sheet import Sheet

_SPECIAL = ("nan_pixel", "inf_pixel")


class UndeclaredError(Exception):
    """A property is about something that the sheet does not declare; the message names it."""


def declared(name: str, asked: Iterable[Any], sheet: Iterable[Any]) -> list[Any]:
    """Those of the asked choices that a sheet declares, in their order; UndeclaredError if there is none."""
    asked, sheet = list(asked), list(sheet)
    left = [each for each in asked if each in sheet]
    if not left:
        raise UndeclaredError(f"{name}: none of {', '.join(map(str, dict.fromkeys(asked)))} is declared")
    return left


def common(sheet: Sheet, asked: dict[str, Any], image_dtypes: Sequence[str]) -> dict[str, Any]:
    """The choices that both operators' strategies have, within a sheet."""
    plain = [each for each in VALUES if sheet.special_values or each not in _SPECIAL]
    choices: dict[str, Any] = {
        "image_dtypes": declared("image dtypes", asked.get("image_dtypes", image_dtypes), sheet.image_dtypes),
        "boxes_dtypes": declared("box dtypes", asked.get("boxes_dtypes", SINGLE_AND_DOUBLE), sheet.boxes_dtypes),
        "layouts": declared("layouts", asked.get("layouts", LAYOUTS), sheet.layouts),
        "values": declared("values", asked.get("values", VALUES), plain),
        "empty": asked.get("empty", True) and sheet.empty,
    }
    if sheet.same_dtype:
        choices["image_dtypes"] = declared("image dtypes", choices["image_dtypes"], SINGLE_AND_DOUBLE)
        choices["same_dtype"] = True
    return choices
