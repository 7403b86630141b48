"""One process of a comparison: judges and times every row with the package first on its path, or with one function.

    python -m harness.comparison.timing ORDER.json

ORDER.json is an `Order`; the answer, a `Record` per row, is written to the file that it names. The other side is never
imported: two packages in one process would share an allocator, a heap and the names of torch's operators.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import repository
from harness.backends import load
from harness.comparison import rows
from harness.measuring import clocks, devices, foreign, gate
from harness.measuring.columns import Turn
from harness.measuring.gate import Gate
from harness.measuring.record import Record
from harness.measuring.workloads import WORKLOADS

BUDGET = clocks.PROCESS


@dataclass(frozen=True)
class Order:
    """The task of one process.

    rows     the names of the rows to time, in order.
    gates    by row, the fields of the Gate from an earlier process of the same side: equal bits are not judged again,
             and different bits are an error.
    origin   the folder that `roi_align` must be imported from, "" if a function is timed.
    output   the path of the answer file.
    function a function outside this project, as module:function; "" if the package is timed.
    """

    rows: list[str]
    gates: dict[str, dict[str, Any]]
    origin: str
    output: str
    function: str = ""


def time_row(turn: Turn, earlier: Gate | None, function: str = "") -> Record:
    """Judges and times a row; an exception becomes the row's problem and does not end the process.

    Interruptions reveal a busy machine: threads that wait for each other then wait for the scheduler, and every call of
    1 ms takes a steady 8 ms, whatever the kernel does.
    """
    record = turn.record()
    try:
        backend = load(turn.column.backend, turn.operator.name)
        inputs = foreign.fit_to_sheet(turn.inputs(), backend.sheet)
        refusal = backend.refuses(inputs, turn.direction)
        if refusal is not None:
            return replace(record, status="REFUSED", message=refusal)
        if function and earlier is None:  # in another process, which the call may crash
            verdict = foreign.judge_apart(function, inputs, turn.direction)
            if not verdict.passed:
                return replace(record, **verdict.stored())
        renewable = foreign.RenewableCall(backend, inputs, turn.direction) if function else None
        call = renewable or backend.prepare(inputs, turn.direction)
        values = backend.to_numpy(call())
        if earlier is None or turn.direction in backend.sheet.unordered:
            verdict = gate.check(backend, inputs, turn.direction, values, lambda: None)
        elif gate.digest(values) == earlier.digest:
            verdict = earlier
        else:
            message = "Its bits are not those of the first process of this side."
            verdict = Gate("DIFFERS", False, message, digest=gate.digest(values))
    except Exception as error:
        return replace(record, status="ERROR", message=f"{type(error).__name__}: {error}")
    del values
    record = replace(record, **verdict.stored())
    if not verdict.passed:
        return record
    device = devices.load(backend.sheet.device.partition(":")[0])
    timer = device.timer
    rounds = BUDGET.rounds(device.settle(call, 0.0))
    host_seconds = device.host_seconds(call) or 0.0
    seconds: list[float] = []
    result: Any = None
    gc.collect()
    gc.disable()
    before = clocks.interruptions()
    try:
        for _ in range(rounds.count):
            result = None  # freed before the next call, outside the timed part
            if renewable is not None:
                renewable.renew()
            device.get_ready(turn.cache, host_seconds)
            begin = timer()
            result = call()
            seconds.append(timer() - begin)
    except Exception as error:
        return replace(record, status="ERROR", message=f"{type(error).__name__}: {error}")
    finally:
        gc.enable()
    interruptions = clocks.interruptions() - before
    row = replace(record, stopped=rounds.stopped, interruptions=interruptions, samples=tuple(seconds))
    return row if renewable is None else renewable.judge_last(row, result)


def main(path: Path) -> None:
    order = Order(**json.loads(path.read_text(encoding="utf-8")))
    # Located without importing it: only a backend imports it.
    spec = importlib.util.find_spec("roi_align")
    if not order.function and (spec is None or spec.origin != str(Path(order.origin) / "roi_align" / "__init__.py")):
        raise SystemExit(f"The package under the clock is {spec and spec.origin}, not the one in {order.origin}.")
    every = rows.rows((workload.name for workload in WORKLOADS), order.function, rows.SETTINGS)
    gates = {name: Gate(**of) for name, of in order.gates.items()}
    answer = [asdict(time_row(every[name], gates.get(name), order.function)) for name in order.rows]
    repository.replace(Path(order.output), json.dumps(answer))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
