"""The sentences at the end of a run, on made-up rows whose ratios are known."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")

from harness.measuring import headline, results
from suites.meta.report.made_results import cuda_rows, roi_align, table_of, timed_row, untimed_row

PEER = {"backend": "tensorflow", "compared": 0, "compared_with": ""}


def headline_of(tmp_path: Path, rows: list[dict[str, object]], device: str = "cpu-test") -> list[str]:
    return headline.sentences(results.newest(table_of(tmp_path, rows, f"{device}/run/a.json")), device)


def test_the_ratio_of_each_direction_is_a_sentence(tmp_path: Path) -> None:
    rows = [
        *(timed_row([1.0], workload=name) for name in ("a", "b")),
        *(timed_row([times], workload=name, **PEER) for name, times in (("a", 2.0), ("b", 8.0))),
        timed_row([4.0], workload="a", direction="grad_image", differing=2),
        timed_row([1.0], workload="a", direction="grad_image", **PEER),
        # None of these is what people ask first.
        timed_row([0.1], workload="a", layout="channels_last"),
        timed_row([0.1], workload="a", allocator="tuned"),
        roi_align([1.0], "roi_align", workload="a"),
        roi_align([20.0], "torchvision", workload="a", compared=0),
    ]
    first, *speeds, gate = headline_of(tmp_path, rows)
    assert first.startswith("cpu-test, run r1 (full): 10 of 10 rows have a time")
    assert first.endswith("35 outputs were compared bit by bit: 2 of them differ.")
    assert speeds == [
        "crop_and_resize forward is 4.0 times as fast as TensorFlow (geometric mean of 2 workloads, 2.0 to 8.0).",
        "crop_and_resize image gradient is 0.25 times as fast as TensorFlow (a).",
        "roi_align forward (adaptive) is 20 times as fast as torchvision (a).",
    ]
    assert gate == "The gate refused no row."


def test_rows_without_a_time_are_counted_with_the_reason(tmp_path: Path) -> None:
    rows = [timed_row([1.0]), *(untimed_row("OUT", workload=f"w{place}", digest=str(place)) for place in range(4))]
    rows += [
        untimed_row("NO_TIME", workload="late"),
        untimed_row("REFUSED", workload="x"),
        untimed_row("REFUSED", workload="y"),
    ]
    first, refused, *others = headline_of(tmp_path, rows)
    assert "1 of 8 rows have a time" in first
    assert refused == (
        "The gate refused 4 rows: w0 forward of roi_align, NCHW (OUT); w1 forward of roi_align, NCHW (OUT); "
        "w2 forward of roi_align, NCHW (OUT); 1 more."
    )
    assert others == [
        "2 rows were not measured because the implementation does not take the input.",
        "1 row was not measured because the run's time was over.",
    ]


def test_a_function_of_the_user_comes_first_by_its_title(tmp_path: Path) -> None:
    rows = [
        roi_align([1.0], "roi_align"),
        roi_align([4.0], "mykernel:roi_align", title="my kernel"),
        roi_align([2.0], "torchvision"),
    ]
    assert headline_of(tmp_path, rows)[1:3] == [
        "my kernel: roi_align forward (adaptive) is 0.50 times as fast as torchvision (w).",
        "roi_align forward (adaptive) is 2.0 times as fast as torchvision (w).",
    ]


def test_a_gpus_ratios_use_the_cold_cache_and_exclude_launches(tmp_path: Path) -> None:
    lines = headline_of(tmp_path, cuda_rows(), "cuda-test")
    assert lines[1] == "crop_and_resize forward is 2.0 times as fast as torchvision (w)."
    assert len(lines) == 3


def test_a_device_without_rows_has_one_sentence(tmp_path: Path) -> None:
    assert headline.sentences(table_of(tmp_path, [timed_row([1.0])], "cpu-test/run/a.json"), "cpu-b") == [
        "cpu-b has no rows."
    ]
