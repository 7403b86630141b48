"""The conclusions from the matrix and the times: a line for each library, and one sentence for the whole page.

Both are computed; no library is named in this code. A library is recommended only if none of its cells is red or
unconfirmed. These libraries are compared in speed, on the workloads that all of them were timed on.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.report.libraries import words
from harness.report.libraries.grids import Grid, Library
from harness.report.libraries.timings import Timing, Work, by_work

RULE = (
    "“Right” is a library without a red or unconfirmed cell in its column. Of these, “the fastest” is the one with "
    "the smallest geometric mean of its forward times over the workloads that all timed ones of them computed right, "
    "and the others' factor is to that mean; “the fastest with a gradient” is likewise over forward and gradient "
    "of those that offer the gradient of the image. The times are of the one machine that is named with them."
)
# From which word on a column is no choice.
_DOUBTFUL = (*words.RED, words.UNCONFIRMED)
_GRADIENT = ("forward", "grad_image")


@dataclass(frozen=True)
class Choice:
    """A cell of the row "what to choose": its sentence, and whether the library is one of those to choose from."""

    sentence: str
    is_right: bool


def is_right(grid: Grid, library: Library) -> bool:
    """Whether a library has something right in its column and nothing wrong or unconfirmed."""
    words_of = {square.word for square in grid.of(library)}
    return bool(words_of & {words.RIGHT, words.IN_PART}) and not words_of & set(_DOUBTFUL)


def has_gradient(grid: Grid, library: Library) -> bool:
    """Whether a library offers the gradient of the image."""
    name = words.BY_DIRECTION["grad_image"]
    return any(square.row == name and square.word in (words.RIGHT, words.IN_PART) for square in grid.of(library))


def choices(grid: Grid, timings: Sequence[Timing]) -> tuple[Choice, ...]:
    """The recommendation for each library of a grid, in its order."""
    right = [each for each in grid.libraries if is_right(grid, each)]
    forward = _means(grid, right, timings, ("forward",))
    trainable = [each for each in right if has_gradient(grid, each)]
    both = _means(grid, trainable, timings, _GRADIENT)
    return tuple(_choice(grid, each, forward, both) for each in grid.libraries)


def _choice(grid: Grid, library: Library, forward: dict[Library, float], both: dict[Library, float]) -> Choice:
    counts = Counter(square.word for square in grid.of(library))
    red = sum(counts[word] for word in words.RED)
    if red:
        return Choice(f"see its {red} red cell{'s' if red > 1 else ''} first", False)
    if counts[words.UNCONFIRMED]:
        return Choice("not all is clear", False)
    if not is_right(grid, library):
        return Choice("nothing was tried", False)
    praise = []
    if library in forward:
        factor = forward[library] / min(forward.values())
        praise.append("the fastest" if factor == 1 else f"{factor:.1f} times the fastest's time")
    if library in both and both[library] == min(both.values()):
        praise.append("the fastest with a gradient")
    elif not has_gradient(grid, library):
        praise.append("no gradient")
    if library not in forward:
        praise.append("not timed")
    return Choice("; ".join(("right", *praise)), True)


def _means(
    grid: Grid, among: Sequence[Library], timings: Sequence[Timing], directions: Sequence[str]
) -> dict[Library, float]:
    """Each timed library's geometric mean of times in ms, over the work that all of them did."""
    candidates = [each for each in timings if each.operator == grid.operator and each.direction in directions]
    rows = by_work(candidates, {each.backend for each in among})
    times: dict[Library, dict[Work, float]] = {
        library: {
            work: of[library.backend].ms
            for work, of in rows.items()
            if library.backend in of and of[library.backend].is_right
        }
        for library in among
    }
    # A gradient's mean without its forward, or the reverse, would be no mean of both.
    timed = {library: of for library, of in times.items() if {work.direction for work in of} == set(directions)}
    common = set.intersection(*map(set, timed.values())) if timed else set()
    if {work.direction for work in common} != set(directions):
        return {}
    return {
        library: math.exp(sum(math.log(of[work]) for work in common) / len(common)) for library, of in timed.items()
    }


def sentence(grids: Sequence[Grid]) -> str:
    """The page's result in one line: of how many libraries how many are right in everything that they offer."""
    return " ".join(map(result, grids)) or "No library was judged."


def result(grid: Grid) -> str:
    """The sentence of one operator."""
    libraries = {each.backend: {square.word for square in grid.of(each)} for each in grid.libraries}
    right = list(dict.fromkeys(each.name for each in grid.libraries if is_right(grid, each)))
    unclear = sum(words.UNCONFIRMED in of and not of & set(words.RED) for of in libraries.values())
    red = [of & set(words.RED) for of in libraries.values() if of & set(words.RED)]
    faults = [f"{len(red)} {_faults(set().union(*red), len(red) == 1)}"] if red else []
    faults += [f"{unclear} failed a check that is not confirmed"] if unclear else []
    noun = "library" if len(libraries) == 1 else "libraries"
    verb, they = ("computes", "it offers") if len(right) == 1 else ("compute", "they offer")
    names = f" ({', '.join(right)})" if right else ""
    verdict = (
        f"Of {len(libraries)} {noun} {len(right) or 'none'} {verb} {words.OPERATORS[grid.operator]} right "
        f"in everything that {they}{names}"
    )
    return f"{'; '.join((verdict, *faults))}."


def _faults(kinds: Collection[str], of_one: bool) -> str:
    """The verbs of the red words among these: "give a wrong value, fail or hang"."""
    verbs = (
        (words.WRONG, ("give a wrong value", "fail"), ("gives a wrong value", "fails")),
        (words.CRASHES, ("crash",), ("crashes",)),
        (words.HANGS, ("hang",), ("hangs",)),
    )
    listed = [verb for word, many, one in verbs if word in kinds for verb in (one if of_one else many)]
    return " or ".join(filter(None, (", ".join(listed[:-1]), listed[-1])))
