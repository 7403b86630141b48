"""The conclusions from the figures, in sentences: each page opens with one, and the first screen with all of them.

Every sentence is made of figures, says so where a figure is bad, and claims nothing of what was not measured or proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.report.libraries import words
from harness.report.libraries.grids import OURS, Grid
from harness.report.names import DIRECTIONS
from harness.report.page.bars import Strip, Strips, times
from harness.report.proofs.matrices import Part
from harness.report.speedups import Speedup
from harness.report.tables.across import Agreement

# The gate's statuses of a wrong result, and of a call without a result.
_WRONG = ("DIFFERS", "OUT", "SHAPE", "DTYPE", "ERROR", "CRASH", "HANG", "BROKEN")
# Where faults are planted, as proofs/kills.py calls it.
_PLACES = ("in the package", "in the reference", "in the CUDA kernels")


@dataclass(frozen=True)
class Fact:
    """A figure and what it is, with a tone for readers who see colours: "good", "soft", "bad" or "none"."""

    figure: str
    text: str
    tone: str


@dataclass(frozen=True)
class Conclusion:
    """A sentence, the facts behind it, and its tone, which is that of the worst fact."""

    sentence: str
    facts: tuple[Fact, ...] = ()

    @property
    def tone(self) -> str:
        """The worst of its facts' tones."""
        tones = {fact.tone for fact in self.facts}
        return next((tone for tone in ("bad", "soft", "good") if tone in tones), "none")


def correctness(newest: pd.DataFrame, proofs: Sequence[Part], grids: Sequence[Grid]) -> Conclusion:
    """Whether this project's results are right, and how well the checks that say so are themselves checked."""
    totals: dict[str, int] = {}
    for part in proofs:
        totals |= part.totals
    own = [*_bits(newest), *_properties(totals), *_cases(totals)]
    checks = [*_faults(totals), *_alarms(totals)]
    bad = [fact for fact in (*own, *checks) if fact.tone == "bad"]
    if bad:
        sentence = f"Something is wrong: {'; '.join(f'{fact.figure} {fact.text}' for fact in bad)}."
    elif own and checks:
        sentence = "Every result that was checked is right, and the checks find every fault that was planted."
    elif own:
        sentence = "Every result that was checked is right; whether the checks find planted faults is not stored here."
    elif checks:
        sentence = "The checks find every fault that was planted; no result of this project is stored here."
    else:
        sentence = "Nothing that is stored here says whether results are right."
    return Conclusion(sentence, (*own, *checks, *_libraries(grids)))


def _bits(newest: pd.DataFrame) -> Iterable[Fact]:
    """What the runs compared bit by bit, by reference; the same bits in two states of a cache are one comparison."""
    if newest.empty:
        return
    keys = ["device", "setting", "workload", "op", "direction", "backend", "layout", "dtype", "digest"]
    once = newest[newest.own & (newest.compared.fillna(0) > 0)].drop_duplicates(keys)
    for reference, lines in once.groupby("compared_with", sort=True):
        total, differing = int(lines.compared.sum()), int(lines.differing.fillna(0).sum())
        equal = f"{total - differing:,} of {total:,}"
        text = f"outputs equal those of {reference} in every bit"
        yield Fact(equal, text, "bad" if differing else "good")
    wrong = newest[newest.own & newest.status.isin(_WRONG)]
    if len(wrong):
        yield Fact(f"{len(wrong):,}", "benchmark rows of this project have a wrong result and no time", "bad")


def _properties(totals: Mapping[str, int]) -> Iterable[Fact]:
    if totals.get("checks"):
        checks, failures = totals["checks"], totals["failed"]
        yield Fact(
            f"{checks - failures:,} of {checks:,}",
            "properties and directions hold for this project's kernels",
            "bad" if failures else "good",
        )


def _cases(totals: Mapping[str, int]) -> Iterable[Fact]:
    if totals.get("cases"):
        finds = totals["finds"]
        text = f"wrong results in {totals['cases']:,} random cases of the fuzz campaigns"
        yield Fact(f"{finds:,}", text, "bad" if finds else "good")


def _faults(totals: Mapping[str, int]) -> Iterable[Fact]:
    if totals.get("planted"):
        total, kills = totals["planted"], totals["found"]
        yield Fact(f"{kills:,} of {total:,}", "planted faults are found", "good" if total == kills else "bad")


def _alarms(totals: Mapping[str, int]) -> Iterable[Fact]:
    if totals.get("alarms asked"):
        alarms = totals["false alarms"]
        text = f"false alarms in {totals['alarms asked']:,} checks of the reference, in which nothing is planted"
        yield Fact(f"{alarms:,}", text, "bad" if alarms else "good")


def _libraries(grids: Sequence[Grid]) -> Iterable[Fact]:
    """How many other libraries fail somewhere in what they offer; it says nothing against this project."""
    of_library: dict[str, set[str]] = {}
    for grid in grids:
        for library in grid.libraries:
            if library.backend != OURS:
                of_library.setdefault(library.backend, set()).update(square.word for square in grid.of(library))
    if of_library:
        failing = sum(bool(of & set(words.RED)) for of in of_library.values())
        text = "other libraries give a wrong value, crash or hang somewhere in what they offer"
        yield Fact(f"{failing} of {len(of_library)}", text, "none")
    unconfirmed = sum(grid.unconfirmed for grid in grids)
    if unconfirmed:
        few = "failed check of another library is" if unconfirmed == 1 else "failed checks of other libraries are"
        yield Fact(f"{unconfirmed:,}", f"{few} not confirmed, and not counted", "none")


def strips_of_libraries(grids: Sequence[Grid]) -> list[Strips]:
    """For each operator a strip for each library: how many rows of the matrix are right, wrong and so on."""
    pictures = []
    for grid in grids:
        strips = []
        for library in grid.libraries:
            answers = [square.word for square in grid.of(library)]
            counts = ((answers.count(word), word, words.TONE_OF[word]) for word in words.LEGEND)
            strips.append(Strip(f"{library.name} {library.version}".strip(), tuple(each for each in counts if each[0])))
        caption = f"{words.OPERATORS[grid.operator]}: what each library gets right of {len(grid.rows)} kinds of call"
        pictures.append(Strips(caption, tuple(strips)))
    return pictures


def strips_of_faults(proofs: Sequence[Part]) -> list[Strips]:
    """A strip for each place in which faults are planted: how many are found, how many survive."""
    strips = []
    for totals in (part.totals for part in proofs):
        for place in _PLACES:
            total, kills = (totals.get(f"{name} {place}", 0) for name in ("planted", "found"))
            counts = ((kills, "found", "good"), (total - kills, "not found", "bad"))
            if total:
                strips.append(Strip(f"faults {place}", tuple(each for each in counts if each[0])))
    return [Strips("Faults planted on purpose, and how many of them a check finds", tuple(strips))] if strips else []


def speed(device: str | None, speedups: Sequence[Speedup]) -> Conclusion:
    """How fast one device is beside its peers, each operator over its directions, and where it is slower."""
    if device is None:
        return Conclusion("Nothing was timed.")
    peers: dict[tuple[str, str], list[Speedup]] = {}
    for each in speedups:
        if each.is_peer:
            peers.setdefault((each.bench, each.other), []).append(each)
    if not peers:
        return Conclusion(f"On {device} no time can be compared with another library's.")
    clauses = [
        f"{bench} is {_span([each.times_as_fast for each in of])} as fast as {other}"
        for (bench, other), of in peers.items()
    ]
    fractions = [each.roof_fraction for each in speedups if np.isfinite(each.roof_fraction)]
    roof = (
        f" Compulsory bytes move at {_span(fractions, '{:.0%}'.format)} of the copy bandwidth, the roof."
        if fractions
        else ""
    )
    slower = tuple(_slower(speedups))
    end = " ".join(f"{fact.figure} {fact.text}." for fact in slower) or "No call is slower than another library's."
    return Conclusion(f"On {device} {_listed(clauses)}. {end}{roof}", slower)


def _slower(speedups: Sequence[Speedup]) -> Iterable[Fact]:
    """Where a mean is below 1, and how many single calls are: a mean hides them."""
    for each in speedups:
        if each.times_as_fast < 1:
            text = f"{each.bench}, {DIRECTIONS[each.direction].lower()}, is {times(each.times_as_fast)} as fast as"
            yield Fact("Slower in the mean:", f"{text} {each.other}", "soft")
    count, calls = (sum(getattr(each, name) for each in speedups) for name in ("slower", "calls"))
    if count:
        worst = min(speedups, key=lambda each: each.least)
        direction = DIRECTIONS[worst.direction].lower()
        text = f"comparisons of single calls {'is' if count == 1 else 'are'} slower, at worst {times(worst.least)}"
        call = f"{worst.bench}, {direction}, of {worst.least_call} beside {worst.other}"
        yield Fact(f"{count:,} of {calls:,}", f"{text} ({call})", "soft")


def _span(values: Sequence[float], write: Callable[[float], str] = times) -> str:
    """As in "2.10x to 3.40x"; values that are written the same are one."""
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def machines(briefs: Sequence[Fact]) -> Conclusion:
    """What was measured, when and at which revision: the first device, and the others as facts."""
    if not briefs:
        return Conclusion("Nothing was timed.")
    first, *others = briefs
    count = len(others)
    more = f" {count} other device{'s were' if count > 1 else ' was'} measured." if others else ""
    return Conclusion(f"{first.figure}: {first.text}.{more}", tuple(others))


def devices(names: Sequence[str], baseline: str, families: pd.DataFrame, pairs: Sequence[Agreement]) -> Conclusion:
    """How several devices compare with one of them, and whether they give the same bits."""
    if len(names) < 2:
        return Conclusion(f"There is nothing to compare: {' and '.join(names) or 'no device'} alone was measured.")
    clauses = [
        f"{device} is {_span(list(lines.times_as_fast))} as fast"
        for device, lines in families.groupby("device", sort=True)
    ]
    speeds = (
        f"Compared with {baseline}, {_listed(clauses)}."
        if clauses
        else f"No work is shared with {baseline}, so no speeds are compared."
    )
    equal, other = (sum(len(getattr(pair, name)) for pair in pairs) for name in ("equal", "other_bits"))
    if not equal + other:
        return Conclusion(f"{speeds} No results on equal inputs can be compared bit by bit.")
    fact = Fact(
        f"{equal:,} of {equal + other:,}",
        "results that two devices share are equal in every bit",
        "bad" if other else "good",
    )
    bits = f"{fact.figure} {fact.text}."
    return Conclusion(f"{speeds} {bits}", (fact,))


def history(sentences: Sequence[str]) -> Conclusion:
    """How times changed on each device that has several runs."""
    return Conclusion(" ".join(sentences) or "No device has two runs for the record yet, so nothing can have changed.")


def doubts(of_devices: Mapping[str, Sequence[str]], failures: int, problems: Sequence[str]) -> Conclusion:
    """What a reader should doubt: the machine's state, rows without a time, files that were left out, what is missing.

    of_devices  each device with what makes its figures doubtful.
    """
    facts = [Fact(device, warning, "soft") for device, warnings in of_devices.items() for warning in warnings]
    if failures:
        facts.append(Fact(f"{failures:,}", "rows have no time; the page of each device says why", "soft"))
    facts += [Fact("Left out", problem, "bad") for problem in problems]
    if of_devices and not any(device.startswith("cuda") for device in of_devices):
        facts.append(Fact("No GPU", "was measured: nothing here says how fast the CUDA kernels are", "soft"))
    if not facts:
        return Conclusion("Nothing is known that makes these figures doubtful.")
    noisy = [device for device, warnings in of_devices.items() if warnings]
    sentence = (
        f"The machine was not quiet on {_listed(noisy)}: trust ratios within one run, and no small differences."
        if noisy
        else "No disturbance of the machines is known; what is missing is listed."
    )
    return Conclusion(sentence, tuple(facts))


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""
