"""The judge on foreign functions: faults that must fail, limits that must pass, and the effect of each field of a
sheet."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase
from hypothesis.errors import Unsatisfiable

from harness.backends import load
from harness.judging.isolation import isolated
from harness.judging.trial import judge_case
from harness.operators import OPERATORS
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.drawing import UndeclaredError, draw_cases, effort
from harness.operators.implementation import Backend, lacks
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import CHOICES, OperatorName, Sheet
from harness.operators.verdict import Status
from harness.properties import find, questions
from harness.properties.search import Failure, search

pytest.importorskip("torchvision")
from suites.meta.judging import strangers

CASE = RoiCase((2, 3, 5, 6), ((1, 0.5, 0.25, 3.5, 4.0),), (2, 3), sampling_ratio=2)


def first_failure(backend: Backend[Any], examples: int, *names: str) -> Failure | None:
    """The first of these properties, or of all, that a backend fails."""
    for property_, direction in questions(backend.sheet.operator):
        if property_.undeclared(backend.sheet, direction) or (names and property_.name not in names):
            continue
        few = effort(property_.examples(examples, backend.sheet), Phase.generate)
        try:
            finding = search(property_, backend, direction, few, seed=0)
        except Unsatisfiable:
            continue
        if finding.failure is not None:
            return finding.failure
    return None


SHARED, VIEW = "A later call changes the result of an earlier one", "The result changes when its inputs do"
# The message on each function, and its property.
VICES = [
    (strangers.one_buffer_for_results, "no side effect", SHARED),
    (strangers.one_buffer_for_gradients, "no side effect", SHARED),
    (strangers.view_of_the_image, "no side effect", VIEW),
    (strangers.image_by_address, "no side effect", "After image is overwritten in place the result is wrong"),
    (strangers.boxes_by_address, "no side effect", "After boxes is overwritten in place the result is wrong"),
    (strangers.upstream_by_address, "no side effect", "After upstream is overwritten in place the result is wrong"),
    (strangers.dense_boxes, "within bound, mode avg", "it must be"),
    (strangers.dense_upstream, "within bound, mode avg", "it must be"),
    (strangers.boxes_without_offset, "within bound, mode avg", "it must be"),
]


@pytest.mark.parametrize(("vice", "name", "reason"), VICES, ids=[vice.__name__ for vice, _, _ in VICES])
def test_a_faulty_function_fails(vice: Any, name: str, reason: str) -> None:
    forward_only = vice in (strangers.one_buffer_for_results, strangers.view_of_the_image)
    backend = strangers.backend_of(vice(), directions=["forward"] if forward_only else strangers.BOTH)
    failure = first_failure(backend, 150, name)
    assert failure is not None
    assert reason in failure.verdict.reason


def test_a_right_function_passes() -> None:
    failure = first_failure(strangers.backend_of(strangers.right), 40)
    assert failure is None, f"{failure.verdict} {failure.case!r}"


def _adaptive_without_extent(i: Any, boxes: Any, o: Any, s: Any, ratio: int, aligned: bool) -> bool:
    return aligned and ratio <= 0 and _without_extent(i, boxes)


def _without_extent(_: Any, boxes: Any, *rest: Any) -> bool:
    return not bool((boxes[:, 3:] > boxes[:, 1:3]).all())


_REFUSING, _NOISY = strangers.refusing, strangers.noisy
_GRIDS = {"grids": ["fixed", "adaptive"]}
# (fields, function, whether it passes): each function is correct within its sheet, and fails with a wider one.
FIELDS: list[tuple[dict[str, Any], Any, bool]] = [
    ({"empty": ["boxes"]}, _REFUSING(lambda i, b, *r: len(b) == 0), False),
    ({"empty": ["channels"]}, _REFUSING(lambda i, b, *r: len(b) == 0), True),
    ({"empty": ["channels"]}, _REFUSING(lambda i, *r: i.shape[1] == 0), False),
    ({"empty": []}, _REFUSING(lambda i, b, *r: not i.numel() or not len(b)), True),
    ({"extent": "any"}, _REFUSING(_without_extent), False),
    ({"extent": "positive"}, _REFUSING(_without_extent), True),
    ({"extent": "any", **_GRIDS}, _REFUSING(_adaptive_without_extent), False),
    ({"extent": "positive where adaptive", **_GRIDS}, _REFUSING(_adaptive_without_extent), True),
    ({"scale_dtype": "float64"}, strangers.single_scale, False),
    ({"scale_dtype": "float32"}, strangers.single_scale, True),
    ({"one_box": False}, _REFUSING(lambda i, b, *r: len(b) > 1), False),
    ({"one_box": True}, _REFUSING(lambda i, b, *r: len(b) > 1), True),
    ({}, _REFUSING(lambda i, *r: i.requires_grad and i.element_size() == 8), False),
    ({"gradient_dtypes": ["float32"]}, _REFUSING(lambda i, *r: i.requires_grad and i.element_size() == 8), True),
    ({"special_values": ["forward"], "pinned": strangers.BOTH}, strangers.right, False),
    ({"pinned": strangers.BOTH}, strangers.right, True),
    ({"layout_bits": ["forward"]}, _NOISY(lambda i, *r: not i.is_contiguous()), False),
    ({"layout_bits": []}, _NOISY(lambda i, *r: not i.is_contiguous()), True),
    ({"list_bits": ["forward"]}, _NOISY(lambda i, b, *r: len(b) % 2), False),
    ({"list_bits": []}, _NOISY(lambda i, b, *r: len(b) % 2), True),
    ({}, strangers.dense_boxes(), False),
    ({"boxes_layouts": ["contiguous"]}, strangers.dense_boxes(), True),
    ({}, strangers.dense_upstream(), False),
    ({"upstream_layouts": ["contiguous"], "layouts": ["contiguous"]}, strangers.dense_upstream(), True),
]


@pytest.mark.parametrize(
    ("declared", "function", "passes"), FIELDS, ids=[f"{declared} {passes}" for declared, _, passes in FIELDS]
)
def test_a_sheets_field_limits_the_cases(declared: dict[str, Any], function: Any, passes: bool) -> None:
    failure = first_failure(strangers.backend_of(function, **declared), 60)
    assert (failure is None) == passes, failure and f"{failure.verdict} {failure.case!r}"


def test_bad_boxes_are_asked_in_a_declared_setting() -> None:
    adaptive = Sheet("roi_align", ("forward",), grids=("adaptive",), bad_input=("boxes",))
    nearest = Sheet("crop_and_resize", ("forward",), methods=("nearest",), bad_input=("boxes",))
    assert {case.sampling_ratio for case in draw_cases(find("bad boxes", "roi_align").cases(adaptive), 5, 0)} == {-1}
    assert {case.method for case in draw_cases(find("bad boxes", "crop_and_resize").cases(nearest), 5, 0)} == {
        "nearest"
    }


def test_code_that_compiles_each_shape_gets_a_tenth_of_the_cases() -> None:
    usual = Sheet("roi_align", ("forward",))
    inside = find("boxes outside", "roi_align")
    counts = [inside.examples(600, sheet) for sheet in (usual, replace(usual, compiles=True))]
    assert counts == [600 // inside.share, 60 // inside.share]


def test_a_function_of_one_box_a_call_is_given_no_long_lists() -> None:
    """It would be called 65,536 times a case, and a result that the harness joins says nothing of the function."""
    usual, single = (strangers.backend_of(strangers.right, one_box=one).sheet for one in (False, True))
    properties = {
        sheet.one_box: {p.name for p, d in questions("roi_align") if not p.undeclared(sheet, d)}
        for sheet in (usual, single)
    }
    assert properties[False] - properties[True] == {"long list"}


def test_the_largest_coordinate_the_title_and_the_version() -> None:
    inputs = replace(CASE, boxes=((0, 0.0, 0.0, 2e4, 2e4),)).inputs()
    assert lacks(strangers.backend_of(strangers.right).sheet, inputs, "forward") is None
    reason = lacks(strangers.backend_of(strangers.right, largest=1e4).sheet, inputs, "forward")
    assert reason == "boxes that are not finite, or beyond 10,000, are not declared"
    assert strangers.backend_of(strangers.right, title="Kernels", version="1.2").title == "Kernels 1.2"


def test_the_time_limit_comes_from_the_sheet_or_the_caller() -> None:
    place = "suites.meta.judging.strangers:asleep"
    slow = isolated(place, "roi_align", 30)
    assert judge_case(slow, CASE, "forward").passed
    hasty = isolated(place, "roi_align")
    assert judge_case(hasty, CASE, "forward").passed, "a process's first call may compile"
    assert judge_case(hasty, CASE, "forward").status is Status.HANG
    large = replace(CASE, shape=(2, 3, 500, 600))
    assert judge_case(hasty, large, "forward").passed, "in the process that is begun anew"
    assert judge_case(hasty, large, "forward").passed, "a larger image is granted more"


def _a_sheet(seed: int) -> Sheet:
    """A random sheet: a subset of the abilities of the operator's reference, and of the package."""
    draw = random.Random(seed)
    operator: OperatorName = draw.choice(list(OPERATORS))
    whole = replace(load("reference", operator).sheet, modes=load("roi_align", operator).sheet.modes)
    declared: dict[str, Any] = {}
    for field in fields(Sheet):
        value = getattr(whole, field.name)
        if isinstance(value, tuple) and field.name in CHOICES and value:
            some = tuple(each for each in value if draw.random() < 0.6)
            never_empty = field.name in (
                "directions",
                "image_dtypes",
                "boxes_dtypes",
                "index_dtypes",
                "layouts",
                "modes",
            )
            declared[field.name] = some or (value[:1] if never_empty or "layouts" in field.name else some)
    declared["box_rules"] = ("normalized",)
    declared |= {name: declared.get(name) or getattr(whole, name)[:1] for name in ("grids", "aligned", "methods")}
    declared |= {"extent": draw.choice(CHOICES["extent"]), "same_dtype": draw.random() < 0.3}
    return replace(whole, **declared)


@pytest.mark.parametrize("seed", range(24))
def test_a_right_kernel_passes_with_any_sheet(seed: int) -> None:
    sheet = _a_sheet(seed)
    backend = replace(load("roi_align", sheet.operator), sheet=sheet)
    try:
        cases = draw_cases(OPERATORS[sheet.operator].within(sheet), 30, seed)
    except UndeclaredError:
        pytest.skip("this sheet declares no call at all")
    everything = replace(sheet, directions=DIRECTIONS, special_values=DIRECTIONS)
    assert [reason for case in cases if (reason := lacks(everything, case.inputs(), "forward"))] == []
    failure = first_failure(backend, 6)
    assert failure is None, f"{failure.verdict} {failure.case!r} {sheet}"


def test_a_result_that_is_no_tensor_raises_a_clear_error() -> None:
    for result, name in ((None, "NoneType"), ((1, 2), "tuple"), (np.zeros(3), "ndarray")):
        backend = strangers.backend_of(lambda *arguments, result=result: result)
        verdict = judge_case(backend, CASE, "forward")
        assert verdict.reason == (f"It raised TypeError: the function returned {name}; a torch.Tensor is expected")
    direction: Direction = "forward"
    assert judge_case(strangers.backend_of(strangers.right), CASE, direction).passed


OTHER_RESULTS: dict[str, Any] = {
    "transposed": lambda result: np.swapaxes(result, -1, -2),
    "a row less": lambda result: result[:-1],
    "flat": lambda result: result.ravel(),
    "wider": lambda result: result.astype(np.longdouble),
}


@pytest.mark.parametrize("change", OTHER_RESULTS.values(), ids=OTHER_RESULTS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_result_of_another_shape_is_no_failure_of_the_judge(operator: OperatorName, change: Any) -> None:
    """Every check tests the type and shape of a result first."""
    right = load("roi_align", operator)
    backend = replace(right, to_numpy=lambda result: change(right.to_numpy(result)))
    for property_, direction in questions(operator):
        if property_.undeclared(backend.sheet, direction) is None and property_.name != "long list":
            for case in draw_cases(property_.cases(backend.sheet), 3, 1):
                verdict = property_.holds(backend, case, direction)
                assert verdict is None or verdict.status is not Status.JUDGE, f"{property_.name}: {verdict} {case!r}"
