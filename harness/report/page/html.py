"""report.html: one file that asks for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from harness.report import tags


def text(page: dict[str, Any]) -> str:
    """results/report.html."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["attributes"] = tags.attributes
    return environment.get_template("page.html.j2").render(page)
