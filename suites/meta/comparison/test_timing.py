"""One process of a comparison, and the rows that it looks up by name."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.backends import load
from harness.comparison import rows, side_by_side, timing
from harness.measuring import gate

TURN = rows.rows(["seed_test"])["crop_and_resize seed_test forward contiguous"]


def test_a_process_times_a_right_result():
    first = timing.time_row(TURN, None)
    assert first.status in ("EXACT", "WITHIN")
    assert first.message == ""
    assert len(first.samples) >= timing.BUDGET.least
    assert timing.time_row(TURN, gate.stored_in(first)).samples


def test_a_process_does_not_time_a_wrong_result(monkeypatch):
    other = timing.time_row(TURN, gate.Gate("EXACT", True, digest="other bits"))
    assert (other.status, other.samples) == ("DIFFERS", ())
    assert "not those of the first process" in other.message
    backend = load("roi_align")
    wrong = replace(backend, to_numpy=lambda crops: backend.to_numpy(crops) + np.float32(1))
    monkeypatch.setattr(timing, "load", lambda name, operator: wrong)
    first = timing.time_row(TURN, None)
    assert (first.status, first.samples) == ("OUT", ())
    assert first.message


def test_an_error_fails_its_row_and_not_the_process(monkeypatch):
    def broken(name: str, operator: str) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(timing, "load", broken)
    row = timing.time_row(TURN, None)
    assert (row.status, row.message, row.samples) == ("ERROR", "RuntimeError: no such kernel", ())


def test_both_operators_are_compared_in_both_layouts_and_every_direction():
    names = list(rows.rows(["seed_test"]))
    assert len(names) == len(set(names)) == 2 * 2 * 3
    assert "roi_align sampling_ratio 2 seed_test grad_boxes channels_last" in names
    # This process's harness times a revision, and looks up each row by name.
    assert [rows.name_of(turn.record()) for turn in rows.rows(["seed_test"]).values()] == names


def test_settings_choose_the_rows():
    of_the_maximum = list(rows.rows(["seed_test"], settings=["maximum"]))
    assert len(of_the_maximum) == 2 * 3
    assert all(name.startswith("roi_align maximum seed_test ") for name in of_the_maximum)
    every_row = rows.rows(["seed_test"], settings=rows.SETTINGS)
    assert {*of_the_maximum, *rows.rows(["seed_test"])} < set(every_row)
    with pytest.raises(ValueError, match=re.escape("'largest'; there are sampling_ratio 2, adaptive, maximum.")):
        rows.rows(["seed_test"], settings=["largest"])


def test_a_process_times_rows_of_every_setting(tmp_path, monkeypatch):
    (name,) = (row for row in rows.rows(["seed_test"], settings=["maximum"]) if row.endswith("forward contiguous"))
    package = importlib.util.find_spec("roi_align").submodule_search_locations[0]
    output = tmp_path / "answer"
    monkeypatch.setattr(timing, "time_row", lambda turn, earlier, function: turn.record())
    order = {"rows": [name], "gates": {}, "origin": str(Path(package).parent), "output": str(output)}
    (tmp_path / "order").write_text(json.dumps(order))
    timing.main(tmp_path / "order")
    assert [row["setting"] for row in json.loads(output.read_text())] == ["maximum"]


def test_a_process_refuses_to_time_another_package(tmp_path):
    order = {"rows": [], "gates": {}, "origin": str(tmp_path), "output": str(tmp_path / "answer")}
    (tmp_path / "order").write_text(json.dumps(order))
    with pytest.raises(SystemExit, match="The package under the clock is"):
        timing.main(tmp_path / "order")
    with pytest.raises(side_by_side.FailedProcess, match="The package under the clock is"):
        side_by_side.measure(dict.fromkeys(side_by_side.SIDES, tmp_path), [], 1, lambda side: None)
