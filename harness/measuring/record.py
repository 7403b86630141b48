"""The typed rows that a measuring process stores; all code that writes or reads rows uses this module.

A file holds the measurements of one process: a header with the fields common to all rows, the machine, its state before
and after, the source of each workload, the names of the columns, and one row per line. Samples and other seconds have
six significant digits: no clock here is better, and files are an eighth of the size. An unnamed column has the default
of its class. Each file names its device and run, so two machines' results merge by copying.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness import repository

# 5: one header, one row per line, six digits. No other schema is read.
SCHEMA = 5


@dataclass(frozen=True)
class Header:
    """The fields common to all rows of a process.

    run        the start of the run, in UTC, as in 20261128T091500Z; equal in all files of one run.
    kind       "full"; "part": only the workloads named on the command line, or an interrupted run; "quick": not for the
               record.
    device     the device's name, as in "cpu-amd-epyc-avx512-2t": its type ("cpu", "cuda") before the first dash, the
               instruction set of its kernels before the number of threads.
    allocator  "default", as users have it; "tuned", configured to keep freed memory; "cuda", the only one on CUDA.
    process    the number of the process among those of its kind in the run, from 0. Samples of one process share its
               memory layout and its moment: each process is one observation.
    threads    the number of threads that an operator may use.
    clock      the name of the clock that gives the samples.
    copy_gbps  10^9 bytes per second of a copy in this process, reads and writes together: the roof.
    schema     the version of this format.
    """

    run: str
    kind: str
    device: str
    allocator: str
    process: int
    threads: int
    clock: str
    copy_gbps: float
    schema: int = SCHEMA


@dataclass(frozen=True)
class Record:
    """One row: a backend's call on a workload in one block, with its samples or the reason why there are none.

    bench              the benchmark: "crop_and_resize", "roi_align" or "detectors".
    setting            its setting: "sampling_ratio 2", or a detector's part; "" if there is only one.
    workload           the workload's name; source: the origin of its shape, as a sentence.
    series, size       the scaling series that it belongs to ("boxes", "pixels", "" for none), and the value of the
                       varied quantity.
    op                 the computed operator: the bench's own; "roi_align" for a backend with another rule;
                       "multiscale_roi_align"; "detector".
    direction          "forward", "grad_image", "grad_boxes"; of a detector "inference", "training".
    backend            the backend's name; title: its name and version for a reader.
    dtype, layout      of the image: "float32", "contiguous" ...
    cache              the cache state before each call: "warm" (CPU), "cold" or "hot" (CUDA).
    block              the number of the pass over all rows, from 0; odd ones run backwards.
    boxes              the number of boxes of the call.
    inputs_digest      BLAKE2b of the workload's float32 inputs, in hexadecimal: shows whether two machines had the same
                       inputs. None if they are not hashed.
    status             EXACT, WITHIN, AMBIGUOUS or OTHER_RULE: it may be timed. Otherwise the judge's status, ERROR, or
                       why there was no call: MISSING, REFUSED, NO_TIME. message: the reason in words.
    compared           the number of outputs compared bit by bit with compared_with; differing: how many differ.
    digest             BLAKE2b of the output in NCHW order, in hexadecimal: equal digests are equal results.
    compulsory_bytes   the bytes that any implementation must move; requested_bytes: the bytes accessed if nothing is
                       cached between two samples. None if they are not counted.
    peak_memory_bytes  the peak memory of a call beyond the memory held before; None if unknown.
    host_s             host seconds of a call; None if the host is the device.
    exposed            the number of timed calls that included host time; None if the host is the device.
    interruptions      involuntary context switches during these calls; None if nothing was timed.
    stopped            the bound on the number of samples: "seconds", "least" or "most" (clocks.py); None if nothing was
                       timed.
    samples            the seconds of each timed call, in order; () if the row has no time.
    """

    bench: str
    setting: str
    workload: str
    source: str
    op: str
    direction: str
    backend: str
    title: str
    layout: str
    cache: str
    block: int
    boxes: int | None = None
    dtype: str = "float32"
    series: str = ""
    size: int = 0
    inputs_digest: str | None = None
    status: str = ""
    message: str = ""
    compared: int = 0
    differing: int = 0
    compared_with: str = ""
    digest: str = ""
    compulsory_bytes: int | None = None
    requested_bytes: int | None = None
    peak_memory_bytes: int | None = None
    host_s: float | None = None
    exposed: int | None = None
    interruptions: int | None = None
    stopped: str | None = None
    samples: tuple[float, ...] = ()


@dataclass(frozen=True)
class Measurements:
    """The contents of one process's file.

    machine     the description of the machine: devices.Device.describe.
    conditions  its state: {"before": ..., "after": ...}, each a conditions.state, and for a polled GPU also "during",
                from nvidia_smi.summary; {} if unknown.
    """

    header: Header
    machine: dict[str, Any]
    records: tuple[Record, ...]
    conditions: dict[str, Any] = field(default_factory=dict)


def write(path: Path, measurements: Measurements) -> None:
    """Writes the file atomically; creates its folders."""
    records = measurements.records
    columns = [
        each.name
        for each in fields(Record)
        if each.name != "source" and any(getattr(record, each.name) != each.default for record in records)
    ]
    top = {
        "header": asdict(measurements.header),
        "machine": measurements.machine,
        "conditions": measurements.conditions,
        "sources": {record.workload: record.source for record in records},
        "columns": columns,
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in top.items()]
    rows = ",\n".join(json.dumps([_json_value(getattr(record, name)) for name in columns]) for record in records)
    repository.replace(path, "{" + ",\n".join([*lines, f'"rows": [\n{rows}\n]']) + "}\n")


def read(path: Path) -> Measurements:
    """Reads a file; OSError if it cannot be opened, ValueError with a sentence if it is not of this schema."""
    content = json.loads(path.read_text(encoding="utf-8"))
    schema = _schema(content)
    if schema is None:
        raise ValueError("it is not a file of results: it has no header with a schema")
    if schema != SCHEMA:
        advice = "newer; update this checkout to read it" if schema > SCHEMA else "older; the run has to be made again"
        raise ValueError(f"its schema is {schema}, and {SCHEMA} is read: it is {advice}")
    try:
        records = tuple(
            _record(dict(zip(content["columns"], row, strict=True)), content["sources"]) for row in content["rows"]
        )
        return Measurements(Header(**content["header"]), dict(content["machine"]), records, dict(content["conditions"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged: {type(error).__name__}: {error}") from None


def _schema(content: Any) -> int | None:
    """The schema version of a file, None if it has none; up to schema 4 pytest-benchmark's format had it in each
    row."""
    try:
        if "benchmarks" in content:
            return int(content["benchmarks"][0]["extra_info"]["schema"])
        return int(content["header"]["schema"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _json_value(value: Any) -> Any:
    """A field's value for JSON; floats, which are all seconds, have six digits."""
    if isinstance(value, tuple):
        return [_json_value(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _record(row: dict[str, Any], sources: dict[str, str]) -> Record:
    return Record(**row | {"source": sources[row["workload"]], "samples": tuple(row.get("samples", ()))})
