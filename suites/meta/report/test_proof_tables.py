"""What the report shows of what was proved, on small made-up files: the matrix, the kill matrix, the campaigns."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.conformance import tables
from harness.report import write
from harness.report.proofs import campaigns, conformance, kills
from suites.meta.report.made_results import texts_of

CELL = {
    "operator": "crop_and_resize", "property": "adjoint", "direction": "grad_image", "backend": "roi_align",
    "device": "cpu-test", "status": "pass", "declared": "yes", "cases": "100", "ambiguous": "0", "fraction": "0.5",
    "counterexample": "", "reason": "", "title": "roi_align 0.1.0 (CPU)", "versions": "torch 2.11.0", "driver": "",
}  # fmt: skip
PEER = {"backend": "peer", "title": "Peer <9>", "versions": "peer 9"}
KILL = {
    "fault": "halves_lost", "kind": "reference", "operator": "crop_and_resize", "direction": "forward",
    "check": "adjoint", "outcome": "survived", "first": "False", "cases": "50", "detail": "", "why": "rounds twice",
}  # fmt: skip
CAMPAIGN = {
    "run": "20261124T1", "device": "cpu-test", "backend": "roi_align", "title": "roi_align 0.1.0 (CPU)",
    "operator": "roi_align", "direction": "forward", "dtype": "float32", "cases": "1000000", "finds": "0",
    "largest_fraction": "0.731", "seed": "3", "seconds": "600", "workers": "2", "versions": "torch 2.11.0",
}  # fmt: skip


def store(path: Path, base: dict[str, str], *changes: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{**base, **change} for change in changes]).to_csv(path, index=False)


def words(part: Any, number: int = 0) -> dict[str, tuple[str, ...]]:
    """The words of a matrix by the names of its rows."""
    return {row[0]: row[1:] for row in part.matrices[number].table.rows}


def matrix(folder: Path) -> Path:
    path = folder / "conformance.csv"
    lost = {"status": "fail", "reason": "it is 2.0; it must be 1.0", "counterexample": "Case(shape=(1, 1, 1, 1), ...)"}
    store(
        path, CELL, {}, {"property": "bad boxes", "direction": "forward"}, {**PEER, **lost},
        {**PEER, "property": "bad boxes", "direction": "forward", "status": "crash", "declared": "no"},
        {"backend": "roi_align_cuda", "status": "missing", "reason": "there is no GPU", "declared": "no", "cases": "0"},
        {"backend": "peer", "status": "missing", "reason": "not on that machine", "device": "cpu-other", "cases": "0"},
        {"operator": "roi_align", "status": "ambiguous", "reason": "9 drawn cases were not asked, such as: it raises"},
    )  # fmt: skip
    return path


def store_kills(folder: Path, *more: dict[str, str]) -> Path:
    path = folder / "mutants.csv"
    store(
        path, KILL, {}, {"direction": "grad_image", "outcome": "killed"},
        {"check": "ramp", "outcome": "killed", "first": "True", "detail": "a sample is at 2.0"},
        {"check": "long list", "outcome": "not asked"},
        {"fault": "weights", "outcome": "killed", "first": "True", "why": "swapped"},
        {"fault": "no_check", "kind": "package", "operator": "roi_align", "check": "test_x.py", "outcome": "killed"},
        *more,
    )  # fmt: skip
    return path


def store_campaigns(folder: Path) -> list[Path]:
    paths = [folder / "campaigns" / name for name in ("a.csv", "b.csv")]
    store(paths[0], CAMPAIGN, {}, {"direction": "grad_image", "dtype": "float16", "largest_fraction": "0.25"})
    store(paths[1], CAMPAIGN, {"run": "r2", "cases": "5", "finds": "2", "largest_fraction": "1.5", "seed": "4"})
    return paths


def test_the_report_reads_the_commands_columns() -> None:
    assert conformance.CSV_COLUMNS == tables.CSV_COLUMNS


def test_the_matrix_has_a_word_for_every_cell_and_a_line_for_every_failure(tmp_path: Path) -> None:
    part = conformance.section(matrix(tmp_path))
    assert [each.columns for each in part.matrices] == [
        (("roi_align 0.1.0 (CPU)", "roi_align, cpu-test"), ("Peer <9>", "peer, cpu-test")),
        (("roi_align 0.1.0 (CPU)", "roi_align, cpu-test"),),
    ]
    cells_by_row = {"adjoint, image gradient": ("pass", "fail"), "bad boxes, forward": ("pass", "crash (undeclared)")}
    assert words(part) == cells_by_row
    assert words(part, 1) == {"adjoint, image gradient": ("ambiguous",)}
    assert "on 400 cases; of the 3 cells that are declared 2 pass, 1 fail" in part.matrices[0].caption
    tones = [[cell.tone for cell in cells] for _, cells in part.matrices[0].rows]
    assert tones == [["good", "bad"], ["good", "soft"]]
    failures, refusals, versions, missing = part.tables
    failure = ("adjoint, grad_image", "fail", "it is 2.0; it must be 1.0", "Case(shape=(1, 1, 1, 1), ...)")
    assert failures.rows[0] == ("peer", "crop_and_resize", *failure)
    assert len(failures.rows) == 2
    assert refusals.rows == (("roi_align", "roi_align", "it raises", "1, such as adjoint, grad_image"),)
    assert ("peer", "Peer <9>", "cpu-test", "peer 9", "none") in versions.rows
    # What one machine lacks and another has is no news.
    assert missing.rows == (("roi_align_cuda", "crop_and_resize", "there is no GPU"),)


def test_the_kill_matrix_marks_the_first_and_condenses_directions(tmp_path: Path) -> None:
    part = kills.section(store_kills(tmp_path))
    assert [name for name, _ in part.matrices[0].columns] == ["adjoint", "ramp", "long list"]
    assert words(part) == {"halves_lost": ("found", "first", ""), "weights": ("first", "", "")}
    assert part.paragraphs[0].startswith("3 faults, 3 killed: every one of them was found.")
    assert not part.warnings
    faults, package = part.folded
    assert faults.rows[0][3:] == ("rounds twice", "ramp, forward", "50", "a sample is at 2.0")
    assert package.rows == (("no_check", "roi_align", "test_x.py", "rounds twice"),)


def test_a_survivor_is_a_warning_before_the_matrix(tmp_path: Path) -> None:
    store_kills(tmp_path, {"fault": "lives", "why": "nobody looks"}, {"fault": "lives", "check": "ramp"})
    part = kills.section(tmp_path / "mutants.csv")
    assert part.paragraphs[0].startswith("4 faults, 3 killed: 1 SURVIVED.")
    assert part.warnings[0].rows == (("lives", "crop_and_resize", "in the reference", "nobody looks"),)
    assert words(part)["lives"] == ("-", "-", "")
    page, markdown = texts_of(write(tmp_path))
    for text in (page, markdown):
        assert text.index("SURVIVORS") < text.index("faults by 3 checks"), "they come before the matrix"
    assert '<div class="warning bad">' in page


def test_campaigns_are_summed_over_runs_and_the_largest_fraction_is_kept(tmp_path: Path) -> None:
    counts, fractions = campaigns.section(store_campaigns(tmp_path)).tables
    (row,) = counts.rows
    assert row[:6] == ("roi_align 0.1.0 (CPU)", "roi_align", "cpu-test", "2,000,005", "2", "20261124T1, r2")
    assert fractions.rows == (
        ("roi_align 0.1.0 (CPU), roi_align", "float32", "150.0%", ""),
        ("roi_align 0.1.0 (CPU), roi_align", "float16", "", "25.0%"),
    )


def test_finds_of_other_implementations_are_not_this_projects(tmp_path: Path) -> None:
    path = tmp_path / "campaigns" / "a.csv"
    store(path, CAMPAIGN, {}, {"backend": "torchvision", "title": "torchvision", "cases": "7", "finds": "3"})
    part = campaigns.section([path])
    assert part.totals == {"cases": 1_000_000, "finds": 0}
    assert [row[4] for row in part.tables[0].rows] == ["none", "3"]


def test_a_report_of_proofs_alone_has_every_table(tmp_path: Path) -> None:
    matrix(tmp_path), store_kills(tmp_path), store_campaigns(tmp_path)
    output = write(tmp_path)
    assert not output.problems
    page, markdown = texts_of(output)
    for text in (page, markdown):
        for heading in ("Which properties hold", "crash (undeclared)", "3 faults, 3 killed", "2,000,005", "150.0%"):
            assert heading in text
    assert "<9>" not in page
    assert page.count("<table>") == page.count("<caption>") == page.count("<thead>") == 11
    # Every coloured cell has a word.
    assert re.findall(r'<td class="(?:good|soft|bad)">([^<]*)</td>', page).count("") == 0
    assert set(re.findall(r'(?:src|href)="(?!#)[^"]*"', page)) == {'href="conformance.html"'}  # the page beside it
    before = [path.read_bytes() for path in (output.csv, output.markdown, output.html)]
    write(tmp_path)
    assert [path.read_bytes() for path in (output.csv, output.markdown, output.html)] == before


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", '"'])
def test_a_broken_table_is_named_and_the_others_are_shown(tmp_path: Path, content: str) -> None:
    store_kills(tmp_path)
    (tmp_path / "conformance.csv").write_text(content, encoding="utf-8")
    output = write(tmp_path)
    (problem,) = output.problems
    assert problem.startswith("conformance.csv was left out: ")
    _, text = texts_of(output)
    assert "Which planted faults are found" in text
    assert problem in text
