"""torchvision's results for a few hundred cases of roi_align, in one file: golden.py's idea for this operator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import hypothesis
import numpy as np

from harness.backends import load
from harness.operators.arrays import Array, Direction
from harness.operators.roi_align.case import RoiCase, promised
from harness.operators.roi_align.strategy import FINITE_FAMILIES, roi_cases
from harness.repository import ROOT

PATH = ROOT / "suites" / "golden" / "torchvision.npz"
DIRECTIONS: tuple[Direction, ...] = ("forward", "grad_image")
CASES = 600


@dataclass(frozen=True)
class RoiVector:
    """One case, and torchvision's result for it in both directions."""

    case: RoiCase
    results: dict[Direction, Array]


@dataclass(frozen=True)
class RoiGolden:
    """All vectors, and the version of the torchvision that made them."""

    torchvision: str
    vectors: tuple[RoiVector, ...]


def make() -> RoiGolden:
    """The vectors, from the installed torchvision; MissingLibrary if there is none."""
    torchvision = load("torchvision", "roi_align")
    vectors = []
    for case in _cases():
        inputs = case.inputs()
        if torchvision.refuses(inputs, "forward") is None:
            vectors.append(RoiVector(case, {each: torchvision.run(inputs, each) for each in DIRECTIONS}))
    return RoiGolden(version("torchvision").partition("+")[0], tuple(vectors))


def write(golden: RoiGolden, path: Path = PATH) -> None:
    """One compressed file; the same vectors give the same bytes."""
    about = {"torchvision": golden.torchvision, "cases": [repr(each.case) for each in golden.vectors]}
    joined = {each: np.concatenate([vector.results[each].ravel() for vector in golden.vectors]) for each in DIRECTIONS}
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            forward=joined["forward"],
            grad_image=joined["grad_image"],
        )


def read(path: Path = PATH) -> RoiGolden:
    """The vectors in a file; ValueError, in a sentence, if it is not there."""
    if not path.exists():
        raise ValueError(f"There are no golden vectors at {path}; `python -m harness golden --operator roi_align`.")
    with path.open("rb") as file, np.load(file) as stored:
        arrays = {name: stored[name] for name in stored.files}
    about = json.loads(arrays["about"].tobytes())
    vectors, start = [], dict.fromkeys(DIRECTIONS, 0)
    for line in about["cases"]:
        case, results = RoiCase.parse(line), {}
        inputs = case.inputs()
        for direction in DIRECTIONS:
            shape, _ = promised(inputs, direction)
            end = start[direction] + int(np.prod(shape))
            results[direction] = arrays[direction][start[direction] : end].reshape(shape)
            start[direction] = end
        vectors.append(RoiVector(case, results))
    return RoiGolden(about["torchvision"], tuple(vectors))


def _cases() -> list[RoiCase]:
    """The same cases each time, none of them twice: float32 alone, so that the file is small."""
    found: dict[RoiCase, None] = {}

    @hypothesis.settings(
        max_examples=CASES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        roi_cases(
            image_dtypes=["float32"],
            same_dtype=True,
            modes=["avg"],
            values=["normal", "ramp"],
            box_families=FINITE_FAMILIES,
            longest_side=16,
            empty=False,
        )
    )
    def draw(case: RoiCase) -> None:
        found[case] = None

    draw()
    return list(found)
