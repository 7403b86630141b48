"""The command line: `python -m harness VERB`; the verbs stand in harness/verbs."""

from __future__ import annotations

from harness.verbs import app, judging, machines, measuring, mutating

__all__ = ["judging", "machines", "measuring", "mutating"]  # importing them is what gives the app its verbs

if __name__ == "__main__":
    app()
