"""Tables and pictures of what was measured and proved: throughput.csv, README.md and two pages, from results alone.

Figures come from the JSON; the matrix of properties, the kill matrix and the fuzz campaigns from their CSV files, each
where it is there. The same files give the same bytes, on any machine and any day, so that a change of these files is a
change of figures.
Nothing here imports an operator's library: a report can be made where nothing could be measured.

    names.py    what rows, directions, types and the like are called; tags.py: what a part is about, for the filters
    tables/     of one view, of one family, of several devices beside each other, of a device's runs
    pictures/   bars, curves, rooflines, distributions, a device's runs
    history.py  a device's runs one after the other: both of them
    proofs/     what was proved: conformance, kills, campaigns
    page/       report.html and its filters, README.md, and what both say in sentences
    libraries/  conformance.html: which library computes RoIAlign right, for those who choose one
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from harness import repository
from harness.measuring import conditions, results
from harness.report import history, libraries, names, tags
from harness.report.libraries import Conformance
from harness.report.page import html, markdown, words
from harness.report.pictures import bars, distributions, roofline
from harness.report.proofs import campaigns, conformance, kills
from harness.report.proofs.matrices import Part
from harness.report.tables import across, before_after, every_row, means, remarks, times
from harness.report.tables.table import Table

TITLE = "RoIAlign: throughput and conformance"
_BEGIN, _END = "<!-- results: written by `python -m harness report` -->", "<!-- /results -->"
_BEGIN_LIBRARIES, _END_LIBRARIES = _BEGIN.replace("results", "conformance"), "<!-- /conformance -->"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Report:
    """Where the three files are, the tidy table behind them, and what a reader is warned of.

    libraries the page of who computes RoIAlign right, None if no implementation was judged.
    baseline  the device that others are compared with, or None if nothing was measured.
    doubts    what makes the newest runs' figures doubtful, each as a sentence that begins with its device.
    """

    csv: Path
    markdown: Path
    html: Path
    libraries: Conformance | None
    table: pd.DataFrame
    baseline: str | None
    doubts: tuple[str, ...]
    problems: tuple[str, ...]


def write(folder: Path, baseline: str | None = None) -> Report:
    """Makes the three files in a folder from the results below it; FileNotFoundError if there are none.

    baseline  the device that the others' ratios are to, None for the first one by name; across.UnknownDevice if
              it has no results.
    """
    stored = results.read(folder)
    proofs, unread = _proofs(folder)
    judged = libraries.write(folder)
    # Of a table that neither page can read both say the same.
    left_out = dict.fromkeys((*unread, *(judged.problems if judged else ())))
    problems = (*stored.problems, *left_out)
    if stored.blocks.empty and not proofs:
        sentences = " ".join(problems)
        raise FileNotFoundError(f"There are no results under {folder}; `make bench` makes some. {sentences}".strip())
    table = results.throughput(stored.blocks)
    newest = results.newest(table)
    base = across.baseline_of(newest, baseline)
    devices = [
        _device(str(device), lines, stored.machines[str(device), str(lines.run.iloc[0])], stored.blocks)
        | {"history": history.history(str(device), table, stored.machines)}
        for device, lines in newest.groupby("device", sort=True)
    ]
    page = {
        "title": TITLE,
        "introduction": words.INTRODUCTION
        + (words.CUDA if "cuda" in set(newest.device.map(results.device_type)) else ()),
        "filters": tags.choices(newest),
        "across": [] if base is None else _across(newest, base),
        "devices": devices,
        "proofs": proofs,
        "every_row": every_row.every_row(newest) if devices else None,
        "sources": remarks.sources(newest) if devices else None,
        "libraries": judged.html.name if judged else None,
        "problems": problems,
    }
    doubts = tuple(f"{part['device']}: {warning}" for part in devices for warning in part["warnings"])
    report = Report(
        folder / "throughput.csv",
        folder / "README.md",
        folder / "report.html",
        judged,
        table,
        base,
        doubts,
        problems,
    )
    repository.replace(
        report.csv, table[results.CSV_COLUMNS].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    )
    repository.replace(report.markdown, markdown.text(page))
    repository.replace(report.html, html.text(page))
    return report


def _across(newest: pd.DataFrame, baseline: str) -> list[Table]:
    """Means first, then every workload, then bits."""
    untuned = _untuned(newest)
    return [
        *_there([across.geomeans(untuned, baseline)]),
        *across.side_by_side(untuned, baseline),
        *_there([across.agreement(newest)]),
    ]


def _proofs(folder: Path) -> tuple[list[Part], list[str]]:
    """What was proved, as far as it is stored, and what could not be read."""
    sources: tuple[tuple[list[Path], Callable[[list[Path]], Part]], ...] = (
        ([folder / "conformance.csv"], lambda paths: conformance.section(paths[0])),
        ([folder / "mutants.csv"], lambda paths: kills.section(paths[0])),
        (sorted((folder / "campaigns").glob("*.csv")), campaigns.section),
    )
    parts, problems = [], []
    for paths, section in sources:
        there = [path for path in paths if path.exists()]
        try:
            parts += [section(there)] if there else []
        except (OSError, ValueError, KeyError) as error:
            places = ", ".join(str(path.relative_to(folder)) for path in there)
            problems.append(f"{places} was left out: {error}.")
    return parts, problems


def _untuned(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows with the allocator that users have: what the tuned one says has a table of its own."""
    default: pd.DataFrame = lines[lines.allocator != "tuned"]
    return default


def write_readme(report: Report, readme: Path) -> None:
    """Puts what was measured and judged between the pairs of comments of the project's README, those that it has.

    These are the first geometric means of each operator on the device with the most rows in its newest run, and which
    libraries compute RoIAlign right with the picture of it. All devices and tables are in results/README.md.
    """
    newest = _untuned(results.newest(report.table))
    lines = [""]
    for device in newest.device.value_counts().index[:1]:
        part = newest[newest.device == device]
        for _, lines_of_one in part.groupby("bench", sort=True):
            lines += [line for table in means.means(lines_of_one, str(device))[:1] for line in markdown.table_of(table)]
    text = repository.between(readme.read_text(encoding="utf-8"), _BEGIN, _END, lines)
    if report.libraries is not None:
        text = repository.between(text, _BEGIN_LIBRARIES, _END_LIBRARIES, ["", *libraries.readme(report.libraries), ""])
    repository.replace(readme, text)


def summary(report: Report) -> list[Table]:
    """The tables to print at the end of a run.

    Of each device the newest run's first view, and means; then how several devices compare.
    """
    newest = _untuned(results.newest(report.table))
    printed: list[Table] = []
    for device, lines in newest.groupby("device", sort=True):
        for family in names.families(lines)[:1]:
            printed += _times(names.views(family)[:1])
        printed += _in_few_words(lines, str(device))
    return printed + (_there([across.geomeans(newest, report.baseline)]) if report.baseline else [])


def _in_few_words(lines: pd.DataFrame, device: str) -> list[Table]:
    return [*means.means(lines, device), *before_after.before_after(lines, device)]


def _device(device: str, lines: pd.DataFrame, machine: dict[str, Any], blocks: pd.DataFrame) -> dict[str, Any]:
    """What one device's part of the page shows.

    blocks  `Results.blocks`, of all devices and runs.
    """
    untuned, labelled = _untuned(lines), names.labelled(lines)
    own = blocks[(blocks.device == device) & (blocks.run == lines.run.iloc[0])]
    return {
        "device": device,
        "machine": words.machine(lines, machine),
        "warnings": conditions.warnings(machine["conditions"], lines, int(machine.get("cores", 1))),
        "means": [*_in_few_words(untuned, device), *means.roofs(untuned, device)],
        "families": [_family(family, own) for family in names.families(untuned)],
        "allocators": remarks.allocators(labelled),
        "failures": remarks.failures(labelled),
    }


def _family(family: pd.DataFrame, blocks: pd.DataFrame) -> dict[str, Any]:
    """An operator in one of its settings: pictures of the first view, tables of all."""
    views = names.views(family)
    first = views[0]
    series = list(product(names.SERIES, names.DIRECTIONS))
    return {
        "name": names.family(family),
        "ratios": _there(bars.ratios(first, direction) for direction in names.DIRECTIONS),
        "times": _times(views[:1]),
        "other_times": _times(views[1:]),
        "rooflines": _there([roofline.roofline(first)]),
        "roofs": _there(bars.roof(first, direction) for direction in names.DIRECTIONS),
        "scaling": _there(bars.scaling(first, *each) for each in series),
        "series": _there(times.series(first, *each) for each in series),
        "distributions": _there(distributions.distribution(first, blocks, direction) for direction in names.DIRECTIONS),
        "rates": _there(times.rates(view, direction) for view, direction in product(views, names.DIRECTIONS)),
    }


def _times(views: list[pd.DataFrame]) -> list[Table]:
    return _there(times.times(view, direction) for view, direction in product(views, names.DIRECTIONS))


def _there(parts: Iterable[_T | None]) -> list[_T]:
    return [part for part in parts if part is not None]
