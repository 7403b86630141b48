"""Finds a stored run by its folder or its device. A name on the command line is resolved in this order:

    .                                     the working tree, and no run
    a folder that holds JSON files        that run, by any path, or by DEVICE/RUN below results/
    a folder of runs in results/          that device's newest full run, by the device's name or path
    module:function, an entry point       that function, see measuring/foreign.py
    anything else                         a revision, see revisions.py

A branch with the name of a device is therefore written refs/heads/NAME.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.comparison.revisions import WORKING_TREE
from harness.measuring import fingerprint, results


class UnusableRun(Exception):
    """The folder exists but does not contain exactly one readable run; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """One side of a comparison.

    folder    the path that was read.
    blocks    its rows, as in `results.Results.blocks`.
    machine   the description of the machine.
    problems  a sentence for each file that was left out.
    """

    folder: Path
    device: str
    run: str
    kind: str
    blocks: pd.DataFrame
    machine: dict[str, Any]
    problems: tuple[str, ...]

    def __str__(self) -> str:
        count = int(self.blocks.process.nunique())
        return (
            f"{self.device}/{self.run} ({self.kind}, revision {fingerprint.revision(self.machine)}, "
            f"{count} process{'' if count == 1 else 'es'})"
        )


def find(name: str, folder: Path) -> Run | None:
    """The stored run of this name, None if there is none; UnusableRun if it cannot be compared.

    folder: the folder of devices and their runs.
    """
    if name == WORKING_TREE:
        return None
    for path in (Path(name), folder / name):
        if any(path.glob("*.json")):
            return _only(_read(path), path)
        if path.resolve().parent == folder.resolve() and any(path.glob("*/*.json")):
            return _newest(_read(path), path)
    return None


def _read(path: Path) -> results.Results:
    contents = results.read(path)
    if contents.blocks.empty:
        raise UnusableRun(f"No file under {path} can be read as a run's. {' '.join(contents.problems)}".strip())
    return contents


def _only(contents: results.Results, path: Path) -> Run:
    runs = sorted(set(contents.machines))
    if len(runs) > 1:
        names = ", ".join("/".join(each) for each in runs)
        raise UnusableRun(f"{path} holds {len(runs)} runs ({names}), and one is compared: name the folder of one.")
    return _run(contents, path, contents.blocks)


def _newest(contents: results.Results, path: Path) -> Run:
    blocks = results.newest(contents.blocks)
    devices = sorted(set(blocks.device))
    if len(devices) > 1:
        raise UnusableRun(
            f"{path} holds runs of {len(devices)} devices ({', '.join(devices)}): name the folder of one run."
        )
    return _run(contents, path, blocks)


def _run(contents: results.Results, path: Path, blocks: pd.DataFrame) -> Run:
    first = blocks.iloc[0]
    machine = contents.machines[first.device, first.run]
    return Run(path, str(first.device), str(first.run), str(first.kind), blocks, machine, contents.problems)
