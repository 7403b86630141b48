"""The matrices of conformance.html: a row for every property, a word and a colour for every cell, red for findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from harness import backends
from harness.conformance.cells import CellStatus
from harness.operators import OPERATORS
from harness.properties import questions
from harness.report import libraries
from harness.report.libraries import grids, page, words
from suites.meta.report.judged_libraries import (
    CELL,
    FAST,
    INSIDE,
    OURS,
    OUTSIDE,
    SLOW,
    Page,
    cell_of,
    cells,
    confirmed,
    failure,
    grid_of,
    offered,
    square_of,
)


def test_every_property_has_exactly_one_row_and_every_row_a_property() -> None:
    rows = [(each.name, direction) for each, direction in questions(*OPERATORS)]
    assert {name for name, _ in rows} - set(words.ROW_OF) == set(), "give them a row in libraries/words.py"
    assert set(words.ROW_OF.values()) - {words.DIRECTION} <= set(words.ROWS)
    assert {words.row_of(*each) for each in rows} <= set(words.ROWS)
    assert set(words.BY_DIRECTION.values()) <= set(words.ROWS)
    with pytest.raises(ValueError, match="'no such property' belongs to no row"):
        words.row_of("no such property", "forward")


def test_every_backend_is_a_library_or_is_left_out() -> None:
    names = {name for operator in OPERATORS for name in backends.BACKENDS[operator]}
    assert {"roi_align", "torchvision", "tensorflow", "onnxruntime", "grid_sample"} <= set(
        filter(grids.is_library, names)
    )
    for name in ("reference", "roi_align_cuda", "cuda_on_host", "fault:fma_position", "pkg.module:function"):
        assert not grids.is_library(name)


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance of "#rrggbb"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", [*words.TONES, "page"])
def test_words_have_enough_contrast(name: str) -> None:
    tone = words.TONES.get(name, words.PAGE)
    assert contrast(tone.ground, tone.ink) >= 4.5
    assert contrast(tone.dark_ground, tone.dark_ink) >= 4.5


def test_contrast_follows_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail


def test_every_word_has_a_meaning_a_colour_and_a_place_in_the_legend() -> None:
    assert set(words.WORDS) == set(words.TONE_OF) == set(words.LEGEND)
    assert set(words.TONE_OF.values()) <= set(words.TONES)
    assert [word for word in words.WORDS if words.TONE_OF[word] == "bad"] == list(words.RED)


CRASHED: Any = {"value": None, "expected": None, "bound": None, "second": None, "index": []}


@pytest.mark.parametrize(
    ("changes", "finding", "word", "tone"),
    [
        ({}, None, "right", "good"),
        ({"status": "ambiguous"}, None, "right", "good"),
        ({"status": "fail"}, {}, "wrong", "bad"),
        ({"status": "crash"}, {"status": "crash", **CRASHED}, "crashes", "bad"),
        ({"status": "hang"}, {"status": "hang", **CRASHED}, "hangs", "bad"),
        ({"status": "fail"}, None, "unconfirmed", "soft"),
        ({"status": "crash"}, None, "unconfirmed", "soft"),
        ({"status": "hang"}, None, "unconfirmed", "soft"),
        # The right status, but of another case than the cell's, another device, or a value that is no failure.
        ({"status": "fail"}, {"status": "crash"}, "unconfirmed", "soft"),
        ({"status": "fail"}, {"device": "cpu-other"}, "unconfirmed", "soft"),
        ({"status": "fail"}, {"direction": "grad_image"}, "unconfirmed", "soft"),
        ({"status": "fail"}, {"second": 3.5}, "unconfirmed", "soft"),
        ({"status": "fail"}, {"second": None}, "unconfirmed", "soft"),
        ({"status": "fail"}, {"value": 1.2500001}, "unconfirmed", "soft"),
        ({"status": "crash", "declared": "no"}, {"status": "crash", **CRASHED}, "crashes (undefined)", "soft"),
        ({"status": "hang", "declared": "no"}, None, "hangs (undefined)", "soft"),
        ({"status": "undeclared", "declared": "no"}, None, "not offered", "none"),
        ({"status": "not asked"}, None, "not tried", "none"),
        ({"status": "judge"}, None, "not tried", "none"),
    ],
)  # fmt: skip
def test_a_cells_word_and_colour(
    tmp_path: Path, changes: dict[str, str], finding: dict[str, Any] | None, word: str, tone: str
) -> None:
    cells(tmp_path, {"property": OUTSIDE, **changes})
    confirmed(tmp_path, *([] if finding is None else [finding]))
    square = square_of(tmp_path, "box outside")
    assert (square.word, square.tone) == (word, tone)
    assert square.is_red == (tone == "bad")
    output = libraries.write(tmp_path)
    assert output is not None
    parsed = Page(output.html.read_text(encoding="utf-8"))
    assert (tone, word) in parsed.squares
    # The finding is printed if the cell is red, and only then.
    assert (square.anchor in parsed.ids) == square.is_red
    assert ("print(fast.pool())" in output.html.read_text(encoding="utf-8")) == square.is_red
    label = words.SHORT.get(word, word)
    assert f">{label}</text>" in output.picture.read_text(encoding="utf-8")
    assert bool(output.problems) == (finding is not None and not square.is_red)


def test_the_words_cover_every_status_of_the_table(tmp_path: Path) -> None:
    for status in get_args(CellStatus):
        cells(tmp_path, {"status": status}, {"property": OUTSIDE})
        assert grid_of(tmp_path).rows, status
    cells(tmp_path, {"status": "odd"})
    with pytest.raises(ValueError, match="status 'odd', which the page has no word for"):
        grid_of(tmp_path)


def test_a_square_is_the_worst_of_its_cells(tmp_path: Path) -> None:
    long = {"property": "long list"}
    cells(tmp_path, {"property": "every layout"}, failure(**long), failure(property="split list"))
    assert square_of(tmp_path, "memory and calls").word == "unconfirmed"
    assert grid_of(tmp_path).unconfirmed == 2
    confirmed(tmp_path, long)
    square = square_of(tmp_path, "memory and calls")
    assert (square.word, square.unconfirmed, grid_of(tmp_path).unconfirmed) == ("wrong", 1, 1)
    # Some right, some not tried: neither word alone would be true.
    cells(tmp_path, {"property": "every layout"}, {"property": "long list", "status": "not asked", "reason": "dear"})
    square = square_of(tmp_path, "memory and calls")
    assert (square.word, square.reasons) == ("right in part", ("dear",))


def test_directions_have_rows_of_their_own(tmp_path: Path) -> None:
    cells(tmp_path, *offered(FAST, forward="pass", grad_image="fail"))
    confirmed(tmp_path, {"property": INSIDE, "direction": "grad_image"})
    parsed = {row: [square.word for square in squares] for row, squares in grid_of(tmp_path).rows}
    assert parsed == {"forward": ["right"], "gradient": ["wrong"], "gradient of boxes": ["not offered"]}


def test_a_red_cell_is_marked_if_only_a_gradient_fails(tmp_path: Path) -> None:
    back = {"direction": "grad_image"}
    cells(tmp_path, {"property": OUTSIDE}, failure(**back), *offered(FAST, forward="pass", grad_image="fail"))
    confirmed(tmp_path, back, {**back, "property": INSIDE})
    assert square_of(tmp_path, "box outside").remark == "in a gradient"
    assert "wrong <small>in a gradient</small>" in page.text(libraries.read_tables(tmp_path)[0], (), ())
    assert square_of(tmp_path, "gradient").remark == "", "its row says so"
    cells(tmp_path, failure(), failure(**back))
    confirmed(tmp_path, {}, back)
    assert square_of(tmp_path, "box outside").remark == ""


def test_columns_are_ours_then_those_with_the_fewest_red_cells(tmp_path: Path) -> None:
    bad = cell_of(("bad", "A bad one 3.0"))
    cells(tmp_path, failure(), failure(**bad), bad, CELL, cell_of(SLOW), cell_of(OURS), {**cell_of(("reference", "R"))})
    confirmed(tmp_path, {}, bad)
    grid = grid_of(tmp_path)
    assert [each.backend for each in grid.libraries] == ["roi_align", "slow", "bad", "fast"]
    assert [(each.name, each.version) for each in grid.libraries[:2]] == [
        ("roi_align", "0.1.0"), ("Slow & <steady>", "2.0"),
    ]  # fmt: skip


def test_a_library_that_is_missing_is_named_below_unless_another_machine_has_it(tmp_path: Path) -> None:
    absent = cell_of(("gone", "gone"), status="missing", declared="no", reason="pip install gone")
    cells(tmp_path, CELL, {"status": "missing", "device": "cpu-other", "reason": "not there"}, absent)
    tables, problems = libraries.read_tables(tmp_path)
    assert not problems
    assert [each.backend for each in tables.grids[0].libraries] == ["fast"]
    assert tables.absent == (("gone", "roi_align", "pip install gone"),)
    assert "pip install gone" in page.text(tables, (), ())


def test_a_single_call_that_fails_is_no_memory_fault(tmp_path: Path) -> None:
    """The relations ask for boxes of every kind: what fails in one call already is not theirs."""
    cells(tmp_path, failure(property="long list"), failure(property="split list"))
    confirmed(tmp_path, {"property": "long list", "alone": True}, {"property": "split list"})
    rows = {row: squares[0].word for row, squares in grid_of(tmp_path).rows}
    assert rows == {"any box": "wrong", "memory and calls": "wrong"}
    confirmed(tmp_path, *({"property": name, "alone": True} for name in ("long list", "split list")))
    assert [row for row, _ in grid_of(tmp_path).rows] == ["any box"]
