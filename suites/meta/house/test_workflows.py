"""CI's steps are targets of the Makefile and its jobs fit together: what `actionlint` and `zizmor` do not check.

`make check` runs those two: syntax, expressions, permissions, triggers, credentials, actions without a commit, and
values interpolated into a command. They do not know this project's own rules: every step can be repeated anywhere by
the same command, every job has a time limit, no pull request runs on a self-hosted machine, an action has one version.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[3]
TEXTS = {path.name: path.read_text("utf-8") for path in sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))}
# The one step beside a target: a Markdown file that a target wrote is shown on the run's own page.
_SUMMARY = re.compile(r'cat( build/[\w./-]+\.md)+ >> "\$GITHUB_STEP_SUMMARY"')
_MAKE = re.compile(r"make ([\w-]+)((?: [A-Z]+=(?:[\w./-]+|\"\$[A-Z_]+\"))*)")
# The version is a comment, which a YAML reader drops.
_PIN = re.compile(r"uses: ([\w./-]+)@([0-9a-f]{40} # v\d+(?:\.\d+)+)$", flags=re.MULTILINE)


def findings(text: str, makefile: str) -> list[str]:
    """What is wrong with a workflow, as sentences."""
    workflow = yaml.safe_load(text)
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    jobs = workflow["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    messages = [f"The job {name} has no time limit." for name, job in jobs.items() if "timeout-minutes" not in job]
    if "pull_request" in triggers and any("self-hosted" in job["runs-on"] for job in jobs.values()):
        messages.append("A pull request runs on a self-hosted machine.")
    if sum("uses" in step for step in steps) != len(_PIN.findall(text)):
        messages.append("An action has no commit with its full version beside it.")
    for step in steps:
        messages += _of_command(step["run"], makefile) if "run" in step else []
    return messages


def _of_command(command: str, makefile: str) -> list[str]:
    if _SUMMARY.fullmatch(command):
        return []
    call = _MAKE.fullmatch(command)
    if call is None:
        return [f"{command!r} is not a target of the Makefile."]
    targets = " ".join(re.findall(r"^(?:\.PHONY:|GPU_STEPS :=) (.+)$", makefile, flags=re.MULTILINE)).split()
    variables = re.findall(r"^([A-Z_]+) \?=", makefile, flags=re.MULTILINE)
    unknown = {call[1]} - set(targets) | set(re.findall(r" ([A-Z]+)=", call[2])) - set(variables)
    return [f"{command!r}: the Makefile has no {name}." for name in sorted(unknown)]


def test_every_workflow_is_known() -> None:
    assert list(TEXTS) == ["docs.yml", "gpu.yml", "nightly.yml", "pull-request.yml", "wheels.yml"]


@pytest.mark.parametrize("name", TEXTS)
def test_a_workflow_pins_actions_limits_time_and_runs_make_targets(name: str) -> None:
    assert "- run: make " in TEXTS[name]
    assert findings(TEXTS[name], (ROOT / "Makefile").read_text("utf-8")) == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    pins = set(_PIN.findall("\n".join(TEXTS.values())))
    assert len(pins) == len({action for action, _ in pins}) > 0


def test_the_merge_job_expects_every_runner_and_always_uploads_the_report() -> None:
    jobs = yaml.safe_load(TEXTS["gpu.yml"])["jobs"]
    gpu, merge = jobs["gpu"], jobs["merge"]
    # One variable names the runners, for the matrix and for the merge.
    assert gpu["strategy"] == {"fail-fast": False, "matrix": {"runner": "${{ fromJSON(vars.GPU_RUNNERS) }}"}}
    (command,) = (step for step in merge["steps"] if step.get("run", "").startswith("make merge "))
    assert command["env"] == {"RUNNERS": "${{ join(fromJSON(vars.GPU_RUNNERS), ' ') }}"}
    assert 'EXPECTED="$RUNNERS"' in command["run"]
    assert merge["needs"] == "gpu"
    assert merge["if"].startswith("always()")
    uploads = [[step for step in job["steps"] if "upload-artifact@" in step.get("uses", "")] for job in (gpu, merge)]
    assert [[step["if"] for step in of_job] for of_job in uploads] == [["always()"], ["always()"]]
    # As harness/machines/merging.py reads an artifact's name.
    assert uploads[0][0]["with"]["name"] == "gpu-${{ matrix.runner }}-${{ github.run_id }}"
    (download,) = (step for step in merge["steps"] if "download-artifact@" in step.get("uses", ""))
    assert download["with"]["pattern"] == "gpu-*"


GOOD = """\
on:
  schedule:
    - cron: "17 2 * * *"
jobs:
  test:
    runs-on: [self-hosted, gpu]
    timeout-minutes: 9
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
      - run: make test CASES=3 SEED="$GITHUB_RUN_NUMBER"
      - run: cat build/a.md >> "$GITHUB_STEP_SUMMARY"
"""
MAKEFILE = "CASES ?=\nSEED ?=\nGPU_STEPS := gpu-build\n.PHONY: test $(GPU_STEPS)\n"


def test_a_good_workflow_has_no_findings() -> None:
    assert findings(GOOD, MAKEFILE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (" # v4.2.2", "", "no commit"),
        (" # v4.2.2", " # v4", "no commit"),
        ("9af683 #", "9af68 #", "no commit"),
        ("make test", "make tset", "has no tset"),
        ("CASES=3", "CASE=3", "has no CASE"),
        ("make test", "pytest suites/", "not a target"),
        ("make test", "make test; curl", "not a target"),
        ('SEED="$GITHUB_RUN_NUMBER"', "SEED=$(id)", "not a target"),
        ("run: make test CASES=3", "run: |\n          make test CASES=3", "not a target"),
        ("cat build/a.md", "cat build/a.md /etc/passwd", "not a target"),
        ("cat build/a.md", "echo well", "not a target"),
        ("- run: make test", '- "run": make tset', "has no tset"),
        ("    timeout-minutes: 9\n", "", "no time limit"),
        ("  schedule:\n", "  pull_request:\n  schedule:\n", "self-hosted"),
        ("on:\n  schedule:\n    - cron:", "on: [pull_request]\nenv:\n  CRON:", "self-hosted"),
    ],
)
def test_a_planted_fault_is_detected(right: str, wrong: str, message: str) -> None:
    assert right in GOOD
    assert any(message in finding for finding in findings(GOOD.replace(right, wrong), MAKEFILE))
