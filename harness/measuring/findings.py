"""results/findings.json: the failures that a second formulation confirms, each with a snippet that shows it.

`python -m harness conformance` writes the file, and the page of libraries reads it. A failure without an entry is
unconfirmed, and no claim is made about it. Readers do not trust the file blindly: the numbers of an entry must confirm
it again.
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
_NUMBERS = ("value", "expected", "bound", "second")


@dataclass(frozen=True)
class Finding:
    """One failed check of a library.

    status    "fail", "crash" or "hang", as in conformance.csv.
    case      the line of the smallest failing case.
    index     of the wrong value in the result, in NCHW order; () if the failure is not a wrong value.
    value     the library's value, or None; expected and bound: the oracle's; second: the value of the second
              formulation in float64.
    rule      a heading of docs/operators.md; why: that rule in a sentence or two.
    snippet   at most ten lines that reproduce it in the library's own API; output: their output, or their exit. "" if
              it needs earlier calls, or too much input to read.
    alone     whether the case's own call fails in a fresh process; otherwise it needs other calls of its property.
    replay    the command that reproduces it with this project.
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
    value: float | None
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
    """Whether the second formulation agrees with the oracle and not with the library.

    A crash, or a call without a value, needs no second opinion on a value.
    """
    if finding.status != "fail" or finding.value is None:
        return True
    if finding.expected is None or finding.second is None:
        return False
    return confirms(finding.second, value=finding.value, expected=finding.expected, bound=finding.bound or 0.0)


def confirms(second: float, *, value: float, expected: float, bound: float) -> bool:
    """Whether a second value confirms that `value`, which is further than the bound from `expected`, is wrong.

    It agrees with `expected` if it is within the bound, or ten times as close as the library: the bound of a float64
    result is no wider than the second formulation's own rounding.
    """
    off = apart(value, expected)
    agreement = max(bound, off / 10 if math.isfinite(off) else 0.0)
    if off <= bound or apart(value, second) <= bound:
        return False
    return apart(second, expected) <= agreement


def apart(one: float, other: float) -> float:
    """The distance of two values: 0 for two NaNs or equal infinities, infinity if only one is such."""
    if one == other or (math.isnan(one) and math.isnan(other)):
        return 0.0
    distance = abs(one - other)
    return math.inf if math.isnan(distance) else distance


def read(path: Path) -> tuple[Finding, ...]:
    """The findings of a file, () if there is no file; ValueError with a sentence if its form is wrong."""
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
    """A number, possibly written as "nan", "inf" or "-inf", which JSON lacks."""
    if value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"finding {finding} has {value!r} as {name}; a number is expected") from None


def write(path: Path, findings: Iterable[Finding]) -> None:
    """Writes the findings; numbers that JSON lacks become strings."""

    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    lines = [{each.name: plain(getattr(one, each.name)) for each in fields(one)} for one in findings]
    repository.replace(path, json.dumps({"findings": lines}, indent=1) + "\n")
