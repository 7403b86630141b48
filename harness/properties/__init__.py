"""The properties of an implementation: asserted by the suites, fuzzed by campaigns, tabulated by the matrix.

A Property draws cases within a capability sheet and checks one direction of one of them. Any other choice of a check
(an order of boxes, a power of two) derives from the case's own seed, so the case's line alone reproduces it:

    python -m harness judge --backend NAME --property NAME --direction forward "Case(...)"

The file of each property's check; "..." ends a family of names:

    boxes inside                     bounds.py
    one sample an axis               bounds.py
    nearest                          bounds.py
    aligned                          bounds.py
    maximum of ...                   bounds.py
    adaptive grid                    bounds.py
    boxes outside                    bounds.py
    boxes without extent             bounds.py
    nothing to do                    bounds.py
    within bound ...                 bounds.py
    no side effect                   bounds.py
    as TensorFlow's stored results   peers.py
    as torchvision's stored results  peers.py
    permuted boxes                   lists.py
    split list                       lists.py
    box given twice                  lists.py
    long list                        lists.py
    permuted channels                images.py
    halves are rounded once          images.py
    power of two                     images.py
    every layout                     images.py
    expanded image                   images.py
    upstream in the other layout     images.py
    adjoint                          images.py
    inverted box                     geometry.py
    mirrored image                   geometry.py
    shifted image                    geometry.py
    constant image                   geometry.py
    ramp                             geometry.py
    unread pixels                    geometry.py
    two band matrices                geometry.py
    one sample                       geometry.py
    bad boxes                        probes.py
    index of no image                probes.py

relations.py builds properties of both operators from the checks in lists.py and images.py; features.py builds one
property per feature of a library from bounds.py; calls.py compares two results; search.py searches for a case that
violates a property.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.operators import OPERATORS, AnyCase, AnyInput, operator_of
from harness.operators.arrays import Direction
from harness.operators.drawing import UndeclaredError
from harness.operators.implementation import Backend, lacks
from harness.operators.sheet import BadInput, OperatorName, Sheet
from harness.operators.verdict import Status, Verdict, implementation_code, without_verdict

# The divisor of the number of examples for a backend that compiles for each shape.
COMPILED_SHARE = 10


class NotAskedError(Exception):
    """The check skips a call that the backend refuses; the message says why."""


@dataclass(frozen=True)
class Property:
    """One property of an operator's implementations.

    says        the property in a sentence.
    directions  each has a row of its own; `needs` are further directions that a check calls.
    cases       sheet -> the cases to draw; UndeclaredError if the sheet rules all of them out.
    check       (backend, case, direction) -> the verdict, or None if nothing was checked; raises NotAskedError for the
                same, and the backend's exceptions as ImplementationError.
    is_oracles  whether the check is just the oracle's judgement of one call.
    share       divides the number of examples, for expensive checks.
    probe       the bad input that it covers. A backend that does not declare it is probed anyway: crashes are worth
                knowing, failures do not count against it.
    """

    name: str
    says: str
    operator: OperatorName
    directions: tuple[Direction, ...]
    cases: Callable[[Sheet], SearchStrategy[Any]]
    check: Callable[[Backend[Any], Any, Direction], Verdict | None]
    needs: tuple[Direction, ...] = ()
    share: int = 1
    is_oracles: bool = False
    probe: BadInput | None = None

    @property
    def slug(self) -> str:
        """The name as one word, for test ids."""
        return re.sub(r"\W+", "_", self.name).strip("_")

    def examples(self, count: int, sheet: Sheet, least: int = 5) -> int:
        """This property's share of `count` examples, at least `least`; a tenth for code that compiles each shape."""
        return max(least, count // self.share // (COMPILED_SHARE if sheet.compiles else 1))

    def undeclared(self, sheet: Sheet, direction: Direction) -> str | None:
        """What the property needs that the sheet does not declare, in words, or None."""
        for each in (direction, *self.needs):
            if each not in sheet.directions:
                return f"{each} is not declared"
        if self.probe is not None and self.probe not in sheet.bad_input:
            return f"bad input: {self.probe} are not declared"
        try:
            self.cases(sheet)
        except UndeclaredError as undeclared:
            return str(undeclared)
        return None

    def can_be_probed(self, sheet: Sheet, direction: Direction) -> bool:
        """Whether it covers undeclared bad input, in a declared direction."""
        return self.probe is not None and self.probe not in sheet.bad_input and direction in sheet.directions

    def holds(self, backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict | None:
        """The verdict on one case; never raises. None if nothing was checked.

        Exceptions of the backend count against the backend, any others against the judge.
        """
        try:
            return self.check(backend, case, direction)
        except NotAskedError:
            return None
        except Exception as error:
            return without_verdict(error)


def may_ask(backend: Backend[Any], inputs: AnyInput, direction: Direction) -> None:
    """NotAskedError if the backend refuses the call."""
    refusal = lacks(backend.sheet, inputs, direction)
    if refusal is None:
        with implementation_code():
            refusal = backend.avoids(inputs, direction)
    if refusal is not None:
        raise NotAskedError(refusal)


def ask(backend: Backend[Any], inputs: AnyInput, direction: Direction) -> np.ndarray[Any, Any]:
    """One result; NotAskedError if the backend refuses the call, ImplementationError if it raises or returns the wrong
    shape or dtype.

    Comparisons may therefore rely on the shape: a wrong one is not the judge's error.
    """
    may_ask(backend, inputs, direction)
    shape, dtype = operator_of(inputs).result_type(inputs, direction)
    with implementation_code():
        result = backend.run(inputs, direction)
        if result.shape != shape or result.dtype != dtype:
            raise ValueError(
                f"the result is {result.dtype} of shape {result.shape}; {dtype} of shape {shape} is expected"
            )
    return result


def relation(
    compare: Callable[[Backend[Any], Any, Direction], str | None],
) -> Callable[[Backend[Any], Any, Direction], Verdict]:
    """Makes a check from a function that describes how a relation between calls is violated, or returns None."""

    @functools.wraps(compare)
    def check(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
        difference = compare(backend, case, direction)
        return Verdict(Status.HOLDS) if difference is None else Verdict(Status.BROKEN, reason=difference)

    return check


def all_properties() -> tuple[Property, ...]:
    """Every property, the cheapest and most informative of each operator first."""
    from harness.properties import bounds, features, geometry, peers, probes, relations

    parts = (features, bounds, peers, relations, geometry, probes)
    return tuple(each for part in parts for each in part.PROPERTIES)


# One property in one direction.
Question = tuple[Property, Direction]


def questions(*operators: OperatorName) -> tuple[Question, ...]:
    """Every property of these operators in each of its directions, in the order of `all_properties`."""
    return tuple(
        (each, direction) for each in all_properties() if each.operator in operators for direction in each.directions
    )


def find(name: str, operator: OperatorName) -> Property:
    """The property of this name; ValueError with the existing names if there is none."""
    of = {property_.name: property_ for property_, _ in questions(operator)}
    if name not in of:
        raise ValueError(f"There is no property {name!r} of {operator}; there are {', '.join(of)}.")
    return of[name]


def for_both(define: Callable[[OperatorName], Property]) -> tuple[Property, ...]:
    """The same property for each operator."""
    return tuple(map(define, OPERATORS))
