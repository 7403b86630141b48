"""Every verb explains itself: what it does, each of its options, lines to copy, and each code that it may exit with."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from types import ModuleType

import pytest
import typer.main
from typer.testing import CliRunner

from harness.__main__ import app

VERBS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# What ends a verb, and with which code; a verb that calls another one may end as that does.
ENDS = {"stop": 2, "stop_at": 2, "one_of": 2, "interruptible": 130, "repeated_interrupts": 130}
# These exit with what another function returns.
RETURNED = {"gpu": {1, 2}}


def test_every_verb_has_an_example_and_every_option_a_help() -> None:
    assert {"bench", "compare", "report", "conformance", "fuzz"} <= set(VERBS)
    for name, verb in VERBS.items():
        assert f"python -m harness {name}" in (verb.epilog or ""), f"{name} has no example"
        assert verb.help, f"{name} does not say what it does"
        for parameter in verb.params:
            assert parameter.help, f"{parameter.name} of {name} is not explained"


def test_help_is_printed() -> None:
    for name in VERBS:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0
        assert f"python -m harness {name}" in result.output
        assert "Exit code 2: " in result.output


def test_no_verb_prints_five_lines_of_first_steps() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("First ")
    assert max(map(len, lines)) <= 120
    assert lines[-1].split()[2:6] == ["python", "-m", "harness", "--help"]


def documented(verb: str) -> set[int]:
    return {int(code) for code in re.findall(r"^Exit code (\d+): \S.*\.$", VERBS[verb].epilog or "", re.MULTILINE)}


def exits(module: ModuleType, function: str) -> set[int]:
    """The codes that a function of a module ends the program with, itself or through others of the module."""
    functions = {node.name: node for node in ast.parse(inspect.getsource(module)).body if _is_function(node)}
    codes, waiting, visited = {0, 2}, [function], set()
    while waiting:
        name = waiting.pop()
        visited.add(name)
        codes |= RETURNED.get(name, set())
        for node in ast.walk(functions[name]):
            if not isinstance(node, ast.Call):
                continue
            callee = ast.unparse(node.func)
            if callee == "typer.Exit":
                codes |= {each.value for each in ast.walk(node.args[0]) if _is_code(each)}
            codes |= {ENDS[callee]} if callee in ENDS else set()
            waiting += [callee] if callee in functions and callee not in visited else []
    return codes


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)


def _is_code(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


@pytest.mark.parametrize("verb", VERBS)
def test_help_lists_the_verbs_exit_codes(verb: str) -> None:
    module = importlib.import_module(VERBS[verb].callback.__module__)
    assert documented(verb) == exits(module, verb)


def test_an_undocumented_exit_code_is_detected(tmp_path, monkeypatch) -> None:
    (tmp_path / "planted.py").write_text(
        "def verb():\n    other()\n\ndef other():\n    raise typer.Exit(7 if late else 1)\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert exits(importlib.import_module("planted"), "verb") == {0, 1, 2, 7}
