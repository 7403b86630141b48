"""The table of both instruction sets in docs/performance.md has the figures that the lines above it compute."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.repository import ROOT

pd = pytest.importorskip("pandas")
pytest.importorskip("scipy")
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
DEVICES = ("cpu-amd-epyc-avx2-2t", "cpu-amd-epyc-avx512-2t")
DIRECTIONS = {"forward": "forward", "image gradient": "grad_image", "box gradient": "grad_boxes"}
LAYOUTS = {"NCHW": "contiguous", "channels_last": "channels_last"}


def figures(device: str) -> dict[str, Any]:
    """The names of the page's block, run for a device."""
    block = re.search(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert block is not None
    source = block[1].replace(f'device = "{DEVICES[0]}"', f'device = "{device}"')
    assert device in source
    names: dict[str, Any] = {}
    exec(compile(source, "a block of performance.md", "exec"), names)
    return names


@pytest.mark.parametrize("device", DEVICES)
def test_the_pages_figures_equal_the_stored_tables(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    names = figures(device)
    assert "contiguous" in capsys.readouterr().out
    lines = re.findall(r"^\| (forward|image gradient|box gradient), (NCHW|channels_last) \|(.*)\|$", PAGE, re.MULTILINE)
    assert len(lines) == len(DIRECTIONS) * len(LAYOUTS)
    for direction, layout, text in lines:
        cells = [each.strip() for each in text.split("|")][3 * DEVICES.index(device) :][:3]
        place = DIRECTIONS[direction], LAYOUTS[layout]
        (mean, least), roof = names["reached"].loc[("tuned", *place)], names["roof"].loc[("tuned", *place)]
        default = names["reached"].loc[("default", *place)]["gmean"]
        assert cells == [f"{mean:.2f} ({least:.2f})", f"{default:.2f}", f"{roof['min']:.2f} to {roof['max']:.2f}"]
