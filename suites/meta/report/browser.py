"""A page in a browser without a window: what its scripts logged, and what a probe in it answers."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.repository import ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Where npm puts what is installed for a checkout, or for the machine.
MODULES = tuple(
    Path(folder) for folder in (ROOT / "node_modules", *filter(None, os.environ.get("NODE_PATH", "").split(os.pathsep)))
)
WIDTHS = {"desktop": 1280, "phone": 390}
# How wide the window is and how wide what it shows, all of it unfolded.
OVERFLOW = """(() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  return [innerWidth, document.documentElement.scrollWidth];
})()"""


@dataclass(frozen=True)
class PageState:
    """What a browser logged of a page's scripts, and what a probe answered once they had run."""

    errors: tuple[str, ...]
    answer: Any


def browse(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


# A window cannot be as narrow as a phone; a frame can. What the probe in the frame answers goes into the outer page.
FRAME = """<!doctype html><iframe src="copy.html{at}" width="{width}" height="800" style="border: 0"></iframe><script>
addEventListener("message", ({{data}}) => document.body.append(
  Object.assign(document.createElement("pre"), {{id: "probe", textContent: data}})));
</script>"""


def see(page: Path, probe: str = "null", at: str = "", width: int = 1280, extra: str = "") -> PageState:
    """Opens a copy of the page, with a probe: an expression whose value, or what it promises, is handed back."""
    send = "(value) => parent.postMessage(JSON.stringify(value), '*')"
    # Once the page is there and the browser is at the place that the address names.
    once = f"addEventListener('load', () => setTimeout(() => Promise.resolve({probe}).then({send}), 200))"
    script = f"<script>{once}</script>"
    whole = page.read_text(encoding="utf-8").replace("</body>", f"{extra}{script}</body>")
    page.with_name("copy.html").write_text(whole, encoding="utf-8")
    frame = page.with_name("frame.html")
    frame.write_text(FRAME.format(at=html.escape(at), width=width), encoding="utf-8")
    to_log = ("--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000", "--dump-dom")
    process = browse(*to_log, "--window-size=1400,900", frame.as_uri())
    errors = tuple(line for line in process.stderr.splitlines() if "CONSOLE" in line)
    match = re.search(r'<pre id="probe">(.*?)</pre>', process.stdout, re.DOTALL)
    assert match, process.stderr
    return PageState(errors, json.loads(html.unescape(match.group(1))))
