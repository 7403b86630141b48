"""Campaigns of the fuzzer: what is planted is found, made small and kept, whatever is killed meanwhile."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from harness import campaign, finds, haul, hunter
from harness.backends import load
from harness.campaign import Catch, Lost, Schedule, Task
from harness.finds import Find
from harness.haul import Haul

ROOT = Path(__file__).resolve().parents[2]


def hunted(name: str, folder: Path, cases: int, seed: int = 1) -> Haul:
    """A campaign in this process."""
    said = hunter.about(name, (("roi_align",) if "roi_" in name else ("crop_and_resize",)))
    assert not said.missing
    schedule = Schedule(name, said.sheets, seed, cases)
    brought = Haul(folder)
    for what in campaign.catches(schedule, brought.told):
        brought.add(what)
    return brought


@pytest.mark.parametrize("fault", ["open_upper_border", "roi_edge_sign"])
def test_a_planted_fault_is_found_made_small_and_replayed(tmp_path: Path, fault: str) -> None:
    brought = hunted(f"fault:{fault}", tmp_path, cases=400)
    stored, problems = finds.read(tmp_path)
    assert stored
    assert not problems
    assert sorted(brought.stored.values(), key=Find.file_name) == stored
    for find in stored:
        fails, passes = (
            find.stated().holds(load(name, find.operator), find.parsed(), find.direction)
            for name in (find.backend, "roi_align")
        )
        assert fails is not None
        assert passes is not None
        assert (fails.status.value, passes.passed) == (find.status, True), find
    smallest = min((find.parsed() for find in stored), key=lambda case: len(repr(case)))
    assert len(smallest.boxes) == smallest.shape[0] == smallest.shape[1] == 1, smallest


def test_the_reference_has_no_finds(tmp_path: Path) -> None:
    brought = hunted("reference", tmp_path, cases=300)
    assert brought.is_empty()
    assert not list(tmp_path.iterdir())
    assert brought.cases.total() >= 300
    assert 0 < brought.largest() <= 1


def test_the_same_seed_gives_the_same_campaign(tmp_path: Path) -> None:
    one, same, other = (
        hunted("fault:box_gradient_sign", tmp_path / name, 150, seed)
        for name, seed in (("one", 5), ("same", 5), ("other", 6))
    )
    assert one.rows() == same.rows() != other.rows()
    assert [path.name for path in sorted(one.stored)] == [path.name for path in sorted(same.stored)]
    assert one.stored
