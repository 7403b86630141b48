"""Puts the repository's own files into the site, each at its own path, so that a link works on GitHub and here alike.

The pages are README.md, CONTRIBUTING.md, CHANGELOG.md and docs/*.md. The report, and every file of the repository that
a page links to, comes with them: pictures, the results' own page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Brackets outside of code that no address follows: in a library's message they are no link.
_BRACKETS = re.compile(r"(`[^`\n]*`)|(\[[^\]\n]*\])(?!\()")
_LINK = re.compile(r"\]\(([^)#?\s]+)")
# Git ignores it, because `make report` makes it.
REPORT = ROOT / "results" / "report.html"
_NO_REPORT = "<!doctype html><title>No report</title><p>`make report` was not run before this site was built.</p>\n"


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]


def links(page: Path) -> Iterator[Path]:
    """The files of the repository that a page links to; MkDocs names those that do not exist."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        if path.is_relative_to(ROOT) and (path.is_file() or path == REPORT):
            yield path


def on_files(files: Files, config: MkDocsConfig) -> Files:
    waiting = [*pages(), REPORT]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(ROOT).as_posix()
        if files.get_file_from_path(name) is not None:
            continue
        if path.is_file():
            files.append(File.generated(config, name, abs_src_path=str(path)))
        else:
            files.append(File.generated(config, name, content=_NO_REPORT))
        if path.suffix == ".md":
            waiting += links(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """In the results, which quote messages of other libraries, nothing but a link is a link."""
    if not page.file.src_uri.startswith("results/"):
        return markdown
    return _BRACKETS.sub(lambda match: match[1] or f"\\{match[2]}", markdown)
