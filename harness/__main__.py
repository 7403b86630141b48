"""The command line: `python -m harness VERB`; the verbs stand in harness/verbs."""

from __future__ import annotations

from harness.verbs import app, comparing, conforming, hunting, judging, machines, measuring, mutating

# Importing them is what gives the app its verbs.
__all__ = ["comparing", "conforming", "hunting", "judging", "machines", "measuring", "mutating"]

if __name__ == "__main__":
    app()
