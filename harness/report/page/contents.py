"""What the page holds, as one dictionary for its templates: from the newest runs, the proofs and the history.

Each page answers one question and opens with a conclusion. What is of one device lies together, so that the reader of
one device does not scroll past another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any, TypeVar

import pandas as pd

from harness.measuring import conditions, results
from harness.measuring.results import Results
from harness.report import history, names, tags
from harness.report.libraries import Conformance
from harness.report.page import bars, conclusions, words
from harness.report.page.conclusions import Fact
from harness.report.pictures import distributions, ratios, roofline
from harness.report.proofs.matrices import Part
from harness.report.speedups import speedups
from harness.report.tables import across, before_after, every_row, means, remarks, times
from harness.report.tables.table import Table

TITLE = "RoIAlign: is it right, and how fast?"
_T = TypeVar("_T")


def contents(
    runs: Results,
    table: pd.DataFrame,
    base: str | None,
    proofs: Sequence[Part],
    conformance: Conformance | None,
    problems: Sequence[str],
) -> dict[str, Any]:
    """The dictionary of page/templates and page/markdown.py.

    table        results.throughput of the runs.
    base         the device that others are compared with, None if nothing was measured.
    conformance  the page of libraries, None if there is none.
    problems     the files that were left out, in sentences.
    """
    newest = results.newest(table)
    # Beside full runs a partial one has its means only, which keeps the page small.
    is_full = newest.kind == "full"
    in_detail = newest[is_full] if is_full.any() else newest
    devices = [
        _device(
            str(device),
            lines,
            runs.machines[str(device), str(lines.run.iloc[0])],
            runs.blocks,
            device in set(in_detail.device),
        )
        | {"history": history.history(str(device), table, runs.machines)}
        for device, lines in newest.groupby("device", sort=True)
    ]
    main = main_device(newest)
    devices.sort(key=lambda part: part["device"] != main)
    grids = conformance.grids if conformance else ()
    families = across.family_means(untuned(newest), base) if base else pd.DataFrame()
    first = next(iter(devices), None)
    return {
        "title": TITLE,
        "introduction": words.INTRODUCTION
        + (words.CUDA if "cuda" in set(newest.device.map(results.device_type)) else ()),
        "filters": tags.choices(newest),
        "conclusions": {
            "correctness": conclusions.correctness(newest, proofs, grids),
            "speed": first["conclusion"] if first else conclusions.speed(None, ()),
            "machines": conclusions.machines([part["brief"] for part in devices]),
            "doubts": conclusions.doubts(
                {part["device"]: part["warnings"] for part in devices},
                sum(len(part["failures"].rows) for part in devices if part["failures"]),
                problems,
            ),
            "devices": conclusions.devices(
                [part["device"] for part in devices], base or "", families, across.agreements(newest)
            ),
            "history": conclusions.history([part["history"].sentence for part in devices if part["history"]]),
        },
        "strips": [*conclusions.strips_of_faults(proofs), *conclusions.strips_of_libraries(grids)],
        "across_bars": bars.of_devices(families, base or ""),
        "across": [] if base is None else _across(newest, base),
        "devices": devices,
        "proofs": proofs,
        "every_row": every_row.every_row(in_detail) if devices else None,
        "sources": remarks.sources(newest) if devices else None,
        "libraries": conformance.html.name if conformance else None,
        "problems": problems,
    }


def main_device(newest: pd.DataFrame) -> str | None:
    """The device that the first screen and README.md show: with the most rows in its newest run, of several the newest.

    None if there are no rows.
    """
    runs = [(len(lines), str(lines.run.iloc[0]), str(device)) for device, lines in newest.groupby("device")]
    return max(runs)[2] if runs else None


def untuned(lines: pd.DataFrame) -> pd.DataFrame:
    """The rows with the allocator that users have: the tuned one's have a table of their own."""
    default: pd.DataFrame = lines[lines.allocator != "tuned"]
    return default


def in_few_words(lines: pd.DataFrame, device: str) -> list[Table]:
    """A device's means, and what users' own code gains."""
    return [*means.means(lines, device), *before_after.before_after(lines, device)]


def _across(newest: pd.DataFrame, baseline: str) -> list[Table]:
    """Means first, then every workload, then bits."""
    default = untuned(newest)
    return [
        *_there([across.geomeans(default, baseline)]),
        *across.side_by_side(default, baseline),
        *_there([across.agreement(newest)]),
    ]


def _device(
    device: str, lines: pd.DataFrame, machine: dict[str, Any], blocks: pd.DataFrame, in_detail: bool
) -> dict[str, Any]:
    """What one device's part of the page shows.

    blocks     `Results.blocks`, of all devices and runs.
    in_detail  whether it shows every workload, with pictures.
    """
    default, all_lines = untuned(lines), names.with_settings(lines)
    own = blocks[(blocks.device == device) & (blocks.run == lines.run.iloc[0])]
    of_device = speedups(lines)
    return {
        "device": device,
        "brief": Fact(device, words.brief(lines, machine), "none"),
        "conclusion": conclusions.speed(device, of_device),
        "bars": bars.of_speedups(device, of_device),
        "machine": words.machine(lines, machine),
        "warnings": conditions.warnings_of(machine, lines),
        "means": [*in_few_words(default, device), *means.roofs(default, device)],
        "families": [_family(family, own) for family in names.families(default)] if in_detail else [],
        "allocators": remarks.allocators(all_lines),
        "failures": remarks.failures(all_lines),
    }


def _family(family: pd.DataFrame, blocks: pd.DataFrame) -> dict[str, Any]:
    """An operator in one of its settings: pictures of the first view, tables of all."""
    views = names.views(family)
    first = views[0]
    series = list(product(names.SERIES, names.DIRECTIONS))
    return {
        "name": names.family(family),
        "ratios": _there(ratios.ratios(first, direction) for direction in names.DIRECTIONS),
        "times": _times(views[:1]),
        "other_times": _times(views[1:]),
        "rooflines": _there([roofline.roofline(first)]),
        "scaling": _there(ratios.scaling(first, *each) for each in series),
        "series": _there(times.series(first, *each) for each in series),
        "distributions": _there(distributions.distribution(first, blocks, direction) for direction in names.DIRECTIONS),
        "rates": _there(times.rates(view, direction) for view, direction in product(views, names.DIRECTIONS)),
    }


def _times(views: list[pd.DataFrame]) -> list[Table]:
    return _there(times.times(view, direction) for view, direction in product(views, names.DIRECTIONS))


def _there(parts: Iterable[_T | None]) -> list[_T]:
    return [part for part in parts if part is not None]
