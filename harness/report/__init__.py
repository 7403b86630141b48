"""Tables and pictures of what was measured and proved: throughput.csv, README.md, two pages and the
overview (for wide screens and for phones), from results alone.

Figures come from the JSON; the matrix of properties, the kill matrix and the fuzz campaigns from their CSV files, each
where it is there. The same files give the same bytes, on any machine and any day, so that a change of these files is a
change of figures.
Nothing here imports an operator's library: a report can be made where nothing could be measured.

    rendering.py  a template with its values
    names.py      what rows, directions, types and the like are called; tags.py: what a part is about, for the filters
    speedups.py   how many times as fast as each other library, per operator and direction
    tables/       of one view, of one family, of several devices beside each other, of a device's runs
    pictures/     bars, curves, rooflines, distributions, a device's runs
    history.py    a device's runs one after the other: tables, pictures and a sentence
    proofs/       what was proved: conformance, kills, campaigns
    page/         report.html, README.md and both overviews: contents, conclusions in sentences, templates
    libraries/    conformance.html: which library computes RoIAlign right, for those who choose one
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from harness import repository
from harness.measuring import conditions, results
from harness.measuring.record import Header
from harness.report import libraries, names
from harness.report.libraries import Conformance
from harness.report.page import contents, html, markdown, picture
from harness.report.page.contents import in_few_words, main_device, untuned
from harness.report.proofs import campaigns, conformance, kills
from harness.report.proofs.matrices import Part
from harness.report.tables import across, means, times
from harness.report.tables.table import Table

_BEGIN, _END = "<!-- results: written by `python -m harness report` -->", "<!-- /results -->"
_BEGIN_LIBRARIES, _END_LIBRARIES = _BEGIN.replace("results", "conformance"), "<!-- /conformance -->"
_BEGIN_OVERVIEW, _END_OVERVIEW = _BEGIN.replace("results", "overview"), "<!-- /overview -->"
OVERVIEW, OVERVIEW_NARROW = "overview.svg", "overview-narrow.svg"


@dataclass(frozen=True)
class Report:
    """Where the files are, the tidy table behind them, and the warnings for readers.

    picture   overview.svg, with overview-narrow.svg beside it; sentence: what both show.
    libraries the page of who computes RoIAlign right, None if no implementation was judged.
    baseline  the device that others are compared with, or None if nothing was measured.
    machines  (device, run) -> the machine and its states, as in results.Results.
    """

    csv: Path
    markdown: Path
    html: Path
    picture: Path
    sentence: str
    libraries: Conformance | None
    table: pd.DataFrame
    baseline: str | None
    machines: dict[tuple[str, str], dict[str, Any]]
    problems: tuple[str, ...]

    def newest(self, run: Header | None = None) -> pd.DataFrame:
        """The rows of each device's newest run; of a finished run's device, those of this run, if it is given."""
        if run is None:
            return results.newest(self.table)
        others = (self.table.device == run.device) & (self.table.run != run.run)
        return results.newest(self.table[~others])

    def doubts(self, newest: pd.DataFrame) -> list[str]:
        """What makes the figures of `newest` doubtful, each as a sentence that begins with its device."""
        return [
            f"{device}: {warning}"
            for (device, run), lines in newest.groupby(["device", "run"], sort=True)
            for warning in conditions.warnings_of(self.machines[str(device), str(run)], lines)
        ]


def write(folder: Path, baseline: str | None = None) -> Report:
    """Makes the five files in a folder from the results below it; FileNotFoundError if there are none.

    baseline  the device that the others' ratios are to, None for the first one by name; across.UnknownDevice if
              it has no results.
    """
    runs = results.read(folder)
    proofs, unread = _proofs(folder)
    conformance_page = libraries.write(folder)
    # If neither page can read a table, both report the same problem.
    omissions = dict.fromkeys((*unread, *(conformance_page.problems if conformance_page else ())))
    problems = (*runs.problems, *omissions)
    if runs.blocks.empty and not proofs:
        sentences = " ".join(problems)
        raise FileNotFoundError(f"There are no results under {folder}; `make bench` makes some. {sentences}".strip())
    table = results.throughput(runs.blocks)
    base = across.baseline_of(results.newest(table), baseline)
    page = contents.contents(runs, table, base, proofs, conformance_page, problems)
    report = Report(
        folder / "throughput.csv",
        folder / "README.md",
        folder / "report.html",
        folder / OVERVIEW,
        picture.sentence(page),
        conformance_page,
        table,
        base,
        runs.machines,
        problems,
    )
    repository.replace(
        report.csv, table[results.CSV_COLUMNS].to_csv(index=False, float_format="%.6g", lineterminator="\n")
    )
    repository.replace(report.markdown, markdown.text(page))
    repository.replace(report.html, html.text(page))
    repository.replace(report.picture, picture.text(page))
    repository.replace(folder / OVERVIEW_NARROW, picture.text(page, picture.NARROW))
    return report


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


def write_readme(report: Report, readme: Path) -> None:
    """Writes the results between the pairs of comments in the project's README, as far as it has these.

    These are the picture of the report's first screen, the first geometric means of each operator on the device with
    the most rows in its newest run, and which libraries compute RoIAlign right with the picture of it. All devices and
    tables are in results/README.md.
    """
    newest = results.newest(report.table)
    main = main_device(newest)
    default = untuned(newest)
    lines = [""]
    for _, of_one in default[default.device == main].groupby("bench", sort=True):
        lines += [line for table in means.means(of_one, str(main))[:1] for line in markdown.table_of(table)]
    text = repository.between(readme.read_text(encoding="utf-8"), _BEGIN, _END, lines)
    overview = [
        "",
        '<a href="results/README.md"><picture>',
        f'<source media="(max-width: 600px)" srcset="results/{OVERVIEW_NARROW}">',
        f'<img src="results/{OVERVIEW}" alt="{escape(report.sentence)}">',
        "</picture></a>",
        "",
    ]
    text = repository.between(text, _BEGIN_OVERVIEW, _END_OVERVIEW, overview)
    if report.libraries is not None:
        text = repository.between(text, _BEGIN_LIBRARIES, _END_LIBRARIES, ["", *libraries.readme(report.libraries), ""])
    repository.replace(readme, text)


def summary(newest: pd.DataFrame, baseline: str | None) -> list[Table]:
    """The tables to print at the end of a run, of the rows of `Report.newest`.

    Of each device the first view, and means; then how several devices compare.
    """
    newest = untuned(newest)
    tables: list[Table | None] = []
    for device, lines in newest.groupby("device", sort=True):
        for family in names.families(lines)[:1]:
            tables += [times.times(names.views(family)[0], direction) for direction in names.DIRECTIONS]
        tables += in_few_words(lines, str(device))
    tables += [across.geomeans(newest, baseline)] if baseline else []
    return [table for table in tables if table is not None]
