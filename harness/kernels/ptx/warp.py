"""A warp: 32 lanes that run one instruction at a time, diverge at branches and reconverge.

If lanes disagree at a branch, those that take it and those that do not run one after another, each up to the nearest
basic block that all paths reach; there they continue together. The launch's order decides which side runs first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.kernels.ptx.faults import Fault
from harness.kernels.ptx.flow import Instruction
from harness.kernels.ptx.registers import LANES
from harness.operators.arrays import Array

if TYPE_CHECKING:
    from harness.kernels.ptx.block import Block
    from harness.kernels.ptx.code import Part

_ALL_LANES = np.arange(LANES)
# A warp that runs more basic blocks than this counts as an endless loop: minutes here, an instant on a GPU.
MOST_RUNS = 5_000_000
_BITS = np.uint32(1) << np.arange(LANES, dtype=np.uint32)


@dataclass
class Way:
    """Lanes on one path: the basic block that they run next, and the block at which the paths join again."""

    next: int
    joins: int | None
    lanes: Array


class Warp:
    """
    active  the lanes that run.
    whole   whether these are all lanes that have not returned.
    full    whether these are all 32 lanes.
    lanes   their numbers.
    waits   the barrier that the warp is waiting at, or None.
    """

    def __init__(self, block: Block, index: int, exists: Array) -> None:
        self.block = block
        self.index = index
        self.registers = list(block.code.initial)
        self.waits: Instruction | None = None
        self._exists = exists
        self._live = exists
        self._ways = [Way(0, None, exists)]
        self._runs = block.runs
        self._budget = MOST_RUNS
        self._set_special()
        self._activate(exists)

    @property
    def is_done(self) -> bool:
        return not self._ways

    @property
    def complete(self) -> bool:
        """Whether no lane has returned."""
        return bool((self._live == self._exists).all())

    @property
    def bits(self) -> int:
        """The active lanes as a mask."""
        return int(_BITS[self.active].sum())

    def run(self) -> None:
        """Runs up to a barrier of the block, or to the end."""
        self.waits = None
        parts, runs, ways = self.block.code.parts, self._runs, self._ways
        while ways:
            way = ways[-1]
            if way.next == way.joins or way.next == len(parts):
                ways.pop()
                if ways:
                    self._activate(ways[-1].lanes)
                continue
            part = parts[way.next]
            runs[way.next] += 1
            self._budget -= 1
            if self._budget == 0:
                raise self.fault_at(part.of.last, 0, f"has not come to an end after {MOST_RUNS} basic blocks")
            for step in part.steps:
                step(self)
            if not part.ends:
                way.next = part.of.next
            elif part.ends == "bra":
                self._branch(way, part)
            elif part.ends == "ret":
                self._return(way, part)
            else:
                way.next = part.of.next
                self._wait(part.of.last)
                return

    def _wait(self, barrier: Instruction) -> None:
        if not self.whole:
            lane = int(np.flatnonzero(self._live & ~self.active)[0])
            raise self.fault_at(barrier, 0, f"waits at a divergent barrier, where lane {lane} of its warp is not")
        self.waits = barrier

    def _branch(self, way: Way, part: Part) -> None:
        target, following, joins = part.of.target, part.of.next, part.of.joins
        assert target is not None
        branch_lanes = self._agreeing(part)
        count = np.count_nonzero(branch_lanes)
        if count in (0, len(self.lanes)):
            way.next = target if count else following
            return
        other_lanes = self.active & ~branch_lanes
        self.block.divergent_branches += 1
        way.next = len(self.block.code.parts) if joins is None else joins
        sides = [Way(following, joins, other_lanes), Way(target, joins, branch_lanes)][:: self.block.direction]
        self._ways += sides
        self._activate(sides[-1].lanes)

    def _agreeing(self, part: Part) -> Array:
        """The active lanes that execute the last instruction of a basic block: all, if it has no predicate."""
        if part.condition is None:
            return self.active
        place, view = part.condition
        predicate = self.registers[place]
        agreeing: Array = (view(predicate) if view else predicate) & self.active
        return agreeing

    def _return(self, way: Way, part: Part) -> None:
        leaving = self._agreeing(part)
        self._live = self._live & ~leaving
        for each in self._ways:
            each.lanes = each.lanes & ~leaving
        way.next = part.of.next
        while self._ways and not self._ways[-1].lanes.any():
            self._ways.pop()
        if self._ways:
            self._activate(self._ways[-1].lanes)

    def _activate(self, lanes: Array) -> None:
        self.active = lanes
        count = int(np.count_nonzero(lanes))
        self.whole = count == np.count_nonzero(self._live)
        self.full = count == LANES
        self.lanes = _ALL_LANES if self.full else np.flatnonzero(lanes)

    @contextmanager
    def only(self, lanes: Array) -> Iterator[bool]:
        """Restricts the active lanes to `lanes` for one instruction; yields whether there are any."""
        before = self.active
        lanes = lanes & before
        self._activate(lanes)
        try:
            yield bool(lanes.any())
        finally:
            self._activate(before)

    def whereabouts(self, lane: int) -> str:
        """Why a lane is not among the active ones."""
        if not self._exists[lane]:
            return "does not exist"
        return "has gone another way" if self._live[lane] else "has returned"

    def fault_at(self, instruction: Instruction, position: int, problem: str) -> Fault:
        """A Fault of a thread, by its position among the active lanes."""
        return self.fault_of(instruction, int(self.lanes[position]), problem)

    def fault(self, instruction: Instruction, lanes: Array, problem: str) -> Fault:
        """A Fault of the first of these lanes."""
        return self.fault_of(instruction, int(np.flatnonzero(lanes)[0]), problem)

    def fault_of(self, instruction: Instruction, lane: int, problem: str) -> Fault:
        thread = self.block.coordinates(LANES * self.index + lane)
        return Fault(f"{instruction.opcode} ({instruction.place}): thread {thread} {problem}. In {self.block}.")

    def _set_special(self) -> None:
        block = self.block
        threads = LANES * self.index + _ALL_LANES
        x, y, _ = block.threads
        values = {
            "%tid.x": threads % x, "%tid.y": threads // x % y, "%tid.z": threads // (x * y),
            "%laneid": _ALL_LANES, "%warpid": np.full(LANES, self.index),
        }  # fmt: skip
        for name, triple in (("ntid", block.threads), ("ctaid", block.index), ("nctaid", block.grid)):
            values |= {f"%{name}.{axis}": np.full(LANES, each) for axis, each in zip("xyz", triple, strict=True)}
        for name, value in values.items():
            self.registers[block.code.special[name]] = value.astype(np.uint32)
