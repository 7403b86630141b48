"""Several devices on the same workloads: their times, ratios to one of them, and whether the bits agree."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.measuring.results import BENCHES, LAYOUTS
from harness.report import tags
from harness.report.names import CALLS, DIRECTIONS, DTYPES, LAUNCH_BOUND, families, family
from harness.report.tables.table import Table, milliseconds

# Together these are one piece of work, on whatever device.
_WORK = ["bench", "setting", "op", "workload", "direction", "dtype"]
# Over the workloads of one of these a mean is taken.
_FAMILY = ["bench", "op", "setting", "direction", "dtype"]
# Fewer workloads than this say nothing of how others of their kind would do.
LEAST_WORKLOADS = 3


class UnknownDevice(ValueError):
    """A device was asked for of which there are no results; the sentence says which there are."""


def baseline_of(table: pd.DataFrame, baseline: str | None) -> str | None:
    """The device that ratios are to, by default the first one by name; UnknownDevice if it has no results."""
    devices = sorted(set(map(str, table.device)))
    if baseline is not None and baseline not in devices:
        there = ", ".join(devices) or "none"
        raise UnknownDevice(
            f"--baseline is {baseline!r}, and there are no results of such a device; there are results of {there}."
        )
    return baseline if baseline is not None else next(iter(devices), None)


def best(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Per work and device the row of this project with the least median time, where several devices have one.

    times_as_fast is the baseline's best time over this one's, NaN where the baseline has none. Of a GPU only times on a
    cold cache count: those on data that has to be fetched.
    """
    own = table[table.own & (table.series == "") & table.median_s.notna() & (table.cache != "hot")]
    least = own.loc[own.groupby([*_WORK, "device"], sort=False).median_s.idxmin()]
    shared = least[least.groupby(_WORK).device.transform("nunique") > 1]
    of_baseline = shared[shared.device == baseline].set_index(_WORK).median_s
    base_s = of_baseline.reindex(pd.MultiIndex.from_frame(shared[_WORK])).to_numpy()
    ratios: pd.DataFrame = shared.assign(times_as_fast=base_s / shared.median_s)
    return ratios


def side_by_side(table: pd.DataFrame, baseline: str) -> list[Table]:
    """Per benchmark and type: each device's best time of every workload, and how many times as fast that is."""
    every = best(table, baseline)
    tables = []
    for bench in BENCHES:
        for dtype in DTYPES:
            part = every[(every.bench == bench) & (every.dtype == dtype)]
            if len(part):
                tables.append(_side_by_side(part, f"{bench}, {dtype}", baseline))
    return tables


def _side_by_side(part: pd.DataFrame, what: str, baseline: str) -> Table:
    devices = _devices(part, baseline)
    rows, of_rows = [], []
    for direction, name in CALLS.items():
        works = part[part.direction == direction].groupby(["workload", "setting"], sort=False)
        for (workload, setting), lines in works:
            cells = {line.device: _time(line, line.device != baseline) for line in lines.itertuples()}
            call = ", ".join(filter(None, (str(workload), str(setting))))
            rows.append((call, name, *(cells.get(device, "") for device in devices)))
            of_rows.append({"direction": direction})
    caption = (
        f"Devices side by side, {what}: roi_align's best median time, a GPU's with a cold cache, and how many times as "
        f"fast as {baseline} that is"
    )
    header = ("workload", "direction", *devices)
    columns = ({}, {}, *({"device": device} for device in devices))
    return Table(caption, header, tuple(rows), _about(part), columns, tuple(of_rows))


def _devices(part: pd.DataFrame, baseline: str) -> list[str]:
    """The baseline first."""
    return sorted(set(part.device), key=lambda device: (device != baseline, device))


def _about(part: pd.DataFrame) -> dict[str, str]:
    """A best column may have any layout, so it has no tag for one."""
    return {name: values for name, values in tags.of(part).items() if name != "layout"}


def _time(line: Any, with_ratio: bool) -> str:
    """As in "12.3 ms, NCHW (1.45x)"."""
    bound = f", {LAUNCH_BOUND}" if line.launch_bound else ""
    ratio = f" ({line.times_as_fast:.2f}x)" if with_ratio and np.isfinite(line.times_as_fast) else ""
    return f"{milliseconds(line.median_s)} ms, {LAYOUTS.get(line.layout, line.layout)}{bound}{ratio}"


def family_means(table: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Per family and device other than the baseline the geometric mean of times_as_fast over the workloads.

    A family is an operator with its setting, direction and type. Columns: bench, op, setting, direction, dtype, device,
    workloads, times_as_fast, low, high. low and high enclose 95 % of the bootstrapped means over the workloads, NaN for
    fewer than LEAST_WORKLOADS. Work that is launch-bound on either device is left out.
    """
    every = best(table, baseline)
    launches = every[every.launch_bound].set_index(_WORK).index
    work = pd.MultiIndex.from_frame(every[_WORK])
    part = every[~work.isin(launches) & (every.device != baseline) & every.times_as_fast.notna()]
    rows = [
        (*key, len(lines), *_mean(np.log(lines.times_as_fast.to_numpy(dtype=float))))
        for key, lines in part.groupby([*_FAMILY, "device"], sort=False)
    ]
    means: pd.DataFrame = pd.DataFrame(rows, columns=[*_FAMILY, "device", "workloads", "times_as_fast", "low", "high"])
    return means


def _mean(logs: Any) -> tuple[float, float, float]:
    """The geometric mean and its interval, the same ones each time."""
    mean = float(np.exp(logs.mean()))
    if len(logs) < LEAST_WORKLOADS:
        return mean, float("nan"), float("nan")
    # Percentiles stay finite where all ratios are equal.
    interval = stats.bootstrap((logs,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return mean, float(np.exp(interval.low)), float(np.exp(interval.high))


def geomeans(table: pd.DataFrame, baseline: str) -> Table | None:
    """The families, a column for each device other than the baseline."""
    every = family_means(table, baseline)
    if every.empty:
        return None
    devices = _devices(every, baseline)
    rows, of_rows = [], []
    for bench in BENCHES:
        for key, lines in every[every.bench == bench].groupby(_FAMILY[1:], sort=False):
            op, setting, direction, dtype = map(str, key)
            cells = {line.device: _interval(line) for line in lines.itertuples()}
            name = ", ".join(filter(None, (op, setting, CALLS[direction].lower(), dtype)))
            rows.append((name, *(cells.get(device, "") for device in devices)))
            of_rows.append(tags.of_line(next(lines.itertuples()), "op", "direction", "dtype"))
    caption = (
        f"Times as fast as {baseline}: geometric mean over the workloads that are not {LAUNCH_BOUND}, with the "
        "interval of 95 % of its bootstrap over those workloads (it tells how much workloads differ, not how noisy "
        f"times are; fewer than {LEAST_WORKLOADS} are too few), and their number"
    )
    columns = ({}, *({"device": device} for device in devices))
    about = {"device": " ".join(devices), **{name: _all(of_rows, name) for name in ("op", "direction", "dtype")}}
    return Table(caption, ("family", *devices), tuple(rows), about, columns, tuple(of_rows))


def _all(of_rows: list[dict[str, str]], name: str) -> str:
    return " ".join(dict.fromkeys(each[name] for each in of_rows))


def _interval(line: Any) -> str:
    if not np.isfinite(line.low):
        return f"{line.times_as_fast:.2f}x (too few; {line.workloads})"
    return f"{line.times_as_fast:.2f}x ({line.low:.2f} to {line.high:.2f}; {line.workloads})"


@dataclass(frozen=True)
class Agreement:
    """Two devices in one direction and type: on which workloads the bits are equal, other, or of other inputs."""

    devices: tuple[str, str]
    result: str
    direction: str
    dtype: str
    equal: tuple[str, ...]
    other_bits: tuple[str, ...]
    other_inputs: tuple[str, ...]


def agreements(table: pd.DataFrame) -> list[Agreement]:
    """Per pair of devices, direction and type on which workloads all digests of this project's results are equal.

    Only of results whose bits are promised: those that were compared with a reference. Where the machines were given
    other inputs, as their own convolutions make them, there is no answer.
    """
    rows = table[table.own & (table.compared > 0) & table.digest.astype(bool)]
    pairs = []
    for first, second in combinations(sorted(set(map(str, rows.device))), 2):
        for part in families(rows[rows.device.isin((first, second))]):
            which = f"{family(part)}. " if part.setting.iloc[0] else ""
            for direction, name in DIRECTIONS.items():
                for dtype in DTYPES:
                    lines = part[(part.direction == direction) & (part.dtype == dtype)]
                    workloads = lines.groupby("workload", sort=False)
                    shared = workloads.device.nunique() == 2
                    same = shared & (workloads.inputs_digest.nunique() <= 1)  # a row without a digest does not say
                    digests = workloads.digest.nunique()
                    if shared.any():
                        names = map(_names, (same & (digests == 1), same & (digests > 1), shared & ~same))
                        result = f"{which}{name}, {dtype}"
                        pairs.append(Agreement((first, second), result, direction, dtype, *names))
    return pairs


def agreement(table: pd.DataFrame) -> Table | None:
    """The agreements as a table; None if no two devices have the same work."""
    pairs = agreements(table)
    rows = tuple(
        (
            ", ".join(each.devices), each.result, f"{len(each.equal)}",
            *(", ".join(names) or "none" for names in (each.other_bits, each.other_inputs)),
        )
        for each in pairs
    )  # fmt: skip
    of_rows = ({"device": " ".join(each.devices), "direction": each.direction, "dtype": each.dtype} for each in pairs)
    header = ("devices", "result", "workloads with equal bits", "with other bits", "with other inputs")
    promised = table[table.own & (table.compared > 0) & table.digest.astype(bool)]
    caption = "Whether devices agree in every bit"
    return Table(caption, header, rows, _about(promised), row_tags=tuple(of_rows)) if rows else None


def _names(which: pd.Series) -> tuple[str, ...]:
    return tuple(str(name) for name in which.index[which])
