"""The settings of a measuring process, passed by the process that starts it. All environment variables of this room:

    BENCH_DEVICE         the type of the device to measure: "cpu" (the default) or "cuda".
    BENCH_SETTINGS       the rest, as one JSON object with fields of `Settings`; missing fields have their defaults:
                         BENCH_SETTINGS='{"quick": true}' pytest --benchmark-only
    ROI_ALIGN_REVISION   the git revision of the code, for files without their history.

OMP_NUM_THREADS and glibc's MALLOC_* belong to the libraries, ROI_ALIGN_CPU to the operator; cpu.py reads them, because
times depend on them.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields

DEVICE = "BENCH_DEVICE"
SETTINGS = "BENCH_SETTINGS"
REVISION = "ROI_ALIGN_REVISION"


@dataclass(frozen=True)
class Settings:
    """The settings of a measuring process.

    run        the stamp of its run; "" for a run of its own.
    process    its number among the run's processes of its kind, from 0; processes: how many there are. With several,
               each measures the block of its own number; a single one measures two blocks.
    workloads  only these; () for the usual ones.
    quick      few workloads and short budgets; not for the record.
    seconds    the time after which no new row starts; None for no limit.
    judged     an earlier process's file, whose results with equal bits are not judged again; "" for none.
    output     the file to write; "" for the usual place below results/.
    progress   the descriptor of a pipe for progress reports; None for none.
    backends   functions outside this project, as module:function or entry point, to time beside the usual columns.
    """

    run: str = ""
    process: int = 0
    processes: int = 1
    workloads: tuple[str, ...] = ()
    quick: bool = False
    seconds: float | None = None
    judged: str = ""
    output: str = ""
    progress: int | None = None
    backends: tuple[str, ...] = ()


def read() -> Settings:
    """This process's settings; ValueError if BENCH_SETTINGS is malformed."""
    text = os.environ.get(SETTINGS, "{}")
    try:
        values = json.loads(text)
        lists = {name: tuple(values.get(name, ())) for name in ("workloads", "backends")}
        return Settings(**{**values, **lists})
    except (AttributeError, TypeError, ValueError) as error:
        names = ", ".join(each.name for each in fields(Settings))
        example = '{"quick": true}'
        raise ValueError(
            f"{SETTINGS} is {text!r}; it is a JSON object with some of {names}, such as {example}: {error}."
        ) from None


def environment(device: str, settings: Settings) -> dict[str, str]:
    """The environment variables for a process that measures a device with these settings."""
    return {DEVICE: device, SETTINGS: json.dumps(asdict(settings))}
