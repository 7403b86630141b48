"""conformance.html: every word and colour from made-up cells, red for a confirmed finding alone, links that lead
somewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from harness import backends
from harness.conformance.cells import CellStatus
from harness.operators import OPERATORS
from harness.properties import questions
from harness.report import libraries, write, write_readme
from harness.report.libraries import grids, page, words
from suites.meta.report.judged_libraries import (
    CELL,
    FAST,
    INSIDE,
    OURS,
    OUTSIDE,
    SLOW,
    SMALLER,
    Page,
    cells,
    confirmed,
    failed,
    grid_of,
    named,
    offered,
    square_of,
    times,
)
from suites.meta.report.made_results import external

ROOT = Path(__file__).resolve().parents[3]


def test_every_property_has_exactly_one_row_and_every_row_a_property() -> None:
    asked = [(each.name, direction) for each, direction in questions(*OPERATORS)]
    assert {name for name, _ in asked} - set(words.ROW_OF) == set(), "give them a row in libraries/words.py"
    assert set(words.ROW_OF.values()) - {words.DIRECTION} <= set(words.ROWS)
    assert {words.row_of(*each) for each in asked} <= set(words.ROWS)
    assert set(words.BY_DIRECTION.values()) <= set(words.ROWS)
    with pytest.raises(ValueError, match="'no such property' belongs to no row"):
        words.row_of("no such property", "forward")


def test_every_backend_is_a_library_or_is_left_out() -> None:
    names = {name for operator in OPERATORS for name in backends.BACKENDS[operator]}
    assert {"roi_align", "torchvision", "tensorflow", "onnxruntime", "grid_sample"} <= set(
        filter(grids.is_library, names)
    )
    for left_out in ("reference", "roi_align_cuda", "cuda_on_host", "fault:fma_position", "pkg.module:function"):
        assert not grids.is_library(left_out)


def luminance(colour: str) -> float:
    """WCAG 2.1's relative luminance of "#rrggbb"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", [*words.TONES, "page"])
def test_a_word_can_be_read_on_its_colour(name: str) -> None:
    tone = words.TONES.get(name, words.PAGE)
    assert contrast(tone.ground, tone.ink) >= 4.5
    assert contrast(tone.dark_ground, tone.dark_ink) >= 4.5


def test_the_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # known to fail


def test_every_word_has_a_meaning_a_colour_and_a_place_in_the_legend() -> None:
    assert set(words.WORDS) == set(words.TONE_OF) == set(words.LEGEND)
    assert set(words.TONE_OF.values()) <= set(words.TONES)
    assert [word for word in words.WORDS if words.TONE_OF[word] == "bad"] == list(words.RED)


CRASHED: Any = {"got": None, "expected": None, "bound": None, "second": None, "index": []}


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
        ({"status": "fail"}, {"got": 1.2500001}, "unconfirmed", "soft"),
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
    written = libraries.write(tmp_path)
    assert written is not None
    shown = Page(written.html.read_text(encoding="utf-8"))
    assert (tone, word) in shown.squares
    # The finding is printed if the cell is red, and only then.
    assert (square.anchor in shown.ids) == square.is_red
    assert ("print(fast.pool())" in written.html.read_text(encoding="utf-8")) == square.is_red
    shown_word = words.SHORT.get(word, word)
    assert f">{shown_word}</text>" in written.picture.read_text(encoding="utf-8")
    assert bool(written.problems) == (finding is not None and not square.is_red)


def test_the_words_cover_every_status_of_the_table(tmp_path: Path) -> None:
    for status in get_args(CellStatus):
        cells(tmp_path, {"status": status}, {"property": OUTSIDE})
        assert grid_of(tmp_path).rows, status
    cells(tmp_path, {"status": "odd"})
    with pytest.raises(ValueError, match="status 'odd', which the page has no word for"):
        grid_of(tmp_path)


def test_a_square_is_the_worst_of_its_cells(tmp_path: Path) -> None:
    long = {"property": "long list"}
    cells(tmp_path, {"property": "every layout"}, failed(**long), failed(property="split list"))
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
    shown = {row: [square.word for square in squares] for row, squares in grid_of(tmp_path).rows}
    assert shown == {"forward": ["right"], "gradient": ["wrong"], "gradient of boxes": ["not offered"]}


def test_columns_are_ours_then_those_with_the_fewest_red_cells(tmp_path: Path) -> None:
    bad = named(("bad", "A bad one 3.0"))
    cells(tmp_path, failed(), failed(**bad), bad, CELL, named(SLOW), named(OURS), {**named(("reference", "R"))})
    confirmed(tmp_path, {}, bad)
    grid = grid_of(tmp_path)
    assert [each.backend for each in grid.libraries] == ["roi_align", "slow", "bad", "fast"]
    assert [(each.name, each.version) for each in grid.libraries[:2]] == [
        ("roi_align", "0.1.0"), ("Slow & <steady>", "2.0"),
    ]  # fmt: skip


def test_a_library_that_is_missing_is_named_below_unless_another_machine_has_it(tmp_path: Path) -> None:
    gone = named(("gone", "gone"), status="missing", declared="no", reason="pip install gone")
    cells(tmp_path, CELL, {"status": "missing", "device": "cpu-other", "reason": "not there"}, gone)
    tables, problems = libraries.judged(tmp_path)
    assert not problems
    assert [each.backend for each in tables.grids[0].libraries] == ["fast"]
    assert tables.absent == (("gone", "roi_align", "pip install gone"),)
    assert "pip install gone" in page.text(tables, (), ())


def rich(folder: Path) -> None:
    """Two operators, four libraries, every kind of cell, times: a page with all of its parts."""
    crops: dict[str, Any] = {"operator": "crop_and_resize"}
    cells(
        folder, *offered(OURS, forward="pass", grad_image="pass", grad_boxes="pass"), *offered(FAST, forward="pass"),
        *offered(SLOW, forward="ambiguous", grad_image="pass"), failed(), failed(property="long list"),
        failed(property="split list", status="crash"), named(SLOW, property="bad boxes", status="crash", declared="no"),
        {**crops, **named(OURS)}, {**crops, **failed()}, {**crops, **named(OURS), "property": OUTSIDE},
        named(("gone", "gone"), status="missing", declared="no", reason="pip install gone"),
    )  # fmt: skip
    confirmed(folder, {}, {"property": "long list", "case": SMALLER}, {**crops})
    times(
        folder,
        {},
        named(SLOW, ms="6", ms_low="5", ms_high="9"),
        named(OURS, status="wrong", ms="", ms_low="", ms_high=""),
    )


def test_the_page_is_well_formed_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    rich(tmp_path)
    written = write(tmp_path)
    assert not written.problems
    assert written.libraries is not None
    text = written.libraries.html.read_text(encoding="utf-8")
    shown = Page(text)
    assert shown.problems == []
    assert shown.scopeless == 0
    inside = [link[1:] for link in shown.links if link.startswith("#")]
    assert set(inside) <= set(shown.ids)
    red = [word for tone, word in shown.squares if tone == "bad"]
    assert red == ["wrong", "wrong", "wrong"]
    assert len({link for link in inside if link.startswith(("roi_align-fast", "crop_and_resize-fast"))}) == len(red)
    assert {link.partition("#")[0] for link in shown.links} == {"", "report.html", "../docs/operators.md"}
    assert "<b>" not in text
    assert "<steady>" not in text
    assert "<script" not in text
    assert "Failed checks that the second formulation did not confirm: 1." in text
    # What is not hidden needs no script to be read, printed or reached.
    assert text.index('<section class="finding"') < text.index("<details>")
    # report.html and this page lead to each other.
    assert 'href="conformance.html"' in written.html.read_text(encoding="utf-8")
    before = [path.read_bytes() for path in (written.libraries.html, written.libraries.picture)]
    write(tmp_path)
    assert [path.read_bytes() for path in (written.libraries.html, written.libraries.picture)] == before


def test_a_red_cells_section_says_all_that_is_known(tmp_path: Path) -> None:
    rich(tmp_path)
    text = page.text(*(lambda both: (both[0], (), both[1]))(libraries.judged(tmp_path)))
    square = square_of(tmp_path, "box outside")
    section = text[text.index(f'id="{square.anchor}"') :]
    section = section[: section.index("</section>")]
    for said in (
        "Fast 1.0: box outside", "(1, 1, 4, 5)", "boxes (index, x1, y1, x2, y2)", "(0, -3.5, 0.0, nan, inf)",
        "the result at [0, 0, 1, 1] is <strong>3.5</strong>", "<strong>1.25</strong> within 1e-06",
        "a second formulation in float64 gives 1.25", "It is 3.5 &lt;b&gt;.", "A sample outside adds 0.",
        'href="../docs/operators.md#jumps"', "import fast\nprint(fast.pool())", "in Python",
        "<code>3.5</code>", "python -m harness judge --backend fast",
    ):  # fmt: skip
        assert said in section


def test_the_smallest_case_is_shown_and_the_other_checks_are_listed(tmp_path: Path) -> None:
    cells(tmp_path, failed(property="long list"), failed(property="split list"), failed(property="every layout"))
    confirmed(tmp_path, {"property": "long list"}, {"property": "split list", "case": SMALLER},
              {"property": "every layout", "case": "no case at all"})  # fmt: skip
    square = square_of(tmp_path, "memory and calls")
    assert [finding.property for finding in square.findings] == ["split list", "long list", "every layout"]
    assert page.others(square) == "long list (forward), every layout (forward)"


@pytest.mark.parametrize("broken", ["an unclosed element", "a link to nothing", "an id twice"])
def test_a_broken_page_would_be_seen(tmp_path: Path, broken: str) -> None:
    rich(tmp_path)
    written = libraries.write(tmp_path)
    assert written is not None
    text = written.html.read_text(encoding="utf-8")
    planted = {
        "an unclosed element": text.replace("</main>", ""),
        "a link to nothing": text.replace('<section class="finding" id="', '<section class="finding" id="x'),
        "an id twice": text.replace("</main>", '<p id="matrices"></p></main>'),
    }[broken]
    shown = Page(planted)
    assert shown.problems or {link[1:] for link in shown.links if link.startswith("#")} - set(shown.ids)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("conformance.csv", "a,b\n1,2\n", "conformance.csv was left out: it has no column operator, property"),
        ("conformance.csv", "", "conformance.csv was left out: "),
        ("findings.json", "{", "findings.json was left out: it is no JSON: "),
        ("findings.json", "[]", 'findings.json was left out: it is not {"findings": [{...}, ...]}.'),
        ("conformance-times.csv", "a,b\n1,2\n", "conformance-times.csv was left out: it has no column operator"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_once_and_the_others_are_shown(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    rich(tmp_path)
    (tmp_path / "campaigns").mkdir()
    (tmp_path / name).write_text(content, encoding="utf-8")
    if name == libraries.CELLS:
        with pytest.raises(FileNotFoundError, match=r"conformance\.csv was left out"):
            write(tmp_path)  # nothing else is there
        return
    written = write(tmp_path)
    (problem,) = written.problems
    assert problem.startswith(message)
    assert written.libraries is not None
    text = written.libraries.html.read_text(encoding="utf-8")
    assert Page(text).problems == []
    assert "What was left out" in text
    if name == libraries.FINDINGS:
        assert ("bad", "wrong") not in Page(text).squares, "without its finding no cell is red"


def test_findings_of_no_failed_cell_are_left_out_and_counted(tmp_path: Path) -> None:
    cells(tmp_path, CELL)
    confirmed(tmp_path, {})
    (problem,) = write(tmp_path).problems
    assert problem.startswith("findings.json: 1 of 1 findings were left out: no failed cell of conformance.csv")


def test_the_readme_gets_the_sentence_and_the_picture(tmp_path: Path) -> None:
    rich(tmp_path)
    readme = tmp_path / "project.md"
    begin, end = "<!-- conformance: written by `python -m harness report` -->", "<!-- /conformance -->"
    readme.write_text(f"# It\n\n{begin}\nold\n{end}\n\nrest\n", encoding="utf-8")
    written = write(tmp_path)
    write_readme(written, readme)
    assert written.libraries is not None
    sentence = written.libraries.sentence
    picture = f"[![{sentence}](results/conformance.svg)](results/conformance.html)"
    assert readme.read_text(encoding="utf-8") == f"# It\n\n{begin}\n\n{sentence}\n\n{picture}\n\n{end}\n\nrest\n"
    project = (ROOT / "README.md").read_text(encoding="utf-8")
    assert -1 < project.index(begin) < project.index(end) < project.index("\n## "), "it opens with them"


def test_the_picture_is_a_drawing_of_words_that_fit_their_columns(tmp_path: Path) -> None:
    rich(tmp_path)
    written = libraries.write(tmp_path)
    assert written is not None
    svg = written.picture.read_text(encoding="utf-8")
    shown = Page(svg)
    assert shown.problems == []
    assert external(svg) == []
    assert "&lt;steady&gt;" in svg
    assert max(len(words.SHORT.get(word, word)) for word in words.WORDS) <= 11
    for library in (each for grid in libraries.judged(tmp_path)[0].grids for each in grid.libraries):
        assert max(map(len, page.lines_of(library))) <= 12


def test_stored_findings_name_headings_of_the_rules() -> None:
    """Of the results that are committed: a link to a rule that is not there would explain nothing."""
    tables, _ = libraries.judged(ROOT / "results")
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operators.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {"sample-positions", "roi_align", "bad-input"} <= anchors
    rules = {finding.rule for grid in tables.grids for square in grid.red for finding in square.findings}
    assert rules <= anchors
