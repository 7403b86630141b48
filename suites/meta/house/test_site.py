"""The documentation's site has every page of docs/, builds without a warning, and asks no other host for anything."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from suites.meta.report.browser import BROWSER, browse

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[3]
SITE = ROOT / "site"
CONFIGURATION = yaml.safe_load((SITE / "mkdocs.yml").read_text("utf-8"))
PAGES = {
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
}
# What a page loads: an attribute of these elements.
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


def files_of(navigation: Any) -> list[str]:
    """The files of a navigation, in their order."""
    if isinstance(navigation, str):
        return [navigation]
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return [name for part in parts for name in files_of(part)]


def test_the_navigation_has_every_page_once() -> None:
    names = files_of(CONFIGURATION["nav"])
    assert len(names) == len(set(names))
    assert set(names) == PAGES | {
        "api.md",
        *(f"results/{name}" for name in ("README.md", "report.html", "conformance.html")),
    }
    assert files_of([{"a": "a.md"}, {"b": [{"c": "c.md"}]}]) == ["a.md", "c.md"]


class Loads(HTMLParser):
    """Addresses that a browser fetches by itself to show a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        address = attributes.get(LOADS.get(tag, ""))
        if address and attributes.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(address)


def elsewhere(page: str) -> list[str]:
    return [each for each in Loads(page).addresses if re.match(r"(https?:)?//", each)]


def test_an_external_address_is_detected() -> None:
    page = '<script src="https://a.test/b.js"></script><a href="https://a.test"></a><img src="b.png">'
    assert elsewhere(f'{page}<link href="//c.test">') == ["https://a.test/b.js", "//c.test"]


def build(folder: Path, configuration: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(configuration)]
    return subprocess.run([*command, "--site-dir", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _needed()
    folder = tmp_path_factory.mktemp("site")
    process = build(folder, SITE / "mkdocs.yml")
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


def _needed() -> None:
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason=f"{module} is not installed; `make env` installs it")


def test_every_page_is_built_and_loads_nothing_from_other_hosts(site: Path) -> None:
    html = {path.relative_to(site).as_posix(): path.read_text("utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "docs/judging.html", "results/index.html", "results/conformance.html"} <= set(html)
    assert {name: addresses for name, page in html.items() if (addresses := elsewhere(page))} == {}


def test_the_reference_has_every_public_name(site: Path) -> None:
    import roi_align

    page = (site / "api.html").read_text("utf-8")
    headings = set(re.findall(r'<h3 id="roi_align\.[\w.]+\.(\w+)"', page))
    assert headings == set(roi_align.__all__)


def test_the_search_needs_no_server(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text("utf-8")
    assert "sampling_ratio" in index


@pytest.mark.skipif(BROWSER is None, reason="There is no Chromium in PATH.")
@pytest.mark.parametrize(("query", "place"), [("sampling_ratio", "docs/operators.html"), ("nosuchwordanywhere", "")])
def test_a_search_answers_from_the_file_system(site: Path, query: str, place: str) -> None:
    address = f"{(site / 'index.html').as_uri()}?q={query}"
    dom = browse("--virtual-time-budget=20000", "--dump-dom", address).stdout
    results = re.findall(r'class="md-search-result__link" href="([^"?#]*)', dom) or re.findall(
        r'href="([^"?#]*)[^"]*" class="md-search-result__link"', dom
    )
    assert any(each.endswith(place) for each in results) if place else results == []


@pytest.mark.parametrize("link", ["[no page](docs/no-such-page.md)", "[no heading](docs/judging.md#no-such-heading)"])
def test_a_broken_link_ends_the_build(tmp_path: Path, link: str) -> None:
    _needed()
    copy = tmp_path / "site"
    shutil.copytree(SITE, copy)
    (copy / "pages" / "planted.md").write_text(f"# Planted\n\n{link}\n", encoding="utf-8")
    hook = (copy / "repository_files.py").read_text("utf-8")
    root = "ROOT = Path(__file__).resolve().parents[1]"
    assert root in hook
    (copy / "repository_files.py").write_text(hook.replace(root, f"ROOT = Path({str(ROOT)!r})"), encoding="utf-8")
    configuration = (copy / "mkdocs.yml").read_text("utf-8").replace("[../impl]", f"[{ROOT / 'impl'}]")
    (copy / "mkdocs.yml").write_text(configuration, encoding="utf-8")
    process = build(tmp_path / "built", copy / "mkdocs.yml")
    assert process.returncode != 0
    assert "no-such-" in process.stdout + process.stderr
