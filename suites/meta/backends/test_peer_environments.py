"""The environments of libraries that need their own. Nothing is downloaded."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.__main__ import app
from harness.backends.peers import environments, installing, tfjs
from harness.backends.peers.snippets import MOST_LINES
from harness.operators.crop_and_resize.case import Case
from harness.operators.verdict import Crash
from harness.repository import ROOT, MissingLibrary

CASE = Case((2, 3, 5, 6), ((0.1, 0.2, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)), (1, 0), (2, 3))
PIN = re.compile(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.]+")


def pins(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("name", environments.OF_THEIR_OWN.values())
def test_environments_pin_every_package_and_share_this_ones_versions(name: str) -> None:
    here = dict(
        line.partition(";")[0].strip().lower().replace("_", "-").split("==") for line in pins(ROOT / "constraints.txt")
    )
    lines = pins(installing.requirements(name))
    assert all(PIN.fullmatch(line) for line in lines), lines
    versions = dict(line.lower().replace("_", "-").split("==") for line in lines)
    # The judge's worker needs these; mmcv's worker has this environment's.
    shared = ("numpy", "hypothesis", "ml-dtypes")
    assert name == "mmcv" or {each: versions[each] for each in shared} == {each: here[each] for each in shared}


def test_node_modules_are_pinned_and_the_lock_file_names_no_host() -> None:
    folder = installing.requirements("any").parents[1] / "tfjs"
    expected = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in expected.values()), expected
    lock = (folder / "package-lock.json").read_text(encoding="utf-8")
    assert "://" not in lock
    packages = json.loads(lock)["packages"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in expected} == expected
    assert all("integrity" in package for place, package in packages.items() if place)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the installation, recorded instead of run, except for the environment's folder."""
    commands: list[list[str]] = []

    def fake(command: list[Any], folder: Path = ROOT) -> str:
        commands.append([str(word) for word in command])
        if "venv" in commands[-1]:
            Path(commands[-1][-1]).mkdir(parents=True)
        return str(tmp_path) if "purelib" in commands[-1][-1] else ""

    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    monkeypatch.setattr(installing, "run", fake)
    monkeypatch.setattr(installing.sys, "prefix", str(tmp_path))
    return commands


def peers(*names: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["peers", *names])
    return result.exit_code, result.output


def test_an_environment_is_rebuilt_only_when_its_pins_change(
    commands: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pins.txt"
    file.write_text("tvm==1\n", encoding="utf-8")
    monkeypatch.setattr(installing, "requirements", lambda name: file)
    folder = tmp_path / "peers" / "tvm"
    assert peers("tvm") == (0, "tvm: is being made ...\ntvm: made.\n")
    python = str(folder / "bin" / "python")
    assert commands == [
        [sys.executable, "-m", "venv", str(folder)],
        [python, "-m", "pip", "install", "--quiet", "--requirement", str(file)],
    ]
    (folder / "of the first").touch()
    assert peers("tvm") == (0, "tvm: is here already.\n")
    assert len(commands) == 2
    file.write_text("tvm==2\n", encoding="utf-8")
    assert peers("tvm") == (0, "tvm: is being made ...\ntvm: made.\n")
    assert len(commands) == 4
    assert not (folder / "of the first").exists()


def test_libraries_beside_torch_are_installed_into_this_environment(commands: list[list[str]]) -> None:
    assert peers("beside")[0] == 0
    (command,) = commands
    assert command == [
        *(sys.executable, "-m", "pip", "install", "--quiet"),
        *("--constraint", "constraints.txt", "--group", "peers"),
    ]


@pytest.mark.usefixtures("commands")
def test_a_missing_program_is_named_and_the_other_environments_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, output = peers("tfjs", "mmcv", "paddle")
    assert code == 1
    assert "tfjs: not made: it needs node and npm, and there is none in PATH." in output
    assert "mmcv: not made: it needs g++, and there is none in PATH." in output
    assert output.endswith("paddle: made.\n")


def test_a_failed_installation_prints_its_last_line_and_leaves_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = "import sys; print('No matching distribution found for mindspore'); sys.exit(3)"
    with pytest.raises(installing.InstallationError, match=r"failed with exit code 3: No matching distribution found"):
        installing.run([sys.executable, "-c", failing])
    (tmp_path / "mindspore").mkdir()
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setattr(installing, "_new_environment", lambda name: installing.run(["false"]))
    code, output = peers("mindspore")
    assert code == 1
    assert output.endswith("mindspore: not made: `false` failed with exit code 1: it said nothing\n")
    assert not list(tmp_path.rglob(".ready"))


def test_npm_installs_node_modules_beside_the_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    core = "node_modules/@tensorflow/tfjs-core"
    for name, script in (("node", ":"), ("npm", f'test "$1" = ci && test -f package-lock.json && mkdir -p {core}')):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    assert peers("tfjs") == (0, "tfjs: is being made ...\ntfjs: made.\n")
    assert environments.node_modules() == tmp_path / "peers" / "tfjs"
    assert peers("tfjs") == (0, "tfjs: is here already.\n")


def test_a_node_process_that_exits_is_a_crash_and_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "peers" / "tfjs" / "node_modules" / "@tensorflow" / "tfjs-core" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "1.2.3"}', encoding="utf-8")
    (tmp_path / "node").write_text("#!/bin/sh\necho '{}'\nread line\nexit 3\n", encoding="utf-8")
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "peers")
    backend = tfjs.make_crop_and_resize("tfjs_wasm", "wasm")
    assert backend.title == "TensorFlow.js 1.2.3 (CPU, WebAssembly)"
    for _ in range(2):
        with pytest.raises(Crash, match=r"node ended: exit code 3\."):
            backend.run(CASE.inputs(), "forward")


def test_a_javascript_snippet_has_the_calls_arrays() -> None:
    case = Case((1, 2, 1, 2), ((0.1, 0.0, float("nan"), 1.0),), (0,), (2, 3), extrapolation_value=-3.5)
    inputs = replace(case.inputs(), image=np.array([[[[1, -0.0]], [[0.1, np.inf]]]], np.float32))
    text = tfjs.snippet("cpu", inputs, "forward", (0, 1, 0, 2))
    assert 'tf.tensor([1, 0.1, -0.0, Infinity], [1, 1, 2, 2], "float32")' in text
    assert 'tf.tensor([0.1, 0, NaN, 1], [1, 4], "float32")' in text
    assert 'cropAndResize(image, boxes, boxInd, [2, 3], "bilinear", -3.5)' in text
    assert "arraySync()[0][0][2][1]" in text  # NHWC
    assert len(text.splitlines()) <= MOST_LINES


def test_an_unknown_name_lists_the_environments() -> None:
    code, output = peers("caffe")
    assert code == 2
    assert "There is no environment 'caffe'; there are beside, paddle, tvm, mindspore, mmcv, tfjs." in output


def test_a_missing_environment_names_the_command_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", ROOT / "nowhere")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(MissingLibrary, match=r"nowhere/tvm, which is not here; `make peers PEERS=tvm` makes it"):
        environments.interpreter("peers.tvm")
    with pytest.raises(MissingLibrary, match=r"nowhere/tfjs, which is not here; `make peers PEERS=tfjs` makes it"):
        environments.node_modules()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingLibrary, match=r"TensorFlow\.js runs in node, and there is none in PATH"):
        environments.node_modules()
