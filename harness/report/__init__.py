"""Tables and pictures of what was measured and proved: throughput.csv, README.md and report.html, from results alone.

Figures come from the JSON; the matrix of properties, the kill matrix and the fuzz campaigns from their CSV files, each
where it is there. The same files give the same bytes, on any machine and any day, so that a change of these files is a
change of figures.
Nothing here imports an operator's library: a report can be made where nothing could be measured.

    tables/     one device's times, several devices beside each other, one device's runs after each other
    pictures/   bars, curves, rooflines, distributions
    proofs/     what was proved: conformance, kills, campaigns
    page/       report.html and its filters, README.md, and what both say in sentences
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from harness import repository as files
from harness.measuring import conditions, results
from harness.report.page import filters as marks
from harness.report.page import markdown, words
from harness.report.pictures import bars as pictures
from harness.report.pictures import distributions, roofline
from harness.report.proofs import campaigns as campaign_tables
from harness.report.proofs import conformance as conformance_tables
from harness.report.proofs import kills as kill_tables
from harness.report.proofs.matrices import Part
from harness.report.tables import across, every_row, history, remarks
from harness.report.tables import cuda as cuda_tables
from harness.report.tables import roi_align as pooling_tables
from harness.report.tables import times as tables
from harness.report.tables.times import Table

TITLE = "RoIAlign: throughput and conformance"
_MARKS = ("<!-- results: written by `python -m harness report` -->", "<!-- /results -->")


@dataclass(frozen=True)
class Report:
    """Where the three files are, the tidy table behind them, whom devices are compared with, what could not be read.

    baseline  a device, or None if nothing was measured.
    doubts    what makes the newest runs' figures doubtful, each as a sentence that begins with its device.
    """

    csv: Path
    markdown: Path
    html: Path
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
    problems = (*stored.problems, *unread)
    if stored.blocks.empty and not proofs:
        left_out = " ".join(problems)
        raise FileNotFoundError(f"There are no results under {folder}; `make bench` makes some. {left_out}".strip())
    table = results.throughput(stored.blocks)
    shown = results.newest(table)
    base = across.chosen(shown, baseline)
    devices = [
        _device(str(device), lines, stored.machines[str(device), str(lines.run.iloc[0])], stored.blocks)
        | {"history": history.history(str(device), table, stored.machines)}
        for device, lines in shown.groupby("device", sort=True)
    ]
    page = {
        "title": TITLE,
        "introduction": words.INTRODUCTION
        + (words.CUDA if "cuda" in set(shown.device.map(results.device_type)) else ()),
        "filters": marks.choices(shown),
        "across": [] if base is None else _across(shown, base),
        "devices": devices,
        "proofs": proofs,
        "every_row": every_row.every_row(shown) if devices else None,
        "sources": remarks.sources(shown) if devices else None,
        "problems": problems,
    }
    doubts = tuple(f"{part['device']}: {said}" for part in devices for said in part["warnings"])
    made = Report(
        folder / "throughput.csv", folder / "README.md", folder / "report.html", table, base, doubts, problems
    )
    files.replace(made.csv, table[results.CSV_COLUMNS].to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    files.replace(made.markdown, markdown.text(page))
    files.replace(made.html, _html(page))
    return made


def _across(shown: pd.DataFrame, baseline: str) -> list[Table]:
    """Means first, then every workload, then bits."""
    untuned = _untuned(shown)
    bits = across.agreement(_cropping(shown))
    return [*_made([across.geomeans(untuned, baseline)]), *across.side_by_side(untuned, baseline), *_made([bits])]


def _proofs(folder: Path) -> tuple[list[Part], list[str]]:
    """What was proved, as far as it is stored, and what could not be read."""
    sources: tuple[tuple[list[Path], Callable[[list[Path]], Part]], ...] = (
        ([folder / "conformance.csv"], lambda paths: conformance_tables.section(paths[0])),
        ([folder / "mutants.csv"], lambda paths: kill_tables.section(paths[0])),
        (sorted((folder / "campaigns").glob("*.csv")), campaign_tables.section),
    )
    made, problems = [], []
    for paths, section in sources:
        there = [path for path in paths if path.exists()]
        try:
            made += [section(there)] if there else []
        except (OSError, ValueError, KeyError) as error:
            named = ", ".join(str(path.relative_to(folder)) for path in there)
            problems.append(f"{named} was left out: {error}.")
    return made, problems


def _untuned(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows with the allocator that users have: what the tuned one says stands in a table of its own."""
    default: pd.DataFrame = lines[lines.allocator != "tuned"]
    return default


def _cropping(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows of crop_and_resize."""
    own: pd.DataFrame = lines[lines.bench == "crop_and_resize"]
    return own


def write_readme(made: Report, readme: Path) -> None:
    """Puts the newest run's geometric means between the two marks of the project's README, if it has them."""
    text = readme.read_text(encoding="utf-8")
    before, found, rest = text.partition(_MARKS[0])
    _, closed, after = rest.partition(_MARKS[1])
    if not (found and closed):
        return
    shown = results.newest(made.table)
    lines = ["", ""]
    for device, part in _untuned(shown).groupby("device", sort=True):
        for table in _means(part, str(device)):
            lines += markdown.table_of(table)
    files.replace(readme, before + found + "\n".join(lines) + "\n" + closed + after)


def summary(made: Report) -> list[Table]:
    """The tables to print at the end of a run.

    Of each device the first view of the newest run, and of a GPU means; then how several devices compare.
    """
    shown = _untuned(results.newest(made.table))
    printed: list[Table] = []
    for device, lines in shown.groupby("device", sort=True):
        for first in tables.views(_cropping(lines))[:1]:
            printed += _made(tables.times(first, direction) for direction in tables.DIRECTIONS)
        printed += (
            _means(lines, str(device)) if results.device_type(str(device)) == "cuda" else _pooling(lines, str(device))
        )
    return printed + (_made([across.geomeans(shown, made.baseline)]) if made.baseline else [])


def _means(lines: pd.DataFrame, device: str) -> list[Table]:
    """One device in few words."""
    cropping = _cropping(lines)
    if results.device_type(device) == "cuda":
        own = [*cuda_tables.means(cropping, device), *_made([cuda_tables.roofs(cropping, device)])]
    else:
        own = [tables.means(cropping, device)] if len(cropping) else []
    return own + _pooling(lines, device)


def _pooling(lines: pd.DataFrame, device: str) -> list[Table]:
    """roi_align in few words: means, pyramids, detectors."""
    made = (pooling_tables.means, pooling_tables.pyramids, pooling_tables.detectors)
    return _made(table(lines, device) for table in made)


def _device(device: str, lines: pd.DataFrame, machine: dict[str, Any], blocks: pd.DataFrame) -> dict[str, Any]:
    """What one device's part of the page shows: pictures of the first view, tables of all, then those of roi_align.

    blocks  `Results.blocks`, of all devices and runs.
    """
    untuned, cropping = _untuned(lines), _cropping(lines)
    views = tables.views(_untuned(cropping))
    settings = pooling_tables.settings(untuned)
    pooling = [(view, direction) for part in settings for view in tables.views(part) for direction in tables.DIRECTIONS]
    series = [
        (view, kind, direction) for view in views[:1] for kind in tables.SERIES for direction in tables.DIRECTIONS
    ]
    firsts = [(view, direction) for view in views[:1] for direction in tables.DIRECTIONS]
    labelled = pooling_tables.labelled(lines)
    own = blocks[(blocks.device == device) & (blocks.run == lines.run.iloc[0])]
    first_views = [*views[:1], *(view for part in settings for view in tables.views(part)[:1])]
    return {
        "device": device,
        "machine": words.machine(lines, machine),
        "warnings": _warnings(machine, lines),
        "means": _means(untuned, device) if results.device_type(device) == "cuda" else [],
        "times": _times(views[:1]),
        "other_times": _times(views[1:]),
        "rates": _made(tables.rates(view, direction) for view in views for direction in tables.DIRECTIONS),
        "series": _made(tables.series(*each) for each in series),
        "ratios": _made(pictures.ratios(*each) for each in firsts),
        "roofs": _made(pictures.roof(*each) for each in firsts),
        "rooflines": _made(roofline.roofline(view) for view in first_views),
        "distributions": _made(
            distributions.distribution(view, own, direction) for view in first_views for direction in tables.DIRECTIONS
        ),
        "scaling": _made(pictures.scaling(*each) for each in series),
        "pooling": _pooling(untuned, device) if results.device_type(device) == "cpu" else [],
        "pooling_times": _made(tables.times(*each) for each in pooling),
        "pooling_ratios": _made(pictures.ratios(*each) for each in pooling),
        "allocators": remarks.allocators(labelled[labelled.bench != "detectors"]),
        "failures": remarks.failures(labelled),
    }


def _warnings(machine: dict[str, Any], lines: pd.DataFrame) -> list[str]:
    """What makes a device's figures doubtful, in sentences."""
    return conditions.warnings(machine["conditions"], lines, int(machine.get("cores", 1)))


def _times(views: list[pd.DataFrame]) -> list[Table]:
    return _made(tables.times(view, direction) for view in views for direction in tables.DIRECTIONS)


def _made(parts: Any) -> list[Any]:
    return [part for part in parts if part is not None]


def _html(page: dict[str, Any]) -> str:
    """results/report.html: one file that asks for no other."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["attributes"] = marks.attributes
    return environment.get_template("page.html.j2").render(page)
