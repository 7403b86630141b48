"""Golden vectors equal the peer's results; a wrong one is detected; an unusable file explains why."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import load
from harness.judging import golden
from harness.operators import OPERATORS
from harness.operators.arrays import Direction
from harness.operators.crop_and_resize.golden_cases import COPIES, CROPS
from harness.operators.judgement import unlike_peer
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

ROWS = [(operator, direction) for operator in OPERATORS for direction in OPERATORS[operator].peer.directions]


@pytest.fixture(scope="module", params=OPERATORS)
def golden_file(request: pytest.FixtureRequest) -> golden.Golden:
    return golden.read(request.param)


def test_a_few_vectors_equal_the_peers_results(golden_file: golden.Golden) -> None:
    peer = OPERATORS[golden_file.operator].peer
    try:
        backend = load(peer.name, golden_file.operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    for vector in golden_file.vectors[::20]:
        for direction in peer.directions:
            assert backend.run(vector.inputs(), direction).tobytes() == vector.results[direction].tobytes(), vector


def test_vectors_cover_every_kind(golden_file: golden.Golden) -> None:
    cases: list[Any] = [vector.case for vector in golden_file.vectors]
    assert len(set(cases)) == len(cases) >= 300
    for name, _, field in OPERATORS[golden_file.operator].choices(cases[0].inputs()):
        if field not in ("box_rules", "modes", "scale_dtypes"):  # a peer has only one of these
            values = {
                value
                for case in cases
                for of, value, _ in OPERATORS[golden_file.operator].choices(case.inputs())
                if of == name
            }
            assert len(values) == 2, name


def test_tensorflows_vectors_have_long_crops_many_boxes_and_many_channels() -> None:
    cases: list[Any] = [vector.case for vector in golden.read("crop_and_resize").vectors]
    assert set(CROPS) <= {case.crop_size for case in cases}
    assert max(len(case.boxes) for case in cases) >= 2 * COPIES
    assert max(case.shape[1] for case in cases) >= 40


def test_a_files_bytes_do_not_depend_on_the_date(
    golden_file: golden.Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden.write(golden_file, tmp_path / "today.npz")
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    golden.write(golden.read(golden_file.operator, tmp_path / "today.npz"), tmp_path / "later.npz")
    suites_own = golden.path_of(golden_file.operator).read_bytes()
    assert (tmp_path / "today.npz").read_bytes() == (tmp_path / "later.npz").read_bytes() == suites_own


@pytest.mark.parametrize(("operator", "direction"), ROWS)
def test_a_corrupted_vector_is_detected(operator: OperatorName, direction: Direction, tmp_path: Path) -> None:
    """By the suite's own comparison, with a correct implementation."""
    vectors = golden.read(operator).vectors
    number = next(
        number
        for number, vector in enumerate(vectors)
        if vector.case.values == "normal" and all(np.abs(each).max(initial=0) > 0.5 for each in vector.results.values())
    )
    corrupt = vectors[number].results[direction].copy()
    flat = corrupt.reshape(-1)
    reference, title = load("reference", operator), OPERATORS[operator].peer.title
    # A change of the last bit if bits are promised, otherwise of more than two bounds.
    where, bits = int(np.argmax(np.abs(flat))), direction in reference.sheet.tensorflow_bits
    flat[where] = np.nextafter(flat[where], np.float32(0)) if bits else flat[where] * 1.001
    results = {**vectors[number].results, direction: corrupt}
    golden.write(golden.Golden(operator, "x", (replace(vectors[number], results=results),)), tmp_path / "corrupt.npz")
    (read,) = golden.read(operator, tmp_path / "corrupt.npz").vectors
    for vector, message in ((vectors[number], None), (read, f"{title}'s")):
        result = reference.run(vector.inputs(), direction)
        unlike = unlike_peer(reference.sheet, vector.inputs(), direction, result, vector.results[direction])
        assert unlike is None if message is None else unlike is not None and message in unlike


def test_an_unusable_file_raises_a_reason(
    golden_file: golden.Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, path = golden_file.operator, tmp_path / "vectors.npz"
    remake = f"`python -m harness golden --operator {operator}`"
    with pytest.raises(ValueError, match=rf"There are no golden vectors at .*vectors.npz; {remake}"):
        golden.read(operator, path)
    whole = golden.path_of(operator).read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], b"no vectors"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"vectors.npz is damaged .*; {remake}"):
            golden.read(operator, path)
    monkeypatch.setattr(golden, "SCHEMA", 2)
    golden.write(golden_file, path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=rf"vectors.npz has the schema 2, not 1; {remake}"):
        golden.read(operator, path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(ValueError, match="has the schema None, not 1"):
        golden.read(operator, path)


def test_different_inputs_raise_their_own_error(golden_file: golden.Golden) -> None:
    """As with a NumPy that generates other random numbers."""
    vector = golden_file.vectors[0]
    other = replace(vector, case=replace(vector.case, seed=vector.case.seed + 1))
    with pytest.raises(ValueError, match=r"makes different inputs for (Roi)?Case\(.* than those of the golden vectors"):
        other.inputs()


def test_reading_needs_no_peer(golden_file: golden.Golden) -> None:
    program = (
        f"import sys; sys.modules['{OPERATORS[golden_file.operator].peer.name}'] = None\n"
        "from harness.judging import golden\n"
        f"golden.read('{golden_file.operator}').vectors[0].inputs()\n"
        f"print(golden.read('{golden_file.operator}'))"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stdout == f"{golden_file}\n"
