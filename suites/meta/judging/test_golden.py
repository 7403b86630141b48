"""The golden vectors: they are TensorFlow's, a wrong one is found, and a file that cannot be used says why."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.backends import load
from harness.judging import golden
from harness.operators.arrays import DIRECTIONS, Direction
from harness.operators.implementation import Backend
from harness.operators.judgement import unlike_tensorflow


@pytest.fixture(scope="module")
def stored() -> golden.Golden:
    return golden.read()


def test_a_few_are_what_tensorflow_gives_today(tensorflow: Backend, stored: golden.Golden) -> None:
    for vector in stored.vectors[::20]:
        for direction in DIRECTIONS:
            assert tensorflow.run(vector.inputs(), direction).tobytes() == vector.results[direction].tobytes(), vector


def test_there_are_some_of_every_kind(stored: golden.Golden) -> None:
    cases = [vector.case for vector in stored.vectors]
    assert len(set(cases)) == len(cases) >= 300
    assert {case.method for case in cases} == {"bilinear", "nearest"}
    assert set(golden.CROPS) <= {case.crop_size for case in cases}
    assert max(len(case.boxes) for case in cases) >= 2 * golden.COPIES
    assert max(case.shape[1] for case in cases) >= 40


def test_the_same_vectors_are_the_same_bytes_whatever_the_date(
    stored: golden.Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden.write(stored, tmp_path / "today.npz")
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    golden.write(golden.read(tmp_path / "today.npz"), tmp_path / "later.npz")
    assert (tmp_path / "today.npz").read_bytes() == (tmp_path / "later.npz").read_bytes()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_corrupted_vector_is_found(stored: golden.Golden, tmp_path: Path, direction: Direction) -> None:
    """By the comparison that the suite makes, with an implementation that is right."""
    number = next(
        number
        for number, vector in enumerate(stored.vectors)
        if vector.case.values == "normal" and vector.results["grad_boxes"].all() and vector.results["forward"].size
    )
    wrong = stored.vectors[number].results[direction].copy()
    flat = wrong.reshape(-1)
    # Where bits are promised the last one; where bounds are, as much as is more than two of them.
    where = int(np.argmax(np.abs(flat)))
    flat[where] = np.nextafter(flat[where], np.float32(0)) if direction != "grad_boxes" else flat[where] * 1.01
    results = {**stored.vectors[number].results, direction: wrong}
    golden.write(golden.Golden("x", (replace(stored.vectors[number], results=results),)), tmp_path / "wrong.npz")
    reference = load("reference")
    for path, said in ((golden.PATH, None), (tmp_path / "wrong.npz", "TensorFlow's")):
        vector = golden.read(path).vectors[number if path == golden.PATH else 0]
        got = reference.run(vector.inputs(), direction)
        unlike = unlike_tensorflow(reference.sheet, vector.inputs(), direction, got, vector.results[direction])
        assert unlike is None if said is None else unlike is not None and said in unlike


def test_a_file_that_cannot_be_used_says_why(
    stored: golden.Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "vectors.npz"
    with pytest.raises(ValueError, match=r"There are no golden vectors at .*vectors.npz; `python -m harness golden`"):
        golden.read(path)
    whole = golden.PATH.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b"no vectors"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"vectors.npz is damaged .*; `python -m harness golden`"):
            golden.read(path)
    monkeypatch.setattr(golden, "SCHEMA", 2)
    golden.write(stored, path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"vectors.npz has the schema 2, not 1; `python -m harness golden`"):
        golden.read(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="has the schema None, not 1"):
        golden.read(path)


def test_other_inputs_are_told_apart_from_other_results(stored: golden.Golden) -> None:
    """As from a NumPy that draws other numbers."""
    vector = stored.vectors[0]
    other = replace(vector, case=replace(vector.case, seed=vector.case.seed + 1))
    with pytest.raises(ValueError, match=r"makes other inputs for Case\(.* than those of the golden vectors"):
        other.inputs()


def test_reading_needs_no_tensorflow() -> None:
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from harness.judging import golden\n"
        "golden.read().vectors[0].inputs()\n"
        "print(golden.read())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("TensorFlow 2.")
