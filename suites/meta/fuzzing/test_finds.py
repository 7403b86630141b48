"""Finds are stored completely and once, merge by copying, and are distinguished from other files beside them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.backends import load
from harness.fuzzing import finds
from harness.fuzzing.finds import Find
from harness.operators.crop_and_resize.case import Case

CASE = Case(shape=(1, 1, 1, 2), boxes=((0.0, 0.0, 1.0, 1.0),), box_indices=(0,), crop_size=(1, 1))
FIND = Find(
    "crop_and_resize", "within bound, normalized boxes", "grad_boxes", repr(CASE), "out", "It is of the other sign.",
    backend="fault:box_gradient_sign", title="fault: box_gradient_sign",
)  # fmt: skip


def test_a_stored_find_reads_back_and_reproduces_the_fault(tmp_path: Path) -> None:
    path, is_new = finds.store(FIND, tmp_path)
    assert is_new
    assert finds.read(tmp_path) == ([FIND], [])
    assert [each.name for each in tmp_path.iterdir()] == [path.name]  # no partial file remains
    (find,), _ = finds.read(tmp_path)
    for name, passes in (("fault:box_gradient_sign", False), ("roi_align", True)):
        verdict = find.definition().holds(load(name), find.parse_case(), find.direction)
        assert verdict is not None
        assert verdict.passed is passes
    assert find.reproduction().startswith("python -m harness judge --backend fault:box_gradient_sign --direction")


def test_storing_a_find_again_changes_nothing(tmp_path: Path) -> None:
    """The name depends on the question only, not on the backend or the failure."""
    path, _ = finds.store(FIND, tmp_path)
    before = path.read_bytes()
    again, is_new = finds.store(replace(FIND, title="another", reason="It is of no sign."), tmp_path)
    assert (again, is_new) == (path, False)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


OTHERS = [{"direction": "forward"}, {"property": "no side effect"}, {"case": repr(replace(CASE, seed=1))}]


@pytest.mark.parametrize("changes", OTHERS, ids=["direction", "property", "case"])
def test_another_question_is_another_find(changes: dict[str, str]) -> None:
    assert replace(FIND, **changes).file_name() != FIND.file_name()


def test_two_folders_merge_by_copying(tmp_path: Path) -> None:
    second = replace(FIND, case=repr(replace(CASE, seed=2)))
    finds.store(FIND, tmp_path / "one")
    for find in (replace(FIND, title="another"), second):
        finds.store(find, tmp_path / "two")
    shutil.copytree(tmp_path / "one", tmp_path / "two", dirs_exist_ok=True)
    stored_finds, problems = finds.read(tmp_path / "two")
    assert not problems
    assert {each.case for each in stored_finds} == {FIND.case, second.case}


def document_with(**changes: object) -> str:
    return json.dumps({**asdict(FIND), **changes})


BROKEN = {
    "cut": (document_with()[:40], "cannot be read as JSON"),
    "bytes": ("\udcff", "cannot be read as JSON"),
    "list": ("[]", "must be an object of texts"),
    "fields": ('{"case": "Case()"}', "must be an object of texts"),
    "number": (document_with(reason=1), "must be an object of texts"),
    "direction": (document_with(direction="backward"), "there is no 'backward'"),
    "property": (document_with(property="beauty"), "There is no property 'beauty'"),
    "case": (document_with(case="__import__('os')"), ""),
    "operator": (document_with(operator="roi_align", property="within bound, mode avg"), "not one"),
    "name": (document_with(), "what it holds is called"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_and_the_others_are_read(tmp_path: Path, kind: str) -> None:
    finds.store(FIND, tmp_path)
    text, says = BROKEN[kind]
    (tmp_path / "broken.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    stored_finds, (problem,) = finds.read(tmp_path)
    assert stored_finds == [FIND]
    assert str(tmp_path / "broken.json") in problem
    assert says in problem
