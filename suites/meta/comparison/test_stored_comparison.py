"""Comparisons of stored runs, on made-up files with known verdicts. Names of runs: test_stored_names.py; verdicts on
medians: test_verdicts.py; revisions: test_comparison.py. Nothing is timed or built.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")
pytest.importorskip("scipy", reason="ranks are SciPy's")


from suites.meta.comparison.quiet_medians import AGAIN, QUIET
from suites.meta.comparison.stored_runs import CPU, ROW, Folder, failed_row, results_folder, row, verdict


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return results_folder(tmp_path, monkeypatch)


# Verdicts.


@pytest.mark.parametrize(
    ("factor", "word", "options", "code"),
    [
        (1.0, "SAME", ["--fail-on", "slow"], 0),
        (1.05, "SLOW", ["--fail-on", "slow"], 1),
        (1.05, "SLOW", [], 0),
        (1 / 1.05, "FAST", ["--fail-on", "slow"], 0),
    ],
)
def test_fail_on_slow_fails_a_step_in_time(folder, factor, word, options, code):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN * factor))
    exit_code, output = folder.compare(base, new, *options)
    assert verdict(output)[1:3] == [word, f"{factor:.3f}"]
    assert exit_code == code
    assert "10 processes" in output
    assert "not in turns, and no SLOW is confirmed by a rerun" in output
    assert ("No rerun has confirmed it." in output) == (word == "SLOW")


def test_one_process_a_side_is_unclear_and_names_the_command_for_more(folder):
    base, new = folder.store("r1", row([1.0])), folder.store("r2", row([2.0]))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 0
    assert verdict(output)[1:] == ["UNCLEAR", "2.000", "-"]
    assert "1 process a side cannot be told from luck" in output
    assert "python -m harness bench --processes 10" in output


def test_a_process_counts_as_one_observation(folder):
    """A thousand samples of one process are one observation of the run."""
    many = row([1.0])
    many[0]["samples"] = tuple(1.0 + place * 1e-6 for place in range(1000))
    slow = row([2.0])
    slow[0]["samples"] = tuple(2.0 + place * 1e-6 for place in range(1000))
    _, output = folder.compare(folder.store("r1", many), folder.store("r2", slow))
    assert verdict(output)[1] == "UNCLEAR"


def test_interrupted_rows_are_unclear(folder):
    often = row(AGAIN, interruptions=2)
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", often, load=1000.0)
    _, output = folder.compare(base, new)
    assert verdict(output)[1] == "UNCLEAR"
    assert "new: In 1 of 1 rows a call in two was interrupted" in output
    # On an idle machine a process's interruptions are its own.
    _, output = folder.compare(base, folder.store("r3", often))
    assert verdict(output)[1] == "SAME"


# Rows without a verdict, all of them reported.


def test_rows_that_one_side_lacks_are_counted_and_named(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="old"), row(QUIET, workload="older"))
    new = folder.store("r2", row(AGAIN), row(AGAIN, workload="w", layout="channels_last"))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 0
    assert verdict(output)[1] == "SAME"
    assert (
        "lacking   new: 2 rows (crop_and_resize old forward roi_align contiguous; "
        "crop_and_resize older forward roi_align contiguous)"
    ) in output
    assert "lacking   base: crop_and_resize w forward roi_align channels_last:" in output


@pytest.mark.parametrize(
    ("status", "backend", "code"), [("OUT", "roi_align", 1), ("NO_TIME", "roi_align", 0), ("ERROR", "tensorflow", 0)]
)
def test_a_row_without_a_time_is_named_and_fails_if_its_result_was_wrong(folder, status, backend, code):
    other = {"workload": "v", "backend": backend}
    base = folder.store("r1", row(QUIET), row(QUIET, **other))
    new = folder.store("r2", row(AGAIN), [failed_row(status, **other)])
    exit_code, output = folder.compare(base, new, "--fail-on", "slow")
    assert exit_code == code
    assert f"no time   crop_and_resize v forward {backend} contiguous: new: {status}: crops[0] is 2" in output


def test_a_row_that_failed_in_one_process_has_no_time_of_the_others(folder):
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN * 0.5), [failed_row()])
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert code == 2
    assert f"no time   {ROW}: new: OUT" in output
    assert "there is nothing to compare" in output


def test_rows_on_other_inputs_have_no_verdict(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, workload="v"), row(QUIET, workload="u"))
    others = (row(AGAIN * 2, workload="v", inputs_digest="j"), row(AGAIN * 2, workload="u", boxes=101))
    code, output = folder.compare(base, folder.store("r2", row(AGAIN), *others), "--fail-on", "slow")
    assert code == 0
    assert "inputs    2 rows (crop_and_resize v forward" in output
    assert "│ SLOW" not in output
    # An old file has no digest of its inputs.
    code, output = folder.compare(folder.store("r0", row(QUIET, inputs_digest=None)), folder.store("r3", row(AGAIN)))
    assert verdict(output)[1] == "SAME"


def test_different_bits_are_reported(folder):
    _, output = folder.compare(folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN, digest="e")))
    assert f"bits      {ROW}: both results are right" in output


# Changes between the runs.


def test_changes_of_machine_or_software_are_reported_first(folder):
    newer = {**CPU, "threads": 4, "versions": {"torch": "2.12.0"}}
    base, new = folder.store("r1", row(QUIET)), folder.store("r2", row(AGAIN, threads=4), machine=newer)
    _, output = folder.compare(base, new)
    assert output.startswith("changed   threads 2 -> 4, torch 2.11.0 -> 2.12.0\n")
    assert "a difference may be theirs alone" in output
    assert f"1 rows were measured with other numbers of threads ({ROW}: 2 -> 4)" in output
    same = folder.store("r3", row(AGAIN), machine={**CPU, "revision": "another", "dirty": True})
    _, output = folder.compare(base, same)
    assert "changed" not in output.split("warning")[0]
    assert "theirs alone" not in output
    assert "revision another+" in output


def test_a_slower_peer_is_reported_and_fails_no_row(folder):
    base = folder.store("r1", row(QUIET), row(QUIET, backend="tensorflow"))
    new = folder.store("r2", row(AGAIN), row(AGAIN * 1.05, backend="tensorflow"))
    code, output = folder.compare(base, new, "--fail-on", "slow")
    assert verdict(output, ROW.replace("roi_align", "tensorflow"))[1] == "SLOW"
    assert code == 0
    assert "took 1.050 times as long (geometric mean of 1 rows)" in output
    steady = folder.store("r3", row(AGAIN * 1.05), row(AGAIN, backend="tensorflow"))
    code, output = folder.compare(base, steady, "--fail-on", "slow")
    assert code == 1
    assert "Others' backends" not in output
