"""conformance.html and its picture: well formed, links that lead somewhere, any width of a window, files left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from harness.report import libraries, write, write_readme
from harness.report.libraries import page, words
from suites.meta.report.browser import BROWSER, OVERFLOW, WIDTHS, see
from suites.meta.report.judged_libraries import (
    CELL,
    FAST,
    OURS,
    OUTSIDE,
    SLOW,
    SMALLER,
    Page,
    cell_of,
    cells,
    confirmed,
    failure,
    offered,
    square_of,
    times,
)
from suites.meta.report.made_results import external

ROOT = Path(__file__).resolve().parents[3]


def rich(folder: Path) -> None:
    """Two operators, four libraries, every kind of cell, times: a page with all of its parts."""
    crops: dict[str, Any] = {"operator": "crop_and_resize"}
    cells(
        folder, *offered(OURS, forward="pass", grad_image="pass", grad_boxes="pass"), *offered(FAST, forward="pass"),
        *offered(SLOW, forward="ambiguous", grad_image="pass"), failure(), failure(property="long list"),
        failure(property="split list", status="crash"),
        cell_of(SLOW, property="bad boxes", status="crash", declared="no"),
        {**crops, **cell_of(OURS)}, {**crops, **failure()}, {**crops, **cell_of(OURS), "property": OUTSIDE},
        cell_of(("gone", "gone"), status="missing", declared="no", reason="pip install gone"),
    )  # fmt: skip
    confirmed(folder, {}, {"property": "long list", "case": SMALLER}, {**crops})
    times(
        folder,
        {},
        cell_of(SLOW, ms="6", ms_low="5", ms_high="9"),
        cell_of(OURS, status="wrong", ms="", ms_low="", ms_high=""),
    )


def test_the_page_is_well_formed_and_every_link_has_a_target(tmp_path: Path) -> None:
    rich(tmp_path)
    output = write(tmp_path)
    assert not output.problems
    assert output.libraries is not None
    text = output.libraries.html.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.problems == []
    assert parsed.scopeless == 0
    inside = [link[1:] for link in parsed.links if link.startswith("#")]
    assert set(inside) <= set(parsed.ids)
    red = [word for tone, word in parsed.squares if tone == "bad"]
    assert red == ["wrong", "wrong", "wrong"]
    assert len({link for link in inside if link.startswith(("roi_align-fast", "crop_and_resize-fast"))}) == len(red)
    assert {link.partition("#")[0] for link in parsed.links} == {"", "report.html", "../docs/operators.md"}
    assert "<b>" not in text
    assert "<steady>" not in text
    assert "<script" not in text
    assert "Failed checks that the second formulation did not confirm: 1." in text
    # What is not hidden needs no script to be read, printed or reached.
    assert text.index('<section class="finding"') < text.index("<details>")
    # report.html and this page lead to each other.
    assert 'href="conformance.html"' in output.html.read_text(encoding="utf-8")
    before = [path.read_bytes() for path in (output.libraries.html, output.libraries.picture)]
    write(tmp_path)
    assert [path.read_bytes() for path in (output.libraries.html, output.libraries.picture)] == before


def test_a_red_cells_section_has_every_detail(tmp_path: Path) -> None:
    rich(tmp_path)
    text = page.text(*(lambda both: (both[0], (), both[1]))(libraries.read_tables(tmp_path)))
    square = square_of(tmp_path, "box outside")
    section = text[text.index(f'id="{square.anchor}"') :]
    section = section[: section.index("</section>")]
    for sentence in (
        "Fast 1.0: box outside", "(1, 1, 4, 5)", "boxes (index, x1, y1, x2, y2)", "(0, -3.5, 0.0, nan, inf)",
        "the result at [0, 0, 1, 1] is <strong>3.5</strong>", "<strong>1.25</strong> within 1e-06",
        "a second formulation in float64 gives 1.25", "It is 3.5 &lt;b&gt;.", "A sample outside adds 0.",
        'href="../docs/operators.md#sample-positions"', "import fast\nprint(fast.pool())", "in Python",
        "<code>3.5</code>", "python -m harness judge --backend fast",
    ):  # fmt: skip
        assert sentence in section


def test_the_smallest_case_is_shown_and_the_other_checks_are_listed(tmp_path: Path) -> None:
    cells(tmp_path, failure(property="long list"), failure(property="split list"), failure(property="every layout"))
    confirmed(tmp_path, {"property": "long list"}, {"property": "split list", "case": SMALLER},
              {"property": "every layout", "case": "no case at all"})  # fmt: skip
    square = square_of(tmp_path, "memory and calls")
    assert [finding.property for finding in square.findings] == ["split list", "long list", "every layout"]
    assert page.others(square) == "long list (forward), every layout (forward)"


@pytest.mark.parametrize("broken", ["an unclosed element", "a link to nothing", "an id twice"])
def test_a_broken_page_is_detected(tmp_path: Path, broken: str) -> None:
    rich(tmp_path)
    output = libraries.write(tmp_path)
    assert output is not None
    text = output.html.read_text(encoding="utf-8")
    copy = {
        "an unclosed element": text.replace("</main>", ""),
        "a link to nothing": text.replace('<section class="finding" id="', '<section class="finding" id="x'),
        "an id twice": text.replace("</main>", '<p id="matrices"></p></main>'),
    }[broken]
    parsed = Page(copy)
    assert parsed.problems or {link[1:] for link in parsed.links if link.startswith("#")} - set(parsed.ids)


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
    output = write(tmp_path)
    (problem,) = output.problems
    assert problem.startswith(message)
    assert output.libraries is not None
    text = output.libraries.html.read_text(encoding="utf-8")
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
    output = write(tmp_path)
    write_readme(output, readme)
    assert output.libraries is not None
    sentence = output.libraries.sentence
    picture = f"[![{sentence}](results/conformance.svg)](results/conformance.html)"
    assert readme.read_text(encoding="utf-8") == f"# It\n\n{begin}\n\n{sentence}\n\n{picture}\n\n{end}\n\nrest\n"
    project = (ROOT / "README.md").read_text(encoding="utf-8")
    assert project.index(begin) < project.index(end)


def test_the_pictures_words_fit_their_columns(tmp_path: Path) -> None:
    rich(tmp_path)
    output = libraries.write(tmp_path)
    assert output is not None
    svg = output.picture.read_text(encoding="utf-8")
    parsed = Page(svg)
    assert parsed.problems == []
    assert external(svg) == []
    assert "&lt;steady&gt;" in svg
    assert max(len(words.SHORT.get(word, word)) for word in words.WORDS) <= 11
    for library in (each for grid in libraries.read_tables(tmp_path)[0].grids for each in grid.libraries):
        assert max(map(len, page.lines_of(library))) <= 12


@pytest.mark.skipif(BROWSER is None, reason="looking at the page needs chromium or google-chrome")
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_fits_a_window_and_its_red_cells_are_reached_by_keyboard(tmp_path: Path, width: int) -> None:
    rich(tmp_path)
    output = libraries.write(tmp_path)
    assert output is not None
    probe = """(() => {
      const [inner, whole] = OVERFLOW;
      const stops = [...document.querySelectorAll("td.bad a, .scroll, pre, summary")];
      const reached = stops.every((one) => one.tabIndex >= 0);
      const box = document.querySelector(".scroll");
      box.style.width = "200px";
      box.scrollLeft = 50;
      const first = box.querySelector("tbody th").getBoundingClientRect().left - box.getBoundingClientRect().left;
      const skip = document.querySelector("a").className;
      return {fits: whole <= inner, reached, moved: box.scrollLeft, first: Math.abs(first) <= 1, skip};
    })()""".replace("OVERFLOW", OVERFLOW)
    state = see(output.html, probe, width=width)
    assert state.errors == ()
    assert state.answer == {"fits": True, "reached": True, "moved": 50, "first": True, "skip": "skip"}


def test_stored_findings_name_headings_of_the_rules() -> None:
    """Of the results that are committed: a link to a rule that is not there would explain nothing."""
    tables, _ = libraries.read_tables(ROOT / "results")
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operators.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"sample-positions", "roi_align", "bad-input"} <= set(map(page.anchor_of, headings))
    rules = {finding.rule for grid in tables.grids for square in grid.red for finding in square.findings}
    assert rules <= set(headings)
