"""The preflight lists everything that `make gpu` lacks on a machine at once, with only the standard library."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from harness.machines import preflight
from harness.machines.preflight import COMPILER, GPU, NVCC, SANITIZER, Lacks


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that lacks nothing; returns the folder in its PATH."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(preflight, "version", lambda name: "80.9.0")
    monkeypatch.setattr(preflight, "_no_gpu", lambda python: "")
    monkeypatch.setattr(preflight, "_TOOLKIT", tmp_path / "toolkit")
    for name in ("CUDA_HOME", "CUDA_PATH", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("nvcc", "g++", "compute-sanitizer"):
        program(tmp_path, name)
    return tmp_path


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder / name


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else object())


def test_a_complete_machine_lacks_nothing(complete: Path) -> None:
    lacks = preflight.look()
    assert lacks.lines() == []
    assert not lacks.bad
    assert lacks.of([GPU, NVCC, *preflight.MODULES]) is None


def test_all_missing_tools_are_listed_at_once(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pytest", "pytest_benchmark", "jinja2")
    for name in ("nvcc", "g++", "compute-sanitizer"):
        (complete / name).unlink()
    lacks = preflight.look("its-python")
    assert set(lacks.sentences) == {"pytest", "pytest_benchmark", "jinja2", NVCC, COMPILER, SANITIZER}
    assert lacks.bad
    assert "There is no nvcc here; it comes with the CUDA toolkit; set CUDA_HOME" in lacks.sentences[NVCC]
    assert lacks.advice.endswith("its-python -m pip install --upgrade pytest pytest-benchmark jinja2")
    assert lacks.of(preflight.BUILD) is None
    assert lacks.of(preflight.BENCH) == "it needs pytest, pytest_benchmark, jinja2: see the preflight."


def test_a_machine_without_the_sanitizer_may_pass(complete: Path) -> None:
    (complete / "compute-sanitizer").unlink()
    assert not preflight.look().bad


def test_a_gpu_that_torch_cannot_use_is_listed(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_no_gpu", lambda python: "torch finds no GPU.")
    assert preflight.look().sentences == {GPU: "torch finds no GPU."}
    without(monkeypatch, "torch")  # which then cannot report its GPU
    assert set(preflight.look().sentences) == {"torch"}


def test_setuptools_that_cannot_read_the_project_are_listed(complete: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "version", lambda name: "76.1")
    assert "setuptools 76.1 is too old" in preflight.look().sentences["setuptools"]


@pytest.mark.parametrize("in_environment", [False, True])
def test_an_externally_managed_python_gets_advice_for_an_environment(
    complete: Path, monkeypatch: pytest.MonkeyPatch, in_environment: bool
) -> None:
    """PEP 668: pip refuses to install into it, but not into a virtual environment."""
    (complete / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(complete))
    monkeypatch.setattr(sys, "prefix", "/environment" if in_environment else sys.base_prefix)
    without(monkeypatch, "pytest")
    advice = preflight.look("python3").advice
    assert ("PEP 668" in advice) is not in_environment
    assert ("python3 -m venv --system-site-packages .venv-gpu" in advice) is not in_environment
    assert ("make gpu GPU_PYTHON=.venv-gpu/bin/python" in advice) is not in_environment
    assert "-m pip install --upgrade pytest" in advice


def test_programs_are_found_in_cuda_home_in_path_and_in_the_usual_folder(
    complete: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preflight.find("nvcc") == str(complete / "nvcc")
    usual = program(complete / "toolkit" / "bin", "nvcc")
    (complete / "nvcc").unlink()
    assert preflight.find("nvcc") == str(usual)
    home = program(complete / "home" / "bin", "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(complete / "home"))
    assert preflight.find("nvcc") == str(home)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("pass", ""),
        ("print('torch 2 finds no GPU.')", "torch 2 finds no GPU."),
        ("raise ImportError('libcudart.so.13: cannot open')", "ImportError: libcudart.so.13: cannot open"),
        ("import time; time.sleep(600)", "had not said after 2 seconds"),
    ],
)
def test_torch_is_probed_in_its_own_process(monkeypatch: pytest.MonkeyPatch, program: str, message: str) -> None:
    monkeypatch.setattr(preflight, "_PROBE", program)
    monkeypatch.setattr(preflight, "_PROBE_S", 2.0 if "sleep" in program else 120.0)
    answer = preflight._no_gpu(sys.executable)
    assert message in answer
    assert bool(answer) == bool(message)


def test_a_bare_python_lists_every_missing_module(pytestconfig: pytest.Config) -> None:
    """The whole of `make gpu`, in an interpreter without installed packages."""
    command = [sys.executable, "-S", "-m", "harness.machines"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(command, cwd=pytestconfig.rootpath, env=environment, capture_output=True, text=True)
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stdout + process.stderr
    modules = re.findall(r"^preflight: The Python module (\w+) is missing", process.stdout, re.MULTILINE)
    assert modules == list(preflight.MODULES)
    assert process.stdout.splitlines()[-1] == "Nothing was done: every step needs a GPU that torch can use."


def test_the_preflight_checks_the_projects_dependencies(pytestconfig: pytest.Config) -> None:
    """The preflight checks every dependency of the suites and benchmarks that is not optional."""
    tomllib: Any = pytest.importorskip("tomllib", reason="Python has it from 3.11 on")
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    assert {"include-group": "trial"} in groups["test"]
    lines = [line for name in ("trial", "test", "bench", "build") for line in groups[name] if isinstance(line, str)]
    packages = {re.split(r"[>=<;\[ ]", line)[0] for line in lines}
    # The suites skip the tests that need one of these; without ninja and wheel a build in place is slower, or the same.
    optional = {
        "dask",
        "distributed",
        "onnx",
        "onnxruntime",
        "onnxscript",
        "pytest-xdist",
        "pyyaml",
        "scikit-image",
        "scipy",
    }
    optional |= {"tensorflow", "torchvision", "ninja", "wheel"}
    assert set(preflight.MODULES.values()) - {"torch"} == packages - optional
    assert f"setuptools>={preflight.SETUPTOOLS}" in groups["build"]


def test_a_step_that_lacks_a_module_is_skipped_with_its_name() -> None:
    from harness.machines import gpu

    lacks = Lacks({"pandas": "The Python module pandas is missing.", SANITIZER: "There is none."})
    reasons = {each.name: each.why_not() for each in gpu.steps(Path("logs"), lacks)}
    assert reasons.pop("bench") == "it needs pandas: see the preflight."
    assert {name for name, reason in reasons.items() if reason} == set(gpu.names_of("sanitize", reasons))


def test_the_smoke_test_passes_a_right_backend_and_names_a_wrong_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    from dataclasses import replace

    from harness import backends
    from harness.machines import smoke

    monkeypatch.setattr(backends, "_registry", {})
    assert smoke.main(["roi_align"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith("roi_align, crop_and_resize, forward: WITHIN")

    def one_off(name: str) -> Any:
        right = backends.load("roi_align", "roi_align")
        return replace(right, name=name, to_numpy=lambda result: right.to_numpy(result) + 1)

    backends.register("roi_align", "one_off", one_off)
    assert smoke.main(["one_off"]) == 1
    assert capsys.readouterr().out.startswith("one_off, roi_align, forward: OUT")


def test_the_smoke_test_fails_with_a_message_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("about a machine without a GPU")
    from harness.machines import smoke

    assert smoke.main(smoke.BACKENDS) == 1
    assert capsys.readouterr().out.startswith("roi_align_cuda needs the device 'cuda'")
