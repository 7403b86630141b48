"""Several devices on made-up files: side by side, ratios to one of them, means with intervals, and equal bits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.measuring import record
from harness.report import write
from harness.report.tables import across
from harness.verbs import measuring
from suites.meta.report.made_results import (
    LAUNCH,
    PEER,
    cells,
    cuda,
    cuda_rows,
    roi_align,
    store,
    table_of,
    texts_of,
    timed_row,
)

ROOT = Path(__file__).resolve().parents[3]


def test_devices_agree_if_all_digests_of_a_workload_are_one(tmp_path: Path) -> None:
    cpu = [timed_row([1.0], digest="a"), timed_row([1.0], workload="v", digest="b")]
    cpu.append(timed_row([1.0], workload="u", digest="e", inputs_digest="1"))
    store(tmp_path, "cpu.json", cpu)
    rows = [
        cuda(1e-3, digest="a"),
        cuda(1e-3, digest="a", layout="channels_last"),
        cuda(1e-3, workload="v", digest="c"),
        cuda(1e-3, workload="only here", digest="d"),
        cuda(1e-3, workload="u", digest="f", inputs_digest="2"),
        cuda(1e-3, digest="e", **{**PEER, "backend": "grid_sample_cuda"}),  # promises no bits
    ]
    assert cells(across.agreement(table_of(tmp_path, rows))) == [
        ("cpu-test, cuda-test", "Forward, float32", "1", "v", "u")
    ]


def test_one_device_alone_has_no_comparison(tmp_path: Path) -> None:
    table = table_of(tmp_path, cuda_rows())
    assert across.agreement(table) is None
    assert across.side_by_side(table, "cuda-test") == []
    assert across.geomeans(table, "cuda-test") is None


def test_devices_stand_side_by_side_with_their_best_column(tmp_path: Path) -> None:
    both = [timed_row([2.0]), timed_row([1.0], layout="channels_last"), timed_row([1.0], workload="v")]
    store(tmp_path, "cpu.json", both)
    table = table_of(tmp_path, cuda_rows())
    (side,) = across.side_by_side(table, "cpu-test")
    assert side.header == ("workload", "direction", "cpu-test", "cuda-test")
    assert cells(side) == [("w", "Forward", "1,000 ms, channels_last", "0.05 ms, NCHW (20000.00x)")]
    (turned,) = across.side_by_side(table, "cuda-test")
    assert turned.header == ("workload", "direction", "cuda-test", "cpu-test")
    assert "as fast as cuda-test" in turned.caption
    assert cells(turned) == [("w", "Forward", "0.05 ms, NCHW", "1,000 ms, channels_last (0.00x)")]


def test_each_setting_of_roi_align_is_compared_across_devices(tmp_path: Path) -> None:
    for device, seconds in (("cpu-a", 1.0), ("cpu-b", 4.0)):
        pools = [roi_align([seconds], "roi_align", device=device), roi_align([9.0], "torchvision", device=device)]
        pools.append(roi_align([seconds * seconds], "roi_align", device=device, setting="sampling_ratio 2"))
        store(tmp_path, f"{device}.json", pools)
    (side,) = across.side_by_side(table_of(tmp_path), "cpu-a")
    assert "roi_align, float32" in side.caption
    assert cells(side) == [
        ("w, adaptive", "Forward", "1,000 ms, NCHW", "4,000 ms, NCHW (0.25x)"),
        ("w, sampling_ratio 2", "Forward", "1,000 ms, NCHW", "16,000 ms, NCHW (0.06x)"),
    ]


def of_two(folder: Path, ratios: list[float], **changes: Any) -> Any:
    """cpu-b takes so many times as long as cpu-a on one workload each; both have the tuned allocator nowhere."""
    rows = [
        timed_row([factor], device=device, workload=f"w{place}", **changes)
        for device, factors in (("cpu-a", [1.0] * len(ratios)), ("cpu-b", ratios))
        for place, factor in enumerate(factors)
    ]
    return table_of(folder, rows)


def test_the_geometric_mean_of_a_family_lies_within_its_interval(tmp_path: Path) -> None:
    table = of_two(tmp_path, [1.0, 2.0, 4.0, 8.0])
    family = across.family_means(table, "cpu-a").iloc[0]
    of = ("crop_and_resize", "forward", "cpu-b", 4)
    assert (family.op, family.direction, family.device, family.workloads) == of
    assert family.times_as_fast == pytest.approx(1 / 8**0.5)
    assert 1 / 8 <= family.low < family.times_as_fast < family.high <= 1
    # The other way round it is the other way round.
    turned = across.family_means(table, "cpu-b").iloc[0]
    assert turned.device == "cpu-a"
    assert turned.times_as_fast == pytest.approx(8**0.5)
    # The same each time, and nothing but a point where workloads do not differ.
    assert across.family_means(table, "cpu-a").equals(across.family_means(table, "cpu-a"))


def test_equal_ratios_have_an_interval_of_zero_width_and_two_workloads_none(tmp_path: Path) -> None:
    (three,) = across.family_means(of_two(tmp_path / "three", [2.0] * 3), "cpu-a").itertuples()
    assert (three.low, three.times_as_fast, three.high) == pytest.approx((0.5, 0.5, 0.5))
    two = of_two(tmp_path / "two", [2.0, 2.0])
    (few,) = across.family_means(two, "cpu-a").itertuples()
    assert few.times_as_fast == pytest.approx(0.5)
    assert np.isnan([few.low, few.high]).all()
    assert cells(across.geomeans(two, "cpu-a")) == [("crop_and_resize, forward, float32", "0.50x (too few; 2)")]


def test_intervals_cover_the_true_mean() -> None:
    """At 20 workloads the percentile bootstrap covers a little less than it says; half as much would be a mistake."""
    samples = np.random.default_rng(3).normal(size=(200, 20))
    covered = [low <= 1 <= high for _, low, high in map(across._mean, samples)]
    assert 0.88 <= np.mean(covered) <= 1


def test_means_exclude_launches_and_series(tmp_path: Path) -> None:
    store(tmp_path, "other.json", [cuda(1.0, device="cuda-other"), cuda(1.0, device="cuda-other", **LAUNCH)])
    series = [cuda(1.0, workload="b10", series="boxes", size=10, device=each) for each in ("cuda-test", "cuda-other")]
    table = table_of(tmp_path, [cuda(0.5), cuda(0.1, **LAUNCH), cuda(0.1, **PEER), *series])
    (only,) = across.family_means(table, "cuda-other").itertuples()
    assert (only.workloads, only.times_as_fast) == (1, pytest.approx(2))
    (side,) = across.side_by_side(table, "cuda-other")
    times = ("1,000 ms, NCHW, launch-bound", "100 ms, NCHW, launch-bound (10.00x)")
    assert cells(side)[1] == ("small", "Forward", *times)


def test_the_baseline_is_the_first_device_unless_another_is_named(tmp_path: Path) -> None:
    of_two(tmp_path, [2.0, 2.0, 2.0])
    assert write(tmp_path).baseline == "cpu-a"
    report = write(tmp_path, "cpu-b")
    for text in texts_of(report):
        assert "Times as fast as cpu-b: geometric mean" in text
        assert "2.00x (2.00 to 2.00; 3)" in text
        assert "Devices side by side, crop_and_resize, float32" in text


def test_an_unknown_baseline_is_a_usage_error(tmp_path: Path) -> None:
    of_two(tmp_path, [2.0])
    result = CliRunner().invoke(measuring.app, ["report", str(tmp_path), "--baseline", "cpu-c"])
    assert result.exit_code == 2
    assert "--baseline is 'cpu-c'" in result.output
    assert "cpu-a, cpu-b" in result.output
    assert not (tmp_path / "report.html").exists()
    result = CliRunner().invoke(measuring.app, ["report", str(tmp_path), "--baseline", "cpu-b"])
    assert result.exit_code == 0
    assert "Times as fast as cpu-b" in result.output


def test_a_report_of_four_devices_stays_small(tmp_path: Path) -> None:
    """Four times the newest committed run: what is mailed and archived has to stay a small file."""
    newest = max((ROOT / "results").glob("cpu-*/*-full"), key=lambda path: path.name)
    for name in ("cpu-a", "cpu-b", "cpu-c", "cpu-d"):
        for path in newest.glob("*.json"):
            measurements = record.read(path)
            # A roofline is drawn of what asked for bytes.
            requested = [4 * row.compulsory_bytes if row.compulsory_bytes else None for row in measurements.records]
            rows = (
                replace(row, requested_bytes=each) for row, each in zip(measurements.records, requested, strict=True)
            )
            of_device = replace(measurements, header=replace(measurements.header, device=name), records=tuple(rows))
            record.write(tmp_path / name / path.name, of_device)
    for name in ("conformance.csv", "mutants.csv"):
        shutil.copy(ROOT / "results" / name, tmp_path)
    page = write(tmp_path).html
    assert page.read_text(encoding="utf-8").count("Roofline of") >= 4
    assert page.stat().st_size < 3e6
