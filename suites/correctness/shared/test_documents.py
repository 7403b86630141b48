"""Runs the Python blocks of README and docs/migrating.md verbatim, and compares each "before" with its "after".

A block whose library is missing is skipped; commented-out lines, for other libraries, do not run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.package, pytest.mark.cpu]

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = ("README.md", "docs/migrating.md")
BLOCKS = [
    block
    for name in DOCUMENTS
    for block in re.findall(
        r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
]
# The tolerance. TensorFlow's bits are promised. torchvision's are not: each side is within 16 roundings of a mean of
# pixels below 1, as the oracle counts them for two samples per bin and axis.
APART = {"tensorflow": 0.0, "torchvision": 2 * 16 * 2.0**-24}


def run(block: str) -> dict[str, Any]:
    """Runs a block; returns its names."""
    names: dict[str, Any] = {}
    exec(compile(block, "a block of the documents", "exec"), names)
    return names


def peer(block: str) -> str | None:
    """The library that a block imports first, or None."""
    return next((name for name in APART if re.search(rf"^(import|from) {name}", block, re.MULTILINE)), None)


def compare(before: Any, after: Any, apart: float) -> None:
    for one, other in zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]:
        one, other = (each if isinstance(each, np.ndarray) else each.detach().numpy() for each in (one, other))
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.abs(one - other).max() <= apart


@pytest.mark.parametrize("block", BLOCKS, ids=[str(place) for place in range(len(BLOCKS))])
def test_blocks_run_and_after_equals_before(block, request):
    library = peer(block)
    if library is not None:
        # Skips without the library; the fixture also sets up TensorFlow as other tests need it.
        request.getfixturevalue(library)
    names = run(block)
    assert ("before" in names) == ("after" in names) == ("before = " in block)
    if "before" in names:
        compare(names["before"], names["after"], APART[library or ""])


def test_three_blocks_have_a_before_and_an_after():
    assert [peer(block) for block in BLOCKS if "before = " in block] == ["torchvision", "torchvision", "tensorflow"]


def test_a_wrong_after_block_fails():
    pytest.importorskip("torchvision")
    names = run(next(block for block in BLOCKS if "before = roi_align" in block).replace("aligned=True", "", 1))
    with pytest.raises(AssertionError):
        compare(names["before"], names["after"], APART["torchvision"])
