"""Every verb explains itself: what it does, each of its options, and one line to copy."""

from __future__ import annotations

import typer.main
from typer.testing import CliRunner

from harness.__main__ import app

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_every_verb_has_an_example_and_every_option_a_help() -> None:
    assert {"bench", "compare", "report", "conformance", "fuzz"} <= set(VERBS)
    for name, verb in VERBS.items():
        assert f"python -m harness {name}" in (verb.epilog or ""), f"{name} has no example"
        assert verb.help, f"{name} does not say what it does"
        for parameter in verb.params:
            assert parameter.help, f"{parameter.name} of {name} is not explained"


def test_help_is_printed() -> None:
    for name in VERBS:
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0
        assert f"python -m harness {name}" in done.output
