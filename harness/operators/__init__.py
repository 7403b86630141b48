"""The two operators behind one record (operator.py): their cases, their oracles and their references.

arrays, rounding, expected, verdict, sheet    shared by both operators
implementation                                the interface of a backend
crop_and_resize/, roi_align/                  case, strategy, oracle, reference ...: the same names in both
"""

from __future__ import annotations

from typing import Any

from hypothesis.strategies import SearchStrategy

from harness.operators.crop_and_resize.case import Case, Inputs
from harness.operators.crop_and_resize.operator import CROP_AND_RESIZE
from harness.operators.operator import Operator
from harness.operators.roi_align.case import RoiCase, RoiInputs
from harness.operators.roi_align.operator import ROI_ALIGN
from harness.operators.sheet import OperatorName, Sheet

AnyCase = Case | RoiCase
AnyInput = Inputs | RoiInputs

__all__ = [
    "CROP_AND_RESIZE",
    "OPERATORS",
    "ROI_ALIGN",
    "AnyCase",
    "AnyInput",
    "Operator",
    "operator_of",
    "parse",
    "within",
]

OPERATORS: dict[OperatorName, Operator] = {each.name: each for each in (CROP_AND_RESIZE, ROI_ALIGN)}


def operator_of(call: AnyCase | AnyInput) -> Operator:
    """The operator of a case or of its inputs."""
    return next(each for each in OPERATORS.values() if isinstance(call, (each.case, each.inputs)))


def parse(line: str) -> AnyCase:
    """Parses the line of a case of either operator; ValueError if it is not one."""
    operators = (each for each in OPERATORS.values() if line.lstrip().startswith(f"{each.case.__name__}("))
    case: AnyCase = next(operators, CROP_AND_RESIZE).case.parse(line)
    return case


def within(sheet: Sheet, **choices: Any) -> SearchStrategy[Any]:
    """Cases of the sheet's operator that fit both these choices and the sheet.

    UndeclaredError if the sheet rules out every value of a choice.
    """
    return OPERATORS[sheet.operator].within(sheet, **choices)
