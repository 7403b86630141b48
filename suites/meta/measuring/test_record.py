"""The file of a process reads back as written, to six digits, with a line for each row."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.measuring import record
from harness.measuring.record import Header, Measurements, Record

HEADER = Header("20261128T091500Z", "full", "cpu-test", "tuned", 1, 2, "time.perf_counter", 39.8740117946498)
ROW = Record(
    bench="crop_and_resize", setting="", workload="w", source="made up", op="crop_and_resize", direction="forward",
    backend="roi_align", title="t", layout="contiguous", cache="warm", block=1, boxes=10, inputs_digest="i",
    status="EXACT", compared=7, compared_with="TensorFlow", digest="d", compulsory_bytes=4_420_808, stopped="most",
    interruptions=0, samples=(0.0003246139967814088, 12.0),
)  # fmt: skip
REFUSED = replace(ROW, workload="v", source="made up too", backend="peer", status="REFUSED", samples=(), stopped=None)


def write_records(folder: Path, *records: Record) -> Path:
    path = folder / "cpu-test" / "run" / "default.json"
    state = {"before": {"load": 0.5}, "after": {"load": 1.5}}
    record.write(path, Measurements(HEADER, {"cpu": "a cpu"}, records, state))
    return path


def test_records_read_back_to_six_digits(tmp_path: Path) -> None:
    measurements = record.read(write_records(tmp_path, ROW, REFUSED))
    assert measurements.header == HEADER
    assert measurements.machine == {"cpu": "a cpu"}
    assert measurements.conditions == {"before": {"load": 0.5}, "after": {"load": 1.5}}
    assert measurements.records == (replace(ROW, samples=(0.000324614, 12.0)), REFUSED)


def test_a_file_has_a_line_for_each_row_and_names_each_column_once(tmp_path: Path) -> None:
    text = write_records(tmp_path, ROW, ROW, REFUSED).read_text(encoding="utf-8")
    rows = text.partition('"rows": [\n')[2].splitlines()[:-1]
    assert [json.loads(row.rstrip(","))[-1] for row in rows] == [[0.000324614, 12.0]] * 2 + [[]]
    assert text.count('"workload"') == text.count('"made up"') == 1
    # A column of defaults is not stored.
    assert "peak_memory_bytes" not in text


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_records(tmp_path, ROW)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path, REFUSED)
    assert path.read_bytes() == before
