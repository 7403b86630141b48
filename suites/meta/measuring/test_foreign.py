"""A foreign function beside the usual columns: a correct one has a time, a faulty one a status and no time."""

from __future__ import annotations

import csv
import os
import shutil
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
from harness.operators.verdict import Hang
from suites.meta.report.made_results import store, timed_row

FUNCTIONS = "suites.meta.measuring.planted"
RIGHT = f"{FUNCTIONS}:right"
INPUTS = OPERATORS["roi_align"].from_workload(SMOKE.inputs(), "sampling_ratio 2")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results folder of runs with a small workload and one process."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    monkeypatch.setenv("PYTEST_PLUGINS", "suites.meta.measuring.small_work")
    monkeypatch.setitem(measure.PROCESSES, "cpu", measure.PROCESSES["cpu"][:1])
    monkeypatch.setattr(
        repository, "results_folder", lambda quick, foreign=False: tmp_path / ("foreign" if foreign else "own")
    )
    return tmp_path


def test_runs_with_a_foreign_function_have_their_own_folder() -> None:
    folders = [repository.results_folder(*each) for each in ((False,), (True,), (False, True), (True, True))]
    assert folders == [
        repository.RESULTS, repository.QUICK_RESULTS, repository.FOREIGN_RESULTS, repository.FOREIGN_RESULTS,
    ]  # fmt: skip
    assert not repository.FOREIGN_RESULTS.is_relative_to(repository.RESULTS)


def test_a_run_from_the_command_to_the_report(small: Path) -> None:
    names = [
        f"{FUNCTIONS}:{each}" for each in ("right", "wrong", "keeps", "keeps_boxes", "keeps_image", "writes", "ends")
    ]
    result = CliRunner().invoke(app, ["bench", *(f"--backend={each}" for each in names)])
    assert result.exit_code == 1, result.output  # not all of them are correct
    # The result in words is above the tables.
    assert result.output.index("rows have a time") < result.output.index("The gate refused ") < result.output.index("┏")
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
    # Its gradient has a ratio to the peer's time.
    (gradient,) = (
        row for row in rows if (row["backend"], row["direction"]) == (RIGHT, "grad_image") and row["median_s"]
    )
    assert gradient["ratio_to_peer"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{RIGHT}, torch" in page
    assert f"{RIGHT}, torch" in (folder / "README.md").read_text(encoding="utf-8")


def test_an_interrupted_run_keeps_its_finished_rows(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rows = measure.run, []

    def interrupted(*arguments: Any) -> Any:
        def tell(name: str, event: dict[str, object]) -> None:
            rows.append(event)
            if sum("done" in each for each in rows) == 3:
                raise KeyboardInterrupt

        return run(*arguments[:4], tell, *arguments[5:])

    monkeypatch.setattr(measure, "run", interrupted)
    result = CliRunner().invoke(app, ["bench"])
    assert result.exit_code == 130, result.output
    assert "Interrupted: the rows that were finished are in " in result.output
    (file,) = (small / "own").glob("*/*-part/default.json")
    document = record.read(file)
    assert document.header.kind == "part"
    assert 3 <= len(document.records) < 10
    assert all(row.samples for row in document.records)
    assert (small / "own" / "report.html").exists()


def test_a_run_that_lacks_a_processs_file_is_a_partial_one(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process was killed, by a lack of memory for example, before it could write its rows."""
    usual = measure.PROCESSES["cpu"][0]
    monkeypatch.setitem(measure.PROCESSES, "cpu", (usual, replace(usual, name="killed")))

    def child(process: measure.Process, device: str, options: Settings, tell: Any) -> measure.Exit:
        if process.name == "killed":
            return measure.Exit(process, None, -9, "")
        path = Path(options.output)
        store(path.parent, path.name, [timed_row([1.0])])
        return measure.Exit(process, path, 0, "")

    monkeypatch.setattr(measure, "_child", child)
    written, killed = measure.run("cpu", False, 1, (), lambda name, event: None)
    assert killed.file is None
    assert written.file is not None
    assert written.file.parent.name.endswith("-part")
    assert record.read(written.file).header.kind == "part"


def test_pytest_times_a_foreign_function_without_the_verb(
    small: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    file = small / "file.json"
    for name, value in settings.environment("cpu", Settings(output=str(file), quick=True)).items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "pytest", "-q", "suites/performance", "suites/meta/verbs", "--backend", RIGHT]
    runs = [
        subprocess.run([*command, *more], cwd=pytestconfig.rootpath, env=os.environ, capture_output=True, text=True)
        for more in (("--benchmark-only", "-k", "small and forward"), ("--collect-only",))
    ]
    assert runs[0].returncode == 0, runs[0].stdout
    assert {row.backend for row in record.read(file).records if row.samples} >= {RIGHT, "roi_align", "torchvision"}
    assert "no tests collected" in runs[1].stdout


def alone(pytestconfig: pytest.Config, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The documented command, without the settings that `harness bench` passes."""
    command = [sys.executable, "-m", "pytest", "--benchmark-only", "-q", *options]
    return subprocess.run(
        command, cwd=pytestconfig.rootpath, env=os.environ | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.usefixtures("small")
def test_pytest_measures_without_the_verb(pytestconfig: pytest.Config) -> None:
    output = alone(
        pytestconfig,
        "suites/performance/bench_operators.py",
        "-k",
        "small and forward",
        BENCH_SETTINGS='{"quick": true}',
    )
    assert output.returncode == 0, output.stdout + output.stderr
    (line,) = (each for each in output.stdout.splitlines() if each.startswith("samples "))
    file = Path(line.removeprefix("samples "))
    rows = record.read(file).records
    shutil.rmtree(file.parent)
    assert {row.bench for row in rows if row.samples} == {"crop_and_resize", "roi_align"}
    assert {"roi_align", "torchvision"} <= {row.backend for row in rows if row.samples}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (settings.DEVICE, "tpu", "There is no device 'tpu' to measure; there are cpu, cuda."),
        (settings.SETTINGS, "{", "BENCH_SETTINGS is '{'; it is a JSON object with some of run,"),
    ],
)
def test_pytest_without_the_verb_names_a_wrong_setting(
    pytestconfig: pytest.Config, variable: str, value: str, sentence: str
) -> None:
    output = alone(pytestconfig, "suites/performance/bench_overhead.py", **{variable: value})
    assert output.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {sentence}" in output.stderr
    assert "Traceback" not in output.stderr


def test_columns_follow_the_sheet_and_include_others_of_its_types(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = Sheet("roi_align", image_dtypes=("float16", "int8"), layouts=("channels_last", "offset"))
    monkeypatch.setattr(foreign, "apart", lambda name: replace(load("reference", "roi_align"), sheet=sheet))
    usual = COLUMNS["cpu"]["roi_align"]
    halves = tuple(replace(column, dtype="float16") for column in usual)
    own = Column("a:b", "channels_last", "float16", ("forward",), series=False)
    assert foreign.beside(COLUMNS["cpu"], ["a:b"], "cpu") == {"roi_align": (*usual, *halves, own)}
    assert foreign.beside(COLUMNS["cpu"], [], "cpu") == {}
    with pytest.raises(ValueError, match="a:b runs on cpu, and cuda is measured: use --device cpu"):
        foreign.beside(COLUMNS["cuda"], ["a:b"], "cuda")


def test_functions_that_cannot_be_timed_raise_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(app, ["bench", "--backend", "torchvision"])
    assert result.exit_code == 2
    assert "'torchvision' is no function: --backend takes module:function" in result.output
    edges = replace(load("reference"), sheet=Sheet("crop_and_resize", border="inside"))
    monkeypatch.setattr(foreign, "isolated", lambda name, operator: edges)
    with pytest.raises(ValueError, match="it can be judged, not timed"):
        foreign.apart("edges:only")


def test_a_call_has_the_types_that_a_sheet_takes() -> None:
    crop = SMOKE.inputs(dtype="float16")
    as_they_are = foreign.fit_to_sheet(crop, Sheet("crop_and_resize", index_dtypes=("int32",)))
    assert as_they_are.boxes is crop.boxes
    assert as_they_are.box_indices is crop.box_indices
    other = foreign.fit_to_sheet(crop, Sheet("crop_and_resize", same_dtype=True))
    assert (other.boxes.dtype, other.box_indices.dtype) == (np.float16, np.int64)
    assert foreign.fit_to_sheet(INPUTS, Sheet("roi_align", boxes_dtypes=("float64",))).boxes.dtype == np.float64


@pytest.mark.parametrize("direction", ["forward", "grad_image"])
def test_each_timed_call_has_new_values_in_the_same_arrays(direction: Any) -> None:
    call = foreign.RenewableCall(load("torchvision", "roi_align"), INPUTS, direction)
    arrays = {name: getattr(call.own, name) for name in ("image", "boxes", "upstream")}
    before, values = {name: array.copy() for name, array in arrays.items()}, set()
    assert all(np.array_equal(before[name], getattr(INPUTS, name)) for name in arrays)
    for _ in range(16):
        call.renew()
        for name, array in arrays.items():
            assert getattr(call.own, name) is array
            assert not np.array_equal(array, before[name]), name
        values.add((arrays["image"].tobytes(), arrays["boxes"].tobytes()))
        row = record.Record(
            "roi_align", "", "w", "s", "roi_align", direction, "a", "a", "contiguous", "warm", 0, samples=(1.0,)
        )
        assert call.judge_last(row, call()) == row
    assert len(values) == 16
    arrays["image"][0, 0, 0, 0] += 1
    assert call.judge_last(row, call()).status == "BROKEN"


def test_a_hanging_function_is_called_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any) -> Any:
        raise Hang("It did not return within 5 s.")

    backend = replace(load("reference", "roi_align"), prepare=hangs)
    monkeypatch.setattr(foreign, "apart", lambda name: backend)
    monkeypatch.setattr(foreign, "_HANGING", set())
    verdicts = [foreign.judge_apart("a:b", INPUTS, "forward") for _ in range(2)]
    assert [each.status for each in verdicts] == ["HANG", "NO_TIME"]
    assert not any(each.passed for each in verdicts)
