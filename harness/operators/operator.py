"""The two operators as records, so that whatever is asked of both is written once.

crop_and_resize and roi_align have cases, an oracle and backends each; how a result is judged, repeated or compared with
another does not depend on which of them it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.operators import verdict as judge
from harness.operators.crop_and_resize import agreement
from harness.operators.crop_and_resize.call import Place
from harness.operators.crop_and_resize.case import Array, Case, Direction, Inputs
from harness.operators.roi_align import agreement as roi_agreement
from harness.operators.roi_align import case as roi_case
from harness.operators.roi_align import judge as roi_judge
from harness.operators.roi_align.case import RoiCase, RoiInputs
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Verdict

AnyCase = Case | RoiCase
AnyInput = Inputs | RoiInputs


@dataclass(frozen=True)
class Operator:
    """One operator.

    case      the class of its cases.
    arrays    its inputs' arrays by name: first what is read as an image, last the upstream gradient.
    promised  the shape and dtype of a result.
    judge     (inputs, direction, got, pinned, places) -> what the oracle says of a result.
    apart     (inputs, direction, got, want, pinned) -> how two results are further apart than two right ones, or None.
    """

    name: OperatorName
    case: type[AnyCase]
    arrays: tuple[str, ...]
    promised: Callable[[Any, Direction], tuple[tuple[int, ...], np.dtype[np.generic]]]
    judge: Callable[[Any, Direction, Array | BaseException, bool, Iterable[Place] | None], Verdict]
    apart: Callable[[Any, Direction, Array, Array, bool], str | None]


CROP_AND_RESIZE = Operator(
    name="crop_and_resize",
    case=Case,
    arrays=("image", "boxes", "box_indices", "upstream"),
    promised=judge.promised,
    judge=lambda inputs, direction, got, pinned, places: judge.judge(
        inputs, direction, got, order_a=pinned, places=places
    ),
    apart=lambda inputs, direction, got, want, pinned: agreement.beyond_two_bounds(
        inputs, direction, got, want, order_a=pinned
    ),
)
ROI_ALIGN = Operator(
    name="roi_align",
    case=RoiCase,
    arrays=("input", "boxes", "upstream"),
    promised=roi_case.promised,
    judge=lambda inputs, direction, got, pinned, places: roi_judge.judge(
        inputs, direction, got, pinned=pinned, places=places
    ),
    apart=lambda inputs, direction, got, want, pinned: roi_agreement.beyond_two_bounds(
        inputs, direction, got, want, pinned=pinned
    ),
)
OPERATORS: dict[OperatorName, Operator] = {each.name: each for each in (CROP_AND_RESIZE, ROI_ALIGN)}


def operator_of(what: AnyCase | AnyInput) -> Operator:
    """The operator that a case, or its inputs, is a call of."""
    return ROI_ALIGN if isinstance(what, (RoiCase, RoiInputs)) else CROP_AND_RESIZE


def parse(line: str) -> AnyCase:
    """The case of either operator that a line makes; ValueError if it makes none."""
    return RoiCase.parse(line) if line.lstrip().startswith("RoiCase(") else Case.parse(line)
