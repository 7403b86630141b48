"""`python -m harness.machines [STEP]...`: the command behind `make gpu`; needs only the standard library to start."""

from __future__ import annotations

import sys

from harness.machines import gpu
from harness.plain import plainly


def say(sentence: str) -> None:
    print(sentence, flush=True)


if __name__ == "__main__":
    plainly()
    try:
        raise SystemExit(gpu.main(sys.argv[1:], say))
    except KeyboardInterrupt:
        say("Interrupted: the step's processes were stopped.")
        raise SystemExit(130) from None
