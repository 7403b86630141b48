"""A run that is stored already, by its folder or its device: the other thing that can be compared.

What a name means is decided in this order, the first that fits:

    .                                     the working tree, and no run
    a folder that holds JSON files        that run, by any path, and by DEVICE/RUN below results/
    a folder of runs in results/          that device, by its name there or its path: its newest full run
    module:function, an entry point       that function, see measuring/foreign.py
    anything else                         a revision, see revisions.py

So a branch that has a device's name is told from it as refs/heads/NAME.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.comparison.revisions import WORKING_TREE
from harness.measuring import fingerprint, results


class UnusableRun(Exception):
    """The folder is there, but no one run can be read from it; the message says why and what to do."""


@dataclass(frozen=True)
class Run:
    """One side of a comparison.

    folder    what was read.
    blocks    its rows, lines of `results.Results.blocks`.
    machine   what the machine said of itself.
    problems  files that were left out, each as a sentence.
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
    """The stored run of that name, None if nothing is stored under it; UnusableRun if it is not fit to be compared.

    folder: where devices and their runs lie.
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
