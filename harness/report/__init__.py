"""Tables and pictures of what was measured and proved: throughput.csv, README.md and report.html, from results alone.

Figures come from the JSON; the matrix of properties, the kill matrix and the fuzz campaigns from their CSV files, each
where it is there. The same files give the same bytes, on any machine and any day, so that a change of these files is a
change of figures.
Nothing here imports an operator's library: a report can be made where nothing could be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from harness import files, results
from harness.report import (
    across,
    campaign_tables,
    conformance_tables,
    cuda_tables,
    kill_tables,
    pictures,
    pooling_tables,
    tables,
)
from harness.report.matrices import Part
from harness.report.tables import Table

TITLE = "RoIAlign: throughput and conformance"
_MARKS = ("<!-- results: written by `python -m harness report` -->", "<!-- /results -->")
INTRODUCTION = (
    "Every figure is a ratio to something measured in the same run: a peer (on a CPU TensorFlow's crop_and_resize, on "
    "a GPU torchvision's roi_align), and the device's copy bandwidth, read and write together. Times are medians over "
    "the raw samples of all blocks; the backends take turns within a block, in reverse order in every other one. A "
    "time includes the allocation of the result and excludes changes of layout.",
    "A row has a time only if its result passed the gate on that very input: a sample of the outputs against the "
    "oracle, and every output of the forward and of the image gradient against TensorFlow's, bit by bit; on a GPU, "
    "whose machine has no TensorFlow, against this project's operator on the CPU, unless atomics add it up. "
    "Beside crop_and_resize torchvision's roi_align computes another rule (an edge pixel where crop_and_resize "
    "extrapolates); it does the same amount of work and stands there for scale only. It has no gradient of the boxes.",
    "This project's roi_align has torchvision's rule, and torchvision is its peer: its rows passed the oracle too. "
    "Two settings: two samples a bin and axis, as Mask R-CNN has it, and an adaptive grid. The detectors are "
    "torchvision's own, timed as they are and with both poolers replaced, in turns in one process.",
    "The part of the roof is compulsory bytes (each touched line of the image once, 64 bytes on a CPU and a sector of "
    "32 on a GPU, each byte of boxes, upstream gradient and output once) per second over the copy bandwidth; it can "
    "exceed 1 where the work stays in a cache.",
)
CUDA = (
    "On CUDA a time lies between two events behind a kernel that spins while the host queues the call, so that it is "
    "the device's alone; what a call costs the host stands apart. Before a call with a cold cache four times the "
    "second-level cache is overwritten; a hot one is as the call before left it. Work that memory could do in less "
    "than 10 µs is launch-bound: everybody's time is then a launch, and it has no part in a mean of the rest.",
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
    """Makes the three files in a folder from the results below it; FileNotFoundError if there are none."""
    stored = results.read(folder)
    proofs, unread = _proofs(folder)
    problems = (*stored.problems, *unread)
    if stored.blocks.empty and not proofs:
        left_out = " ".join(problems)
        raise FileNotFoundError(f"There are no results under {folder}; `make bench` makes some. {left_out}".strip())
    table = results.throughput(stored.blocks)
    shown = results.newest(table)
    devices = [
        _device(str(device), lines, stored.machines[str(device), str(lines.run.iloc[0])])
        for device, lines in shown.groupby("device", sort=True)
    ]
    page = {
        "title": TITLE,
        "introduction": INTRODUCTION + (CUDA if "cuda" in set(shown.device.map(results.kind)) else ()),
        "across": _made([across.side_by_side(_untuned(_cropping(shown))), across.agreement(_cropping(shown))]),
        "devices": devices,
        "proofs": proofs,
        "sources": tables.sources(shown) if devices else None,
        "problems": problems,
    }
    made = Report(folder / "throughput.csv", folder / "README.md", folder / "report.html", table, problems)
    files.replace(made.csv, table[results.COLUMNS].to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    files.replace(made.markdown, _markdown(page))
    files.replace(made.html, _html(page))
    return made


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
            lines += _markdown_table(table)
    files.replace(readme, before + found + "\n".join(lines) + "\n" + closed + after)


def summary(table: pd.DataFrame) -> list[Table]:
    """The tables to print at the end of a run: of each device the first view of the newest run, and of a GPU means."""
    made: list[Table] = []
    for device, lines in _untuned(results.newest(table)).groupby("device", sort=True):
        for first in tables.views(_cropping(lines))[:1]:
            made += _made(tables.times(first, direction) for direction in tables.DIRECTIONS)
        made += _means(lines, str(device)) if results.kind(str(device)) == "cuda" else _pooling(lines, str(device))
    return made


def _means(lines: pd.DataFrame, device: str) -> list[Table]:
    """One device in few words."""
    cropping = _cropping(lines)
    if results.kind(device) == "cuda":
        own = [*cuda_tables.means(cropping, device), *_made([cuda_tables.roofs(cropping, device)])]
    else:
        own = [tables.means(cropping, device)] if len(cropping) else []
    return own + _pooling(lines, device)


def _pooling(lines: pd.DataFrame, device: str) -> list[Table]:
    """roi_align in few words: means, pyramids, detectors."""
    made = (pooling_tables.means, pooling_tables.pyramids, pooling_tables.detectors)
    return _made(table(lines, device) for table in made)


def _device(device: str, lines: pd.DataFrame, machine: dict[str, Any]) -> dict[str, Any]:
    """What one device's part of the page shows: pictures of the first view, tables of all, then those of roi_align."""
    untuned, cropping = _untuned(lines), _cropping(lines)
    views = tables.views(_untuned(cropping))
    settings = pooling_tables.settings(untuned)
    pooling = [(view, direction) for part in settings for view in tables.views(part) for direction in tables.DIRECTIONS]
    series = [
        (view, kind, direction) for view in views[:1] for kind in tables.SERIES for direction in tables.DIRECTIONS
    ]
    firsts = [(view, direction) for view in views[:1] for direction in tables.DIRECTIONS]
    labelled = pooling_tables.labelled(lines)
    return {
        "device": device,
        "machine": _machine(lines, machine),
        "means": _means(untuned, device) if results.kind(device) == "cuda" else [],
        "times": _times(views[:1]),
        "other_times": _times(views[1:]),
        "rates": _made(tables.rates(view, direction) for view in views for direction in tables.DIRECTIONS),
        "series": _made(tables.series(*each) for each in series),
        "ratios": _made(pictures.ratios(*each) for each in firsts),
        "roofs": _made(pictures.roof(*each) for each in firsts),
        "scaling": _made(pictures.scaling(*each) for each in series),
        "pooling": _pooling(untuned, device) if results.kind(device) == "cpu" else [],
        "pooling_times": _made(tables.times(*each) for each in pooling),
        "pooling_ratios": _made(pictures.ratios(*each) for each in pooling),
        "allocators": tables.allocators(labelled[labelled.bench != "detectors"]),
        "failures": tables.failures(labelled),
    }


def _times(views: list[pd.DataFrame]) -> list[Table]:
    return _made(tables.times(view, direction) for view in views for direction in tables.DIRECTIONS)


def _made(parts: Any) -> list[Any]:
    return [part for part in parts if part is not None]


def _machine(lines: pd.DataFrame, machine: dict[str, Any]) -> str:
    """One device and run in a few sentences."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.get("versions", {}).items()))
    bandwidth = lines.copy_gbps.dropna()
    # The same bits under the other allocator, or from another state of the cache, are not another comparison.
    once = lines.drop_duplicates(["workload", "direction", "backend", "layout", "dtype", "digest"])
    compared, differing = int(once.compared.fillna(0).sum()), int(once.differing.fillna(0).sum())
    references = " and ".join(sorted(set(once.compared_with[once.compared.fillna(0) > 0]))) or "anything"
    revision = str(machine.get("revision", "unknown"))[:12] + (" with changes" if machine.get("dirty") else "")
    return (
        f"{_gpu(machine)}{machine.get('cpu')}, {machine.get('threads')} threads, "
        f"{machine.get('memory_bytes', 0) / 2**30:.0f} GiB, {machine.get('system')}; {versions}; revision {revision}. "
        f"Run {lines.run.iloc[0]} ({lines.kind.iloc[0]}); copy bandwidth {bandwidth.min():.1f} to "
        f"{bandwidth.max():.1f} GB/s. Outputs compared with {references} bit by bit: {compared:,}, of which "
        f"{differing:,} differ."
    )


def _gpu(machine: dict[str, Any]) -> str:
    """A GPU's own part of that, before its host's."""
    if "gpu" not in machine:
        return ""
    return (
        f"{machine['gpu']}, {machine['multiprocessors']} multiprocessors, {machine['l2_bytes'] / 2**20:.0f} MiB of "
        f"second-level cache, {machine['gpu_memory_bytes'] / 2**30:.0f} GiB, driver {machine['driver']}; two events "
        f"with nothing between them read {machine['event_pair_s'] * 1e6:.2f} µs. Its host: "
    )


def _markdown(page: dict[str, Any]) -> str:
    """results/README.md."""
    lines = [f"# {page['title']}", ""]
    lines += ["Made by `python -m harness report` from the files below; edit none of them. Pictures: report.html.", ""]
    if page["devices"]:
        lines += [line for paragraph in page["introduction"] for line in (paragraph, "")]
    for table in page["across"]:
        lines += _markdown_table(table)
    for part in page["devices"]:
        lines += [f"## {part['device']}", "", part["machine"], ""]
        shown = [*part["means"], *part["times"], *part["other_times"], *part["series"]]
        shown += [*part["pooling"], *part["pooling_times"], *_made([part["failures"]])]
        for table in shown:
            lines += _markdown_table(table)
    lines += [line for proof in page["proofs"] for line in _markdown_part(proof)]
    if page["sources"]:
        lines += ["## Workloads", "", *_markdown_table(page["sources"])]
    if page["problems"]:
        lines += ["## Files that were left out", "", *(f"- {problem}" for problem in page["problems"]), ""]
    return "\n".join(lines)


def _markdown_part(part: Part) -> list[str]:
    lines = [f"## {part.heading}", "", *(line for each in part.said for line in (each, ""))]
    for table in (*part.warnings, *(matrix.table for matrix in part.matrices), *part.tables, *part.folded):
        lines += _markdown_table(table)
    return lines


def _markdown_table(table: Table) -> list[str]:
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    cells = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return [f"**{table.caption}**", "", *cells, ""]


def _html(page: dict[str, Any]) -> str:
    """results/report.html: one file that asks for no other."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("page.html.j2").render(page)
