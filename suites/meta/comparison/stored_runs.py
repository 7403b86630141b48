"""Made-up stored runs, and the verb that compares them, for the tests of stored comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import repository
from harness.__main__ import app
from harness.verbs import console
from suites.meta.report.made_results import store, timed_row

CPU = {
    "cpu": "a cpu", "threads": 2, "versions": {"torch": "2.11.0"}, "revision": "0123456789abcdef", "dirty": False,
}  # fmt: skip
GPU = {**CPU, "gpu": "a gpu", "revision": "fedcba9876543210"}
ROW = "crop_and_resize w forward roi_align contiguous"


def row(medians: Sequence[float], **changes: Any) -> list[dict[str, Any]]:
    """A row of as many processes as there are medians, three equal samples each."""
    own = {"inputs_digest": "i", **changes}
    return [timed_row([median] * 3, **{**own, "process": place}) for place, median in enumerate(medians)]


def failed_row(status: str = "OUT", **changes: Any) -> dict[str, Any]:
    return timed_row((), **{"status": status, "inputs_digest": "i", "message": "crops[0] is 2", **changes})


class Folder:
    """A folder of results, and the verb that reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def store(
        self,
        run: str,
        *rows: list[dict[str, Any]],
        machine: dict[str, Any] = CPU,
        device: str = "cpu-test",
        kind: str = "full",
        load: float = 0.0,
    ) -> str:
        """Stores a run as a file for each process, and returns the name of its folder."""
        of = {"run": run, "device": device, "kind": kind}
        every = [{**each, **of} for lines in rows for each in lines]
        state = {"before": {"load": load}, "after": {}}
        store(self.path / device / f"{run}-{kind}", "default.json", every, machine, state)
        return f"{device}/{run}-{kind}"

    def compare(self, *arguments: str) -> tuple[int, str]:
        """The verb's exit code and its output."""
        result = CliRunner().invoke(app, ["compare", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result.exit_code, result.output


def results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """An empty folder of results, which the verb uses as the project's own."""
    monkeypatch.setattr(repository, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(console, "width", 200)  # so that names are not wrapped
    return Folder(tmp_path / "results")


def verdict(output: str, name: str = ROW) -> list[str]:
    """The cells of a row of the printed table."""
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if "│" in line]
    return next(cells for cells in lines if cells[0] == name)
