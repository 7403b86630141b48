"""results/findings.json: the failures that a second formulation confirms, each with a snippet that shows it.

`python -m harness conformance` writes the file, and the page of libraries reads it. A failure that has no entry was not
confirmed, and nothing is claimed of it. The file's word is not taken for it: the numbers of an entry have to say so
too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness import repository

LONGEST_SNIPPET = 10
STATUSES = ("fail", "crash", "hang")
LANGUAGES = ("python", "javascript")
_NUMBERS = ("got", "expected", "bound", "second")


@dataclass(frozen=True)
class Finding:
    """One failed check of a library.

    status    "fail", "crash" or "hang", as in conformance.csv.
    case      the line of the smallest case that was found.
    index     of the value in the result, in NCHW order; () where a value is not what is wrong.
    got       the library's value, None where there was none; expected and bound: the oracle's; second: the value of
              the second formulation in float64.
    rule      a heading of docs/operators.md; why: that rule in a sentence or two.
    snippet   at most ten lines that show it in the library's own API; output: what they printed, or how they ended. ""
              where it shows only after other calls, or needs more input than anybody reads.
    alone     whether the case's own call fails in a fresh process; else it needs the others that its property makes.
    replay    the command that shows it again with this project.
    """

    operator: str
    backend: str
    title: str
    versions: str
    device: str
    property: str
    direction: str
    status: str
    case: str
    index: tuple[int, ...]
    got: float | None
    expected: float | None
    bound: float | None
    second: float | None
    reason: str
    rule: str
    why: str
    snippet: str
    language: str
    output: str
    alone: bool
    replay: str


def is_confirmed(finding: Finding) -> bool:
    """Whether the second formulation agrees with the oracle, and not with the library.

    What ended its process, or gave no value, needs no second opinion on one.
    """
    if finding.status != "fail" or finding.got is None:
        return True
    if finding.expected is None or finding.second is None:
        return False
    return confirms(finding.second, got=finding.got, expected=finding.expected, bound=finding.bound or 0.0)


def confirms(second: float, *, got: float, expected: float, bound: float) -> bool:
    """Whether a second value says that `got`, which is further than the bound from `expected`, is wrong.

    It agrees with what is expected if it is within the bound, or ten times as near as the library: the bound of a
    float64 result is no wider than the second formulation's own rounding.
    """
    off = apart(got, expected)
    agreement = max(bound, off / 10 if math.isfinite(off) else 0.0)
    if off <= bound or apart(got, second) <= bound:
        return False
    return apart(second, expected) <= agreement


def apart(one: float, other: float) -> float:
    """How far two values are from each other: 0 for two NaNs or equal infinities, infinity for one of them alone."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    distance = abs(one - other)
    return math.inf if math.isnan(distance) else distance


def read(path: Path) -> tuple[Finding, ...]:
    """The findings of a file, () if there is none; ValueError in a sentence if it is not of this form."""
    if not path.exists():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["findings"]
        return tuple(_finding(number, entry) for number, entry in enumerate(entries, 1))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('it is not {"findings": [{...}, ...]}') from error


def _finding(number: int, entry: Mapping[str, Any]) -> Finding:
    missing = [each.name for each in fields(Finding) if each.name not in entry]
    if missing:
        raise ValueError(f"finding {number} has no {', '.join(missing)}")
    values = {each.name: entry[each.name] for each in fields(Finding)}
    for name in _NUMBERS:
        values[name] = _number(number, name, values[name])
    finding = Finding(**{**values, "index": tuple(values["index"])})
    for name, value, choices in (
        ("status", finding.status, STATUSES), ("language", finding.language, LANGUAGES),
    ):  # fmt: skip
        if value not in choices:
            raise ValueError(f"finding {number} has the {name} {value!r}; {', '.join(choices)} are accepted")
    lines = len(finding.snippet.splitlines())
    if lines > LONGEST_SNIPPET:
        raise ValueError(f"finding {number} has a snippet of {lines} lines; at most {LONGEST_SNIPPET} are accepted")
    return finding


def _number(finding: int, name: str, value: object) -> float | None:
    """A number, or "nan", "inf" and "-inf", which JSON has no number for."""
    if value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"finding {finding} has {value!r} as {name}; a number is expected") from None


def write(path: Path, findings: Iterable[Finding]) -> None:
    """The findings as a file; numbers that JSON does not have are words."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    lines = [{each.name: plain(getattr(one, each.name)) for each in fields(one)} for one in findings]
    repository.replace(path, json.dumps({"findings": lines}, indent=1) + "\n")
