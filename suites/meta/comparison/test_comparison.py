"""Comparisons: rounds of processes, revisions, and the verb with its errors.

Nothing here is timed: medians are made up, and revisions are found but not built. Verdicts: test_verdicts.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.comparison import revisions, rows, side_by_side
from harness.comparison.revisions import UnusableRevision
from harness.comparison.side_by_side import Round
from harness.measuring.record import Record
from suites.meta.comparison.quiet_medians import AGAIN, QUIET


def row_name(workload: str) -> str:
    """The table's name for the row of `answers`."""
    return f"crop_and_resize {workload} forward contiguous"


def row_of(workload: str, median: float, **of: object) -> Record:
    usual = Record(
        bench="crop_and_resize", setting="", workload=workload, source="made up", op="crop_and_resize",
        direction="forward", backend="roi_align", title="t", layout="contiguous", cache="warm", block=0,
        status="EXACT", digest="bits", interruptions=0, samples=(median,) * 3,
    )  # fmt: skip
    return replace(usual, **of)


def answers(workload: str, medians: Sequence[float], **of: object) -> list[list[Record]]:
    return [[row_of(workload, median, **of)] for median in medians]


def a_round(base: list[list[Record]], new: list[list[Record]], load: float = 0.0) -> Round:
    states = [{"before": {"load": load}, "after": {}}]
    return Round({"base": base, "new": new}, side_by_side.sides_in_order(len(base)), states, 1.0)


def test_sides_take_turns_in_abba_order():
    assert side_by_side.sides_in_order(4) == ["base", "new", "new", "base", "base", "new", "new", "base"]


def test_a_row_that_is_wrong_on_one_side_has_no_time():
    wrong = a_round(answers("a", QUIET), answers("a", AGAIN, status="OUT", samples=()))
    assert wrong.medians() == {}
    assert wrong.problems() == {(row_name("a"), "new"): "OUT"}
    assert wrong.lost() == [row_name("a")]
    refused = a_round(*(answers("a", times, status="REFUSED", samples=()) for times in (QUIET, AGAIN)))
    assert len(refused.problems()) == 2
    assert refused.lost() == []
    later = answers("a", AGAIN)
    others = "Its bits are not those of the first process."
    later[7] = [row_of("a", 0.0, digest="others", status="DIFFERS", message=others, samples=())]
    assert a_round(answers("a", QUIET), later).medians() == {}


def test_different_bits_are_reported():
    assert a_round(answers("a", QUIET), answers("a", AGAIN, digest="others")).other_bits() == [row_name("a")]
    assert a_round(answers("a", QUIET), answers("a", AGAIN)).other_bits() == []


def test_load_and_spread_give_warnings():
    assert a_round(answers("a", QUIET), answers("a", AGAIN)).warnings() == []
    load_warnings = a_round(answers("a", QUIET), answers("a", AGAIN), load=1000.0).warnings()
    assert len(load_warnings) == 1
    assert "The load was 1000.0 before" in load_warnings[0]
    apart_warnings = a_round(answers("a", QUIET), answers("a", [*AGAIN[:9], 2e-3])).warnings()
    assert len(apart_warnings) == 1
    assert "more than 10% apart" in apart_warnings[0]


def test_interrupted_rows_are_unclear():
    def never(rows: list[str]) -> Round:
        raise AssertionError

    quiet = a_round(answers("a", QUIET), answers("a", AGAIN))
    assert side_by_side.decide(quiet, never)[0][0].verdict == "SAME"
    interrupted = a_round(answers("a", QUIET), answers("a", AGAIN, interruptions=3), load=1000.0)
    decisions, rerun = side_by_side.decide(interrupted, never)
    assert rerun is None
    assert decisions[0].verdict == "UNCLEAR"
    assert "OMP_NUM_THREADS" in decisions[0].reason
    assert any("interrupted" in warning for warning in interrupted.warnings())
    # On an idle machine a process's interruptions are its own.
    own = a_round(answers("a", QUIET), answers("a", AGAIN, interruptions=3))
    assert side_by_side.decide(own, never)[0][0].verdict == "SAME"


def test_only_slow_rows_run_again():
    reruns = []

    def again(slow: list[str]) -> Round:
        reruns.append(slow)
        return a_round(answers("a", QUIET), answers("a", AGAIN))

    both = [
        [one[0], other[0]] for one, other in zip(answers("a", AGAIN * 1.05), answers("b", AGAIN / 1.05), strict=True)
    ]
    base = [[one[0], other[0]] for one, other in zip(answers("a", QUIET), answers("b", QUIET), strict=True)]
    decisions, rerun = side_by_side.decide(a_round(base, both), again)
    assert reruns == [[row_name("a")]]
    assert rerun is not None
    assert [each.verdict for each in decisions] == ["UNCLEAR", "FAST"]


# Revisions and the verb.


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose first commit has no package, and whose second has one that does not build."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--initial-branch=main")
    (tmp_path / "notes").write_text("to be written")
    git("add", ".")
    git("commit", "--message=notes")
    (tmp_path / "impl/roi_align").mkdir(parents=True)
    (tmp_path / "impl/roi_align/__init__.py").write_text("")
    (tmp_path / "impl/roi_align/_C.so").write_bytes(b"\xff")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "setup.py").write_text("raise SystemExit('error: no compiler likes this')")
    git("add", ".")
    git("commit", "--message=a package")
    return tmp_path


def test_an_unchanged_working_tree_is_its_commit(repository, monkeypatch):
    monkeypatch.setattr(revisions.compiling, "version", lambda: "a compiler")
    committed, files = revisions.find("main", repository), revisions.find(".", repository)
    assert set(files.texts) == {"setup.py", "pyproject.toml", "impl/roi_align/__init__.py"}
    assert committed.texts == files.texts
    assert committed.folder == files.folder
    (repository / "impl/roi_align/__init__.py").write_text("changed = True")
    assert revisions.find(".", repository).folder != committed.folder
    assert revisions.find("main", repository).folder == committed.folder


def test_unusable_revisions_raise_a_reason(repository, tmp_path, monkeypatch):
    with pytest.raises(UnusableRevision, match="There is no revision 'nobodys' here"):
        revisions.find("nobodys", repository)
    with pytest.raises(UnusableRevision, match=r"has no setup\.py, so it cannot be built"):
        revisions.find("main~1", repository)
    monkeypatch.setattr(revisions, "BUILD", tmp_path / "build")
    monkeypatch.setattr(revisions.compiling, "version", lambda: "a compiler")
    with pytest.raises(UnusableRevision, match=r"does not build(.|\n)*no compiler likes this"):
        revisions.build(revisions.find("main", repository))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nobodys-revision", "."], "There is no revision 'nobodys-revision' here"),
        ([".", ".", "--workload", "none"], "There is no workload 'none'; there are seed_test"),
        ([".", ".", "--setting", "none"], "There is no setting 'none'; there are sampling_ratio 2, adaptive, maximum."),
        ([".", ".", "--fail-on", "fast"], "--fail-on is 'fast'; it takes slow, and nothing else."),
    ],
)
def test_wrong_arguments_exit_with_2_and_a_message(arguments, says):
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code == 2
    assert says in result.output


def of_all(names: Sequence[str], seconds: float) -> list[Record]:
    """The answer of a process that has timed all of these rows once."""
    turns = rows.rows(["seed_test"])
    return [
        replace(turns[name].record(), status="EXACT", digest="bits", interruptions=0, samples=(seconds,))
        for name in names
    ]


def verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measure: object, *arguments: str) -> tuple[int, str]:
    """The verb's exit code and output, with made-up processes."""
    monkeypatch.setattr(revisions, "build", lambda revision: revision.path)
    monkeypatch.setattr(side_by_side, "BUILD", tmp_path)
    monkeypatch.setattr(side_by_side, "measure", measure)
    result = CliRunner().invoke(app, ["compare", ".", ".", "--workload", "seed_test", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(("factor", "options", "code"), [(1.0, ["slow"], 0), (1.15, ["slow"], 1), (1.15, [], 0)])
def test_fail_on_slow_fails_a_confirmed_slow_row(monkeypatch, tmp_path, factor, options, code):
    def measure(paths, names, processes, tell):
        base = [of_all(names, median) for median in QUIET]
        new = [of_all(names, median * factor) for median in AGAIN]
        return a_round(base, new)

    exit_code, output = verb(monkeypatch, tmp_path, measure, *(f"--fail-on={each}" for each in options))
    assert exit_code == code, output
    assert ("Confirmed by the rerun" in output) == (factor > 1)
    document = json.loads(next((tmp_path / "runs").glob("*.json")).read_text())
    assert len(document["rounds"]) == (2 if factor > 1 else 1)
    assert document["rounds"][0]["answers"]["new"][0][0]["samples"] == [AGAIN[0] * factor]


def test_fail_on_slow_fails_a_wrong_row(monkeypatch, tmp_path):
    def measure(paths, names, processes, tell):
        base = [of_all(names, median) for median in QUIET]
        new = [[*each[:-1], replace(each[-1], status="OUT", message="OUT: wrong", samples=())] for each in base]
        return a_round(base, new)

    code, output = verb(monkeypatch, tmp_path, measure, "--fail-on=slow")
    assert code == 1
    assert "no time" in output
    assert "OUT: wrong" in output


def test_an_interrupted_comparison_stores_nothing(monkeypatch, tmp_path):
    def measure(paths, names, processes, tell):
        raise KeyboardInterrupt

    code, output = verb(monkeypatch, tmp_path, measure)
    assert code == 130
    assert "nothing was stored" in output
    assert not (tmp_path / "runs").exists()


def test_an_interrupt_stops_the_process(monkeypatch, tmp_path):
    processes = []
    popen = subprocess.Popen

    class Interrupted(popen):
        def __init__(self, command, **options):
            super().__init__([sys.executable, "-c", "import time; time.sleep(600)"], **options)
            processes.append(self)

        def communicate(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        side_by_side.measure(dict.fromkeys(side_by_side.SIDES, tmp_path), [], 1, lambda side: None)
    assert processes[0].poll() is not None
