"""Correctness before speed: what must hold before a result may have a time.

The very arrays that are about to be timed are judged. A sample of the outputs goes to the oracle, which is too slow
for all of them; all of them are compared with a reference, by equality of bits where that is promised: TensorFlow, or
on a machine without it this project's CPU kernels, which have its bits. The sample is cut out first (the oracle gets
the boxes it needs and no others), so that a hundred thousand boxes cost no more than a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from harness.judging.sample import judge_sample
from harness.measuring.record import Record
from harness.operators.arrays import Array, Direction, differing
from harness.operators.implementation import Backend
from harness.repository import digest as digest_of

OTHER_RULE = "OTHER_RULE"


@dataclass(frozen=True)
class Gate:
    """What the gate found.

    status     EXACT or WITHIN (the judge's word) or OTHER_RULE for what may be timed; else what went wrong.
    passed     whether it may be timed.
    message    what a reader should know if not.
    compared   outputs compared bit by bit with the reference, differing of which were different.
    compared_with  what that reference is called, "" if nothing was compared.
    digest     BLAKE2b of the output in NCHW order: equal digests are equal results.
    """

    status: str
    passed: bool
    message: str = ""
    compared: int = 0
    differing: int = 0
    digest: str = ""
    compared_with: str = ""

    def stored(self) -> dict[str, Any]:
        """Its fields of a Record: one that has samples has passed."""
        return {name: value for name, value in asdict(self).items() if name != "passed"}


def stored_in(record: Record) -> Gate:
    """What the gate found of a row that has samples."""
    return Gate(
        passed=True, **{each.name: getattr(record, each.name) for each in fields(Gate) if each.name != "passed"}
    )


def digest(got: Array) -> str:
    """A result's digest: the same for the same values in any layout."""
    return digest_of(np.ascontiguousarray(got).tobytes())


_NOTHING: Mapping[str, Gate] = {}


def check(
    backend: Backend[Any],
    inputs: Any,
    direction: Direction,
    got: Array,
    reference: Callable[[], Array | None],
    earlier: Mapping[str, Gate] = _NOTHING,
    reference_title: str = "TensorFlow",
) -> Gate:
    """Judge what a backend returned.

    reference: the result for the same inputs of what has TensorFlow's bits; None if there is none.
    known: results of the same call that have passed, by digest: of another layout, or an earlier process of this run.
    Inputs are the same in all of them, so a result of such a digest is the very one that has been judged.
    """
    own = digest(got)
    if own in earlier and earlier[own].passed:
        return earlier[own]
    if not backend.same_rule:
        return Gate(OTHER_RULE, True, "It computes another rule and is timed for scale only.", digest=own)
    verdict = judge_sample(inputs, direction, got, pinned=direction in backend.sheet.pinned)
    status = verdict.status.name
    if not verdict.passed:
        return Gate(status, False, str(verdict), digest=own)
    # Where TensorFlow's bits are not promised (nobody's box gradient has them) only the oracle can say.
    want = reference() if direction in backend.sheet.tensorflow_bits and backend.name != "tensorflow" else None
    if want is None:
        return Gate(status, True, digest=own)
    different = int(np.count_nonzero(differing(got, want)))
    if different:
        message = f"{different} of {got.size} outputs differ from those of {reference_title}, where no bit should."
        return Gate("DIFFERS", False, message, got.size, different, own, reference_title)
    return Gate(status, True, "", got.size, 0, own, reference_title)
