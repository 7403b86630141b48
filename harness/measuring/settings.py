"""What a measuring process is told by the one that starts it. All environment variables of this room are here:

    BENCH_DEVICE         the type of the device to measure: "cpu", as it is where it is not set, or "cuda".
    BENCH_SETTINGS       the rest, as one JSON object with fields of `Settings`: what is left out has its default, so
                         BENCH_SETTINGS='{"quick": true}' pytest --benchmark-only
    ROI_ALIGN_REVISION   the git revision that results are of, where the files came without their history.

OMP_NUM_THREADS and glibc's MALLOC_* belong to the libraries, ROI_ALIGN_CPU to the operator; cpu.py reads them, because
times hang on them.
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
    """How a process measures.

    run        the stamp of the run that it belongs to; "" for one of its own.
    process    which of the run's processes of its sort it is, from 0 on, and processes, how many there are. With
               several, each measures the block of its own number; a single one measures two blocks.
    workloads  only these; all that are usual if there are none.
    quick      few workloads and short budgets; not for the record.
    seconds    after so many no other row is begun; None for no limit.
    judged     an earlier process's file: its results are not judged again where the bits are the same; "" for none.
    output     the file to write; "" for the usual place below results/.
    progress   the descriptor of a pipe that is told how far the process is; None for none.
    backends   somebody else's functions, as module:function or by entry point, to be timed beside the usual columns.
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
    """This process's settings; ValueError if BENCH_SETTINGS is not such an object."""
    text = os.environ.get(SETTINGS, "{}")
    try:
        told = json.loads(text)
        lists = {name: tuple(told.get(name, ())) for name in ("workloads", "backends")}
        return Settings(**{**told, **lists})
    except (AttributeError, TypeError, ValueError) as error:
        known = ", ".join(each.name for each in fields(Settings))
        example = '{"quick": true}'
        raise ValueError(
            f"{SETTINGS} is {text!r}; it is a JSON object with some of {known}, such as {example}: {error}."
        ) from None


def environment(device: str, settings: Settings) -> dict[str, str]:
    """What tells a process to measure a device in this way."""
    return {DEVICE: device, SETTINGS: json.dumps(asdict(settings))}
