"""Somebody else's function beside the usual columns: what is right has a time, what is not has a status and none."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torchvision", reason="the functions are torchvision's, right and wrong")
pytest.importorskip("typer", reason="it makes the command line")
pytest.importorskip("matplotlib", reason="a report needs matplotlib")

from typer.testing import CliRunner

from harness import repository
from harness.__main__ import app
from harness.backends import load
from harness.measuring import foreign, record, settings
from harness.measuring import run as measure
from harness.measuring.columns import COLUMNS, Column
from harness.measuring.settings import Settings
from harness.measuring.workloads import SMOKE
from harness.operators import OPERATORS
from harness.operators.sheet import Sheet
from harness.operators.verdict import Hung

PLANTED = "suites.meta.measuring.planted"
RIGHT = f"{PLANTED}:right"
INPUTS = OPERATORS["roi_align"].from_workload(SMOKE.inputs(), "sampling_ratio 2")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the results of runs lie, whose workload is a small one and whose process is one."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_PLUGINS", "suites.meta.measuring.small_work")
    monkeypatch.setitem(measure.PROCESSES, "cpu", measure.PROCESSES["cpu"][:1])
    monkeypatch.setattr(
        repository, "results_folder", lambda quick, foreign=False: tmp_path / ("foreign" if foreign else "own")
    )
    return tmp_path


def test_a_run_with_somebody_elses_function_is_no_part_of_this_projects_history() -> None:
    folders = [repository.results_folder(*each) for each in ((False,), (True,), (False, True), (True, True))]
    assert folders == [
        repository.RESULTS, repository.QUICK_RESULTS, repository.FOREIGN_RESULTS, repository.FOREIGN_RESULTS,
    ]  # fmt: skip
    assert not repository.FOREIGN_RESULTS.is_relative_to(repository.RESULTS)


def test_a_run_from_the_command_to_the_report(small: Path) -> None:
    names = [
        f"{PLANTED}:{each}" for each in ("right", "wrong", "keeps", "keeps_boxes", "keeps_image", "writes", "ends")
    ]
    done = CliRunner().invoke(app, ["bench", *(f"--backend={each}" for each in names)])
    assert done.exit_code == 1, done.output  # not all of them are right
    # The result in words is above the tables.
    assert done.output.index("rows have a time") < done.output.index("The gate refused ") < done.output.index("┏")
    (folder,) = (small / "foreign").glob("*/*-full")
    assert not (small / "own").exists()
    with (folder / "throughput.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["bench"] for row in rows} == {"roi_align"}
    of = {
        name: {(row["status"], bool(row["median_s"])) for row in rows if row["backend"] == name}
        for name in ("roi_align", "torchvision", *names)
    }
    timed, untimed = {("EXACT", True), ("WITHIN", True)}, {("OUT", False)}
    for name in ("roi_align", "torchvision", RIGHT):
        assert of[name] - {("REFUSED", False)} <= timed, name
    for name in names[1:5]:
        assert of[name] - {("REFUSED", False)} == untimed, name
    assert of[names[5]] - {("REFUSED", False)} == {("BROKEN", False)}
    assert of[names[6]] - {("REFUSED", False)} == {("CRASH", False)}
    messages = {row["backend"]: row["message"] for row in rows if row["setting"] == "sampling_ratio 2"}
    assert all("The last timed call" in messages[name] for name in names[2:5])
    assert "The last timed call" not in messages[names[1]]
    # Its gradient has the peer's time beside it.
    (gradient,) = (
        row for row in rows if (row["backend"], row["direction"]) == (RIGHT, "grad_image") and row["median_s"]
    )
    assert gradient["ratio_to_peer"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{RIGHT}, torch" in page
    assert f"{RIGHT}, torch" in (folder / "README.md").read_text(encoding="utf-8")


def test_an_interrupted_run_keeps_the_rows_that_are_finished(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rows = measure.run, []

    def interrupted(*arguments: Any) -> Any:
        def tell(name: str, event: dict[str, object]) -> None:
            rows.append(event)
            if sum("done" in each for each in rows) == 3:
                raise KeyboardInterrupt

        return run(*arguments[:4], tell, *arguments[5:])

    monkeypatch.setattr(measure, "run", interrupted)
    done = CliRunner().invoke(app, ["bench"])
    assert done.exit_code == 130, done.output
    assert "Interrupted: the rows that were finished are in " in done.output
    (file,) = (small / "own").glob("*/*-part/default.json")
    stored = record.read(file)
    assert stored.header.kind == "part"
    assert 3 <= len(stored.records) < 10
    assert all(row.samples for row in stored.records)
    assert (small / "own" / "report.html").exists()


def test_pytest_alone_times_the_function_that_it_judges(
    small: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    file = small / "file.json"
    for name, value in settings.environment("cpu", Settings(output=str(file), quick=True)).items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "pytest", "-q", "suites/performance", "suites/meta/verbs", "--backend", RIGHT]
    done = [
        subprocess.run([*command, *more], cwd=pytestconfig.rootpath, env=os.environ, capture_output=True, text=True)
        for more in (("--benchmark-only", "-k", "small and forward"), ("--collect-only",))
    ]
    assert done[0].returncode == 0, done[0].stdout
    assert {row.backend for row in record.read(file).records if row.samples} >= {RIGHT, "roi_align", "torchvision"}
    assert "no tests collected" in done[1].stdout


def test_columns_are_those_of_its_sheet_and_of_others_in_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = Sheet("roi_align", image_dtypes=("float16", "int8"), layouts=("channels_last", "offset"))
    monkeypatch.setattr(foreign, "apart", lambda name: replace(load("reference", "roi_align"), sheet=sheet))
    usual = COLUMNS["cpu"]["roi_align"]
    halves = tuple(replace(column, dtype="float16") for column in usual)
    own = Column("a:b", "channels_last", "float16", ("forward",), series=False)
    assert foreign.beside(COLUMNS["cpu"], ["a:b"], "cpu") == {"roi_align": (*usual, *halves, own)}
    assert foreign.beside(COLUMNS["cpu"], [], "cpu") == {}
    with pytest.raises(ValueError, match="a:b runs on cpu, and cuda is measured: use --device cpu"):
        foreign.beside(COLUMNS["cuda"], ["a:b"], "cuda")


def test_what_cannot_be_timed_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["bench", "--backend", "torchvision"])
    assert done.exit_code == 2
    assert "'torchvision' is no function: --backend takes module:function" in done.output
    edges = replace(load("reference"), sheet=Sheet("crop_and_resize", border="inside"))
    monkeypatch.setattr(foreign, "isolated", lambda name, operator: edges)
    with pytest.raises(ValueError, match="it can be judged, not timed"):
        foreign.apart("edges:only")


def test_a_call_has_the_types_that_a_sheet_takes() -> None:
    crop = SMOKE.inputs(dtype="float16")
    as_they_are = foreign.declared(crop, Sheet("crop_and_resize", index_dtypes=("int32",)))
    assert as_they_are.boxes is crop.boxes
    assert as_they_are.box_indices is crop.box_indices
    other = foreign.declared(crop, Sheet("crop_and_resize", same_dtype=True))
    assert (other.boxes.dtype, other.box_indices.dtype) == (np.float16, np.int64)
    assert foreign.declared(INPUTS, Sheet("roi_align", boxes_dtypes=("float64",))).boxes.dtype == np.float64


@pytest.mark.parametrize("direction", ["forward", "grad_image"])
def test_each_timed_call_finds_other_values_in_the_same_places(direction: Any) -> None:
    call = foreign.Renewed(load("torchvision", "roi_align"), INPUTS, direction)
    arrays = {name: getattr(call.own, name) for name in ("image", "boxes", "upstream")}
    before, seen = {name: array.copy() for name, array in arrays.items()}, set()
    assert all(np.array_equal(before[name], getattr(INPUTS, name)) for name in arrays)
    for _ in range(16):
        call.renew()
        for name, array in arrays.items():
            assert getattr(call.own, name) is array
            assert not np.array_equal(array, before[name]), name
        seen.add((arrays["image"].tobytes(), arrays["boxes"].tobytes()))
        row = record.Record(
            "roi_align", "", "w", "s", "roi_align", direction, "a", "a", "contiguous", "warm", 0, samples=(1.0,)
        )
        assert call.judged(row, call()) == row
    assert len(seen) == 16
    arrays["image"][0, 0, 0, 0] += 1
    assert call.judged(row, call()).status == "BROKEN"


def test_a_function_that_hangs_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any) -> Any:
        raise Hung("It did not return within 5 s.")

    backend = replace(load("reference", "roi_align"), prepare=hangs)
    monkeypatch.setattr(foreign, "apart", lambda name: backend)
    monkeypatch.setattr(foreign, "_HUNG", set())
    found = [foreign.judged_apart("a:b", INPUTS, "forward") for _ in range(2)]
    assert [each.status for each in found] == ["HANG", "NO_TIME"]
    assert not any(each.passed for each in found)
