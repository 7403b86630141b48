"""The kill matrix of results/mutants.csv: which check finds which planted fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from harness.report.proofs.matrices import Matrix, MatrixCell, Part, read
from harness.report.tables.table import Table

CSV_COLUMNS = [
    "fault", "kind", "operator", "direction", "check", "outcome", "first", "cases", "detail", "why",
]  # fmt: skip
INTRODUCTION = (
    "Each row is a fault planted on purpose, each column a check. first: the check that found it before all others; "
    "found: a check that finds it too, in any direction; a dash: a check that was asked and lets it live; empty: one "
    "that was not asked. A fault that nothing finds is a hole in the suite."
)
_PLACES = {"reference": "in the reference", "package": "in the package", "cuda": "in the CUDA kernels"}


def section(path: Path) -> Part:
    """What the report shows of the table; ValueError if it is none."""
    lines = read(path, CSV_COLUMNS)
    # Of the package's faults only the test that found each is listed: there is no matrix of them.
    others = lines[lines.kind != "package"]
    groups = dict.fromkeys(zip(others.operator, others.kind, strict=True))
    survivors, finders = _survivors(lines), _finders(lines[lines.kind == "package"])
    return Part(
        "kills",
        "Which planted faults are found",
        (_summary(lines), INTRODUCTION),
        _totals(lines),
        warnings=() if survivors is None else (survivors,),
        matrices=tuple(
            _matrix(others[(others.operator == operator) & (others.kind == kind)], operator, kind)
            for operator, kind in groups
        ),
        folded=(_faults(lines), *(() if finders is None else (finders,))),
    )


def _faults_of(lines: pd.DataFrame) -> list[tuple[Any, pd.DataFrame]]:
    return list(lines.groupby(["kind", "operator", "fault"], sort=False))


def _totals(lines: pd.DataFrame) -> dict[str, int]:
    """Faults planted and found: "planted" and "found" of all kinds, "planted in the package" and so on of each."""
    totals = {"planted": 0, "found": 0}
    for (kind, *_), of in _faults_of(lines):
        kill = int((of.outcome == "killed").any())
        for place in ("", f" {_PLACES.get(kind, kind)}"):
            for name, count in (("planted", 1), ("found", kill)):
                totals[name + place] = totals.get(name + place, 0) + count
    return totals


def _summary(lines: pd.DataFrame) -> str:
    faults = _faults_of(lines)
    killed = _totals(lines)["found"]
    parts = []
    for kind, some in lines.groupby("kind", sort=False):
        parts.append(f"{len(_faults_of(some))} {_PLACES.get(str(kind), str(kind))}")
    every = "every one of them was found" if killed == len(faults) else f"{len(faults) - killed} SURVIVED"
    return f"{len(faults)} faults, {killed} killed: {every}. Planted are {', '.join(parts)}."


def _survivors(lines: pd.DataFrame) -> Table | None:
    rows = tuple(
        (fault, operator, _PLACES.get(kind, kind), str(of.why.iloc[0]))
        for (kind, operator, fault), of in _faults_of(lines)
        if not (of.outcome == "killed").any()
    )
    return (
        Table("SURVIVORS: no check finds these faults", ("fault", "operator", "planted", "what it is"), rows)
        if rows
        else None
    )


def _matrix(lines: pd.DataFrame, operator: str, kind: str) -> Matrix:
    checks = list(dict.fromkeys(lines.check))
    rows = []
    for fault, of in lines.groupby("fault", sort=False):
        rows.append((str(fault), tuple(_cell(of[of.check == check]) for check in checks)))
    caption = f"{operator}, faults planted {_PLACES.get(kind, kind)}: {len(rows)} faults by {len(checks)} checks"
    return Matrix(caption, "fault", tuple((check, "") for check in checks), tuple(rows), upright=True)


def _cell(lines: pd.DataFrame) -> MatrixCell:
    """All directions of one check on one fault, as one."""
    killed = lines[lines.outcome == "killed"]
    if len(killed):
        first = killed["first"].isin(["True", "yes"]).any()
        return MatrixCell("first" if first else "found", "good")
    return MatrixCell("-" if (lines.outcome == "survived").any() else "", "none")


def _finders(lines: pd.DataFrame) -> Table | None:
    killed = lines[lines.outcome == "killed"]
    rows = tuple((line.fault, line.operator, line.check, line.why) for line in killed.itertuples(index=False))
    header = ("fault", "operator", "the test that finds it", "what it is")
    return Table("Faults planted in the package, and the test that finds each", header, rows) if rows else None


def _faults(lines: pd.DataFrame) -> Table:
    rows = []
    for (kind, operator, fault), of in _faults_of(lines[lines.kind != "package"]):
        firsts = of[(of.outcome == "killed") & of["first"].isin(["True", "yes"])]
        by = (
            (f"{firsts.check.iloc[0]}, {firsts.direction.iloc[0]}", firsts.cases.iloc[0], firsts.detail.iloc[0])
            if len(firsts)
            else ("nothing", "", "")
        )
        rows.append((str(fault), operator, _PLACES.get(kind, kind), str(of.why.iloc[0]), *by))
    header = ("fault", "operator", "planted", "what it is", "found first by", "cases", "how")
    return Table("What each fault is, and what found it first", header, tuple(rows))
