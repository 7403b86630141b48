"""The library whose rule an operator has: what its stored results are made of, and what they can be compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from harness.operators.arrays import Direction


@dataclass(frozen=True)
class Peer:
    """One library beside an operator.

    name        of its backend, of its distribution, and of the file of its results in suites/golden.
    title       what it calls itself.
    directions  those that it has.
    pinned      those whose sample positions it rounds in the pinned order.
    groups      () -> how many cases of which kind are stored, within what it can be asked for.
    """

    name: str
    title: str
    directions: tuple[Direction, ...]
    pinned: tuple[Direction, ...]
    groups: Callable[[], Iterator[tuple[int, SearchStrategy[Any]]]]
