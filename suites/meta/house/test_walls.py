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
# The files of each operator's oracle.
ORACLES = {
    "crop_and_resize": ("oracle", "gradients", "positions", "call"),
    "roi_align": ("oracle", "gradients", "positions", "call", "maximum", "weighted_maximum", "slopes", "levels"),
}
LIBRARIES = ("torch", "torchvision", "tensorflow", "roi_align", "onnxruntime")
# Those of the matrix, and the one file of each.
PEER_LIBRARIES = {
    **{name: name for name in ("openvino", "ncnn", "jax", "paddle", "tvm", "mindspore", "mmcv")},
    "MNN": "mnn",
    "keras_hub": "keras_hub",
    "cv2": "opencv",
    "onnx.reference": "onnx_reference",
}
CROPS_ORACLE, POOLS_ORACLE = (
    ("harness.operators.rounding", "harness.operators.expected", *(f"harness.operators.{of}.{name}" for name in names))
    for of, names in ORACLES.items()
)
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
    **{f"harness/operators/{name}.py": ARRAYS for name in ("rounding", "expected")},
    **{f"harness/operators/{of}/{name}.py": ARRAYS for of, names in ORACLES.items() for name in names},
    # A second formulation that shared a line with the oracle would share its mistakes.
    "harness/operators/crop_and_resize/reference.py": CROPS_ORACLE,
    "harness/operators/crop_and_resize/matrix.py": CROPS_ORACLE,
    "harness/operators/roi_align/reference.py": POOLS_ORACLE,
}
# Beside the backends, these use a library for something else: torchvision's model makes the real workload's pyramid,
# CUDA's clock is torch's events, a detector is a client of the operators.
USERS = ("backends/", "measuring/workloads.py", "measuring/devices/cuda.py", "detectors/")
HARNESS = ROOT / "harness"
# The harness's files, by where they lie in it.
FILES = {path.relative_to(HARNESS).as_posix(): path for path in sorted(HARNESS.rglob("*.py"))}


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
    assert {Path(place).parts[0].removesuffix(".py") for place in FILES} - {"__init__"} == set(FLOOR)


def test_rooms_import_only_from_lower_floors() -> None:
    files = [file for place, file in FILES.items() if place != "__init__.py"]
    assert [message for file in files for message in upward(file, HARNESS)] == []


@pytest.mark.parametrize(("place", "forbidden"), WALLS.items(), ids=WALLS)
def test_wall(place: str, forbidden: tuple[str, ...]) -> None:
    path = ROOT / place
    files = [path] if path.suffix else sorted(path.rglob("*.py"))
    assert files
    assert {file: crossed for file in files if (crossed := crossings(file, forbidden))} == {}


def test_only_a_backends_own_file_imports_its_library() -> None:
    for place, file in FILES.items():
        assert place.startswith(USERS) or not crossings(file, LIBRARIES), file


def test_a_library_of_the_matrix_is_imported_by_its_own_file_alone() -> None:
    for place, file in FILES.items():
        for name, of in PEER_LIBRARIES.items():
            assert place == f"backends/peers/{of}.py" or not crossings(file, (name,)), file


def test_no_module_is_imported_by_a_string() -> None:
    """A module's name in a string is an import that no wall sees; backends/__init__ is the one table of such names."""
    for place, file in FILES.items():
        assert place == "backends/__init__.py" or "import_module(" not in file.read_text(encoding="utf-8"), file


def test_kernels_do_not_include_torch() -> None:
    sources = [path for path in sorted((ROOT / "impl/csrc").rglob("*.*")) if not path.name.startswith("torch_")]
    assert sources
    for source in sources:
        assert not re.search(r"#include <(torch|ATen|c10)", source.read_text(encoding="utf-8")), source


def test_a_planted_import_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "harness" / "judging" / "crossing.py"
    file.parent.mkdir(parents=True)
    file.write_text("def late():\n    from torch.nn import functional\n    from harness.verbs import app\n")
    assert crossings(file, ("torch",)) == {"torch.nn", "torch.nn.functional"}
    assert not crossings(file, ("torchvision",))
    messages = ["judging imports harness.verbs", "judging imports harness.verbs.app"]
    assert list(upward(file, tmp_path / "harness")) == messages
    file.write_text("from harness.operators import parse\nfrom harness.judging import trial\n")
    assert list(upward(file, tmp_path / "harness")) == []
