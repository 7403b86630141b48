"""The walls of the house: who may import whom. A wall that nobody checks is a line in a document."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, as far as their first two names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _crossing(path: Path, forbidden: tuple[str, ...]) -> set[str]:
    return {name for name in _imports(path) if any(name == each or name.startswith(f"{each}.") for each in forbidden)}


_ORACLE = (
    "harness.operators.crop_and_resize.oracle",
    "harness.operators.crop_and_resize.gradients",
    "harness.operators.crop_and_resize.positions",
    "harness.operators.rounding",
    "harness.operators.crop_and_resize.call",
)
_ROI_ORACLE = tuple(
    f"harness.operators.roi_align.{name}" for name in ("oracle", "gradients", "maximum", "positions", "call")
)
WALLS = {
    "impl never imports harness or suites": ("impl/roi_align", ("harness", "suites")),
    "harness never imports suites": ("harness", ("suites",)),
    "the report never imports an operator's library": ("harness/report", ("torch", "tensorflow", "roi_align")),
    "cases need neither torch nor TensorFlow": ("harness/operators/crop_and_resize/case.py", ("torch", "tensorflow")),
    "the oracle needs no array library": (
        "harness/operators/crop_and_resize/oracle.py",
        ("torch", "tensorflow", "numpy"),
    ),
    "nor do its gradients": ("harness/operators/crop_and_resize/gradients.py", ("torch", "tensorflow", "numpy")),
    "nor do its positions": ("harness/operators/crop_and_resize/positions.py", ("torch", "tensorflow", "numpy")),
    "nor does that of roi_align": ("harness/operators/roi_align/oracle.py", ("torch", "tensorflow", "numpy")),
    "nor its gradients": ("harness/operators/roi_align/gradients.py", ("torch", "tensorflow", "numpy")),
    "nor its maximum": ("harness/operators/roi_align/maximum.py", ("torch", "tensorflow", "numpy")),
    "nor its calls": ("harness/operators/roi_align/call.py", ("torch", "tensorflow", "numpy")),
    "nor its positions": ("harness/operators/roi_align/positions.py", ("torch", "tensorflow", "numpy")),
    "nor does its rounding": ("harness/operators/rounding.py", ("torch", "tensorflow", "numpy", "ml_dtypes")),
    "the second formulation is independent of the first": ("harness/operators/crop_and_resize/matrix.py", _ORACLE),
    "and so is the reference": ("harness/operators/crop_and_resize/reference.py", _ORACLE),
    "and that of roi_align": ("harness/operators/roi_align/reference.py", (*_ORACLE, *_ROI_ORACLE)),
}


@pytest.mark.parametrize(("place", "forbidden"), WALLS.values(), ids=WALLS)
def test_wall(place, forbidden):
    path = ROOT / place
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert files
    for file in files:
        assert not _crossing(file, forbidden), file


def test_only_a_backends_own_file_imports_its_library():
    libraries = ("torch", "torchvision", "tensorflow", "roi_align")
    # The pyramid of the real workload is made by torchvision's model: no operator under test has a part in it. CUDA's
    # clock is torch's events: they time whatever is called between them. A detector is a client of two operators.
    allowed = ("backends", "measuring/workloads.py", "measuring/cuda.py", "detectors")
    for file in sorted((ROOT / "harness").rglob("*.py")):
        if not file.relative_to(ROOT / "harness").as_posix().startswith(allowed):
            assert not _crossing(file, libraries), file


def test_kernels_know_no_torch():
    sources = [path for path in sorted((ROOT / "impl/csrc").rglob("*.*")) if not path.name.startswith("torch_")]
    assert sources
    for source in sources:
        assert not re.search(r"#include <(torch|ATen|c10)", source.read_text(encoding="utf-8")), source


def test_a_crossed_wall_is_seen(tmp_path):
    file = tmp_path / "crossing.py"
    file.write_text("def late():\n    from torch.nn import functional\n")
    assert _crossing(file, ("torch",)) == {"torch.nn", "torch.nn.functional"}
    assert not _crossing(file, ("torchvision",))
