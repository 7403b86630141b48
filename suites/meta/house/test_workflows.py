"""CI that users copy: every action is pinned, and every step can be had anywhere by the same command.

The workflows are read as text, line by line: YAML's own reader is no dependency of this project. So they are held to
the few forms that these checks can read, and a line of another form is a finding too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
# What a step may do beside a target: show a Markdown file that a target has made on the run's own page.
GLUE = re.compile(r'cat( build/[\w./-]+\.md)+ >> "\$GITHUB_STEP_SUMMARY"')
_LINE = re.compile(r"(?: {2})*(?:- )?[\w-]+:(?: (?![{|>]).+)?")
_USES = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(?:\.\d+)+")
_MAKE = re.compile(r"make (?P<target>[\w-]+)(?P<variables>(?: [A-Z]+=(?:[\w./-]+|\"\$[A-Z]+\"|\$\{\{ [\w.]+ \}\}))*)")


def targets(makefile: str) -> set[str]:
    """The targets that the Makefile declares as commands."""
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)
    steps = re.findall(r"^GPU_STEPS := (.+)$", makefile, flags=re.MULTILINE)
    return set(" ".join([phony, *steps]).split()) - {"$(GPU_STEPS)"}


def variables(makefile: str) -> set[str]:
    """The variables that the Makefile takes from its command line."""
    return set(re.findall(r"^([A-Z_]+) \?=", makefile, flags=re.MULTILINE))


def findings(workflow: str, makefile: str) -> list[str]:
    """What is wrong with a workflow, as sentences."""
    found = []
    lines = [line for line in workflow.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in lines:
        if _LINE.fullmatch(line) is None:
            found.append(
                f"{line!r} is not of the form that is read here: pairs of blanks, a key, and a value on its line."
            )
        key, _, value = line.strip().removeprefix("- ").partition(":")
        value = value.strip()
        if key == "uses" and _USES.fullmatch(value) is None:
            found.append(f"{value!r} is not pinned to a commit with its version beside it.")
        if key == "run":
            found += _of_command(value, makefile)
        if key in ("on", "permissions") and value:
            found.append(f"{key} is {value!r} in the place of a list.")
        if value == "write":
            found.append(f"{key} may be written.")
    if "permissions:\n  contents: read\n" not in workflow:
        found.append("it does not say that it only reads.")
    if workflow.count("runs-on:") != workflow.count("timeout-minutes:"):
        found.append("a job has no limit of time.")
    triggers = [line.strip().partition(":")[0] for line in lines]
    if "self-hosted" in workflow and {"pull_request", "pull_request_target"} & set(triggers):
        found.append("anybody's pull request runs on somebody's own machine.")
    if "pull_request_target" in triggers:
        found.append("a pull request's program runs with the repository's own rights.")
    return found


def _of_command(command: str, makefile: str) -> list[str]:
    if GLUE.fullmatch(command):
        return []
    made = _MAKE.fullmatch(command)
    if made is None:
        return [f"{command!r} is no target of the Makefile."]
    unknown = [made["target"]] if made["target"] not in targets(makefile) else []
    given = re.findall(r" ([A-Z]+)=", made["variables"])
    unknown += [name for name in given if name not in variables(makefile)]
    return [f"{command!r}: the Makefile knows no {name}." for name in unknown]


@pytest.fixture(scope="module")
def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_workflows_are_these() -> None:
    assert [path.name for path in WORKFLOWS] == ["gpu.yml", "nightly.yml", "pull-request.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_pinned_limited_and_made_of_targets(path: Path, makefile: str) -> None:
    workflow = path.read_text(encoding="utf-8")
    assert re.search(r"^ +- run: make ", workflow, flags=re.MULTILINE)
    assert findings(workflow, makefile) == []


def test_an_action_has_one_version_in_all_workflows() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: ([\w.-]+/[\w./-]+)@(.+)", text))
    assert len(pins) == len({action for action, _ in pins}) > 0


def test_the_merge_hears_of_every_runner_and_keeps_the_report_whatever_comes() -> None:
    workflow = (ROOT / ".github/workflows/gpu.yml").read_text(encoding="utf-8")
    runners, merge = workflow.split("\n  merge:\n")
    # The labels stand in one place, for the matrix and for who is expected.
    assert "runner: ${{ fromJSON(vars.GPU_RUNNERS) }}" in runners
    assert "RUNNERS: ${{ join(fromJSON(vars.GPU_RUNNERS), ' ') }}" in merge
    assert 'EXPECTED="$RUNNERS"' in merge
    assert "fail-fast: false" in runners
    assert "if: always()" in merge.partition("steps:")[0]
    for job in (runners, merge):
        for upload in re.findall(r"uses: actions/upload-artifact.+\n(.+)\n", job):
            assert upload.strip() == "if: always()"
    # As harness/machines/merging.py reads an artifact's name.
    assert "name: gpu-${{ matrix.runner }}-${{ github.run_id }}\n" in runners
    assert "pattern: gpu-*\n" in merge


GOOD = """\
on:
  schedule:
    - cron: "17 2 * * *"
permissions:
  contents: read
jobs:
  test:
    runs-on: [self-hosted, gpu]
    timeout-minutes: 9
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2
      - run: make test CASES=3 SEED=${{ github.run_number }}
      - run: cat build/a.md >> "$GITHUB_STEP_SUMMARY"
"""
MAKEFILE = "CASES ?=\nSEED ?=\nGPU_STEPS := gpu-build\n.PHONY: test $(GPU_STEPS)\n"


def test_a_good_workflow_has_no_findings() -> None:
    assert findings(GOOD, MAKEFILE) == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "not pinned"),
        ("@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@main # v4.2.2", "not pinned"),
        (" # v4.2.2", "", "not pinned"),
        (" # v4.2.2", " # v4", "not pinned"),
        ("9af683 #", "9af68 #", "not pinned"),
        ("make test", "make tset", "knows no tset"),
        ("CASES=3", "CASE=3", "knows no CASE"),
        ("make test", "pytest suites/", "no target"),
        ("make test", "make test; curl", "no target"),
        ("SEED=${{ github.run_number }}", "SEED=$(id)", "no target"),
        ("run: make test CASES=3", "run: |\n          make test CASES=3", "no target"),
        ("cat build/a.md", "cat build/a.md /etc/passwd", "no target"),
        ("cat build/a.md", "echo well", "no target"),
        ("  contents: read\n", "  contents: write\n", "may be written"),
        ("permissions:\n  contents: read\n", "", "only reads"),
        ("permissions:\n  contents: read\n", "permissions: write-all\n", "in the place of a list"),
        ("    timeout-minutes: 9\n", "", "no limit of time"),
        ("  schedule:\n", "  pull_request:\n  schedule:\n", "somebody's own machine"),
        ("  schedule:\n", "  pull_request_target:\n  schedule:\n", "own rights"),
        ("on:\n", "on: [pull_request]\n", "in the place of a list"),
        ("- run: make", "- {run: make", "not of the form"),
        ("- run: make", '- "run": make', "not of the form"),
        ("    runs-on", "\truns-on", "not of the form"),
        ("    runs-on", "   runs-on", "not of the form"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str, said: str) -> None:
    assert right in GOOD
    assert any(said in finding for finding in findings(GOOD.replace(right, wrong), MAKEFILE))
