"""The command line: `python -m harness VERB`; the verbs are in harness/verbs."""

from __future__ import annotations

from harness.plain import plainly
from harness.verbs import (
    app,
    comparison,
    conformance,
    faults,
    findings,
    fuzzing,
    judging,
    kernels,
    machines,
    measuring,
    peers,
)

# Importing them is what gives the app its verbs.
__all__ = [
    "comparison",
    "conformance",
    "faults",
    "findings",
    "fuzzing",
    "judging",
    "kernels",
    "machines",
    "measuring",
    "peers",
]

if __name__ == "__main__":
    plainly()
    app()
