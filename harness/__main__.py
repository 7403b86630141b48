"""The command line: `python -m harness VERB`; the verbs stand in harness/verbs."""

from __future__ import annotations

from harness.verbs import app, conforming, judging, machines, measuring

__all__ = ["conforming", "judging", "machines", "measuring"]  # importing them is what gives the app its verbs

if __name__ == "__main__":
    app()
