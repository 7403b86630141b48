"""The walls of the house: imports go down the stairs only, and nothing but a backend's own file imports its library."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# From the ground up: a room imports from the floors below it, never from another room of its own floor.
FLOORS = (
    ("repository", "plain"),
    ("operators",),
    ("kernels",),
    ("backends",),
    ("judging",),
    ("faults",),
    ("properties", "measuring"),
    ("conformance", "fuzzing", "comparison", "detectors", "sanitizing", "report", "machines"),
    ("verbs",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ARRAYS = ("torch", "tensorflow", "numpy", "ml_dtypes")
LIBRARIES = ("torch", "torchvision", "tensorflow", "roi_align", "onnxruntime")
# Each file or folder, and what it never imports.
WALLS = {
    "impl/roi_align": ("harness", "suites"),
    "harness": ("suites",),
    # A report is made of stored rows alone, and so wherever there is pandas.
    "harness/report": (
        *("torch", "tensorflow", "roi_align", "hypothesis", "harness.operators", "harness.backends", "harness.judging"),
        *(f"harness.measuring.{name}" for name in ("columns", "devices", "cpu", "cuda", "run", "workloads", "gate")),
    ),
    "harness/measuring/results.py": ("harness.operators", "harness.measuring.columns"),
    "harness/operators": ("torch", "tensorflow", "roi_align"),
    "harness/operators/crop_and_resize": ("harness.operators.roi_align",),
    "harness/operators/roi_align": ("harness.operators.crop_and_resize",),
    "harness/operators/rounding.py": ARRAYS,
    "harness/operators/expected.py": ARRAYS,
    **{
        f"harness/operators/{operator}/{name}.py": ARRAYS
        for operator in ("crop_and_resize", "roi_align")
        for name in ("oracle", "gradients", "positions", "call")
    },
    "harness/operators/roi_align/maximum.py": ARRAYS,
    # A second formulation that shared a line with the oracle would share its mistakes.
    **{
        f"harness/operators/{place}.py": tuple(
            f"harness.operators.{module}"
            for module in (
                *("rounding", "expected"),
                *(f"{place.partition('/')[0]}.{name}" for name in ("oracle", "gradients", "positions", "call")),
            )
        )
        for place in ("crop_and_resize/reference", "crop_and_resize/matrix", "roi_align/reference")
    },
}
# Beside the backends, these use a library for something else: torchvision's model makes the real workload's pyramid,
# CUDA's clock is torch's events, a detector is a client of the operators.
USERS = ("backends/", "measuring/workloads.py", "measuring/devices/cuda.py", "detectors/")


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it, with the names that it takes from them."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def crossings(path: Path, forbidden: tuple[str, ...]) -> set[str]:
    """What a file imports of the forbidden packages."""
    return {name for name in imports(path) if any(f"{name}.".startswith(f"{each}.") for each in forbidden)}


def upward(path: Path, harness: Path) -> Iterator[str]:
    """What a file of the harness imports from its own floor, but for its own room, or from a floor above."""
    room = path.relative_to(harness).parts[0].removesuffix(".py")
    for name in sorted(imports(path)):
        package, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if package == "harness" and other in FLOOR and other != room and FLOOR[other] >= FLOOR[room]:
            yield f"{room} imports {name}"


def test_every_room_has_a_floor() -> None:
    harness = ROOT / "harness"
    rooms = {path.relative_to(harness).parts[0].removesuffix(".py") for path in harness.rglob("*.py")} - {"__init__"}
    assert rooms == set(FLOOR)


def test_imports_go_down_the_stairs() -> None:
    harness = ROOT / "harness"
    files = [path for path in sorted(harness.rglob("*.py")) if path != harness / "__init__.py"]
    assert [message for path in files for message in upward(path, harness)] == []


@pytest.mark.parametrize(("place", "forbidden"), WALLS.items(), ids=WALLS)
def test_wall(place: str, forbidden: tuple[str, ...]) -> None:
    path = ROOT / place
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert files
    assert {file: crossed for file in files if (crossed := crossings(file, forbidden))} == {}


def test_only_a_backends_own_file_imports_its_library() -> None:
    for file in sorted((ROOT / "harness").rglob("*.py")):
        if not file.relative_to(ROOT / "harness").as_posix().startswith(USERS):
            assert not crossings(file, LIBRARIES), file


def test_nothing_is_imported_by_a_string() -> None:
    """A module's name in a string is an import that no wall sees; backends/__init__ is the one table of such names."""
    for file in sorted((ROOT / "harness").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if file.relative_to(ROOT / "harness").as_posix() != "backends/__init__.py":
            assert "import_module(" not in text, file


def test_kernels_know_no_torch() -> None:
    sources = [path for path in sorted((ROOT / "impl/csrc").rglob("*.*")) if not path.name.startswith("torch_")]
    assert sources
    for source in sources:
        assert not re.search(r"#include <(torch|ATen|c10)", source.read_text(encoding="utf-8")), source


def test_a_planted_import_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "harness" / "judging" / "crossing.py"
    file.parent.mkdir(parents=True)
    file.write_text("def late():\n    from torch.nn import functional\n    from harness.verbs import app\n")
    assert crossings(file, ("torch",)) == {"torch.nn", "torch.nn.functional"}
    assert not crossings(file, ("torchvision",))
    messages = ["judging imports harness.verbs", "judging imports harness.verbs.app"]
    assert list(upward(file, tmp_path / "harness")) == messages
    file.write_text("from harness.operators import parse\nfrom harness.judging import trial\n")
    assert list(upward(file, tmp_path / "harness")) == []
