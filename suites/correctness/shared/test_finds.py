"""Every stored find of the fuzzer is asked again of the backend under test: what has failed once is asked for ever.

What the backend's sheet does not declare is skipped. The files lie in suites/finds.
"""

import pytest

from harness.fuzzing import finds
from harness.judging.trial import failure

FINDS, PROBLEMS = finds.read()


def test_every_file_is_a_find():
    """With an empty folder this is the only test here, and nothing is replayed."""
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
