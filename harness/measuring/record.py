"""What a measuring process stores, typed: every writer and every reader of a row goes through here.

A file is what one process measured: a header with what all its rows have in common, the machine, its state before and
after, where each workload comes from, the names of the columns, and a row a line. Samples and other seconds have six
significant digits: no clock here is better, and a file is an eighth as large. A column that is not named has the
default that the class gives it. A file says itself which device and run it belongs to, so two machines' results merge
by copying.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from harness import repository

# 5: a header once, a row a line, six digits. No other schema is read.
SCHEMA = 5


@dataclass(frozen=True)
class Header:
    """What all rows of a process have in common.

    run        when the run began, in UTC, as in 20261128T091500Z: the files of one run have the same.
    kind       "full"; "part", of workloads or rows that somebody named; "quick", not for the record.
    device     what results are filed under, as in "cpu-amd-epyc-avx512-2t": its type ("cpu", "cuda") before the first
               dash, the instruction set of its kernels before the number of threads.
    allocator  "default", which users have; "tuned", told to keep freed memory; "cuda", the only one there.
    process    which of the run's processes of its sort, from 0 on. Samples of one process share its memory and its
               minute: each process is one observation.
    threads    how many an operator may take.
    clock      the name of the clock that samples are readings of.
    copy_gbps  10^9 bytes a second that a copy reads and writes together, in this very process: the roof.
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
    """One row: a backend's call on a workload in one block, with its samples or with the reason why it has none.

    bench              the benchmark: "crop_and_resize", "roi_align" or "detectors".
    setting            in which of its settings: "sampling_ratio 2", a detector's part; "" where there is one only.
    workload           the workload's name, and source, where its shape comes from, in a sentence.
    series, size       the scaling series that it is a point of ("boxes", "pixels", "" for none), and what that varies.
    op                 the operator that is computed: the bench's own; "roi_align" of a backend whose rule is another;
                       "multiscale_roi_align"; "detector".
    direction          "forward", "grad_image", "grad_boxes"; of a detector "inference", "training".
    backend            its name among the backends, and title, its name and version for a reader.
    dtype, layout      of the image: "float32", "contiguous" ...
    cache              the state in which each call finds it: "warm" (CPU), "cold" or "hot" (CUDA).
    block              which pass over all rows, from 0 on; odd ones run backwards.
    boxes              how many the call has.
    inputs_digest      BLAKE2b of the workload's float32 inputs, in hexadecimal: whether two machines were given the
                       same. None where they are not hashed.
    status             EXACT, WITHIN or OTHER_RULE: it may be timed. Else the judge's word, ERROR, or why it was not
                       asked: MISSING, REFUSED, NO_TIME. message is what a reader should know of it.
    compared           outputs that were compared bit by bit, with compared_with, and differing, how many differ.
    digest             BLAKE2b of the output in NCHW order, in hexadecimal: equal digests are equal results.
    compulsory_bytes   what any implementation must move; requested_bytes, what is asked for if nothing is kept between
                       two samples. None where nobody counts them.
    peak_memory_bytes  the most that a call held beyond what was held before; None if it cannot be told.
    host_s             seconds that a call costs the host; None where the host is the device.
    exposed            timed calls that were not hidden from the host's own pace; None likewise.
    interruptions      how often the system took a core from the process during these calls; None if nothing was timed.
    stopped            why there are no more samples: "seconds", "least" or "most" (clocks.py); None likewise.
    samples            seconds of each timed call, in their order; () if the row has no time.
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
    """What one process leaves: a file.

    machine     what the machine says of itself: devices.Device.describe.
    conditions  its state: {"before": ..., "after": ...}, each a conditions.state, and of a GPU that was looked at
                meanwhile "during", what nvidia_smi.summary tells; {} if nothing is known.
    """

    header: Header
    machine: dict[str, Any]
    records: tuple[Record, ...]
    conditions: dict[str, Any] = field(default_factory=dict)


def write(path: Path, measurements: Measurements) -> None:
    """Puts the file in its place, whole or not at all; folders on the way are made."""
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
    rows = ",\n".join(json.dumps([_stored(getattr(record, name)) for name in columns]) for record in records)
    repository.replace(path, "{" + ",\n".join([*lines, f'"rows": [\n{rows}\n]']) + "}\n")


def read(path: Path) -> Measurements:
    """The file at a path; OSError if it cannot be opened, ValueError in a sentence if it is not one of this schema."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    schema = _schema(stored)
    if schema is None:
        raise ValueError("it is not a file of results: it has no header with a schema")
    if schema != SCHEMA:
        what = "newer; update this checkout to read it" if schema > SCHEMA else "older; the run has to be made again"
        raise ValueError(f"its schema is {schema}, and {SCHEMA} is read: it is {what}")
    try:
        records = tuple(
            _record(dict(zip(stored["columns"], row, strict=True)), stored["sources"]) for row in stored["rows"]
        )
        return Measurements(Header(**stored["header"]), dict(stored["machine"]), records, dict(stored["conditions"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"it is damaged: {type(error).__name__}: {error}") from None


def _schema(stored: Any) -> int | None:
    """The version that a file says it has; pytest-benchmark's own format, up to schema 4, had it in each row."""
    try:
        if "benchmarks" in stored:
            return int(stored["benchmarks"][0]["extra_info"]["schema"])
        return int(stored["header"]["schema"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _stored(value: Any) -> Any:
    """A field's value as JSON has it: seconds, which are what has a fraction, with six digits."""
    if isinstance(value, tuple):
        return [_stored(each) for each in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _record(row: dict[str, Any], sources: dict[str, str]) -> Record:
    return Record(**row | {"source": sources[row["workload"]], "samples": tuple(row.get("samples", ()))})
