"""The properties that an implementation has or has not: what the suites assert, the fuzzer hunts and the matrix shows.

A Property draws cases within a capability sheet and checks one direction of one of them. Whatever else a check needs
(an order of boxes, a power of two) it takes from the case's own seed, so that the case's line is all there is to
reproduce:

    python -m harness judge --backend NAME --property NAME --direction forward "Case(...)"

This table leads from each property to the file of its check; "..." ends a family of names:

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

relations.py makes properties of both operators of what lists.py and images.py check, and features.py, of what bounds.py
checks, one for each feature that a library has or has not; calls.py compares two results; and
search.py looks for a case in which a backend does not have a property.
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


class NotAskedError(Exception):
    """A call that the backend is not asked for; the message says why."""


@dataclass(frozen=True)
class Property:
    """One property of an operator's implementations.

    says        what holds, in a sentence.
    directions  each is a row of its own; `needs` are those that a check asks for beside its own.
    cases       the cases to draw within a sheet; UndeclaredError if the sheet rules all of them out.
    check       (backend, case, direction) -> the verdict, None where nothing was asked; NotAskedError likewise, and
                what the backend raises, as Raised.
    is_oracles  whether the check is the oracle's judgement of one call and nothing else.
    share       a suite draws its number of examples divided by this: for what is dear.
    probe       the bad input that it is about. A backend that does not declare it may still be probed: that it crashes
                is worth knowing, that it fails is not held against it.
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
        """The name as one word, as a test is called."""
        return re.sub(r"\W+", "_", self.name).strip("_")

    def examples(self, count: int, least: int = 5) -> int:
        """Its share of so many examples, and never fewer than the least."""
        return max(least, count // self.share)

    def undeclared(self, sheet: Sheet, direction: Direction) -> str | None:
        """What of it the sheet does not declare, in words, or None."""
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
        """Whether it is about bad input that is not declared, in a direction that is."""
        return self.probe is not None and self.probe not in sheet.bad_input and direction in sheet.directions

    def holds(self, backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict | None:
        """The verdict on one case, whatever the backend does; None if nothing of it was asked for.

        What the backend raised is its own error, and any other exception the judge's.
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
    """One result; NotAskedError if the backend refuses the call, Raised if it raises or is not what was promised.

    What compares results may take them for arrays of that shape: another one is not the judge's mistake.
    """
    may_ask(backend, inputs, direction)
    shape, dtype = operator_of(inputs).result_type(inputs, direction)
    with implementation_code():
        got = backend.run(inputs, direction)
        if got.shape != shape or got.dtype != dtype:
            raise ValueError(f"the result is {got.dtype} of shape {got.shape}; {dtype} of shape {shape} is expected")
    return got


def relation(
    compare: Callable[[Backend[Any], Any, Direction], str | None],
) -> Callable[[Backend[Any], Any, Direction], Verdict]:
    """The check of a function that says in what two calls are not as they must be to each other, or None."""

    @functools.wraps(compare)
    def check(backend: Backend[Any], case: AnyCase, direction: Direction) -> Verdict:
        difference = compare(backend, case, direction)
        return Verdict(Status.HOLDS) if difference is None else Verdict(Status.BROKEN, reason=difference)

    return check


def all_properties() -> tuple[Property, ...]:
    """Every property, the cheapest and most telling of each operator first."""
    from harness.properties import bounds, features, geometry, peers, probes, relations

    parts = (features, bounds, peers, relations, geometry, probes)
    return tuple(each for part in parts for each in part.PROPERTIES)


# One property in one direction: what a backend is asked about.
Question = tuple[Property, Direction]


def questions(*operators: OperatorName) -> tuple[Question, ...]:
    """Every property of these operators in each of its directions, in the order of `all_properties`."""
    return tuple(
        (each, direction) for each in all_properties() if each.operator in operators for direction in each.directions
    )


def find(name: str, operator: OperatorName) -> Property:
    """The property of that name; ValueError, with the names that there are, if there is none."""
    of = {property_.name: property_ for property_, _ in questions(operator)}
    if name not in of:
        raise ValueError(f"There is no property {name!r} of {operator}; there are {', '.join(of)}.")
    return of[name]


def for_both(define: Callable[[OperatorName], Property]) -> tuple[Property, ...]:
    """One property of each operator, defined by the same lines."""
    return tuple(map(define, OPERATORS))
