"""Tables and pictures of what was measured: throughput.csv, README.md and report.html, from the JSON alone.

The same JSON gives the same bytes, on any machine and any day, so that a change of these files is a change of figures.
Nothing here imports an operator's library: a report can be made where nothing could be measured.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from harness import results
from harness.report import pictures, tables
from harness.report.tables import Table

TITLE = "Throughput of RoIAlign"
_MARKS = ("<!-- results: written by `python -m harness report` -->", "<!-- /results -->")
INTRODUCTION = (
    "Every figure is a ratio to something measured in the same run: TensorFlow's crop_and_resize, and the "
    "machine's copy bandwidth, read and write together, on as many threads. Times are medians over the raw "
    "samples of all blocks; the backends take turns within a block, in reverse order in every other one. A time "
    "includes the allocation of the result and excludes changes of layout.",
    "A row has a time only if its result passed the gate on that very input: a sample of the outputs against the "
    "oracle, and every output of the forward and of the image gradient against TensorFlow's, bit by bit. "
    "torchvision's roi_align computes another rule (an edge pixel where crop_and_resize extrapolates); it does "
    "the same amount of work and stands here for scale only. It has no gradient of the boxes.",
    "The part of the roof is compulsory bytes (each touched 64-byte line of the image once, each byte of boxes, "
    "upstream gradient and output once) per second over the copy bandwidth; it can exceed 1 where the work stays "
    "in a cache.",
)


@dataclass(frozen=True)
class Report:
    """Where the three files are, the tidy table behind them, and what could not be read."""

    csv: Path
    markdown: Path
    html: Path
    table: pd.DataFrame
    problems: tuple[str, ...]


def write(folder: Path) -> Report:
    """Makes the three files in a folder of results from the JSON below it; FileNotFoundError if there is none."""
    stored = results.read(folder)
    if stored.blocks.empty:
        left_out = " ".join(stored.problems)
        raise FileNotFoundError(f"There are no results under {folder}; `make bench` makes some. {left_out}".strip())
    table = results.throughput(stored.blocks)
    shown = results.newest(table)
    devices = [
        _device(str(device), lines, stored.machines[str(device), str(lines.run.iloc[0])])
        for device, lines in shown.groupby("device", sort=True)
    ]
    made = Report(folder / "throughput.csv", folder / "README.md", folder / "report.html", table, stored.problems)
    _replace(made.csv, table[results.COLUMNS].to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    _replace(made.markdown, _markdown(devices, tables.sources(shown), stored.problems))
    _replace(made.html, _html(devices, tables.sources(shown), stored.problems))
    return made


def write_readme(made: Report, readme: Path) -> None:
    """Puts the newest run's geometric means between the two marks of the project's README, if it has them."""
    text = readme.read_text(encoding="utf-8")
    before, found, rest = text.partition(_MARKS[0])
    _, closed, after = rest.partition(_MARKS[1])
    if not (found and closed):
        return
    shown = results.newest(made.table)
    lines = ["", ""]
    for device, part in shown[shown.allocator == "default"].groupby("device", sort=True):
        lines += _markdown_table(tables.means(part, str(device)))
    _replace(readme, before + found + "\n".join(lines) + "\n" + closed + after)


def summary(table: pd.DataFrame) -> list[Table]:
    """The tables to print at the end of a run: times of the newest run under the default allocator."""
    shown = results.newest(table)
    return [
        made
        for _, lines in shown[shown.allocator == "default"].groupby("device", sort=True)
        for direction in tables.DIRECTIONS
        if (made := tables.times(lines, direction)) is not None
    ]


def _device(device: str, lines: pd.DataFrame, machine: dict[str, Any]) -> dict[str, Any]:
    """What one device's part of the page shows."""
    default = lines[lines.allocator == "default"]
    series = [(kind, direction) for kind in tables.SERIES for direction in tables.DIRECTIONS]
    return {
        "device": device,
        "machine": _machine(lines, machine),
        "times": _made(tables.times(default, direction) for direction in tables.DIRECTIONS),
        "rates": _made(tables.rates(default, direction) for direction in tables.DIRECTIONS),
        "series": _made(tables.series(default, kind, direction) for kind, direction in series),
        "ratios": _made(pictures.ratios(default, direction) for direction in tables.DIRECTIONS),
        "roofs": _made(pictures.roof(default, direction) for direction in tables.DIRECTIONS),
        "scaling": _made(pictures.scaling(default, kind, direction) for kind, direction in series),
        "allocators": tables.allocators(lines),
        "failures": tables.failures(lines),
    }


def _made(parts: Any) -> list[Any]:
    return [part for part in parts if part is not None]


def _machine(lines: pd.DataFrame, machine: dict[str, Any]) -> str:
    """One device and run in a sentence or two."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.get("versions", {}).items()))
    bandwidth = lines.copy_gbps.dropna()
    # The same bits under the other allocator are not another comparison.
    once = lines.drop_duplicates(["workload", "direction", "backend", "layout", "digest"])
    compared, differing = int(once.compared.fillna(0).sum()), int(once.differing.fillna(0).sum())
    revision = str(machine.get("revision", "unknown"))[:12] + (" with changes" if machine.get("dirty") else "")
    return (
        f"{machine.get('cpu')}, {machine.get('threads')} threads, {machine.get('memory_bytes', 0) / 2**30:.0f} GiB, "
        f"{machine.get('system')}; {versions}; revision {revision}. "
        f"Run {lines.run.iloc[0]} ({lines.kind.iloc[0]}); copy bandwidth {bandwidth.min():.1f} to "
        f"{bandwidth.max():.1f} GB/s. Outputs compared with TensorFlow bit by bit: {compared:,}, of which "
        f"{differing:,} differ."
    )


def _markdown(devices: list[dict[str, Any]], sources: Table, problems: tuple[str, ...]) -> str:
    """results/README.md."""
    lines = [f"# {TITLE}", ""]
    lines += ["Made by `python -m harness report` from the JSON files below; edit neither. Pictures: report.html.", ""]
    lines += [line for paragraph in INTRODUCTION for line in (paragraph, "")]
    for part in devices:
        lines += [f"## {part['device']}", "", part["machine"], ""]
        for table in [*part["times"], *part["series"], *_made([part["failures"]])]:
            lines += _markdown_table(table)
    lines += ["## Workloads", "", *_markdown_table(sources)]
    if problems:
        lines += ["## Files that were left out", "", *(f"- {problem}" for problem in problems), ""]
    return "\n".join(lines)


def _markdown_table(table: Table) -> list[str]:
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    cells = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return [f"**{table.caption}**", "", *cells, ""]


def _html(devices: list[dict[str, Any]], sources: Table, problems: tuple[str, ...]) -> str:
    """results/report.html: one file that asks for no other."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(
        title=TITLE, introduction=INTRODUCTION, devices=devices, sources=sources, problems=problems
    )


def _replace(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
