"""The report's conclusions on made-up figures: each sentence is made of its figures, and a planted one changes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.measuring import results
from harness.report import history, write
from harness.report.libraries import grids
from harness.report.page import bars, conclusions, contents, words
from harness.report.page.conclusions import Fact
from harness.report.proofs import campaigns, conformance, kills
from harness.report.proofs.matrices import Part
from harness.report.speedups import Speedup, speedups
from harness.report.tables import across
from suites.meta.report import judged_libraries
from suites.meta.report.made_results import (
    LAUNCH,
    MACHINE,
    PEER,
    cuda,
    roi_align,
    store,
    table_of,
    texts_of,
    timed_row,
    untimed_row,
)
from suites.meta.report.test_proof_tables import CELL, store_campaigns, store_kills
from suites.meta.report.test_proof_tables import store as store_table

TENSORFLOW = {"backend": "tensorflow", "layout": "channels_last"}
REFERENCE = {"backend": "reference", "title": "the rule"}


def proofs(folder: Path, *cells: dict[str, str], survivors: tuple[dict[str, str], ...] = ()) -> list[Part]:
    """The parts of these cells of conformance.csv, two faults and more, and two finds in the campaigns of `folder`."""
    store_table(folder / "conformance.csv", CELL, {}, REFERENCE, *cells)
    return [conformance.section(folder / "conformance.csv"), kills.section(store_kills(folder, *survivors))]


def figures(conclusion: Any) -> dict[str, tuple[str, str]]:
    """The facts by the first two words of what they are."""
    return {" ".join(fact.text.split()[:2]): (fact.figure, fact.tone) for fact in conclusion.facts}


def test_results_are_right_if_every_figure_is_good(tmp_path: Path) -> None:
    table = table_of(
        tmp_path, [timed_row([1.0], compared=1000), timed_row([1.0], compared=500, direction="grad_image")]
    )
    conclusion = conclusions.correctness(table, proofs(tmp_path), ())
    assert conclusion.sentence == (
        "Every result that was checked is right, and the checks find every fault that was planted."
    )
    assert figures(conclusion) == {
        "outputs equal": ("1,500 of 1,500", "good"),
        "properties and": ("1 of 1", "good"),
        "planted faults": ("3 of 3", "good"),
        "false alarms": ("0", "good"),
    }
    assert conclusion.tone == "good"


@pytest.mark.parametrize(
    ("rows", "cells", "survivors", "phrase"),
    [
        ([timed_row([1.0], compared=100, differing=3)], (), (), "97 of 100 outputs equal those of TensorFlow"),
        ([untimed_row("OUT")], (), (), "1 benchmark rows of this project have a wrong result"),
        ([], ({"status": "fail", "property": "ramp"},), (), "1 of 2 properties and directions hold"),
        ([], ({**REFERENCE, "status": "fail", "property": "ramp"},), (), "1 false alarms in 2 checks"),
        ([], (), ({"fault": "lives"},), "3 of 4 planted faults are found"),
    ],
)
def test_a_planted_figure_changes_the_sentence(
    tmp_path: Path, rows: list[Any], cells: tuple[Any, ...], survivors: tuple[Any, ...], phrase: str
) -> None:
    table = table_of(tmp_path, rows or [timed_row([1.0])])
    conclusion = conclusions.correctness(table, proofs(tmp_path, *cells, survivors=survivors), ())
    assert conclusion.sentence.startswith("Something is wrong: ")
    assert phrase in conclusion.sentence
    assert conclusion.tone == "bad"


def test_a_find_counts_as_wrong_and_missing_tables_claim_nothing(tmp_path: Path) -> None:
    nothing = pd.DataFrame()
    conclusion = conclusions.correctness(nothing, [campaigns.section(store_campaigns(tmp_path))], ())
    assert conclusion.sentence == "Something is wrong: 2 wrong results in 2,000,005 random cases of the fuzz campaigns."
    assert "Nothing that is stored" in conclusions.correctness(nothing, [], ()).sentence
    own = conclusions.correctness(table_of(tmp_path, [timed_row([1.0])]), [], ())
    assert "whether the checks find planted faults is not stored" in own.sentence
    only = conclusions.correctness(nothing, [kills.section(store_kills(tmp_path))], ())
    assert "no result of this project is stored here" in only.sentence


def test_failures_of_other_libraries_are_counted_separately(tmp_path: Path) -> None:
    ours, slow = judged_libraries.cell_of(judged_libraries.OURS), judged_libraries.cell_of(judged_libraries.SLOW)
    judged_libraries.cells(
        tmp_path, {**ours}, judged_libraries.failure(), judged_libraries.failure(**slow), {**slow, "property": "ramp"}
    )
    judged_libraries.confirmed(tmp_path, {})
    grid = judged_libraries.grid_of(tmp_path)
    conclusion = conclusions.correctness(pd.DataFrame(), [], (grid,))
    assert figures(conclusion) == {"other libraries": ("1 of 2", "none"), "failed check": ("1", "none")}
    assert "wrong" not in conclusion.sentence
    (picture,) = conclusions.strips_of_libraries((grid,))
    strips = {strip.label: strip.parts for strip in picture.strips}
    assert (1, "wrong", "bad") in strips["Fast 1.0"]
    assert all(sum(count for count, _, _ in parts) == len(grid.rows) for parts in strips.values())
    assert isinstance(grid, grids.Grid)


def test_faults_are_drawn_by_the_place_of_planting(tmp_path: Path) -> None:
    part = kills.section(store_kills(tmp_path, {"fault": "lives"}))
    (picture,) = conclusions.strips_of_faults([part])
    assert {strip.label: strip.parts for strip in picture.strips} == {
        "faults in the package": ((1, "found", "good"),),
        "faults in the reference": ((2, "found", "good"), (1, "not found", "bad")),
    }
    assert conclusions.strips_of_faults([]) == []


def test_a_speedup_is_the_mean_over_calls_with_both_times(tmp_path: Path) -> None:
    # 2 GB at 10 GB/s: the roof is at 0.2 s.
    rows = [timed_row([0.4]), timed_row([0.8], **TENSORFLOW)]
    rows += [timed_row([0.4], workload="v"), timed_row([3.2], workload="v", **TENSORFLOW)]
    rows += [timed_row([9.0], workload="ours alone"), timed_row([0.1], layout="channels_last")]
    rows += [timed_row([0.1], allocator="tuned"), timed_row([1.0], workload="b10", series="boxes", size=10)]
    rows += [roi_align([1.0], "roi_align"), roi_align([0.5], "onnxruntime"), roi_align([4.0], "torchvision")]
    first, peer, other = speedups(table_of(tmp_path, rows))
    assert (first.bench, first.direction, first.other, first.calls) == ("crop_and_resize", "forward", "TensorFlow", 2)
    assert {each.dtype for each in (first, peer, other)} == {"float32"}
    assert (first.least, first.times_as_fast, first.most) == pytest.approx((2, 4, 8))
    assert (first.roof, first.roof_fraction) == pytest.approx((8, 0.5))
    assert [(each.other, each.is_peer, each.times_as_fast) for each in (peer, other)] == [
        ("torchvision", True, 4.0),
        ("ONNX Runtime", False, 0.5),
    ]
    assert peer.roof != peer.roof  # nobody counted the bytes
    conclusion = conclusions.speed("cpu-test", (first, peer, other))
    assert conclusion.sentence == (
        "On cpu-test crop_and_resize is 4.00x as fast as TensorFlow and roi_align is 4.00x as fast as torchvision. "
        "Slower in the mean: roi_align, forward, is 0.50x as fast as ONNX Runtime. 1 of 4 comparisons of single calls "
        "is slower, at worst 0.50x (roi_align, forward, of w, adaptive beside ONNX Runtime). Compulsory bytes move at "
        "50% of the copy bandwidth, the roof."
    )
    assert conclusion.tone == "soft"


def test_speedups_exclude_launches_and_hot_caches(tmp_path: Path) -> None:
    rows = [cuda(50e-6), cuda(99e-6, **PEER), cuda(1e-6, cache="hot"), cuda(9e-6, cache="hot", **PEER)]
    (only,) = speedups(table_of(tmp_path, [*rows, cuda(1e-6, **LAUNCH), cuda(9e-6, **LAUNCH, **PEER)]))
    assert (only.calls, only.times_as_fast) == (1, pytest.approx(1.98))


def speedup(times_as_fast: float, **changes: Any) -> Speedup:
    fields = {
        "bench": "crop_and_resize",
        "direction": "forward",
        "dtype": "float32",
        "other": "TensorFlow",
        "is_peer": True,
    }
    spread = {"times_as_fast": times_as_fast, "least": times_as_fast, "most": times_as_fast}
    calls = {"least_call": "w", "slower": 0, "calls": 4}
    return Speedup(**{**fields, **spread, **calls, "roof": 8.0, "roof_fraction": 0.5, **changes})


def test_a_speed_is_a_range_over_directions_and_nothing_is_claimed_without_times() -> None:
    conclusion = conclusions.speed(
        "cpu-test", [speedup(2.0), speedup(12.34, direction="grad_image", roof_fraction=0.75)]
    )
    assert "crop_and_resize is 2.00x to 12.3x as fast as TensorFlow." in conclusion.sentence
    assert "No call is slower than another library's." in conclusion.sentence
    assert conclusion.tone == "none"
    slow = conclusions.speed("cpu-test", [speedup(2.0), speedup(3.0, least=0.25, slower=2, least_call="small")])
    assert "2 of 8 comparisons of single calls are slower, at worst 0.25x" in slow.sentence
    assert "(crop_and_resize, forward, of small beside TensorFlow)" in slow.sentence
    assert slow.tone == "soft"
    assert "at 50% to 75% of the copy bandwidth" in conclusion.sentence
    assert conclusions.speed(None, ()).sentence == "Nothing was timed."
    assert "no time can be compared" in conclusions.speed("cpu-test", ()).sentence


def test_a_bar_begins_at_one_and_marks_the_roof() -> None:
    picture = bars.of_speedups("cpu-test", [speedup(2.0), speedup(0.5, other="torchvision", roof=2.0)])
    ((name, (faster, slower)),) = picture.groups
    assert name == "crop_and_resize, forward"
    assert faster.begin == picture.one == pytest.approx(slower.begin + slower.length, abs=0.02)
    # On a logarithmic axis twice and half are as long, and 8 is three times as far as 2.
    assert faster.length == pytest.approx(slower.length, abs=0.02)
    assert faster.roof - picture.one == pytest.approx(3 * faster.length, abs=0.05)
    assert slower.roof - picture.one == pytest.approx(faster.length, abs=0.02)
    assert (faster.value, slower.value) == ("2.00x", "0.50x")
    assert "at the roof it would be 8.00x" in faster.description
    assert (picture.one, "1x") in picture.axis
    assert bars.of_speedups("cpu-test", []) is None


def test_devices_are_compared_in_speed_and_in_bits(tmp_path: Path) -> None:
    for device, seconds, digest in (("cpu-a", 1.0, "d"), ("cpu-b", 0.5, "d"), ("cpu-c", 4.0, "e")):
        store(tmp_path, f"{device}.json", [timed_row([seconds], device=device, digest=digest)])
    table = results.throughput(results.read(tmp_path).blocks)
    families, pairs = across.family_means(table, "cpu-a"), across.agreements(table)
    conclusion = conclusions.devices(["cpu-a", "cpu-b", "cpu-c"], "cpu-a", families, pairs)
    assert conclusion.sentence == (
        "Compared with cpu-a, cpu-b is 2.00x as fast and cpu-c is 0.25x as fast. "
        "1 of 3 results that two devices share are equal in every bit."
    )
    assert conclusion.tone == "bad"
    picture = bars.of_devices(families, "cpu-a")
    assert [(bar.label, bar.value) for bar in picture.groups[0][1]] == [("cpu-b", "2.00x"), ("cpu-c", "0.25x")]
    alone = conclusions.devices(["cpu-a"], "cpu-a", families.head(0), [])
    assert alone.sentence == "There is nothing to compare: cpu-a alone was measured."


def test_the_history_gives_the_change_of_our_times_and_of_others(tmp_path: Path) -> None:
    for place, (seconds, peer) in enumerate(((1.0, 2.0), (3.0, 3.0), (0.5, 2.001))):
        rows = [timed_row([seconds]), timed_row([peer], **TENSORFLOW)]
        of_run = {**MACHINE, "revision": f"commit{place}"}
        store(tmp_path, f"{place}.json", [{**row, "run": f"2026110{place}T"} for row in rows], of_run)
    runs = results.read(tmp_path)
    conclusion = history.history("cpu-test", results.throughput(runs.blocks), runs.machines)
    assert conclusion.sentence == (
        "From the first to the newest of 3 runs on cpu-test, commit0 to commit2, this project's times fell by 50% "
        "(geometric mean of 1 rows) and the other libraries' times stayed the same within 1 % (geometric mean of 1 "
        "rows)."
    )
    assert conclusions.history([conclusion.sentence]).sentence == conclusion.sentence
    assert "nothing can have changed" in conclusions.history([]).sentence


def test_doubts_are_machine_states_rows_without_a_time_and_missing_files() -> None:
    quiet = conclusions.doubts({"cuda-test": []}, 0, ())
    assert quiet.sentence == "Nothing is known that makes these figures doubtful."
    assert quiet.tone == "none"
    conclusion = conclusions.doubts(
        {"cpu-a": ["The load was 9.0."], "cpu-b": []}, 2, ("a.json was left out: it is empty.",)
    )
    assert conclusion.sentence.startswith("The machine was not quiet on cpu-a:")
    assert [(fact.figure, fact.tone) for fact in conclusion.facts] == [
        ("cpu-a", "soft"), ("2", "soft"), ("Left out", "bad"), ("No GPU", "soft"),
    ]  # fmt: skip
    assert "No disturbance of the machines is known" in conclusions.doubts({"cpu-a": []}, 0, ()).sentence


def test_a_devices_line_has_its_day_and_revision() -> None:
    line = pd.DataFrame({"run": ["20261125T143235Z"], "kind": ["full"]})
    facts = {"cpu": "a cpu", "threads": 2, "revision": "0123456789", "dirty": True, "versions": {"torch": "2.11.0"}}
    assert words.brief(line, facts) == (
        "a cpu, 2 threads; measured on 25 November 2026, of every workload, at revision 0123456+, with torch 2.11.0"
    )
    assert words.day("r1") == "r1"
    conclusion = conclusions.machines([Fact("cpu-a", "a cpu", "none"), Fact("cpu-b", "b", "none")])
    assert conclusion.sentence == "cpu-a: a cpu. 1 other device was measured."


def test_the_first_screen_shows_the_newest_device_with_the_most_rows(tmp_path: Path) -> None:
    for device, run, count in (("cpu-a", "20261103T", 1), ("cpu-b", "20261101T", 2), ("cpu-c", "20261102T", 2)):
        rows = [timed_row([1.0], device=device, run=run, workload=f"w{place}") for place in range(count)]
        rows += [{**row, **TENSORFLOW} for row in rows]
        store(tmp_path, f"{device}.json", rows)
    assert contents.main_device(results.newest(results.throughput(results.read(tmp_path).blocks))) == "cpu-c"
    page, markdown = texts_of(write(tmp_path))
    assert "cpu-c: a cpu; measured on 2 November 2026" in page
    for text in (page[page.index("<main>") :], markdown):
        assert text.index("On cpu-c crop_and_resize is 1.00x as fast as TensorFlow") < text.index("cpu-b")
