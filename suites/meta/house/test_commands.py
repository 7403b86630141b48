"""Every command line of README and the documents is run by a test or by CI, or it is here with the reason why not.

A command that no line of the table knows fails, and so does an option that its program does not take.
"""

from __future__ import annotations

import re

import pytest

pytest.importorskip("typer", reason="it reads the options of a verb")
pytest.importorskip("xdist", reason="pytest knows -n from it")

from suites.meta.house.commands import DOCUMENTS, ROOT, Command, commands, problem

PULL_REQUEST, NIGHTLY, GPU = (f".github/workflows/{name}.yml" for name in ("pull-request", "nightly", "gpu"))
META = "suites/meta"
NEEDS_GPU = "It needs a GPU; gpu.yml runs all of it as `make gpu`."
FOREIGN = f"{META}/measuring/test_foreign.py::test_a_run_from_the_command_to_the_report"
PAGE = f"{META}/judging/test_judging_page.py"
CPP = "suites/correctness/deploying/test_without_python.py"
# What a whole command line matches, the first that does: FILE::TEST or WORKFLOW::COMMAND that runs it, or a sentence
# that says why nothing does.
TABLE = {
    r"make (test|check|report|docs|bench QUICK=1)": f"{PULL_REQUEST}::make \\1",
    r"make (sanitize|arm-tools)\b.*": f"{NIGHTLY}::make \\1",
    r"make trial\b.*": f"{NIGHTLY}::make trial",
    r"make (gpu|merge)\b(?!-).*": f"{GPU}::make \\1",
    r"make gpu-\S+": NEEDS_GPU,
    r"make bench": "It measures for half an hour; `make bench QUICK=1` is the same on few workloads.",
    r"make (build|env)": "It is the first part of `make test`.",
    r"make (wheel|wheels)": "It builds for a release, in wheels.yml.",
    r"make peers\b.*": "It installs 3 GB; test_peer_environments.py runs its verb on environments of no size.",
    r"pip install --no-build-isolation \.": "It changes the environment; `make wheel` builds the same.",
    r"tar xzf \S+ -C results": f"{META}/machines/test_gpu_steps.py::test_the_archive_unpacks_into_results",
    r"python -m harness": f"{META}/verbs/test_help.py::test_no_verb_prints_five_lines_of_first_steps",
    r"python -m harness (VERB )?--help": f"{META}/verbs/test_help.py::test_help_is_printed",
    r"python -m harness report\b.*": f"{META}/verbs/test_console.py::"
    "test_a_report_names_a_file_that_it_left_out_and_exits_with_1",
    r"python -m harness bench .*cuda.*": NEEDS_GPU,
    r"python -m harness bench .*--backend .*": FOREIGN,
    r"python -m harness bench --quick": f"{PULL_REQUEST}::make bench QUICK=1",
    r"python -m harness bench --processes.*": "It measures for hours; test_protocol.py runs its processes' turns.",
    r"(ROI_ALIGN_CPU=\w+ )?python -m harness bench": f"{META}/measuring/test_foreign.py::"
    "test_an_interrupted_run_keeps_its_finished_rows",
    r"python -m harness compare \S+:\S+ \S+:\S+.*": f"{META}/comparison/"
    "test_functions.py::test_functions_are_decided_like_revisions",
    r"python -m harness compare \S+ (cuda-|cpu-|build/)\S+": f"{META}/verbs/test_json.py::"
    "test_a_comparison_is_json_and_a_slow_row_is_in_it",
    r"python -m harness compare \S+ \S+ --setting maximum.*": f"{META}/comparison/test_timing.py::"
    "test_settings_choose_the_rows",
    r"python -m harness compare \S+ \S+( --fail-on slow| --json)*": f"{META}/comparison/test_comparison.py::"
    "test_fail_on_slow_fails_a_confirmed_slow_row",
    r"python -m harness\.comparison\.simulation": "It simulates for minutes; test_verdicts.py simulates less.",
    r"python -m harness conformance --all": "It asks every library, for hours.",
    r"python -m harness conformance\b.*": f"{META}/conformance/test_conformance.py::"
    "test_the_command_fails_only_with_fail_on",
    r"python -m harness speed\b.*": f"{META}/verbs/test_json.py::test_times_are_json",
    r"python -m harness mutants\b.*": f"{META}/verbs/test_json.py::"
    "test_planted_faults_are_json_and_a_survivor_is_named",
    r"python -m harness findings\b.*": f"{META}/report/test_findings.py::"
    "test_the_verb_writes_confirmed_findings_and_sends_nothing",
    r"python -m harness peers\b.*": f"{META}/backends/test_peer_environments.py::"
    "test_an_environment_is_rebuilt_only_when_its_pins_change",
    r"python -m harness golden\b.*": "It writes the suite's own file; test_golden.py remakes a few vectors of it.",
    r"python -m harness judge\b.*": f"{META}/operators/test_judge.py::"
    "test_judge_exits_with_3_if_the_judge_itself_fails",
    r"python -m harness kernels\b.*": "It needs nvcc and minutes; test_costs.py counts the same.",
    r"python -m harness fuzz\b.*--cluster.*": f"{META}/fuzzing/test_cluster.py::test_a_killed_worker_loses_no_find",
    r"python -m harness fuzz\b.*": f"{META}/fuzzing/test_campaign.py::"
    "test_an_interrupt_ends_a_campaign_and_keeps_its_finds",
    r"(\S+=\S+ )*dask (scheduler|worker)\b.*": "It starts a cluster; test_cluster.py starts one in its own process.",
    r"pytest suites/ --backend \w+:fma_position": f"{META}/faults/test_reference.py::"
    "test_every_fault_loads_by_its_name",
    r"pytest suites/ --backend roi_align_cuda\w*": NEEDS_GPU,
    r"(\S+=\S+ )*pytest suites/ --backend mytriton:\S+.*": f"{PAGE}::test_the_pages_triton_kernel_passes_without_a_gpu",
    r"pytest suites/ --backend (\S+:\S+|NAME)( -x| -n auto)*": f"{PAGE}::test_the_pages_kernel_gets_the_pages_verdict",
    r"pytest suites/(meta|correctness)/\S+( -k \w+)?": f"{PULL_REQUEST}::make test",
    r"pytest --benchmark-only --backend .*": f"{META}/measuring/test_foreign.py::"
    "test_pytest_times_a_foreign_function_without_the_verb",
    r"pytest (suites/\S+ )?--benchmark-only( -k \w+)?": f"{META}/measuring/test_foreign.py::"
    "test_pytest_measures_without_the_verb",
    r"TORCH=\$\(python .*\)|g\+\+ .* pool\.cpp .*|\./pool .*": f"{CPP}::"
    "test_a_saved_model_pools_in_a_process_without_python",
    r"mkdir -p build|g\+\+ .*/fresh_memory\.cpp .*": f"{META}/measuring/test_fresh_memory.py::"
    "test_the_pages_command_times_each_kind_of_memory",
    r"(\w+=\S+ )+python \.\.\.": "It shows variables before a program of the reader's.",
}
LINES = [each for document in DOCUMENTS for each in commands(document, (ROOT / document).read_text("utf-8"))]


def entry(line: str) -> str | None:
    """The table's word on a command line, None if it has none."""
    for pattern, value in TABLE.items():
        match = re.fullmatch(pattern, line)
        if match:
            return match.expand(value) if "\\1" in value else value
    return None


def test_documents_have_commands() -> None:
    assert len(LINES) > 60
    assert {each.document for each in LINES} >= {"README.md", "CONTRIBUTING.md", "docs/judging.md", "docs/measuring.md"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_run_or_has_a_reason(document: str) -> None:
    lines = [each.line for each in LINES if each.document == document]
    assert [line for line in lines if entry(line) is None] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_exists_and_takes_its_options(document: str, pytestconfig: pytest.Config) -> None:
    own = [each for each in LINES if each.document == document]
    assert [sentence for each in own if (sentence := problem(each, pytestconfig._parser))] == []


def test_the_test_or_job_that_runs_a_command_exists() -> None:
    for value in {value for each in LINES if (value := entry(each.line))}:
        path, separator, name = value.partition("::")
        if not separator:
            assert value.endswith("."), "a reason is a sentence"
            continue
        text = (ROOT / path).read_text("utf-8")
        runs = f"run: {name}" if path.endswith(".yml") else f"def {name}("
        assert runs in text, value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("make tset", "the Makefile has no tset"),
        ("make bench QUIK=1", "the Makefile has no QUIK"),
        ("python -m harness bnech", "there is no verb bnech"),
        ("python -m harness bench --quik", "--quik"),
        ("python -m harness bench --processes 0", "greater than or equal to 1"),
        ("python -m harness compare main", "Missing parameter: new"),
        ("python -m harness.nothing", "there is no module harness.nothing"),
        ("pytest suites/ --bakend mykernel:roi_align", "--bakend"),
        ("pytest suites/meta/no_such_file.py", "there is no suites/meta/no_such_file.py"),
    ],
)
def test_a_wrong_command_is_detected(line: str, message: str, pytestconfig: pytest.Config) -> None:
    text = f"Text.\n\n    {line}     # a comment\n\nMore text.\n"
    (command,) = commands("README.md", text)
    assert command.line == line
    assert message in str(problem(command, pytestconfig._parser))


def test_an_unknown_command_is_detected_in_a_block_and_in_a_sentence() -> None:
    prose = "Run `make cake` or\n`python -m\nharness cook`:\n\n"
    text = f"{prose}    bake --hot \\\n        cake.py    # now\n\n```sh\npytest no\n```\n"
    lines = commands("README.md", text)
    assert [each.line for each in lines] == ["pytest no", "bake --hot cake.py", "make cake", "python -m harness cook"]
    assert [entry(each.line) for each in lines] == [None] * 4
    assert commands("README.md", "```python\nmake = 1\n```\n") == []
    assert commands("docs/operators.md", "Rule:\n\n    p = a1 * (L - 1)\n") == []


def test_variables_before_a_command_are_no_part_of_it() -> None:
    assert Command("a", "A=1 B=2 pytest suites/").words == ["pytest", "suites/"]
