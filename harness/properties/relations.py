"""What ties one call to another, without an oracle: they find faults that an oracle with the same fault would share.

Each changes the inputs in a way whose effect on the result is known exactly: sums are avoided or kept in their order.
Only where a sheet says that a direction is summed in no fixed order, or in another one in another layout, two right
sums are as far apart as they may be.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.agreement import differing
from harness.backends import Backend
from harness.case import DIRECTIONS, HALVES, SINGLE_AND_DOUBLE, Array, Direction
from harness.operators import AnyCase, AnyInput, operator_of
from harness.properties import NotAskedError, Property, UndeclaredError, ask, for_both, relation
from harness.properties.drawing import within
from harness.roi_case import RoiInputs
from harness.rounding import UNIT
from harness.sheet import OperatorName, Sheet

# More boxes than a block of threads, and than 16 bits count.
LONG_LISTS = (1100, 65_600)


def _image(inputs: AnyInput) -> Array:
    return inputs.input if isinstance(inputs, RoiInputs) else inputs.image


def _with_image(inputs: Any, image: Array, **others: Any) -> Any:
    return replace(inputs, **{"input" if isinstance(inputs, RoiInputs) else "image": image}, **others)


def _nothing_outside(inputs: AnyInput) -> AnyInput:
    """The call with 0 for the extrapolation value, as roi_align has it: then the result is linear in the image."""
    return inputs if isinstance(inputs, RoiInputs) else replace(inputs, extrapolation_value=0.0)


def _rows(inputs: Any, rows: Any) -> Any:
    """The call with these of its boxes."""
    names = operator_of(inputs).arrays[1:]
    return replace(inputs, **{name: np.ascontiguousarray(getattr(inputs, name)[rows]) for name in names})


def same(
    backend: Backend[Any], inputs: AnyInput, direction: Direction, got: Array, want: Array, *, layouts: bool = False
) -> str | None:
    """How two results for these inputs are not the same, or None: by bits where the order of sums is known to be one.

    layouts: whether they come from two layouts or dtypes.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return f"one is {got.dtype} of shape {got.shape}, the other {want.dtype} of shape {want.shape}"
    sheet = backend.sheet
    if direction in sheet.unordered or (layouts and direction in sheet.layout_order):
        return operator_of(inputs).apart(inputs, direction, got, want, direction in sheet.pinned)
    different = differing(got, want)
    if not different.any():
        return None
    place = tuple(int(axis[0]) for axis in np.nonzero(different))
    count = f"{int(different.sum())} of {got.size} values differ"
    return f"{count}; at {place} one is {got[place]!r}, the other {want[place]!r}"


def _said(what: str, broken: str | None) -> str | None:
    return None if broken is None else f"{what}: {broken}."


def permuted_boxes(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    order = list(range(len(inputs.boxes)))
    random.Random(case.seed).shuffle(order)
    whole = ask(backend, inputs, direction)
    got = ask(backend, _rows(inputs, order), direction)
    return _said(
        f"With the boxes in the order {order} the result is not in that order",
        same(backend, inputs, direction, got, whole[order]),
    )


def permuted_channels(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    image = _image(inputs)
    order = list(range(image.shape[1]))
    random.Random(case.seed).shuffle(order)
    permuted = _with_image(inputs, image[:, order].copy(), upstream=inputs.upstream[:, order].copy())
    got, want = ask(backend, permuted, direction), ask(backend, inputs, direction)[:, order]
    return _said(
        f"With the channels in the order {order} the result is not in that order",
        same(backend, permuted, direction, got, want),
    )


def split_boxes(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    if backend.sheet.empty:
        cut = case.seed % (len(inputs.boxes) + 1)
    elif len(inputs.boxes) > 1:
        cut = 1 + case.seed % (len(inputs.boxes) - 1)
    else:
        raise NotAskedError("one box cannot be split, and an empty list is not declared")
    parts = [_rows(inputs, slice(None, cut)), _rows(inputs, slice(cut, None))]
    joined = np.concatenate([ask(backend, part, direction) for part in parts])
    whole = ask(backend, inputs, direction)
    return _said(
        f"Cut before box {cut}, the list does not give the parts of the whole",
        same(backend, inputs, direction, joined, whole),
    )


def box_twice(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    crops = ask(backend, _rows(inputs, [*range(len(inputs.boxes)), 0]), direction)
    whole = ask(backend, inputs, direction)
    wanted = np.concatenate([whole, whole[:1]])
    return _said("A box given twice does not give its crop twice", same(backend, inputs, direction, crops, wanted))


def half_is_rounded_once(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    wide = _with_image(inputs, _image(inputs).astype(np.float32), upstream=inputs.upstream.astype(np.float32))
    with np.errstate(over="ignore"):
        want = ask(backend, wide, direction).astype(operator_of(case).promised(inputs, direction)[1])
    got = ask(backend, inputs, direction)
    return _said(
        "It is not the float32 result, rounded once", same(backend, inputs, direction, got, want, layouts=True)
    )


def power_of_two(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = _nothing_outside(case.inputs())
    power = case.seed % 41 - 20
    factor = np.float32(2.0**power)
    if direction == "forward":
        scaled = _with_image(inputs, _image(inputs) * factor)
    else:
        scaled = replace(inputs, upstream=inputs.upstream * factor)
    got, want = ask(backend, scaled, direction), ask(backend, inputs, direction) * factor
    return _said(f"Scaling by 2**{power} does not scale the result", same(backend, scaled, direction, got, want))


def every_layout(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    wanted = ask(backend, case.inputs(), direction)
    for layout in backend.sheet.layouts:
        if layout in ("contiguous", "expanded"):  # expanded: other values by nature, see below
            continue
        got = ask(backend, replace(case, layout=layout).inputs(), direction)
        broken = same(backend, case.inputs(), direction, got, wanted, layouts=True)
        if broken:
            return f"The layout {layout} does not give what contiguous gives: {broken}."
    return None


def expanded_is_its_copy(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    inputs = case.inputs()
    copied = _with_image(inputs, np.ascontiguousarray(_image(inputs)))
    got, wanted = ask(backend, inputs, direction), ask(backend, copied, direction)
    return _said(
        "An expanded image does not give what its copy gives",
        same(backend, inputs, direction, got, wanted, layouts=True),
    )


def adjoint(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """<f(v), u> = <v, f'(u)> for what is linear in the image, without differences.

    Each product rests on at most a few dozen roundings of its own dtype, and on as many more as there are terms in a
    sum.
    """
    inputs = _nothing_outside(case.inputs())
    image = _image(inputs)
    crops, gradient = ask(backend, inputs, "forward"), ask(backend, inputs, "grad_image")
    left = (crops.astype(np.float64) * inputs.upstream).sum()
    right = (image.astype(np.float64) * gradient).sum()
    unit = UNIT[image.dtype.name]
    reached = np.abs(inputs.upstream.astype(np.float64)).sum() * np.abs(image.astype(np.float64)).max()
    allowed = (100 + crops.size) * unit * reached + 1e-300
    if abs(left - right) <= allowed:
        return None
    return f"<f(v), u> is {left!r} and <v, f'(u)> is {right!r}: further apart than {allowed:.3g}."


def long_list(backend: Backend[Any], case: AnyCase, direction: Direction) -> str | None:
    """The boxes over and over give their results over and over; in the image's gradient all but the last are silent.

    They come in no regular order, in which a box that is taken for another one might be the right one by chance.
    """
    inputs = case.inputs()
    few, count = len(inputs.boxes), LONG_LISTS[case.seed % 2]
    order = np.random.default_rng(case.seed).integers(0, few, count)
    order[-few:] = np.arange(few)
    long = _rows(inputs, order)
    if direction == "grad_image":
        long.upstream[:-few] = 0
        # A sum that began with other zeros may end in a zero of another sign.
        got, want = (np.where(each == 0, np.zeros_like(each), each) for each in _both(backend, long, inputs, direction))
        broken = same(backend, inputs, direction, got, want, layouts=True)
        return _said(f"The last of {count} boxes give another gradient than alone", broken)
    got, want = _both(backend, long, inputs, direction)
    if got.shape != (count, *want.shape[1:]):
        return f"The result for {count} boxes has the shape {got.shape}."
    different = differing(got, want[order]).reshape(count, -1).any(axis=1)
    for row in np.flatnonzero(different)[:1].tolist():
        few_of_them = want.copy()
        few_of_them[order[row]] = got[row]
        broken = same(backend, inputs, direction, few_of_them, want, layouts=True)
        if broken:
            return f"Of {count} boxes number {row} does not give what it gives among {few}: {broken}."
    return None


def _both(backend: Backend[Any], one: Any, other: Any, direction: Direction) -> tuple[Array, Array]:
    return ask(backend, one, direction), ask(backend, other, direction)


def _relation(
    name: str,
    says: str,
    directions: tuple[Direction, ...],
    stands: Callable[[Backend[Any], Any, Direction], str | None],
    *,
    share: int = 1,
    needs: tuple[Direction, ...] = (),
    crops: dict[str, Any] | None = None,
    pools: dict[str, Any] | None = None,
    **both: Any,
) -> tuple[Property, Property]:
    """The relation as a property of either operator: `both` narrows the cases of both, `crops` and `pools` of one."""
    narrowed = {"crop_and_resize": {**both, **(crops or {})}, "roi_align": {**both, **(pools or {})}}

    def made(operator: OperatorName) -> Property:
        def cases(sheet: Sheet) -> SearchStrategy[Any]:
            return within(sheet, **narrowed[operator])

        return Property(name, says, operator, directions, cases, relation(stands), needs, share)

    return for_both(made)


def _of_layouts(made: Property) -> Property:
    """The property, undeclared of whom has one layout."""

    def cases(sheet: Sheet) -> SearchStrategy[Any]:
        if set(sheet.layouts) <= {"contiguous", "expanded"}:
            raise UndeclaredError("layouts: none but contiguous is declared")
        return made.cases(sheet)

    return replace(made, cases=cases)


_FORWARD: tuple[Direction, ...] = ("forward",)
_OF_IMAGES: tuple[Direction, ...] = ("forward", "grad_image")
_OF_BOXES: tuple[Direction, ...] = ("forward", "grad_boxes")
_SUMS: dict[str, Any] = {"values": ["normal"], "finite_boxes": True, "empty": False}

PROPERTIES = (
    *_relation(
        "permuted boxes",
        "boxes in another order give their results in that order",
        _OF_BOXES,
        permuted_boxes,
        finite_boxes=True,
        empty=False,
    ),
    *_relation(
        "permuted channels",
        "channels in another order give their results in that order",
        _OF_IMAGES,
        permuted_channels,
        finite_boxes=True,
        empty=False,
        pools={"modes": ["avg"]},
    ),
    *_relation(
        "split list",
        "a list of boxes in two parts gives the parts of the whole",
        _OF_BOXES,
        split_boxes,
        finite_boxes=True,
        empty=False,
    ),
    *_relation(
        "box given twice",
        "a box given twice gives its crop twice",
        _FORWARD,
        box_twice,
        finite_boxes=True,
        empty=False,
    ),
    *_relation(
        "halves are rounded once",
        "a half image gives the float32 result, rounded once; the gradient of its boxes is not rounded at all",
        DIRECTIONS,
        half_is_rounded_once,
        image_dtypes=HALVES,
        channels=(1, 3, 8, 17),
        layouts=["contiguous", "channels_last"],
    ),
    *_relation(
        "power of two",
        "an image or an upstream gradient times a power of two gives the result times that power",
        _OF_IMAGES,
        power_of_two,
        image_dtypes=["float32"],
        finite_boxes=True,
        empty=False,
        values=["normal"],
        crops={"boxes_dtypes": ["float32"]},
    ),
    *map(
        _of_layouts,
        _relation(
            "every layout",
            "the memory that an image lies in changes no bit: channels_last, views, as far as they are declared",
            DIRECTIONS,
            every_layout,
            layouts=["contiguous"],
            most_outputs=5000,
            crops={"channels": (1, 2, 3, 9, 16, 35)},
            pools={"channels": (1, 3, 8, 15, 16, 19, 70)},
        ),
    ),
    *_relation(
        "expanded image",
        "an expanded image, all of whose images are one, gives what its copy gives",
        DIRECTIONS,
        expanded_is_its_copy,
        layouts=["expanded"],
        empty=False,
    ),
    *_relation(
        "adjoint",
        "the gradient of the image is the adjoint of the forward: <f(v), u> = <v, f'(u)>",
        ("grad_image",),
        adjoint,
        needs=_FORWARD,
        **_SUMS,
        pools={"modes": ["avg"]},
    ),
    *_relation(
        "long list",
        "over 1,024 and over 65,535 boxes each gives what it gives among few",
        DIRECTIONS,
        long_list,
        share=15,
        **_SUMS,
        image_dtypes=SINGLE_AND_DOUBLE,
        channels=(1,),
        most_outputs=12,
        longest_side=8,
    ),
)
