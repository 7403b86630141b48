"""The table of both instruction sets in docs/performance.md has the figures that the lines above it compute."""

from __future__ import annotations

import re
from typing import Any

import pytest

from harness.repository import ROOT

pd = pytest.importorskip("pandas")
gmean = pytest.importorskip("scipy.stats").gmean
PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
DEVICES = ("cpu-amd-epyc-avx2-2t", "cpu-amd-epyc-avx512-2t")
DIRECTIONS = {"forward": "forward", "image gradient": "grad_image", "box gradient": "grad_boxes"}
LAYOUTS = {"NCHW": "contiguous", "channels_last": "channels_last"}


OF_ROOF, OF_MAXIMUM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PHOTOGRAPHS = ["segments_photo", "video_crops"]


def names_of(source: str) -> dict[str, Any]:
    """The names of one of the page's blocks after its lines have run."""
    names: dict[str, Any] = {}
    exec(compile(source, "a block of performance.md", "exec"), names)
    return names


def figures(device: str) -> dict[str, Any]:
    source = OF_ROOF.replace(f'device = "{DEVICES[0]}"', f'device = "{device}"')
    assert device in source
    return names_of(source)


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


@pytest.mark.parametrize("label", ["all workloads", "without photographs and video"])
def test_the_maximums_figures_equal_the_stored_table(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    selection = "" if label.startswith("all") else f"calls = calls[~calls.workload.isin({PHOTOGRAPHS})]\ntimes ="
    longer = names_of(OF_MAXIMUM.replace("times =", selection or "times =", 1))["longer"].dropna()
    (cells,) = re.findall(rf"^\| {label} \| (.*) \|$", PAGE, re.MULTILINE)
    groups = [longer.loc[direction] for direction in ("forward", "grad_image", "grad_boxes")]
    expected = [f"{gmean(of):.2f} ({of.min():.2f} to {of.max():.2f})" for of in groups]
    assert cells.split(" | ") == expected
