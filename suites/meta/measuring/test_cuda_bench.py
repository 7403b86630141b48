"""A run of the CUDA benchmarks without a GPU, from the rows to the report: only the kernels differ from a real run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas", reason="reading results needs pandas")
pytest.importorskip("jinja2", reason="a report needs jinja2")
pytest.importorskip("matplotlib", reason="a report needs matplotlib")
pytest.importorskip("torchvision", reason="it stands for its own CUDA kernels here")

from harness import repository
from harness.measuring import record, results, settings
from harness.measuring import run as measure
from harness.measuring.columns import COLUMNS, turns
from harness.measuring.settings import Settings
from harness.measuring.workloads import SMOKE, WORKLOADS


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest-benchmark measures nothing in a process of xdist, nor in its children."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for folder in ("QUICK_RESULTS", "FOREIGN_RESULTS"):
        monkeypatch.setattr(repository, folder, tmp_path)
    # Without the pyramids, whose tensors need a GPU.
    (process,) = measure.PROCESSES["cuda"]
    monkeypatch.setitem(measure.PROCESSES, "cuda", (replace(process, benches=("operators",)),))
    monkeypatch.setenv("PYTEST_PLUGINS", "suites.meta.measuring.fake_cuda")

    def run(*backends: str) -> Any:
        (process,) = measure.run("cuda", True, 1, (), lambda allocator, event: None, backends)
        assert process.file is not None, process.tail
        return process, results.read(tmp_path)

    return run


def test_a_run_from_its_rows_to_its_report(bench: Any, tmp_path: Path) -> None:
    process, contents = bench()
    assert process.code == 0, process.tail
    assert process.file.parent.parent == tmp_path / "cuda-nvidia-fake-1"
    assert contents.problems == ()
    table = results.throughput(contents.blocks)
    rows = table[table.median_s.notna()]
    for bench, columns in COLUMNS["cuda"].items():
        assert set(rows[rows.bench == bench].backend) == {column.backend for column in columns}
    assert set(rows.cache) == {"cold", "hot"}
    # Every call has a kernel of 50 µs and a launch of 10 µs: the kernel is the row's time, the launch a column of its
    # own.
    assert rows.median_s.tolist() == pytest.approx([50e-6] * len(rows))
    assert (rows.exposed == 0).all()
    assert (rows.peak_memory_bytes == 4000).all()
    assert set(rows.clock) == {"CUDA events behind a spinning kernel"}
    assert (rows.samples >= 10).all()

    assert (rows.host_s == rows.host_s).all()
    ours = rows[(rows.op == "crop_and_resize") & (rows.dtype == "float32") & (rows.layout == "contiguous")]
    ours = ours[(ours.workload == "small") & (ours.cache == "cold")].set_index(["backend", "direction"])
    for name, direction, compared in (
        ("roi_align_cuda", "forward", True),
        ("roi_align_cuda", "grad_image", False),  # atomics: only the oracle can judge them
        ("roi_align_cuda_deterministic", "grad_image", True),
        ("roi_align_cuda", "grad_boxes", False),
        ("grid_sample_cuda", "forward", False),
    ):
        row = ours.loc[(name, direction)]
        assert (row.compared > 0, row.differing) == (compared, 0), (name, direction)
        assert row.compared_with == ("this project's operator on the CPU" if compared else "")
    assert ours.loc[("roi_align_cuda", "forward")].ratio_to_peer == pytest.approx(1)
    # torchvision has no bfloat16, so there is no ratio.
    assert rows[(rows.dtype == "bfloat16")].ratio_to_peer.isna().all()
    crops = table[table.bench == "crop_and_resize"]
    assert set(crops[crops.backend == "torchvision_cuda"].status) == {"OTHER_RULE", "REFUSED"}
    assert set(table[table.bench == "roi_align"].status) <= {"EXACT", "WITHIN"}

    from harness.report import summary, write

    report = write(tmp_path)
    text = report.markdown.read_text(encoding="utf-8")
    assert "NVIDIA Fake 1, 4 multiprocessors" in text
    assert "launch-bound" in text
    assert report.html.read_text(encoding="utf-8").count("<svg") >= 6
    assert summary(report.newest(), report.baseline)


def test_rows_beyond_the_time_limit_are_stored_without_a_time(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA_ROWS", "30")
    process, contents = bench()
    assert process.code == 0, process.tail
    table = results.throughput(contents.blocks)
    late = table[table.status == "NO_TIME"]
    assert len(late)
    assert late.median_s.isna().all()
    assert "were used up" in late.message.iloc[0]
    # Rows of the first block keep their times, though the second block did not reach them.
    assert table[table.median_s.notna()].shape[0] == 30 - len(table[table.status == "REFUSED"])


def test_a_foreign_function_is_timed_cold_and_hot(bench: Any, tmp_path: Path) -> None:
    theirs = "suites.meta.measuring.planted:on_cuda"
    process, contents = bench(theirs)
    assert process.code == 0, process.tail
    rows = contents.blocks[contents.blocks.samples.map(len) > 0]
    own = rows[rows.backend == theirs]
    assert set(zip(own.direction, own.layout, own.cache, own.block, strict=True)) == set(
        product(("forward", "grad_image"), ("contiguous", "channels_last"), ("cold", "hot"), (0, 1))
    )
    assert {"roi_align_cuda", "torchvision_cuda"} <= set(rows.backend)


def test_every_row_comes_once_a_block_and_slow_preparations_come_last() -> None:
    every = list(turns(COLUMNS["cuda"], ("cold", "hot"), WORKLOADS, (0, 1)))
    assert len({str(turn) for turn in every}) == len(every)
    late = [turn.column.late for turn in every]
    assert late == sorted(late)
    # The hot row reuses the cold row's prepared call, so they must be consecutive.
    assert all(a.call == b.call for a, b in zip(every[::2], every[1::2], strict=True))
    assert [turn.cache for turn in every] == ["cold", "hot"] * (len(every) // 2)


def test_cpu_rows_alternate_and_run_backwards_in_the_second_block() -> None:
    names = [
        turn.column.backend
        for turn in turns(COLUMNS["cpu"], ("warm",), (SMOKE,), (0, 1))
        if (turn.operator.name, turn.direction) == ("crop_and_resize", "forward")
    ]
    assert names == [
        "roi_align",
        "roi_align",
        "tensorflow",
        "torchvision",
        "torchvision",
        "tensorflow",
        "roi_align",
        "roi_align",
    ]


def test_the_rows_of_roi_align(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    """Both layouts and the peer, cold and hot, by the device's clock, in every setting, as in a full run."""
    file = tmp_path / "file.json"
    environment = settings.environment("cuda", Settings(output=str(file)))
    environment["PYTEST_PLUGINS"] = "suites.meta.measuring.fake_cuda"
    command = [sys.executable, "-m", "pytest", "suites/performance/bench_operators.py", "-k", "roi_align-small", "-q"]
    process = subprocess.run(
        [*command, "--benchmark-only"],
        cwd=pytestconfig.rootpath,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout
    document = record.read(file)
    assert document.header.kind == "part"  # as it lacks rows of a full run
    rows = [row for row in document.records if row.status != "REFUSED"]
    # Settings, blocks and caches; ours in two layouts and three directions, the peer in two directions.
    assert len(document.records) == 3 * 2 * 2 * (2 * 3 + 2)
    refusals = {(row.setting, row.backend) for row in document.records if row.status == "REFUSED"}
    assert refusals == {("maximum", "torchvision_cuda")}
    assert {row.cache for row in rows} == {"cold", "hot"}
    assert [each for row in rows for each in row.samples] == pytest.approx(
        [50e-6] * sum(len(row.samples) for row in rows)
    )
    assert all(len(row.samples) >= 5 for row in rows)
    assert {row.exposed for row in rows} == {0}
    assert all(row.host_s is not None and row.host_s > 0 for row in rows)
    assert re.search(r"small, adaptive, cold +grad_image +roi_align_cuda channels_last +0.05 ms +1.0x", process.stdout)
    assert re.search(r"geometric mean, sampling_ratio 2, hot +forward +roi_align_cuda contiguous +1.0x", process.stdout)
