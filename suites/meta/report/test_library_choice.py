"""What to choose, the sentence, and the ratios of times, on figures that are known beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.report import libraries
from harness.report.libraries import choice, page, timings
from harness.report.libraries.page import TimeCell
from suites.meta.report.judged_libraries import (
    CELL,
    FAST,
    OURS,
    SLOW,
    TIMING,
    cell_of,
    cells,
    confirmed,
    failure,
    grid_of,
    offered,
    times,
)

NONE: dict[str, Any] = {"ms": "", "ms_low": "", "ms_high": "", "blocks": "0"}
BACK: dict[str, Any] = {"direction": "grad_image"}


def at(ms: float, **changes: Any) -> dict[str, Any]:
    return {"ms": str(ms), "ms_low": str(ms * 0.5), "ms_high": str(ms * 2), **changes}


def three(folder: Path) -> None:
    """Ours and the slow one have a gradient, the fast one has none."""
    cells(folder, *offered(OURS, forward="pass", grad_image="pass"), *offered(FAST, forward="pass"),
          *offered(SLOW, forward="pass", grad_image="pass"))  # fmt: skip
    confirmed(folder)


def sentences(folder: Path) -> dict[str, str]:
    grid = grid_of(folder)
    choices = choice.choices(grid, timings.read_timings(folder / libraries.TIMES))
    return {library.backend: each.sentence for library, each in zip(grid.libraries, choices, strict=True)}


def test_the_fastest_right_library_is_named_with_and_without_gradients(tmp_path: Path) -> None:
    three(tmp_path)
    times(tmp_path, at(2), at(8, workload="p2"), cell_of(OURS, **at(4)), cell_of(OURS, **at(16, workload="p2")),
          cell_of(SLOW, **at(2)), cell_of(SLOW, **at(128, workload="p2")), cell_of(OURS, **at(5), **BACK),
          cell_of(SLOW, **at(50), **BACK), {**BACK, **NONE, "status": "undeclared"})  # fmt: skip
    assert sentences(tmp_path) == {
        "roi_align": "right; 2.0 times the fastest's time; the fastest with a gradient",
        "fast": "right; the fastest; no gradient",
        "slow": "right; 4.0 times the fastest's time",
    }


def test_only_workloads_that_all_libraries_ran_count(tmp_path: Path) -> None:
    three(tmp_path)
    # On the workload that the slow one has no time for, ours would be far behind.
    times(tmp_path, at(2), at(1, workload="p2"), cell_of(OURS, **at(1)), cell_of(OURS, **at(900, workload="p2")),
          cell_of(SLOW, **at(4)), cell_of(SLOW, workload="p2", status="wrong", **NONE))  # fmt: skip
    assert sentences(tmp_path)["roi_align"] == "right; the fastest"
    # Another machine's times say nothing beside these.
    times(tmp_path, at(2, device="cpu-other"), cell_of(OURS, **at(3)))
    assert sentences(tmp_path)["fast"] == "right; no gradient; not timed"
    # No work in common: nobody is the fastest.
    times(tmp_path, at(2), cell_of(OURS, **at(3, workload="p2")))
    assert sentences(tmp_path)["roi_align"] == "right; not timed"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({}, "right; the fastest; no gradient"),
        (failure(), "see its 1 red cell first"),
        (failure(property="long list"), "not all is clear"),
        ({"property": "bad boxes", "status": "crash", "declared": "no"}, "right; the fastest; no gradient"),
        ({"property": "long list", "status": "not asked"}, "right; the fastest; no gradient"),
    ],
)
def test_a_library_with_a_fault_or_a_doubt_is_not_recommended(
    tmp_path: Path, bad: dict[str, Any], sentence: str
) -> None:
    three(tmp_path)
    cells(tmp_path, *offered(FAST, forward="pass"), *([{**CELL, **bad}] if bad else []), *offered(OURS, forward="pass"))
    confirmed(tmp_path, *([{}] if bad.get("property") == failure()["property"] else []))
    times(tmp_path, at(1), cell_of(OURS, **at(2)))
    assert sentences(tmp_path)["fast"] == sentence
    # Whether it counts among the fastest shows in the other's line.
    no_choice = not sentence.startswith("right")
    assert sentences(tmp_path)["roi_align"].startswith("right; the fastest" if no_choice else "right; 2.0 times")


def test_libraries_that_were_not_tried_are_not_recommended(tmp_path: Path) -> None:
    cells(tmp_path, {"status": "undeclared", "declared": "no"})
    assert sentences(tmp_path) == {"fast": "nothing was tried"}


def test_the_sentence_counts_libraries(tmp_path: Path) -> None:
    three(tmp_path)
    grid = grid_of(tmp_path)
    assert choice.sentence([grid]) == (
        "Of 3 libraries 3 compute RoIAlign right in everything that they offer (roi_align, Slow & <steady>, Fast)."
    )
    crash = {"status": "crash", "value": None, "expected": None, "bound": None, "second": None, "index": []}
    hang = cell_of(("hangs", "Hangs 1.0"))
    cells(tmp_path, cell_of(OURS), failure(), failure(property="long list", status="crash"), cell_of(SLOW),
          failure(**cell_of(SLOW)), failure(**{**hang, "status": "hang"}))  # fmt: skip
    confirmed(tmp_path, {}, {"property": "long list", **crash}, {**hang, **crash, "status": "hang"})
    assert choice.sentence([grid_of(tmp_path)]) == (
        "Of 4 libraries 1 computes RoIAlign right in everything that it offers (roi_align); 2 give a wrong value, "
        "fail, crash or hang; 1 failed a check that is not confirmed."
    )
    cells(tmp_path, failure())
    confirmed(tmp_path, {})
    assert choice.sentence([grid_of(tmp_path)]) == (
        "Of 1 library none compute RoIAlign right in everything that they offer; 1 gives a wrong value or fails."
    )
    assert choice.sentence([]) == "No library was judged."


def test_ratios_are_to_the_fastest_right_result(tmp_path: Path) -> None:
    three(tmp_path)
    times(tmp_path, {}, cell_of(SLOW, ms="6", ms_low="5", ms_high="29"), cell_of(OURS, status="crash", **NONE),
          {**BACK, **NONE, "status": "undeclared"}, cell_of(OURS, **BACK, ms="0.05", ms_low="0.05", ms_high="0.05"),
          {"device": "cpu-other"}, cell_of(("stranger", "Stranger")))  # fmt: skip
    here, other = page.time_tables(grid_of(tmp_path), timings.read_timings(tmp_path / libraries.TIMES))[::-1]
    assert (here.device, other.device) == ("cpu-test", "cpu-other")
    assert [each.backend for each in here.libraries] == [each.backend for each in grid_of(tmp_path).libraries]
    forward, gradient = here.rows
    assert (forward.work, forward.fastest) == ("c4, forward", "2 ms")
    cell_by_backend = {library.backend: cell for library, cell in zip(here.libraries, forward.cells, strict=True)}
    assert cell_by_backend == {
        "fast": TimeCell("1.00", "0.95 to 1.20", "best"),
        "slow": TimeCell("3.00", "2.50 to 14", ""),
        "roi_align": TimeCell("crashes", "", "soft"),
    }
    assert (gradient.work, gradient.fastest) == ("c4, gradient", "0.05 ms")
    assert {cell.text for cell in gradient.cells} == {"1.00", "not offered", "not tried"}
    times(tmp_path, {}, cell_of(SLOW, status="slow", **NONE))
    ((row,),) = (
        each.rows for each in page.time_tables(grid_of(tmp_path), timings.read_timings(tmp_path / libraries.TIMES))
    )
    assert TimeCell("too slow", "", "soft") in row.cells


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "odd"}, "status 'odd'; ok, wrong, crash, hang, slow, undeclared, missing are accepted"),
        ({"ms": "soon"}, "'soon' as ms; a number is expected"),
        ({"ms": ""}, "'' as ms of a right result; a time in milliseconds is expected"),
        ({"ms": "0"}, "'0' as ms of a right result"),
    ],
)
def test_invalid_times_raise_an_error(tmp_path: Path, change: dict[str, str], message: str) -> None:
    times(tmp_path, {**TIMING, **change})
    with pytest.raises(ValueError, match=message):
        timings.read_timings(tmp_path / libraries.TIMES)


def test_no_times_make_no_table(tmp_path: Path) -> None:
    three(tmp_path)
    assert timings.read_timings(tmp_path / libraries.TIMES) == ()
    assert page.time_tables(grid_of(tmp_path), ()) == []
    assert sentences(tmp_path)["roi_align"] == "right; not timed"
