"""The history of a device, on made-up runs: what is where, and what is marked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.measuring import results
from harness.report import history, write
from harness.report.pictures import drawing
from harness.report.pictures import history as pictures
from suites.meta.report import made_results
from suites.meta.report.made_results import BASE, external, texts_of, timed_row, untimed_row

MACHINE = {"cpu": "a cpu", "threads": 2, "memory_bytes": 2**30, "system": "Linux", "versions": {"torch": "2.11.0"}}


def store(folder: Path, run: str, revision: str, rows: list[dict[str, Any]], **machine: Any) -> None:
    """One run of cpu-test, of that revision; rows without samples have no time."""
    of_run = {**MACHINE, "revision": revision * 10, "dirty": False, **machine}
    made_results.store(folder / "cpu-test" / run, "default.json", [{**row, "run": run} for row in rows], of_run)


def store_each(folder: Path, *runs: list[dict[str, Any]]) -> None:
    """These runs, a day after another, of the revisions com0000, com0001 and so on."""
    for place, rows in enumerate(runs):
        store(folder, f"202611{place + 1:02}T", f"com{place:04}", rows)


def history_of(folder: Path, device: str = "cpu-test") -> Any:
    """The history of a device, None if there is none."""
    runs = results.read(folder)
    assert runs.problems == ()
    return history.history(device, results.throughput(runs.blocks), runs.machines)


def lines_of(picture: Any) -> list[list[float]]:
    """The heights of each line's points in a picture, in the picture's own unit and downwards.

    Lines are paths that have a colour of COLOURS and no area; the legend's, of two or three points, come last.
    """
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="fill: none; stroke: (#\w+)', picture.svg)
    lines = [path for path, colour in paths if colour in drawing.COLOURS.values()]
    return [[float(height) for height in re.findall(r"[ML] \S+ (\S+)", line)] for line in lines]


def test_runs_stand_from_oldest_to_newest_with_their_revisions(tmp_path: Path) -> None:
    peer = {"backend": "tensorflow", "layout": "channels_last"}
    store(tmp_path, "20261103T", "newest0", [timed_row([0.5]), timed_row([3.0], **peer)], dirty=True)
    store(tmp_path, "20261101T", "oldest0", [timed_row([1.0]), timed_row([2.0], **peer)])
    store(tmp_path, "20261102T", "middle0", [timed_row([2.0]), timed_row([2.0], **peer)])
    (table,) = history_of(tmp_path).tables
    assert table.header[1:] == ("oldest0, 20261101", "middle0, 20261102", "newest0+, 20261103")
    assert table.rows == (
        ("w, roi_align, NCHW", "1,000 ms", "2,000 ms (+100%)", "500 ms (-75%)"),
        ("w, TensorFlow", "2,000 ms", "2,000 ms (+0%)", "3,000 ms (+50%)"),
    )
    (picture,) = history_of(tmp_path).pictures
    places = [picture.svg.find(name) for name in ("oldest0", "middle0", "newest0+")]
    assert places == sorted(places)
    assert "newest0+" in picture.svg
    assert "a machine that got slower slows them as well" in picture.caption
    assert "roi_align, NCHW: from 1,000 ms at oldest0 to 500 ms at newest0+" in picture.alternative
    ours, theirs = lines_of(picture)[:2]
    assert ours[1] < ours[0] < ours[2]
    assert ours[0] == theirs[0] == theirs[1] > theirs[2]


def test_changes_of_system_and_software_are_marked(tmp_path: Path) -> None:
    for place in range(4):
        newer = {"versions": {"torch": "2.12.0"}} if place > 1 else {}
        newest = {"system": "Linux 7"} if place > 2 else {}
        store(tmp_path, f"2026110{place}T", f"commit{place}", [timed_row([1.0 - place / 10])], **newer, **newest)
    result = history_of(tmp_path)
    (table,), (picture,) = result.tables, result.pictures
    assert table.header[1:] == (
        "commit0, 20261100",
        "commit1, 20261101",
        "commit2, 20261102 ([1] torch 2.11.0 -> 2.12.0)",
        "commit3, 20261103 ([2] system Linux -> Linux 7)",
    )
    assert "changed: [1] torch 2.11.0 -> 2.12.0; [2] system Linux -> Linux 7" in picture.caption
    assert len(re.findall("stroke-dasharray", picture.svg)) == 2
    assert all(re.search(rf">{re.escape(mark)}<", picture.svg) for mark in ("[1]", "[2]"))
    assert "At a dashed line" in result.paragraphs[1]


def test_another_revision_alone_is_not_marked(tmp_path: Path) -> None:
    for place in range(2):
        store(tmp_path, f"2026110{place}T", f"commit{place}", [timed_row([1.0])], dirty=bool(place))
    result = history_of(tmp_path)
    assert "stroke-dasharray" not in result.pictures[0].svg
    assert "[1]" not in "".join(result.tables[0].header)
    assert "Nothing that is known of the machine" in result.paragraphs[1]


def test_a_change_in_a_run_that_lacks_the_rows_is_marked_at_the_next(tmp_path: Path) -> None:
    other = [timed_row([1.0], direction="grad_image")]
    store(tmp_path, "20261101T", "commit1", [timed_row([1.0]), *other])
    store(tmp_path, "20261102T", "commit2", other, threads=4)
    store(tmp_path, "20261103T", "commit3", [timed_row([1.0]), *other], threads=4)
    forward, image = history_of(tmp_path).tables
    assert forward.header[1:] == ("commit1, 20261101", "commit3, 20261103 ([1] threads 2 -> 4)")
    assert image.header[2:] == ("commit2, 20261102 ([1] threads 2 -> 4)", "commit3, 20261103")


def test_a_run_without_a_time_is_a_gap(tmp_path: Path) -> None:
    steady = timed_row([1.0], layout="channels_last")
    changing = (timed_row([1.0]), timed_row([1.0]), untimed_row("OUT"), timed_row([2.0]), timed_row([2.0]))
    store_each(tmp_path, *([row, steady] for row in changing))
    result = history_of(tmp_path)
    row = result.tables[0].rows[0]
    assert row[1:] == ("1,000 ms", "1,000 ms (+0%)", "OUT", "2,000 ms (+100%)", "2,000 ms (+0%)")
    # Two lines of two points, the second at twice the first run's time, and one of five.
    before, after, always = lines_of(result.pictures[0])[:3]
    assert [len(before), len(after), len(always)] == [2, 2, 5]
    assert after[0] < before[0] == always[0]


def test_other_inputs_are_not_compared(tmp_path: Path) -> None:
    runs = ((1.0, None), (1.0, "i"), (5.0, "j"), (6.0, "j"))
    store_each(tmp_path, *([timed_row([seconds], inputs_digest=digest)] for seconds, digest in runs))
    result = history_of(tmp_path)
    cells = result.tables[0].rows[0][1:]
    assert cells == ("1,000 ms", "1,000 ms (+0%)", "5,000 ms (other inputs)", "6,000 ms (+20%)")
    before, after = lines_of(result.pictures[0])[:2]
    assert before == [after[0], after[0]]
    assert after[1] < after[0]
    assert "begins again at 1 is of other inputs" in result.pictures[0].caption


def test_the_sentence_counts_rows_of_the_first_run_only(tmp_path: Path) -> None:
    """A row that the first run lacks has no time at its revision."""
    first, later = timed_row([1.0]), timed_row([8.0], direction="grad_image")
    store_each(tmp_path, [first], [first, later], [timed_row([2.0]), timed_row([1.0], direction="grad_image")])
    sentence = history_of(tmp_path).sentence
    assert "com0000 to com0002, this project's times rose by 100% (geometric mean of 1 rows)." in sentence
    store(tmp_path, "20261201T", "newest0", [later])
    assert history_of(tmp_path).sentence.endswith("no row has two times on the same inputs.")


def test_the_history_excludes_tuned_allocators_quick_runs_and_other_devices(tmp_path: Path) -> None:
    with_tuned = [timed_row([1.0]), timed_row([9.0], allocator="tuned")]
    others = ([timed_row([1.0], **other)] for other in ({"kind": "quick"}, {"device": "cpu-other"}))
    store_each(tmp_path, with_tuned, *others, with_tuned)
    (table,) = history_of(tmp_path).tables
    assert [name[:7] for name in table.header[1:]] == ["com0000", "com0003"]
    assert table.rows == (("w, roi_align, NCHW", "1,000 ms", "1,000 ms (+0%)"),)
    assert history_of(tmp_path, "cpu-other") is None


def test_a_table_and_a_picture_for_each_setting_and_direction(tmp_path: Path) -> None:
    rows = [
        timed_row([1.0], bench=bench, op=bench, setting=setting, direction=direction)
        for bench, setting in (("roi_align", "two"), ("roi_align", "adaptive"), ("crop_and_resize", ""))
        for direction in ("grad_boxes", "forward")
    ]
    # In the tables alone: series, and other types than the first.
    rows += [timed_row([1.0], workload="b10", series="boxes", size=10), timed_row([1.0], dtype="float16")]
    rows += [timed_row([1.0], bench="detectors", op="detector", setting="whole", direction="inference")]
    store_each(tmp_path, rows, rows)
    result = history_of(tmp_path)
    titles = [table.caption.partition(", run by run")[0] for table in result.tables]
    assert titles == [
        "crop_and_resize. Forward", "crop_and_resize. Gradient of the boxes", "crop_and_resize. Forward, float16",
        "roi_align, adaptive. Forward", "roi_align, adaptive. Gradient of the boxes",
        "roi_align, two. Forward", "roi_align, two. Gradient of the boxes", "detectors, whole. Inference",
    ]  # fmt: skip
    assert [row[0] for row in result.tables[0].rows] == ["w, roi_align, NCHW", "b10, roi_align, NCHW"]
    captions = [picture.caption.partition(", run by run")[0] for picture in result.pictures]
    assert captions == [title for title in titles if "float16" not in title]
    assert "b10" not in result.pictures[0].svg


@pytest.mark.parametrize("count", [1, 2])
def test_the_page_has_a_history_where_there_are_two_runs(tmp_path: Path, count: int) -> None:
    store_each(tmp_path, *([timed_row([1.0 + place])] for place in range(count)))
    history_of = write(tmp_path)
    page, _ = texts_of(history_of)
    assert page.count('aria-label="The history of cpu-test"') == (count > 1)
    assert ("2,000 ms (+100%)" in page) == (count > 1)
    assert external(page) == []
    assert page.count("<svg") == page.count('role="img" aria-label="')
    before = history_of.html.read_bytes()
    write(tmp_path)
    assert history_of.html.read_bytes() == before


@pytest.mark.parametrize(("low", "high"), [(0.97, 1.03), (0.6, 1.1), (0.5, 1.4), (0.2, 17.0), (1e-4, 1e4)])
def test_ticks_are_few_and_one_of_them_is_the_first_run(low: float, high: float) -> None:
    ticks = pictures._ticks(low, high)
    assert 2 <= len(ticks) <= 9
    assert any(abs(tick - 1) < 1e-9 for tick in ticks)
    assert all(low <= tick <= high for tick in ticks)


def test_of_many_runs_only_some_are_named_below_the_picture(tmp_path: Path) -> None:
    store_each(tmp_path, *30 * [[timed_row([1.0])]])
    result = history_of(tmp_path)
    assert 0 < len(set(re.findall(r">(com\d{4})<", result.pictures[0].svg))) <= pictures._LABELS
    assert len(result.tables[0].header) == 31
    assert BASE["workload"] in result.pictures[0].svg
