"""The tables of a GPU and of several devices, on made-up files whose every figure is known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.measuring import results
from harness.report import names, write, write_readme
from harness.report.pictures import drawing
from harness.report.tables import before_after, means, remarks, times
from harness.report.tables.table import columns
from suites.meta.report.made_results import (
    CUDA,
    LAUNCH,
    PEER,
    cells,
    cuda,
    cuda_rows,
    line,
    roi_align,
    store,
    table_of,
    texts_of,
    timed_row,
    untimed_row,
)


def test_ratios_are_to_torchvision_in_the_same_state_of_the_cache(tmp_path: Path) -> None:
    table = table_of(tmp_path, cuda_rows())
    ours = table[(table.backend == "roi_align_cuda") & (table.dtype == "float32")]
    assert line(ours, cache="cold", workload="w").ratio_to_peer == pytest.approx(2)
    assert line(ours, cache="hot", workload="w").ratio_to_peer == pytest.approx(8)
    assert np.isnan(line(table, dtype="bfloat16").ratio_to_peer)
    assert set(table.peer) == {"torchvision_cuda"}


def test_work_below_ten_microseconds_is_launch_bound_for_all_its_columns(tmp_path: Path) -> None:
    other = {**LAUNCH, "layout": "channels_last"}
    table = table_of(tmp_path, [*cuda_rows(), cuda(5e-6, **{**other, "compulsory_bytes": 6e6})])
    assert table[table.workload == "small"].launch_bound.all()
    assert not table[table.workload == "w"].launch_bound.any()
    # One column with more to move, and it is work for all of them.
    rows = [cuda(5e-6, **LAUNCH), cuda(5e-6, **{**other, "compulsory_bytes": 11e6})]
    assert not table_of(tmp_path, rows).launch_bound.any()


def test_a_cpus_rows_are_never_launch_bound(tmp_path: Path) -> None:
    assert not table_of(tmp_path, [timed_row([1e-6], compulsory_bytes=1)]).launch_bound.any()


def test_launches_have_their_own_means(tmp_path: Path) -> None:
    rows = [*cuda_rows(), cuda(10e-6, workload="v"), cuda(80e-6, workload="v", **PEER)]
    work, launches = means.means(table_of(tmp_path, rows), "cuda-test")
    assert "not launch-bound" in work.caption
    assert work.header == ("", "Forward, cold cache", "Forward, hot cache")
    assert cells(work) == [("roi_align, NCHW, float32", "4.00x (2.00, 8.00; 2)", "8.00x (8.00, 8.00; 1)")]
    assert "the launch-bound workloads" in launches.caption
    assert cells(launches) == [("roi_align, NCHW, float32", "4.00x (4.00, 4.00; 1)")]


def test_every_column_has_its_part_of_the_roof(tmp_path: Path) -> None:
    (roof,) = means.roofs(table_of(tmp_path, cuda_rows()), "cuda-test")
    # 20 MB in 50 µs are 400 GB/s of 1,000; in 10 µs, from the cache, twice the bandwidth of memory.
    assert cells(roof) == [
        ("roi_align, NCHW, float32", "40%", "200%"),
        ("torchvision (another rule), float32", "20%", "25%"),
        ("roi_align, NCHW, bfloat16", "25%", ""),
    ]


def test_every_operator_in_each_of_its_settings_has_its_own_means(tmp_path: Path) -> None:
    both = [timed_row([1.0]), timed_row([2.0], backend="tensorflow", layout="channels_last")]
    for setting, seconds in (("two", 1.0), ("adaptive", 2.0)):
        both += [roi_align([seconds], "roi_align", setting=setting), roi_align([8.0], "torchvision", setting=setting)]
    # Neither a pyramid nor a detector is an operator.
    both.append(roi_align([1.0], "roi_align", setting="two", op="multiscale_roi_align", workload="pyramid"))
    both.append(timed_row([1.0], bench="detectors", op="detector", direction="inference"))
    table = table_of(tmp_path, both)
    families = ["crop_and_resize", "roi_align, two", "roi_align, adaptive"]
    assert [names.family(part) for part in names.families(table)] == families
    assert [cells(each) for each in means.means(table, "cpu-test")] == [
        [("roi_align, NCHW, float32", "2.00x (2.00, 2.00; 1)")],
        [("roi_align, NCHW, float32", "8.00x (8.00, 8.00; 1)")],
        [("roi_align, NCHW, float32", "4.00x (4.00, 4.00; 1)")],
    ]


def test_a_pyramid_is_compared_in_the_same_state_of_the_cache(tmp_path: Path) -> None:
    pyramid = {"bench": "roi_align", "op": "multiscale_roi_align", "setting": "two", "workload": "pyramid"}
    rows = [cuda(1e-3, **pyramid), cuda(2e-3, **pyramid, cache="hot")]
    peer = {**pyramid, "backend": "torchvision_cuda"}
    rows += [cuda(8e-3, **peer, cache="hot"), cuda(9e-3, **peer)]
    (table,) = before_after.before_after(table_of(tmp_path, rows), "cuda-test")
    assert cells(table) == [
        ("pyramid, two, forward, cold cache", "9 (9 to 9; 1)", "1 (1 to 1; 1)", "9.00x"),
        ("pyramid, two, forward, hot cache", "8 (8 to 8; 1)", "2 (2 to 2; 1)", "4.00x"),
    ]


def test_only_this_projects_columns_have_a_layout_and_every_column_has_a_colour(tmp_path: Path) -> None:
    first = names.views(table_of(tmp_path, cuda_rows()))[0]
    assert columns(first) == {"roi_align, NCHW": {"layout": "contiguous"}, "torchvision (another rule)": {}}
    ours = [f"{name}, {layout}" for name in results.OURS.values() for layout in results.LAYOUTS.values()]
    assert all(drawing.colour(name) for name in (*ours, *results.OTHERS.values()))
    assert drawing.colour("torchvision (another rule)") == drawing.colour("torchvision")


def test_a_view_is_one_type_and_one_state_of_the_cache(tmp_path: Path) -> None:
    views = names.views(table_of(tmp_path, cuda_rows()))
    first, second, third = (times.times(view, "forward") for view in views)
    assert first.caption.startswith("Forward, float32, cold cache: median time")
    assert "torchvision" in first.caption
    assert cells(first) == [
        ("w", "0.05 ms (2.00x)", "0.1 ms"),
        ("geometric mean", "2.00x", ""),
        ("small, launch-bound", "0.005 ms (4.00x)", "0.02 ms"),
    ]
    assert second.caption.startswith("Forward, float32, hot cache")
    assert third.caption.startswith("Forward, bfloat16, cold cache")
    assert cells(third) == [("w", "0.04 ms")]


def test_rates_have_host_times_and_exposed_calls(tmp_path: Path) -> None:
    rows = [cuda(50e-6, block=0, exposed=0), cuda(50e-6, block=1, exposed=1)]
    rates = times.rates(table_of(tmp_path, rows), "forward")
    assert rates.header[-2:] == ("host µs", "not hidden")
    assert rates.rows[0][-2:] == ("12", "1 of 2")


def test_a_report_of_two_devices_has_both_and_no_id_twice(tmp_path: Path) -> None:
    peer = {"backend": "tensorflow", "layout": "channels_last"}
    store(tmp_path, "cpu-test/cpu.json", [timed_row([1.0]), timed_row([2.0], **peer)])
    refusal = {**CUDA, "backend": "torchvision_cuda", "dtype": "float16", "message": "no"}
    rows = [*cuda_rows(), untimed_row("REFUSED", **refusal), untimed_row("REFUSED", **{**refusal, "cache": "hot"})]
    store(tmp_path, "cuda-test/cuda.json", rows)
    report = write(tmp_path)
    page, markdown = texts_of(report)
    headings = [f"times as fast as {peer} in the same run" for peer in ("TensorFlow", "torchvision")]
    headings += ["Devices side by side", "Whether devices agree in every bit", "small, launch-bound", "REFUSED"]
    for text in (page, markdown):
        assert [words for words in headings if words not in text] == []
    assert len(remarks.failures(report.table).rows) == 1  # cold and hot fail alike
    assert page.count("<svg") == page.count('role="img" aria-label="')
    ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    readme = tmp_path / "X.md"
    readme.write_text("<!-- results: written by `python -m harness report` -->\n<!-- /results -->\n", encoding="utf-8")
    write_readme(report, readme)
    text = readme.read_text(encoding="utf-8")
    assert "cuda-test: times as fast as torchvision" in text
    assert "cpu-test" not in text  # the project's page has the device with the most rows


def test_all_committed_results_are_read() -> None:
    runs = results.read(Path(__file__).resolve().parents[3] / "results")
    assert runs.problems == ()
    table = results.throughput(runs.blocks)
    of_cpu = table[table.device.map(results.device_type) == "cpu"]
    peers = {bench: set(rows.peer) for bench, rows in of_cpu.groupby("bench")}
    assert peers == {"crop_and_resize": {"tensorflow"}, "roi_align": {"torchvision"}, "detectors": {"torchvision"}}
    assert of_cpu.ratio_to_peer.notna().any()
