"""The report's page in a browser: no error, filters that hide what they should, and nothing cut off on a phone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from harness.report import write
from suites.meta.report.browser import BROWSER, OVERFLOW, WIDTHS, browse, see
from suites.meta.report.made_results import PEER, cuda, external, measured, roi_align, store

pytestmark = pytest.mark.skipif(BROWSER is None, reason="looking at the page needs chromium or google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a CPU and a GPU: two operators, three directions, two layouts, two types."""
    folder = tmp_path_factory.mktemp("report")
    asked = {"requested_bytes": 8_000_000_000}
    tensorflow = {"backend": "tensorflow", "layout": "channels_last"}
    rows = []
    for direction in ("forward", "grad_image", "grad_boxes"):
        for process in (0, 1):
            of = {"direction": direction, "process": process, **asked}
            rows += [measured([1.0, 1.2, 0.9 + process], **of), measured([3.0, 3.5], **of, **tensorflow)]
            rows.append(measured([0.8, 0.7], layout="channels_last", **of))
    store(folder, "cpu-test/default.json", rows)
    store(folder, "cpu-test/roi_align.json", [roi_align([1.0], "roi_align"), roi_align([8.0], "torchvision")])
    gpu = [cuda(50e-6 * half, dtype=dtype) for dtype, half in (("float32", 1), ("float16", 0.5))]
    gpu += [cuda(60e-6, dtype="float16", layout="channels_last"), cuda(99e-6, **PEER)]
    store(folder, "cuda-test/cuda.json", gpu)
    return write(folder).html


SHOWN = """(() => {
  const seen = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  for (const one of document.querySelectorAll("details")) one.open = true;
  const told = (selector) => seen(selector).map((one) => one.textContent);
  return {
    rows: [...document.querySelectorAll("#every-row tbody tr:not([hidden])")].map((row) => ({...row.dataset})),
    sections: seen("section[data-device]").map((one) => one.dataset.device),
    columns: seen("th[data-layout]").map((one) => one.dataset.layout),
    links: told("nav a"),
    captions: told("caption, figcaption"),
    empty: seen("table").filter((one) => one.querySelector("tbody tr:not([hidden])") === null).length,
    output: document.getElementById("shown").textContent,
  };
})()"""


def test_a_page_that_is_not_filtered_shows_all_without_an_error(page: Path) -> None:
    seen = see(page, SHOWN)
    assert seen.errors == ()
    assert {row["dtype"] for row in seen.answer["rows"]} == {"float32", "float16"}
    assert seen.answer["sections"] == ["cpu-test", "cuda-test"]
    assert seen.answer["empty"] == 0
    tables, pictures, rows = re.findall(r"(\d+) of \1 ", seen.answer["output"])
    assert int(tables) > 8
    assert int(pictures) > 8
    assert int(rows) == len(seen.answer["rows"])
    assert external(page.read_text(encoding="utf-8")) == []


def test_a_type_that_the_address_asks_for_hides_all_others(page: Path) -> None:
    seen = see(page, SHOWN, "#dtype=float16")
    assert seen.errors == ()
    assert seen.answer["rows"]
    assert {row["dtype"] for row in seen.answer["rows"]} == {"float16"}
    assert seen.answer["sections"] == ["cuda-test"]  # the CPU has none of this type
    assert "cpu-test" not in seen.answer["links"]
    assert not any("float32" in caption for caption in seen.answer["captions"])
    assert f"{len(seen.answer['rows'])} of " in seen.answer["output"]
    assert seen.answer["empty"] == 0


def test_several_choices_hold_together(page: Path) -> None:
    seen = see(page, SHOWN, "#device=cpu-test&op=crop_and_resize&layout=channels_last&direction=grad_image")
    (of,) = {(row["device"], row["op"], row["layout"], row["direction"]) for row in seen.answer["rows"]}
    assert of == ("cpu-test", "crop_and_resize", "channels_last", "grad_image")
    assert len(seen.answer["rows"]) == 2
    assert set(seen.answer["columns"]) == {"channels_last"}
    assert seen.answer["captions"]
    assert not any(caption.startswith(("Forward", "roi_align")) for caption in seen.answer["captions"])
    assert seen.answer["empty"] == 0


def test_what_the_page_does_not_have_is_said_and_hides_nothing(page: Path) -> None:
    seen = see(page, SHOWN, "#dtype=int8")
    assert seen.answer["output"].startswith("This page has no int8. Shown: ")
    assert seen.answer["sections"] == ["cpu-test", "cuda-test"]


def test_a_choice_goes_into_the_address_and_can_be_taken_back(page: Path) -> None:
    """Choices have names that a screen reader tells, can be reached by Tab, and paper gets what is folded."""
    probe = """(() => {
      const choice = document.querySelector("select[name=device]");
      choice.focus();
      choice.value = "cuda-test";
      choice.dispatchEvent(new Event("change", {bubbles: true}));
      const chosen = [location.hash, document.querySelectorAll("section[data-device]:not([hidden])").length];
      document.querySelector("#filters button").click();
      const all = [location.hash, document.querySelectorAll("section[data-device]:not([hidden])").length];
      const all_of = (selector) => [...document.querySelectorAll(selector)];
      const folded = () => document.querySelectorAll("details:not([open])").length;
      const before = folded();
      dispatchEvent(new Event("beforeprint"));
      const printed = folded();
      dispatchEvent(new Event("afterprint"));
      return {
        chosen, all, folded: [before > 0, printed, folded() === before],
        focused: document.activeElement === choice,
        unnamed: all_of("#filters select").filter((one) => one.labels.length !== 1).length,
        unreachable: all_of("select, button, summary, .scroll, figure div").filter((one) => one.tabIndex < 0).length,
        live: document.getElementById("shown").getAttribute("aria-live"),
        unscoped: document.querySelectorAll("th:not([scope])").length,
      };
    })()"""
    expected = {
        "chosen": ["#device=cuda-test", 1], "all": ["", 2], "folded": [True, 0, True],
        "focused": True, "unnamed": 0, "unreachable": 0, "live": "polite", "unscoped": 0,
    }  # fmt: skip
    assert see(page, probe).answer == expected


def test_without_its_script_the_page_has_no_filters_and_hides_nothing(page: Path) -> None:
    whole = page.read_text(encoding="utf-8")
    before_script = whole[: whole.index("<script>")]
    assert re.findall(r"<(\w+)[^<>]* hidden>", before_script) == ["form"]


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_window_and_a_picture_of_it_is_not_blank(
    page: Path, width: int, tmp_path: Path
) -> None:
    inner, whole = see(page, OVERFLOW, width=width).answer
    assert inner == width
    assert whole <= inner
    picture = tmp_path / "page.png"
    browse(f"--window-size={width},1200", f"--screenshot={picture}", page.as_uri())
    pixels = imread(picture)
    assert pixels.shape[:2] == (1200, width)
    assert 0.01 < (pixels[..., :3].min(axis=2) < 0.5).mean() < 0.5  # ink on paper


def test_an_error_and_what_is_wider_than_a_phone_would_be_seen(page: Path) -> None:
    wide = "<p style='width: 800px'>wide</p>"
    broken = "<script>document.getElementById('no such thing').hidden = true;</script>"
    seen = see(page, OVERFLOW, width=WIDTHS["phone"], planted=wide + broken)
    inner, whole = seen.answer
    assert whole > inner
    assert "Cannot set properties of null" in "".join(seen.errors)
