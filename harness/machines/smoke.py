"""Half a minute on a GPU before anything longer: each operator once in each direction, judged.

A library built for another GPU, an old driver or a kernel that does not start then fails here in one line, instead of
in two thousand tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from harness.backends import load, operators_of
from harness.judging.trial import judge_case
from harness.operators import AnyCase
from harness.operators.arrays import DIRECTIONS
from harness.operators.crop_and_resize.case import Case
from harness.operators.roi_align.case import RoiCase
from harness.operators.sheet import OperatorName
from harness.operators.verdict import Verdict
from harness.repository import MissingLibrary

CASES: dict[OperatorName, AnyCase] = {
    "crop_and_resize": Case((2, 3, 9, 11), ((0.1, 0.2, 0.8, 0.9), (0.9, 1.1, 0.0, 0.3)), (1, 0), (4, 5)),
    "roi_align": RoiCase((2, 3, 9, 11), ((1, 0.5, 1.0, 8.5, 7.0), (0, -1.5, 3.0, 4.0, 9.5)), (3, 4), sampling_ratio=2),
}
BACKENDS = ("roi_align_cuda", "roi_align_cuda_deterministic")


def verdicts(backends: Sequence[str]) -> Iterator[tuple[str, Verdict]]:
    """The verdict of each backend for each of its operators in each direction; MissingLibrary without its device."""
    for name in backends:
        for operator in operators_of(name):
            backend = load(name, operator)
            for direction in DIRECTIONS:
                yield f"{name}, {operator}, {direction}", judge_case(backend, CASES[operator], direction)


def main(backends: Sequence[str]) -> int:
    """Runs the smoke test and returns the exit code: 1 if a result is wrong, or if a backend is missing."""
    wrong = 0
    try:
        for name, verdict in verdicts(backends):
            print(f"{name}: {verdict}", flush=True)
            wrong += not verdict.passed
    except MissingLibrary as missing:
        print(missing)
        return 1
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or BACKENDS))
