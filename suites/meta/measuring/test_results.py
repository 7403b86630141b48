"""From stored JSON to tables, on small made-up files with known figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")

import numpy as np

from harness.measuring import headline, record, results
from suites.meta.report.made_results import external, line, roi_align, store, timed_row, untimed_row


def test_blocks_are_merged_over_their_raw_samples(tmp_path: Path) -> None:
    # The median of the block medians would be 3.5; the median of all samples is 2.
    store(tmp_path, "a.json", [timed_row([1.0, 1.0, 2.0], block=0), timed_row([6.0, 5.0], block=1)])
    row = line(results.throughput(results.read(tmp_path).blocks))
    assert row.median_s == 2.0
    assert row.samples == 5
    assert row.p05_s == pytest.approx(1.0)
    assert row.p95_s == pytest.approx(5.8)
    assert row.boxes_per_s == 50
    assert row.gbps == 1.0
    assert row.roof_fraction == pytest.approx(0.1)


def test_a_rows_time_is_the_median_of_its_processes_medians(tmp_path: Path) -> None:
    # The first process has most of the samples, but each process counts once.
    store(tmp_path, "a.json", [timed_row([1.0] * 9, interruptions=2), timed_row([7.0], block=1, interruptions=3)])
    store(tmp_path, "a-2.json", [timed_row([4.0, 5.0, 5.0], process=1, block=1)])
    store(tmp_path, "a-3.json", [timed_row([3.0], process=2, block=2, stopped="least")])
    contents = results.read(tmp_path)
    assert results.process_medians(contents.blocks) == [1.0, 5.0, 3.0]
    row = line(results.throughput(contents.blocks))
    assert row.median_s == 3.0
    assert row.processes == 3
    assert row.samples == 14
    assert row.spread == pytest.approx(4 / 3)
    assert row.interruptions == 5
    assert row.p95_s > 5


def test_a_row_that_failed_in_one_process_has_no_time(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([1.0])])
    store(tmp_path, "a-2.json", [untimed_row("DIFFERS", process=1, block=1)])
    row = line(results.throughput(results.read(tmp_path).blocks))
    assert row.status == "DIFFERS"
    assert row.processes == 0
    assert np.isnan(row.median_s)


def test_the_conditions_of_all_processes_are_read(tmp_path: Path) -> None:
    for process in (0, 1):
        rows = [timed_row([1.0], process=process)]
        store(tmp_path, f"a-{process}.json", rows, conditions={"before": {}, "after": {}})
    machine = results.read(tmp_path).machines["cpu-test", "r1"]
    assert [each["process"] for each in machine["conditions"]] == [0, 1]
    assert machine["cpu"] == "a cpu"


def test_ratio_is_to_tensorflow_of_the_same_run_and_allocator(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([2.0]), timed_row([3.0], backend="tensorflow", layout="channels_last")])
    slow = [timed_row([2.0], run="r2"), timed_row([8.0], run="r2", backend="tensorflow", layout="channels_last")]
    store(tmp_path, "b.json", slow)
    store(tmp_path, "c.json", [timed_row([2.0], allocator="tuned")])
    table = results.throughput(results.read(tmp_path).blocks)
    assert line(table, run="r1", allocator="default", backend="roi_align").ratio_to_peer == 1.5
    assert line(table, run="r2", backend="roi_align").ratio_to_peer == 4.0
    assert np.isnan(line(table, allocator="tuned").ratio_to_peer)


def test_roi_aligns_ratio_is_to_torchvision_of_the_same_setting(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([2.0]), timed_row([9.0], backend="torchvision", op="roi_align")])
    store(tmp_path, "a-roi_align.json", [roi_align([2.0], "roi_align"), roi_align([8.0], "torchvision")])
    store(tmp_path, "b.json", [roi_align([2.0], "roi_align", setting="sampling_ratio 2")])
    table = results.throughput(results.read(tmp_path).blocks)
    assert line(table, bench="roi_align", setting="adaptive", backend="roi_align").ratio_to_peer == 4.0
    assert np.isnan(line(table, bench="roi_align", setting="sampling_ratio 2").ratio_to_peer)
    # Beside crop_and_resize torchvision's times are only for comparison: there is no ratio to them.
    own = line(table, bench="crop_and_resize", backend="roi_align")
    assert own.peer == "tensorflow"
    assert np.isnan(own.ratio_to_peer)


def broken(**changes: object) -> str:
    """A file of one row, with these changes of its top level; None removes a name."""
    header = {"run": "r1", "kind": "full", "device": "cpu-test", "allocator": "default", "process": 0, "threads": 2}
    header |= {"clock": "c", "copy_gbps": 10.0, "schema": record.SCHEMA}
    row = {"bench": "b", "setting": "", "workload": "w", "op": "o", "direction": "forward", "backend": "roi_align"}
    row |= {"title": "t", "layout": "contiguous", "cache": "warm", "block": 0, "samples": [1.0]}
    content: dict[str, object] = {"header": header, "machine": {}, "conditions": {}, "sources": {"w": "made up"}}
    content |= {"columns": list(row), "rows": [list(row.values())], **changes}
    return json.dumps({name: value for name, value in content.items() if value is not None})


def test_a_complete_file_is_read(tmp_path: Path) -> None:
    """Otherwise a valid field would exclude the broken file."""
    (tmp_path / "whole.json").write_text(broken(), encoding="utf-8")
    contents = results.read(tmp_path)
    assert contents.problems == ()
    assert contents.blocks.samples.tolist() == [(1.0,)]


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", "{}", broken()[:-1]),
        *(broken(header={"schema": record.SCHEMA}), broken(machine=None), broken(conditions=None), broken(rows=None)),
        *(broken(columns=["bench"]), broken(columns=None), broken(rows=[[1, 2]]), broken(rows=[7])),
        *(broken(sources={}), broken(columns=["colour"], rows=[["red"]])),
    ],
)
def test_a_broken_file_is_named_and_the_others_are_read(tmp_path: Path, content: str) -> None:
    store(tmp_path, "good.json", [timed_row([1.0])])
    (tmp_path / "broken.json").write_text(content, encoding="utf-8")
    contents = results.read(tmp_path)
    assert len(contents.blocks) == 1
    assert len(contents.problems) == 1
    assert contents.problems[0].startswith("broken.json was left out")


def test_a_file_of_a_newer_schema_is_left_out_by_name(tmp_path: Path) -> None:
    store(tmp_path, "newer.json", [timed_row([1.0], schema=record.SCHEMA + 1)])
    contents = results.read(tmp_path)
    assert contents.blocks.empty
    assert "newer.json" in contents.problems[0]
    assert "update this checkout" in contents.problems[0]


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
def test_a_file_of_an_older_schema_is_left_out_by_name(tmp_path: Path, schema: int) -> None:
    """Up to the fourth schema a file was pytest-benchmark's own."""
    row = {"extra_info": {"schema": schema}, "stats": {"data": [1.0]}}
    (tmp_path / "older.json").write_text(json.dumps({"benchmarks": [row]}), encoding="utf-8")
    contents = results.read(tmp_path)
    assert contents.blocks.empty
    (problem,) = contents.problems
    assert problem.startswith(f"older.json was left out: its schema is {schema}, and {record.SCHEMA} is read")


def test_a_row_that_failed_has_a_status_and_no_time(tmp_path: Path) -> None:
    out = {"message": "crops[0, 0, 0, 0] is 2.0", "backend": "tensorflow"}
    store(tmp_path, "a.json", [timed_row([1.0]), untimed_row("OUT", **out), untimed_row("OUT", **out, block=1)])
    table = results.throughput(results.read(tmp_path).blocks)
    row = line(table, backend="tensorflow")
    assert row.status == "OUT"
    assert row.samples == 0
    assert np.isnan([row.median_s, row.p05_s, row.p95_s, row.boxes_per_s, row.gbps, row.roof_fraction]).all()
    assert np.isnan(line(table, backend="roi_align").ratio_to_peer)


def test_a_row_that_failed_in_one_block_has_no_time_from_another(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([1.0]), untimed_row("ERROR", block=1)])
    row = line(results.throughput(results.read(tmp_path).blocks))
    assert row.status == "ERROR"
    assert np.isnan(row.median_s)


def test_the_newest_full_run_is_shown_and_a_quick_one_only_without_it(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([1.0], run="r1"), timed_row([1.0], run="r3", kind="quick")])
    store(
        tmp_path, "b.json", [timed_row([1.0], run="r2"), timed_row([1.0], run="r1", kind="quick", device="cpu-other")]
    )
    store(tmp_path, "c.json", [timed_row([1.0], run="r4", kind="part")])
    store(tmp_path, "d.json", [timed_row([1.0], run=run, kind="part", device="cpu-some") for run in ("r5", "r6")])
    newest = results.newest(results.throughput(results.read(tmp_path).blocks))
    assert set(zip(newest.device, newest.run, newest.kind, strict=True)) == {
        ("cpu-test", "r2", "full"),
        ("cpu-other", "r1", "quick"),
        ("cpu-some", "r6", "part"),
    }


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder with a report of one device, both allocators, one failed row, a series and a broken file."""
    for package in ("jinja2", "matplotlib"):
        pytest.importorskip(package, reason=f"a report needs {package}")
    from harness.report import write

    tensorflow = {"backend": "tensorflow", "layout": "channels_last"}
    for allocator in ("default", "tuned"):
        rows = [timed_row([2.0], allocator=allocator), timed_row([3.0], allocator=allocator, **tensorflow)]
        if allocator == "default":
            rows += [timed_row([float(size)], workload=f"b{size}", series="boxes", size=size) for size in (10, 100)]
        rows.append(untimed_row("DIFFERS", workload="<v>", allocator=allocator, message="3 outputs differ"))
        store(tmp_path, f"cpu-test/{allocator}.json", rows)
    pools = [roi_align([1.0], "roi_align"), roi_align([8.0], "torchvision"), roi_align([16.0], "onnxruntime")]
    pools += [roi_align([5.0], "roi_align", direction="grad_boxes")]
    detector = {"bench": "detectors", "setting": "whole", "workload": "m", "op": "detector", "direction": "inference"}
    pools += [timed_row([6.0], **detector), timed_row([4.0, 9.0, 50.0], **detector, backend="torchvision")]
    store(tmp_path, "cpu-test/default-roi_align.json", pools)
    (tmp_path / "cpu-test" / "broken.json").write_text("{", encoding="utf-8")
    write(tmp_path)
    return tmp_path


def test_the_report_has_times_failures_and_files_left_out(report: Path) -> None:
    for name in ("README.md", "report.html"):
        text = (report / name).read_text(encoding="utf-8")
        assert "2,000 ms (1.50x)" in text
        assert "DIFFERS" in text
        assert "3 outputs differ" in text
        assert "broken.json was left out" in text
    assert "<v>" not in (report / "report.html").read_text(encoding="utf-8")


def test_the_report_has_roi_align_beside_torchvision_and_detectors_before_and_after(report: Path) -> None:
    for name in ("README.md", "report.html"):
        text = (report / name).read_text(encoding="utf-8")
        assert "roi_align, adaptive. Forward" in text
        assert "1,000 ms (8.00x)" in text
        assert "16,000 ms (0.50x)" in text
        assert "roi_align, adaptive. Gradient of the boxes: median time" in text
        assert "9,000 (4,500 to 45,900; 3)" in text
        assert "1.50x" in text
        assert "torchvision (another rule)" not in text


def test_the_csv_has_every_column_and_row(report: Path) -> None:
    import pandas as pd

    table = pd.read_csv(report / "throughput.csv")
    assert list(table.columns) == results.CSV_COLUMNS
    assert len(table) == 14
    assert table[table.status == "DIFFERS"].median_s.isna().all()


def test_the_page_loads_no_other_document(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    assert external(page) == []
    assert external('<img src="https://example.org/a.png">')
    assert external("@import url(//example.org/a.css)")


def test_every_table_has_a_caption_and_headers_and_every_picture_words(report: Path) -> None:
    page = (report / "report.html").read_text(encoding="utf-8")
    assert page.count("<table>") == page.count("<caption>") == page.count("<thead>") >= 4
    assert page.count("<svg") == page.count('role="img" aria-label="') >= 3
    assert page.count('aria-label=""') == 0


def test_the_same_json_gives_the_same_bytes(report: Path) -> None:
    from harness.report import write

    names = ("throughput.csv", "README.md", "report.html", "overview.svg", "overview-narrow.svg")
    before = [(report / name).read_bytes() for name in names]
    write(report)
    assert [(report / name).read_bytes() for name in names] == before


def test_a_finished_run_is_told_although_the_report_shows_a_more_complete_one(tmp_path: Path) -> None:
    from harness.report import write

    store(tmp_path, "cpu-test/r1-full/a.json", [timed_row([1.0])], conditions={"before": {"load": 9.0}, "after": {}})
    part = {"run": "r2", "kind": "part"}
    store(tmp_path, "cpu-test/r2-part/a.json", [timed_row([2.0], **part), untimed_row("OUT", workload="v", **part)])
    output = write(tmp_path)
    (header,) = {record.read(path).header for path in tmp_path.glob("*/r2-part/a.json")}
    rows = output.newest(header)
    assert set(rows.run) == {"r2"}
    assert output.doubts(rows) == []
    sentences = headline.sentences(rows, "cpu-test")
    assert sentences[0].startswith("cpu-test, run r2 (part): 1 of 2 rows have a time")
    assert sentences[-1].startswith("The gate refused 1 row:")
    assert set(output.newest().run) == {"r1"}
    assert len(output.doubts(output.newest())) == 1


def test_no_results_raise_a_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("jinja2", reason="a report needs jinja2")
    from harness.report import write

    with pytest.raises(FileNotFoundError, match="There are no results under"):
        write(tmp_path)
