"""Golden vectors: a peer's results for a few hundred cases in one file, for machines without the peer.

A GPU runner has one environment and no room for a second framework. Cases are stored as the lines that make their
inputs, with a digest of those inputs, so that different inputs (another NumPy may draw other numbers) cannot be
mistaken for different results. Reading needs only NumPy.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis.strategies import SearchStrategy

from harness.backends import load
from harness.operators import OPERATORS, AnyCase, AnyInput, Operator, operator_of
from harness.operators.arrays import Array, Direction
from harness.operators.sheet import OperatorName
from harness.repository import ROOT

FOLDER = ROOT / "suites" / "golden"
SCHEMA = 1


@dataclass(frozen=True)
class Vector:
    """One case, the peer's result in each of its directions, and the digest of the inputs."""

    case: AnyCase
    results: dict[Direction, Array]
    digest: bytes

    def inputs(self) -> AnyInput:
        """The inputs of the case; ValueError if this machine makes different ones than the peer had."""
        inputs = self.case.inputs()
        if _digest(inputs) != self.digest:
            operator = operator_of(self.case)
            raise ValueError(
                f"NumPy {np.__version__} makes different inputs for {self.case!r} than those of the golden vectors; "
                f"`{_remake(operator)}` makes vectors for this NumPy, where {operator.peer.title} is installed."
            )
        return inputs


@dataclass(frozen=True)
class Golden:
    """All vectors of an operator, and the version of the peer that computed them."""

    operator: OperatorName
    version: str
    vectors: tuple[Vector, ...]

    @property
    def peer(self) -> str:
        """The peer's name and version."""
        return f"{OPERATORS[self.operator].peer.title} {self.version}"

    def __str__(self) -> str:
        values = sum(result.size for vector in self.vectors for result in vector.results.values())
        return f"{self.peer}, {len(self.vectors):,} cases, {values:,} values"


def path_of(operator: OperatorName) -> Path:
    """The path of the suite's own vectors of an operator."""
    return FOLDER / f"{OPERATORS[operator].peer.name}.npz"


def make(operator: OperatorName) -> Golden:
    """The vectors, from the installed peer; MissingLibrary if there is none."""
    peer = OPERATORS[operator].peer
    backend = load(peer.name, operator)
    vectors = []
    for case in _cases(OPERATORS[operator]):
        inputs = case.inputs()
        if backend.refuses(inputs, "forward") is None:
            results = {direction: backend.run(inputs, direction) for direction in peer.directions}
            vectors.append(Vector(case, results, _digest(inputs)))
    return Golden(operator, version(peer.name).partition("+")[0], tuple(vectors))


def write(golden: Golden, path: Path) -> None:
    """Writes one compressed file; the same vectors give the same bytes, because NumPy stores no dates."""
    peer = OPERATORS[golden.operator].peer
    about = {"schema": SCHEMA, peer.name: golden.version, "cases": [repr(each.case) for each in golden.vectors]}
    arrays: dict[str, Any] = {
        direction: np.concatenate([each.results[direction].ravel() for each in golden.vectors])
        for direction in peer.directions
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            about=np.frombuffer(json.dumps(about).encode(), np.uint8),
            digests=np.frombuffer(b"".join(each.digest for each in golden.vectors), np.uint8),
            **arrays,
        )


def read(operator: OperatorName, path: Path | None = None) -> Golden:
    """The vectors in a file, by default the suite's own; ValueError with a sentence if it cannot be used."""
    path, peer = path or path_of(operator), OPERATORS[operator].peer
    remake = f"`{_remake(OPERATORS[operator])}` makes it, where {peer.title} is installed."
    try:
        with path.open("rb") as file, np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise ValueError(f"There are no golden vectors at {path}; {remake}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); {remake}") from error
    about = json.loads(arrays["about"].tobytes()) if "about" in arrays else {}
    if about.get("schema") != SCHEMA:
        raise ValueError(f"{path} has the schema {about.get('schema')}, not {SCHEMA}; {remake}")
    cases = [OPERATORS[operator].case.parse(line) for line in about["cases"]]
    digests = arrays["digests"].tobytes()
    size = len(digests) // max(len(cases), 1)
    vectors, start = [], dict.fromkeys(peer.directions, 0)
    for number, case in enumerate(cases):
        results: dict[Direction, Array] = {}
        inputs = case.inputs()
        for direction in peer.directions:
            shape, _ = OPERATORS[operator].result_type(inputs, direction)
            end = start[direction] + int(np.prod(shape))
            results[direction] = arrays[direction][start[direction] : end].reshape(shape)
            start[direction] = end
        vectors.append(Vector(case, results, digests[number * size : (number + 1) * size]))
    return Golden(operator, about[peer.name], tuple(vectors))


def _remake(operator: Operator) -> str:
    return f"python -m harness golden --operator {operator.name}"


def _cases(operator: Operator) -> list[Any]:
    """The cases without duplicates, the same on every run of one revision."""
    cases: dict[Any, None] = {}
    for count, strategy in operator.peer.groups():
        cases |= dict.fromkeys(_draw_cases(count, strategy))
    return list(cases)


def _draw_cases(count: int, strategy: SearchStrategy[Any]) -> list[Any]:
    cases: list[Any] = []

    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(case: Any) -> None:
        cases.append(case)

    draw()
    return cases


def _digest(inputs: AnyInput) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name in operator_of(inputs).arrays:
        digest.update(np.ascontiguousarray(getattr(inputs, name)).tobytes())
    return digest.digest()
