"""Replays every stored find of the fuzzer on the backend under test, as regression tests.

Calls outside of the backend's sheet are skipped. The files are in suites/finds.
"""

import pytest

from harness.fuzzing import finds
from harness.judging.trial import failure

FINDS, PROBLEMS = finds.read()


def test_every_file_is_a_find():
    """With an empty folder this is the only test of this file."""
    print(f"{len(FINDS)} finds in {finds.FOLDER}")
    assert not PROBLEMS, "\n".join(PROBLEMS)


if FINDS:

    @pytest.mark.parametrize("find", FINDS, ids=[find.file_name().removesuffix(".json") for find in FINDS])
    def test_find(backend_of, undeclared, find):
        backend = backend_of(find.operator)
        property_ = find.definition()
        name = f"{find.operator}, {find.property}, {find.direction}"
        undeclared(name, property_.undeclared(backend.sheet, find.direction))
        verdict = property_.holds(backend, find.parse_case(), find.direction)
        if verdict is None:
            pytest.skip(f"undeclared: {backend.title} is not asked for this")
        of = "" if property_.is_oracles else property_.name
        assert verdict.passed, failure(backend, find.parse_case(), find.direction, str(verdict), of)
