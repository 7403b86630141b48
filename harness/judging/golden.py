"""TensorFlow's results for a few hundred cases, in one file: what a machine without TensorFlow is compared with.

A GPU runner has one environment and no room for a second framework. The cases are stored as the lines that make their
inputs, with a digest of those inputs, so that other inputs (another NumPy may draw other numbers) are told apart from
other results. Reading needs NumPy alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import hypothesis
import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.backends import load
from harness.operators.arrays import DIRECTIONS, Array, Direction
from harness.operators.crop_and_resize import strategy as strategies
from harness.operators.crop_and_resize.case import Case, Inputs, promised
from harness.repository import ROOT

PATH = ROOT / "suites" / "golden" / "tensorflow.npz"
SCHEMA = 1

CROPS = ((1, 1), (1, 61), (61, 1), (40, 44))
COPIES = 12


def _groups() -> Iterator[tuple[int, SearchStrategy[Case]]]:
    """How many cases of which kind, under the rule that TensorFlow knows and with boxes that do not end its process."""
    tensorflows = functools.partial(
        strategies.cases, image_dtypes=["float32"], boxes_dtypes=["float32"], finite_boxes=True
    )
    yield 160, tensorflows()
    yield 80, tensorflows(box_families=["border", "on_pixel", "pixel_grid"], longest_side=70, empty=False)
    yield 40, tensorflows(channels=(4, 8, 15, 16, 17, 40, 67), most_outputs=6000, longest_side=12, empty=False)
    # Many samples a pixel, of values whose sum depends on its order.
    overlapping = tensorflows(box_families=["interior"], values=["normal", "wide"], longest_side=4, empty=False)
    yield (
        60,
        overlapping.map(lambda case: replace(case, boxes=case.boxes * COPIES, box_indices=case.box_indices * COPIES)),
    )
    for crop in CROPS:
        yield 15, tensorflows(empty=False).map(functools.partial(replace, crop_size=crop))


@dataclass(frozen=True)
class Vector:
    """One case, TensorFlow's result for it in each direction, and the digest of the inputs that it was made from."""

    case: Case
    results: dict[Direction, Array]
    digest: bytes

    def inputs(self) -> Inputs:
        """The inputs of the case; ValueError if this machine makes others than those that TensorFlow was given."""
        inputs = self.case.inputs()
        if _digest(inputs) != self.digest:
            raise ValueError(
                f"NumPy {np.__version__} makes other inputs for {self.case!r} than those of the golden vectors; "
                "`python -m harness golden` makes vectors for this NumPy, where TensorFlow is installed."
            )
        return inputs


@dataclass(frozen=True)
class Golden:
    """All vectors, and the version of the TensorFlow that made them."""

    tensorflow: str
    vectors: tuple[Vector, ...]

    def __str__(self) -> str:
        values = sum(result.size for vector in self.vectors for result in vector.results.values())
        return f"TensorFlow {self.tensorflow}, {len(self.vectors):,} cases, {values:,} values"


def make() -> Golden:
    """The vectors, from the installed TensorFlow; MissingLibrary if there is none."""
    tensorflow = load("tensorflow")
    vectors = []
    for case in _cases():
        inputs = case.inputs()
        results = {direction: tensorflow.run(inputs, direction) for direction in DIRECTIONS}
        vectors.append(Vector(case, results, _digest(inputs)))
    return Golden(version("tensorflow"), tuple(vectors))


def write(golden: Golden, path: Path) -> None:
    """One compressed file; the same vectors give the same bytes, for NumPy dates no member of it."""
    about = {"schema": SCHEMA, "tensorflow": golden.tensorflow, "cases": [repr(each.case) for each in golden.vectors]}

    def joined(direction: Direction) -> Array:
        return np.concatenate([each.results[direction].ravel() for each in golden.vectors])

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            digests=np.frombuffer(b"".join(each.digest for each in golden.vectors), np.uint8),
            forward=joined("forward"),
            grad_image=joined("grad_image"),
            grad_boxes=joined("grad_boxes"),
        )


def read(path: Path = PATH) -> Golden:
    """The vectors in a file; ValueError, in a sentence, if it cannot be used."""
    remake = "`python -m harness golden` makes it, where TensorFlow is installed."
    try:
        with path.open("rb") as file, np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise ValueError(f"There are no golden vectors at {path}; {remake}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remake}") from error
    about = json.loads(arrays["about"].tobytes()) if "about" in arrays else {}
    if about.get("schema") != SCHEMA:
        raise ValueError(f"{path} has the schema {about.get('schema')}, not {SCHEMA}; {remake}")
    cases = [Case.parse(line) for line in about["cases"]]
    digests = arrays["digests"].tobytes()
    size = len(digests) // max(len(cases), 1)
    vectors, start = [], dict.fromkeys(DIRECTIONS, 0)
    for number, case in enumerate(cases):
        results: dict[Direction, Array] = {}
        inputs = case.inputs()
        for direction in DIRECTIONS:
            shape, _ = promised(inputs, direction)
            end = start[direction] + int(np.prod(shape))
            results[direction] = arrays[direction][start[direction] : end].reshape(shape)
            start[direction] = end
        vectors.append(Vector(case, results, digests[number * size : (number + 1) * size]))
    return Golden(about["tensorflow"], tuple(vectors))


def _cases() -> list[Case]:
    """The same cases each time, none of them twice."""
    found: dict[Case, None] = {}
    for count, strategy in _groups():
        found |= dict.fromkeys(_drawn(count, strategy))
    return list(found)


def _drawn(count: int, strategy: SearchStrategy[Case]) -> list[Case]:
    found: list[Case] = []

    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


def _digest(inputs: Inputs) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in (inputs.image, inputs.boxes, inputs.box_indices, inputs.upstream):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
