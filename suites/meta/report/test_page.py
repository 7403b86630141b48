"""The report's page in a browser: no error, one page at a time, filters that hide what they should, nothing cut off.

axe-core looks for what a screen reader or a keyboard cannot use, where npm has put it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from matplotlib.image import imread

from harness.report import write
from suites.meta.report.browser import BROWSER, MODULES, OVERFLOW, WIDTHS, browse, see
from suites.meta.report.made_results import PEER, cuda, external, roi_align, store, timed_row

pytestmark = pytest.mark.skipif(BROWSER is None, reason="looking at the page needs chromium or google-chrome")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a CPU and a GPU: two operators, three directions, two layouts, two types."""
    folder = tmp_path_factory.mktemp("report")
    request = {"requested_bytes": 8_000_000_000}
    tensorflow = {"backend": "tensorflow", "layout": "channels_last"}
    rows = []
    for direction in ("forward", "grad_image", "grad_boxes"):
        for process in (0, 1):
            of = {"direction": direction, "process": process, **request}
            rows += [timed_row([1.0, 1.2, 0.9 + process], **of), timed_row([3.0, 3.5], **of, **tensorflow)]
            rows.append(timed_row([0.8, 0.7], layout="channels_last", **of))
    store(folder, "cpu-test/default.json", rows)
    store(folder, "cpu-test/roi_align.json", [roi_align([1.0], "roi_align"), roi_align([8.0], "torchvision")])
    gpu = [cuda(50e-6 * half, dtype=dtype) for dtype, half in (("float32", 1), ("float16", 0.5))]
    gpu += [cuda(60e-6, dtype="float16", layout="channels_last"), cuda(99e-6, **PEER)]
    store(folder, "cuda-test/cuda.json", gpu)
    return write(folder).html


PAGES = ("overview", "correctness", "speed", "devices", "history")
STATE = """(() => {
  const visible = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  for (const one of document.querySelectorAll("details")) one.open = true;
  const texts = (selector) => visible(selector).map((one) => one.textContent);
  return {
    pages: visible(".page").map((one) => one.id),
    rows: [...document.querySelectorAll("#every-row tbody:not([hidden]) tr")].map(
      (row) => ({...row.parentNode.dataset})),
    sections: visible("section[data-device]").map((one) => one.dataset.device),
    columns: visible("th[data-layout]").map((one) => one.dataset.layout),
    links: texts("main nav a"),
    captions: texts("caption, figcaption"),
    empty: visible("table").filter((one) => one.querySelector("tbody:not([hidden]) tr") === null).length,
    output: document.getElementById("shown").textContent,
  };
})()"""


def test_a_page_without_filters_shows_every_row(page: Path) -> None:
    state = see(page, STATE, "#speed")
    assert state.errors == ()
    assert state.answer["pages"] == ["speed"]
    assert {row["dtype"] for row in state.answer["rows"]} == {"float32", "float16"}
    assert state.answer["sections"] == ["cpu-test", "cuda-test"]
    assert state.answer["empty"] == 0
    tables, pictures, rows = re.findall(r"(\d+) of \1 ", state.answer["output"])
    assert int(tables) > 8
    assert int(pictures) > 8
    assert int(rows) == len(state.answer["rows"])
    assert external(page.read_text(encoding="utf-8")) == []


def test_a_type_in_the_address_hides_all_others(page: Path) -> None:
    state = see(page, STATE, "#dtype=float16")
    assert state.errors == ()
    assert state.answer["pages"] == ["speed"]
    assert state.answer["rows"]
    assert {row["dtype"] for row in state.answer["rows"]} == {"float16"}
    assert state.answer["sections"] == ["cuda-test"]  # the CPU has none of this type
    assert "cpu-test" not in state.answer["links"]
    assert not any("float32" in caption for caption in state.answer["captions"])
    assert f"{len(state.answer['rows'])} of " in state.answer["output"]
    assert state.answer["empty"] == 0


def test_several_filters_apply_together(page: Path) -> None:
    state = see(page, STATE, "#device=cpu-test&op=crop_and_resize&layout=channels_last&direction=grad_image")
    (of,) = {(row["device"], row["op"], row["layout"], row["direction"]) for row in state.answer["rows"]}
    assert of == ("cpu-test", "crop_and_resize", "channels_last", "grad_image")
    assert len(state.answer["rows"]) == 2
    assert set(state.answer["columns"]) == {"channels_last"}
    assert state.answer["captions"]
    assert not any(caption.startswith(("Forward", "roi_align")) for caption in state.answer["captions"])
    assert state.answer["empty"] == 0


def test_a_filter_without_rows_is_reported_and_hides_nothing(page: Path) -> None:
    state = see(page, STATE, "#dtype=int8")
    assert state.answer["output"].startswith("This page has no int8. Shown: ")
    assert state.answer["sections"] == ["cpu-test", "cuda-test"]


def test_a_filter_is_stored_in_the_address_and_can_be_reset(page: Path) -> None:
    """Choices have names that a screen reader tells, can be reached by Tab, and paper gets what is folded."""
    probe = """(() => {
      const choice = document.querySelector("select[name=device]");
      choice.focus();
      choice.value = "cuda-test";
      choice.dispatchEvent(new Event("change", {bubbles: true}));
      const chosen = [location.hash, document.querySelectorAll("#speed section[data-device]:not([hidden])").length];
      document.querySelector("#filters button").click();
      const all = [location.hash, document.querySelectorAll("#speed section[data-device]:not([hidden])").length];
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
        "chosen": ["#speed&device=cuda-test", 1], "all": ["#speed", 2], "folded": [True, 0, True],
        "focused": True, "unnamed": 0, "unreachable": 0, "live": "polite", "unscoped": 0,
    }  # fmt: skip
    assert see(page, probe, "#speed").answer == expected


def test_without_its_script_the_page_has_no_filters_and_hides_nothing(page: Path) -> None:
    whole = page.read_text(encoding="utf-8")
    before_script = whole[: whole.index("<script>")]
    assert re.findall(r"<(\w+)[^<>]* hidden>", before_script) == ["form"]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
@pytest.mark.parametrize(
    ("at", "expected"),
    [("", "overview"), ("#overview", "overview"), *((f"#{each}", each) for each in PAGES[1:]), ("#cuda-test", "speed")],
)
def test_the_address_shows_one_page_with_or_without_scripts(
    page: Path, at: str, expected: str, scripts: bool, tmp_path: Path
) -> None:
    """A place in a page shows that page, and unfolds what it lies in."""
    probe = """(() => {
      const place = document.querySelector(location.hash || "body");
      const visible = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
      return {pages: visible(".page").map((one) => one.id), place: place.checkVisibility(),
              filters: visible("#filters").length, tiles: visible(".answer h3").map((one) => one.textContent),
              current: visible(".pages [aria-current]").map((one) => one.hash)};
    })()"""
    own = tmp_path / "page.html"
    whole = page.read_text(encoding="utf-8")
    own.write_text(whole if scripts else without_scripts(whole), encoding="utf-8")
    answer = see(own, probe, at).answer
    assert (answer["pages"], answer["place"]) == ([expected], True)
    assert answer["filters"] == (scripts and expected in ("speed", "devices", "history"))
    assert answer["current"] == ([f"#{expected}"] if scripts else [])
    questions = ["Is it right?", "How fast is it?", "Measured on what, and when?", "What is doubtful?"]
    assert answer["tiles"] == (questions if expected == "overview" else [])


def without_scripts(whole: str) -> str:
    return re.sub(r"<script>.*?</script>", "", whole, flags=re.DOTALL)


def test_every_page_opens_with_its_conclusion_and_has_its_pictures_before_its_tables(page: Path) -> None:
    whole = page.read_text(encoding="utf-8")
    assert re.findall(r'<section class="page" id="(\w+)"', whole) == list(PAGES)
    for name in PAGES[1:]:
        part = whole[whole.index(f'<section class="page" id="{name}"') :]
        assert re.match(r'<section [^>]*>\s*<h2 id="[^"]*">[^<]+</h2>\s*<p class="conclusion', part), name
    # Of each page whether a picture follows a table of the same fold, and how many tables are not folded.
    probe = """[...document.querySelectorAll(".page")].map((page) => [
      [...page.querySelectorAll("figure")].filter((one) => {
        const before = [...one.parentNode.children].slice(0, [...one.parentNode.children].indexOf(one));
        return before.some((other) => other.matches(".scroll, details"));
      }).length,
      [...page.querySelectorAll("table")].filter((one) => !one.closest("details")).length])"""
    assert see(page, probe).answer == [[0, 0]] * len(PAGES)


def test_every_page_is_printed(page: Path, tmp_path: Path) -> None:
    """Only the media query shows them all: without it a print shows one page, as the screen does."""
    own = tmp_path / "page.html"
    whole = page.read_text(encoding="utf-8")
    own.write_text(whole.replace("@media screen", "@media print"), encoding="utf-8")
    assert see(own, STATE).answer["pages"] == list(PAGES)
    assert see(page, STATE).answer["pages"] == ["overview"]


@pytest.mark.parametrize("at", PAGES)
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_window(page: Path, width: int, at: str) -> None:
    inner, whole = see(page, OVERFLOW, f"#{at}", width=width).answer
    assert inner == width
    assert whole <= inner


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_a_picture_of_the_first_screen_is_not_blank(page: Path, width: int, tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    browse(f"--window-size={width},1200", f"--screenshot={picture}", page.as_uri())
    pixels = imread(picture)
    assert pixels.shape[:2] == (1200, width)
    assert 0.01 < (pixels[..., :3].min(axis=2) < 0.5).mean() < 0.5  # ink on paper


def test_script_errors_and_overflow_are_detected(page: Path) -> None:
    wide = "<p style='width: 800px'>wide</p>"
    broken = "<script>document.getElementById('no such thing').hidden = true;</script>"
    state = see(page, OVERFLOW, width=WIDTHS["phone"], extra=wide + broken)
    inner, whole = state.answer
    assert whole > inner
    assert "Cannot set properties of null" in "".join(state.errors)


AXE = next(filter(Path.exists, (each / "axe-core" / "axe.min.js" for each in MODULES)), None)
needs_axe = pytest.mark.skipif(
    AXE is None, reason="looking for what a screen reader cannot use needs `npm install --no-save axe-core`"
)
# What axe-core found, as its rule and how bad it is; a place of each.
VIOLATIONS = """(() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  return axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations.map(
    ({id, impact, nodes}) => [id, impact, nodes[0].target.join(" ")]));
})()"""


def violations(page: Path, at: str, width: int = 1280, extra: str = "") -> list[list[str]]:
    assert AXE is not None
    script = f"<script>{AXE.read_text(encoding='utf-8')}</script>"
    return list(see(page, VIOLATIONS, at, width=width, extra=extra + script).answer)


@needs_axe
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("at", PAGES)
def test_axe_finds_nothing_serious(page: Path, at: str, width: int) -> None:
    assert [each for each in violations(page, f"#{at}", width) if each[1] in ("serious", "critical")] == []


@needs_axe
def test_axe_detects_missing_labels_and_faint_text(page: Path) -> None:
    faint = "<main><p style='color: #bbb; background: #fff'>faint</p><input></main>"
    rules = {rule for rule, _, _ in violations(page, "", extra=faint)}
    assert {"color-contrast", "label"} <= rules
