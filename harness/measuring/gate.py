"""Correctness before speed: the checks that a result must pass before it may be timed.

The same arrays that will be timed are judged. The oracle is too slow for all outputs and judges a sample; where equal
bits are promised, all outputs are compared with a reference: TensorFlow or, on a machine without it, this project's CPU
kernels, which have the same bits. The oracle gets only the boxes of the sample, so a hundred thousand boxes cost no
more than a hundred.
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
    """The outcome of the gate for one result.

    status     EXACT, WITHIN or AMBIGUOUS (from the judge) or OTHER_RULE if it may be timed; otherwise the kind of
               failure.
    passed     whether it may be timed.
    message    the reason if not.
    compared   the number of outputs compared bit by bit with the reference; differing: how many differ.
    compared_with  the title of that reference, "" if nothing was compared.
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
        """Its fields in a Record; a record with samples has passed."""
        return {name: value for name, value in asdict(self).items() if name != "passed"}


def stored_in(record: Record) -> Gate:
    """The Gate of a row that has samples."""
    return Gate(
        passed=True, **{each.name: getattr(record, each.name) for each in fields(Gate) if each.name != "passed"}
    )


def digest(result: Array) -> str:
    """The digest of a result; equal for equal values in any layout."""
    return digest_of(np.ascontiguousarray(result).tobytes())


_NOTHING: Mapping[str, Gate] = {}


def check(
    backend: Backend[Any],
    inputs: Any,
    direction: Direction,
    result: Array,
    reference: Callable[[], Array | None],
    earlier: Mapping[str, Gate] = _NOTHING,
    reference_title: str = "TensorFlow",
) -> Gate:
    """Judges a backend's result before timing.

    reference: computes the result with TensorFlow's bits for the same inputs, or None. earlier: gates of the same call
    by digest, from another layout or an earlier process of this run. Their inputs are equal, so a result with such a
    digest has already been judged.
    """
    own = digest(result)
    if own in earlier and earlier[own].passed:
        return earlier[own]
    if not backend.same_rule:
        return Gate(OTHER_RULE, True, "It computes another rule and is timed for scale only.", digest=own)
    verdict = judge_sample(inputs, direction, result, pinned=direction in backend.sheet.pinned)
    status = verdict.status.name
    if not verdict.passed:
        return Gate(status, False, str(verdict), digest=own)
    # Without a promise of TensorFlow's bits (as for all box gradients) only the oracle judges.
    expected = reference() if direction in backend.sheet.tensorflow_bits and backend.name != "tensorflow" else None
    if expected is None:
        return Gate(status, True, digest=own)
    different = int(np.count_nonzero(differing(result, expected)))
    if different:
        message = f"{different} of {result.size} outputs differ from those of {reference_title}, where no bit should."
        return Gate("DIFFERS", False, message, result.size, different, own, reference_title)
    return Gate(status, True, "", result.size, 0, own, reference_title)
