"""What a process that hunts for a campaign says of itself: this one, or a worker of a cluster.

A campaign is only as good as what its workers run: which harness, which backend, on which device.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

from harness.fuzzing.campaign import backend_of, in_process
from harness.measuring import devices
from harness.measuring.devices import cpu
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Crashed, Hung
from harness.repository import MissingLibrary, sources


@dataclass(frozen=True)
class About:
    """What a process that is to hunt says of itself.

    harness     a digest of the harness's sources: two of different ones would not mean the same by a task.
    device      what results of the backend's device are filed under.
    sheets, titles  of the backend, for each operator that it has; missing says why there are none, or is "".
    may_begin_processes  whether it may have processes of its own, as a backend that may crash needs.
    """

    harness: str
    device: str
    versions: str
    sheets: dict[OperatorName, Sheet]
    titles: dict[OperatorName, str]
    missing: str
    may_begin_processes: bool


def about(backend: str, operators: tuple[OperatorName, ...]) -> About:
    """This process's answer, for a campaign of that backend."""
    may_begin = not multiprocessing.current_process().daemon
    sheets: dict[OperatorName, Sheet] = {}
    titles: dict[OperatorName, str] = {}
    missing = ""
    if may_begin or in_process(backend):
        try:
            for operator in operators:
                implementation = backend_of(backend, operator)
                if not implementation.same_rule:
                    raise ValueError(
                        f"{implementation.title} computes another rule than the oracle; it can be timed, not judged."
                    )
                if implementation.sheet.operator == operator:  # somebody else's has one, whichever is asked for
                    sheets[operator], titles[operator] = implementation.sheet, implementation.title
        except (ValueError, MissingLibrary, Crashed, Hung) as error:
            missing = str(error)
    types = {sheet.device for sheet in sheets.values()}
    type_ = types.pop() if len(types) == 1 else "cpu"
    device = devices.load(type_).name() if type_ in devices.TYPES else type_
    versions = "; ".join(f"{name} {version}" for name, version in cpu.versions().items())
    return About(sources(), device, versions, sheets, titles, missing, may_begin)
