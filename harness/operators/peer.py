"""The library that defines an operator's rule: the source of its golden vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis.strategies import SearchStrategy

from harness.operators.arrays import Direction


@dataclass(frozen=True)
class Peer:
    """One library beside an operator.

    name        of its backend, its distribution, and its file in suites/golden.
    title       as the library writes its own name.
    directions  the directions that it computes.
    pinned      the directions in which it rounds positions in the pinned order.
    groups      () -> (count, strategy) for each kind of case to store.
    """

    name: str
    title: str
    directions: tuple[Direction, ...]
    pinned: tuple[Direction, ...]
    groups: Callable[[], Iterator[tuple[int, SearchStrategy[Any]]]]
