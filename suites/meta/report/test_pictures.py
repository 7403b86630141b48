"""The overview, rooflines, distributions and the complete table, on made-up rows whose every figure is known
beforehand."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from harness import report
from harness.measuring import fingerprint, results
from harness.report.page import bars, picture
from harness.report.page.conclusions import Conclusion, Fact
from harness.report.pictures.distributions import distribution
from harness.report.pictures.roofline import roofline
from harness.report.tables import remarks
from harness.report.tables.every_row import every_row
from harness.repository import ROOT
from suites.meta.report.browser import BROWSER, see
from suites.meta.report.judged_libraries import Page
from suites.meta.report.made_results import BASE, external, store, texts_of, timed_row, untimed_row
from suites.meta.report.test_conclusions import speedup

# 2 GB that must be moved, at a copy bandwidth of 10 GB/s: 0.2 s are the roof.
ROOF_S = 0.2


def read_results(folder: Path, *rows: dict[str, Any]) -> tuple[Any, Any]:
    """The table and the blocks of these rows."""
    store(folder, "a.json", list(rows))
    blocks = results.read(folder).blocks
    return results.throughput(blocks), blocks


def requesting(seconds: float, times: float, **changes: Any) -> dict[str, Any]:
    """A row that asks for so many times its compulsory bytes."""
    return timed_row([seconds], requested_bytes=int(times * BASE["compulsory_bytes"]), **changes)


def test_a_row_at_copy_bandwidth_lies_on_the_roof(tmp_path: Path) -> None:
    rows = [requesting(ROOF_S, 2), requesting(ROOF_S, 50, workload="v"), requesting(5 * ROOF_S, 10, workload="u")]
    picture = roofline(read_results(tmp_path, *rows)[0])
    assert "20% to 100% of the roof on 3 workloads" in picture.alternative
    # Marks in the plot are circles of a colour, the roof is the one line of two points of its width.
    marks = re.findall(r'<use xlink:href="#[^"]*" x="([\d.]+)" y="([\d.]+)" style="fill: #3b82c4', picture.svg)
    ((x1, y1, x2, y2),) = re.findall(
        r'<path d="M ([\d.]+) ([\d.]+) \nL ([\d.]+) ([\d.]+) \n" clip-path="[^"]*" style="[^"]*stroke: currentColor',
        picture.svg,
    )
    left, top, right, bottom = map(float, (x1, y1, x2, y2))
    # An SVG's y grows downwards.
    above = [float(y) - (top + (bottom - top) * (float(x) - left) / (right - left)) for x, y in marks]
    assert len(above) == 3
    assert above[:2] == pytest.approx([0, 0], abs=0.1)
    assert above[2] > 5


def test_rows_without_requested_bytes_have_no_roofline(tmp_path: Path) -> None:
    table, blocks = read_results(tmp_path, timed_row([1.0, 2.0]))
    assert roofline(table) is None
    assert distribution(table, blocks, "forward") is not None


def test_a_distribution_has_quantiles_and_a_dot_for_each_of_several_processes(tmp_path: Path) -> None:
    few = [0.5, 1.0, 1.0, 1.0, 3.0]
    one, blocks = read_results(tmp_path / "one", timed_row(few))
    picture = distribution(one, blocks, "forward")
    assert "w, roi_align, NCHW: 0.60 to 2.60" in picture.alternative
    several, parts = read_results(tmp_path / "several", *(timed_row(few, process=each) for each in (0, 1, 2)))
    dotted = distribution(several, parts, "forward")
    assert dotted.svg.count("<use") == picture.svg.count("<use") + 3
    # Quartiles, percentiles and extremes of a thousand samples take no more room than those of five.
    many, blocks = read_results(tmp_path / "many", timed_row(few * 200))
    crowded = distribution(many, blocks, "forward")
    assert abs(len(crowded.svg) - len(picture.svg)) < 200
    assert distribution(many, blocks, "grad_boxes") is None


def test_the_smallest_and_largest_sample_are_drawn(tmp_path: Path) -> None:
    for most, is_wide in ((1.0, False), (40.0, True)):
        pair = read_results(tmp_path / str(most), timed_row([1.0] * 49 + [most]))
        ticks = re.findall(r">(\d+)</text>", distribution(*pair, "forward").svg)
        assert ("20" in ticks) == is_wide


def test_the_complete_table_has_every_row_with_and_without_a_time(tmp_path: Path) -> None:
    rows = [timed_row([each], process=place) for place, each in enumerate((0.9, 1.0, 1.2))]
    rows.append(untimed_row("OUT", backend="tensorflow", layout="channels_last", digest=""))
    table = every_row(read_results(tmp_path, *rows)[0])
    assert table.rows == (
        ("w", "cpu-test", "crop_and_resize", "", "Forward", "roi_align, NCHW", "float32", "contiguous", "warm",
         "default", "1,000", "910 to 1,180", "3", "30.0%", "", "20%", "1.0", "d", "EXACT"),
        ("w", "cpu-test", "crop_and_resize", "", "Forward", "TensorFlow", "float32", "channels_last", "warm",
         "default", "", "", "", "", "", "", "1.0", "", "OUT"),
    )  # fmt: skip
    of_call = {"op": "crop_and_resize", "direction": "forward", "dtype": "float32", "layout": "channels_last"}
    assert table.row_tags[1] == {"device": "cpu-test", **of_call}


def test_a_device_has_its_fingerprint_and_its_doubts(tmp_path: Path) -> None:
    store(tmp_path, "a.json", [timed_row([1.0])])
    heading = "What makes these figures doubtful"
    output = report.write(tmp_path)
    assert output.doubts(output.newest()) == []
    for text in texts_of(output):
        assert heading not in text
        assert fingerprint.fingerprint({"cpu": "a cpu"}) in text
    store(tmp_path, "a.json", [timed_row([1.0])], conditions={"before": {"load": 9.0}, "after": {}})
    output = report.write(tmp_path)
    assert [doubt.partition(" before")[0] for doubt in output.doubts(output.newest())] == ["cpu-test: The load was 9.0"]
    page, markdown = texts_of(output)
    assert f"<strong>{heading}</strong></p><ul><li>The load was 9.0" in page
    assert f"**{heading}**\n\n- The load was 9.0" in markdown


FACTS = (
    Fact("3,000,000,000 of 3,000,000,000", "outputs equal those of a library with a name in every bit", "good"),
    Fact("0", "false alarms in 170 checks of the reference, in which nothing is planted", "bad"),
    Fact("12 of 17", "other libraries give a wrong value, crash or hang somewhere in what they offer", "none"),
    Fact("1", "is doubtful", "soft"),
)


def overview(*ratios: tuple[str, float]) -> dict[str, Any]:
    """What the overview is drawn from: four facts, and a bar for each of these libraries."""
    speedups = [speedup(ratio, other=other) for other, ratio in ratios]
    conclusions = {"correctness": Conclusion("All is right.", FACTS), "speed": Conclusion("It is fast.")}
    return {"conclusions": conclusions, "devices": [{"bars": bars.of_speedups("cpu-test", speedups)}]}


def test_the_overview_has_the_facts_and_the_bars_of_the_first_screen() -> None:
    page = overview(("TensorFlow", 2.0), ("torchvision", 0.5))
    svg = picture.text(page)
    assert Page(svg).problems == []
    assert external(svg) == []
    assert '<title id="title">All is right. It is fast.</title>' in svg
    assert re.findall(r'class="mark (\w+)"[^>]*>(.)<', svg) == [
        ("good", "✓"), ("bad", "✗"), ("none", "•"), ("soft", "!"),
    ]  # fmt: skip
    assert re.findall(r'class="figure"[^>]*>([^<]*)<', svg) == [fact.figure for fact in FACTS]
    assert re.findall(r'class="value"[^>]*>([^<]*)<', svg) == ["2.00x", "0.50x"]
    # Twice as fast and half as fast are as far from 1, on either side.
    (fast, fast_width), (slow, slow_width) = (
        (float(x), float(width))
        for x, width in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="11" fill="#', svg)
    )
    assert fast_width == pytest.approx(slow_width, abs=0.2)
    assert slow + slow_width == pytest.approx(fast, abs=0.2)
    assert svg.count('class="line"') == 2  # the roof of each


def test_an_overview_without_times_has_the_facts_alone() -> None:
    for devices in ([], [{"bars": None}]):
        svg = picture.text(overview() | {"devices": devices})
        assert Page(svg).problems == []
        assert "12 of 17" in svg
        assert "How fast" not in svg


@pytest.mark.skipif(BROWSER is None, reason="looking at the picture needs chromium or google-chrome")
@pytest.mark.parametrize("shape", [picture.WIDE, picture.NARROW], ids=["wide", "narrow"])
def test_the_overviews_texts_keep_to_their_columns(tmp_path: Path, shape: picture.Shape) -> None:
    page = overview(("torchvision (another rule)", 2.0), ("mypackage.kernels.module:function", 0.01))
    svg = picture.text(page, shape)
    file = tmp_path / "page.html"
    file.write_text(f"<!doctype html><html><body>{svg}</body></html>", encoding="utf-8")
    probe = """(() => {
      const ends = (selector) => [...document.querySelectorAll(selector)].map((one) => {
        const box = one.getBBox();
        return [one.textContent, box.x, box.x + box.width, box.y, box.y + box.height];
      });
      const size = document.querySelector("svg").viewBox.baseVal;
      return {texts: ends("text"), tracks: ends(".track").map((one) => one[1]), size: [size.width, size.height]};
    })()"""
    answer = see(file, probe).answer
    track, (width, height) = min(answer["tracks"]), answer["size"]
    right = next(x for text, x, *_ in answer["texts"] if text == "How fast is it?") - 2  # a glyph's own margin
    assert len(answer["texts"]) > 20
    for text, x, end, _, bottom in answer["texts"]:
        is_label = text.startswith(("torchvision", "mypackage"))
        assert end <= (right if x < right else track if is_label else width), text
        assert bottom <= height, text
    for one, other in itertools.combinations(answer["texts"], 2):
        apart = one[2] <= other[1] or other[2] <= one[1]
        assert apart or one[4] <= other[3] + 4 or other[4] <= one[3] + 4, (one[0], other[0])  # boxes of lines overlap


def test_each_type_has_its_own_times(tmp_path: Path) -> None:
    """A function outside this project may compute in float64."""
    both = [timed_row([seconds], dtype=dtype) for dtype, seconds in (("float32", 1.0), ("float64", 3.0))]
    store(tmp_path, "a.json", [*both, *({**each, "allocator": "tuned"} for each in both)])
    page, _ = texts_of(report.write(tmp_path))
    assert "Forward, float64: median time" in page
    table = remarks.allocators(results.throughput(results.read(tmp_path).blocks))
    assert table is not None
    assert [row[2:4] for row in table.rows] == [("roi_align, NCHW", "1,000"), ("roi_align, NCHW, float64", "3,000")]


def test_the_projects_readme_opens_with_the_overview() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 0 < text.index('srcset="results/overview-narrow.svg"') < text.index('src="results/overview.svg"')
    assert text.index('src="results/overview.svg"') < text.index("\n## ")
    assert {"overview.svg", "overview-narrow.svg"} <= {path.name for path in (ROOT / "results").iterdir()}
