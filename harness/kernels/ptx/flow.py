"""Instructions, their basic blocks, and where the paths from a block meet again."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.kernels.ptx.faults import Place, UnsupportedInstruction


@dataclass(frozen=True)
class Instruction:
    """One instruction: `@!%p1 ld.global.v2.f32 {%f1, %f2}, [%rd4+8];` has two operands, a predicate and is negated."""

    index: int
    opcode: str
    operands: tuple[str, ...]
    predicate: str | None
    negated: bool
    place: Place

    @functools.cached_property
    def parts(self) -> tuple[str, ...]:
        """The opcode's words: its family, its modifiers, its types."""
        return tuple(self.opcode.split("."))

    def unsupported(self, why: str = "") -> UnsupportedInstruction:
        return UnsupportedInstruction(f"{self.opcode} {', '.join(self.operands)} ({self.place}) is not emulated{why}.")


@dataclass(frozen=True)
class BasicBlock:
    """Instructions that run one after another. The last may be a branch, a return or a barrier.

    next    the next block in the text, which follows a branch not taken, or a barrier.
    target  the target of a branch.
    joins   the block at which all paths from here meet again (the immediate post-dominator), None if they never do.
    """

    instructions: tuple[Instruction, ...]
    next: int
    target: int | None
    joins: int | None

    @property
    def last(self) -> Instruction:
        return self.instructions[-1]


_ENDS = ("bra", "ret", "exit", "bar", "barrier")


def ends_block(instruction: Instruction) -> bool:
    """Whether it determines the next block, or is a barrier of the block's threads."""
    return instruction.parts[0] in _ENDS and instruction.parts[1:2] != ("warp",)


def basic_blocks(instructions: Sequence[Instruction], labels: Mapping[str, int]) -> list[BasicBlock]:
    leaders = {0, *labels.values(), *(each.index + 1 for each in instructions if ends_block(each))}
    starts = sorted(each for each in leaders if each < len(instructions))
    number = {start: block for block, start in enumerate(starts)}
    number[len(instructions)] = len(starts)  # after the last: the exit
    parts = [tuple(instructions[a:b]) for a, b in zip(starts, [*starts[1:], len(instructions)], strict=True)]
    targets = [number[labels[part[-1].operands[-1]]] if part[-1].parts[0] == "bra" else None for part in parts]
    ways = [
        _successors(part[-1], block + 1, target)
        for block, (part, target) in enumerate(zip(parts, targets, strict=True))
    ]
    joins = _post_dominators(ways)
    return [BasicBlock(part, block + 1, targets[block], joins[block]) for block, part in enumerate(parts)]


def _successors(last: Instruction, following: int, target: int | None) -> tuple[int, ...]:
    if target is not None:
        return (target,) if last.predicate is None else (following, target)
    if last.parts[0] in ("ret", "exit") and last.predicate is None:
        return ()
    return (following,)


def _post_dominators(ways: Sequence[tuple[int, ...]]) -> list[int | None]:
    """For each block the nearest one on every path to the exit; None if that is only the exit, or there is no path.

    Cooper, Harvey and Kennedy, A Simple, Fast Dominance Algorithm, on the reversed graph.
    """
    count = len(ways)
    out = count  # a common exit of all returns
    after = [each or (out,) for each in ways]
    before: list[list[int]] = [[] for _ in range(count + 1)]
    for block, nexts in enumerate(after):
        for each in nexts:
            before[each].append(block)
    order = _postorder(out, before)
    rank = {block: position for position, block in enumerate(order)}
    nearest: dict[int, int] = {out: out}

    def meet(a: int, b: int) -> int:
        while a != b:
            while rank[a] < rank[b]:
                a = nearest[a]
            while rank[b] < rank[a]:
                b = nearest[b]
        return a

    progress = True
    while progress:
        progress = False
        for block in reversed(order[:-1]):
            candidates = [each for each in after[block] if each in nearest]
            common = functools.reduce(meet, candidates)
            if nearest.get(block) != common:
                nearest[block] = common
                progress = True
    return [None if nearest.get(block, out) == out else nearest[block] for block in range(count)]


def _postorder(root: int, nexts: Sequence[Sequence[int]]) -> list[int]:
    order: list[int] = []
    visited = {root}
    stack = [(root, iter(nexts[root]))]
    while stack:
        block, rest = stack[-1]
        following = next((each for each in rest if each not in visited), None)
        if following is None:
            order.append(block)
            stack.pop()
        else:
            visited.add(following)
            stack.append((following, iter(nexts[following])))
    return order
