"""One process of a comparison: it judges and times every row with the one package that comes first on its path.

    python -m harness.comparison.timing ORDER.json

ORDER.json is an `Order`; the answer, a list of `Timed`, goes to the file that it names. The side that is not timed here
is never imported: two packages in one process would share an allocator, a heap and the names of torch's operators.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from harness import repository as files
from harness.comparison import rows
from harness.comparison.rows import Row
from harness.measuring import clocks, devices
from harness.measuring import cpu as machine

BUDGET = clocks.PROCESS


@dataclass(frozen=True)
class Order:
    """What a process is asked for.

    rows     what to time, in this order.
    passed   the digests of results that an earlier process of the same side had judged, by row: the same bits are not
             judged again, and other bits are no result of this side.
    origin   the folder that `roi_align` has to come from.
    output   the file for the answer.
    """

    rows: list[Row]
    passed: dict[str, str]
    origin: str
    output: str


@dataclass(frozen=True)
class Timed:
    """What a process found of one row: seconds of each call in the order they were made, or a problem and no times.

    interruptions  how often the system took a core from this process during these calls, to give it to other work. On
                   a full machine a thread that waits for its neighbour waits for the scheduler: every call of 1 ms
                   then takes 8 ms, whatever the kernel does, and times look steady.
    """

    row: str
    digest: str = ""
    problem: str = ""
    threads: int = 0
    interruptions: int = 0
    seconds: list[float] = field(default_factory=list)


def timed(row: Row, passed: str) -> Timed:
    """A row, judged first; whatever it raises is its problem and not the process's end."""
    try:
        backend, inputs, call = rows.prepared(row)
        got = backend.to_numpy(call())
    except Exception as error:
        return Timed(str(row), problem=f"{type(error).__name__}: {error}")
    digest = hashlib.blake2b(np.ascontiguousarray(got).tobytes(), digest_size=16).hexdigest()
    if not passed:
        problem = rows.judged(row, backend, inputs, got)
    else:
        problem = "" if digest == passed else "Its bits are not those of the first process of this revision."
    del got
    if problem:
        return Timed(str(row), digest, problem)
    rounds = BUDGET.rounds(devices.load("cpu").settle(call, 0.0))
    seconds = []
    gc.collect()
    gc.disable()
    before = clocks.interruptions()
    for _ in range(rounds.count):
        begin = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - begin)
        del result  # freed before the next call, outside the timed part
    interruptions = clocks.interruptions() - before
    gc.enable()
    return Timed(str(row), digest, "", machine.threads(), interruptions, seconds)


def main(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    order = Order(**{**stored, "rows": [Row(**row) for row in stored["rows"]]})
    # Found and not imported: only a backend imports it.
    found = importlib.util.find_spec("roi_align")
    if found is None or found.origin != str(Path(order.origin) / "roi_align" / "__init__.py"):
        raise SystemExit(f"The package under the clock is {found and found.origin}, not the one in {order.origin}.")
    answer = [asdict(timed(row, order.passed.get(str(row), ""))) for row in order.rows]
    files.replace(Path(order.output), json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
