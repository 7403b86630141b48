"""The description that a process gives of itself before a campaign: this process, or a worker of a cluster.

All workers of a campaign must run the same harness and the same backend.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

from harness.fuzzing.campaign import backend_of, in_process
from harness.measuring import devices
from harness.measuring.devices import cpu
from harness.operators.sheet import OperatorName, Sheet
from harness.operators.verdict import Crash, Hang
from harness.repository import MissingLibrary, sources


@dataclass(frozen=True)
class About:
    """A process's description of itself.

    harness     a digest of the harness's sources: with different sources a task would mean different cases.
    device      the name of the backend's device in results.
    sheets, titles  of the backend, for each of its operators; missing: why there are none, or "".
    may_begin_processes  whether it may start processes, which a backend that may crash needs.
    """

    harness: str
    device: str
    versions: str
    sheets: dict[OperatorName, Sheet]
    titles: dict[OperatorName, str]
    missing: str
    may_begin_processes: bool


def about(backend: str, operators: tuple[OperatorName, ...]) -> About:
    """Describes this process for a campaign of this backend."""
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
                # A function outside this project has one operator, whichever is requested.
                if implementation.sheet.operator == operator:
                    sheets[operator], titles[operator] = implementation.sheet, implementation.title
        except (ValueError, MissingLibrary, Crash, Hang) as error:
            missing = str(error)
    types = {sheet.device for sheet in sheets.values()}
    type_ = types.pop() if len(types) == 1 else "cpu"
    device = devices.load(type_).name() if type_ in devices.TYPES else type_
    versions = "; ".join(f"{name} {version}" for name, version in cpu.versions().items())
    return About(sources(), device, versions, sheets, titles, missing, may_begin)
