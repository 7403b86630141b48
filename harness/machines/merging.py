"""Merges several runners' archives into one folder of results: the first half of `make merge`, before the report.

A failed runner must neither hide the figures of the others nor go unnoticed. So all usable archives are merged, and
each runner with a missing archive, a damaged one or a failed step is reported in a sentence. Archives come from other
machines: one that contains anything except a single run, laid out as in results/, is left out entirely.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from harness import repository
from harness.machines.step import bad_steps
from harness.repository import ROOT

FOLDER = ROOT / "build" / "merged"
# The summary of merged and missing runners, beside the report.
SUMMARY = "runners.md"
# How .github/workflows/gpu.yml names its artifacts: gpu-RUNNER-RUN, and a run's own name has no dash.
_ARTIFACT = re.compile(r"gpu-(?P<runner>.+)-[^-]+")
_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class MergeResult:
    """The outcome of merging.

    runs      for each unpacked archive: its runner and its run.
    problems  a sentence for each missing runner, each archive left out, and each step that did not pass.
    """

    runs: tuple[str, ...]
    problems: tuple[str, ...]


def merge(archives: Path, expected: tuple[str, ...], output: Path) -> MergeResult:
    """Unpacks the archives under a folder, archives/gpu-RUNNER-RUN/*.tar.gz, into output/DEVICE/RUN.

    expected  the runners that must have an archive; others are merged too.
    output    a folder of results; existing runs in it stay unchanged. The result is also written to SUMMARY there.
    """
    output.mkdir(parents=True, exist_ok=True)
    runs: list[str] = []
    problems: list[str] = []
    runners: set[str] = set()
    for file in sorted(archives.rglob("*.tar.gz")):
        name = str(file.relative_to(archives))
        artifact = _ARTIFACT.fullmatch(file.parent.name)
        if artifact is None or file.parent.parent != archives:
            problems.append(f"{name} was left out: an archive is looked for in a folder gpu-RUNNER-RUN of its runner.")
            continue
        runner = artifact["runner"]
        runners.add(runner)
        try:
            run = _unpack(file, output)
        except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
            problems.append(f"{runner}: {name} was left out: {str(error).rstrip('.') or type(error).__name__}.")
            continue
        runs.append(f"{runner}: {run}")
        problems += [f"{runner}: {sentence}" for sentence in _shortcomings(output, run)]
    for runner in expected:
        if runner not in runners:
            problems.append(f"{runner} left nothing: there is no archive gpu-{runner}-RUN/*.tar.gz under {archives}.")
    if not expected and not runners:
        problems.append(f"There is no archive gpu-RUNNER-RUN/*.tar.gz under {archives}; `make gpu` makes some.")
    lines = ["# Runners", "", *(f"- {line}" for line in (*runs, *problems)), ""]
    repository.replace(output / SUMMARY, "\n".join(lines))
    return MergeResult(tuple(runs), tuple(problems))


def _unpack(file: Path, output: Path) -> Path:
    """Unpacks an archive's single run and returns its place, DEVICE/RUN; ValueError if the archive is unusable."""
    # Read to the end, because the checksum is there: tarfile stops earlier and would miss corruption.
    with gzip.open(file) as stream:
        while stream.read(_CHUNK_BYTES):
            pass
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=output) as scratch, tarfile.open(file, "r:gz") as tar:
        runs = {run for member in tar.getmembers() if (run := _run_of(member)) is not None}
        if len(runs) != 1:
            raise ValueError(f"it holds {len(runs)} runs in the place of one")
        run = runs.pop()
        if (output / run).exists():
            raise ValueError(f"{run} is there already, and two runs cannot have one place")
        # A Python without the filter relies on the checks of _run_of on every member.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(scratch, filter="data")
        else:
            tar.extractall(scratch)
        (output / run.parent).mkdir(exist_ok=True)
        (Path(scratch) / run).rename(output / run)
    return run


def _run_of(member: tarfile.TarInfo) -> Path | None:
    """The run, DEVICE/RUN, of a member, None for a folder above runs; ValueError if it belongs to no run."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"its {member.name!r} would leave the folder of results")
    if not (member.isfile() or member.isdir()):
        raise ValueError(f"its {member.name!r} is neither a file nor a folder")
    if len(path.parts) > 2:
        return Path(*path.parts[:2])
    if member.isfile():
        raise ValueError(f"its {member.name!r} lies in no run: a file of results is DEVICE/RUN/FILE")
    return None


def _shortcomings(output: Path, run: Path) -> list[str]:
    """A sentence for each shortcoming of an unpacked run."""
    sentences = []
    steps = output / run / "logs" / "steps.txt"
    if not steps.is_file():
        sentences.append(f"{run} has no logs/steps.txt, and nothing says which of its steps passed.")
    else:
        names = bad_steps(steps.read_text(encoding="utf-8", errors="replace"))
        sentences += [f"the step {name} did not pass; see {run}/logs/{name}.log." for name in names]
    if not any((output / run).glob("*.json")):
        sentences.append(f"{run} holds no results, only logs.")
    return sentences
