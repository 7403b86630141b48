"""Builds the package with a planted fault and tests it as users have it: imported, in a process of its own.

Faults in the reference (harness/faults/reference) show that the checks find a wrong rule; these show that they find a
wrong package: its C++, its threads, its memory, its registration with torch. The build folder goes first on a process's
path, so `import roi_align` imports the faulty package, and the suites' own tests run on it.

The kernels are normally compiled once for every instruction set. Here only the portable ones are, and they stand in for
the others under their names: a fault then takes one to four seconds, and tests cannot tell the difference.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.compiling import (
    Change,
    apply_changes,
    build_setting,
    digest,
    folder_of,
    make,
    objects,
    short,
    texts_in,
    version,
    write,
)
from harness.operators.arrays import Direction
from harness.operators.sheet import OperatorName
from harness.repository import ROOT

PACKAGE = ROOT / "impl"
BUILD = ROOT / "build" / "mutants"
OBJECTS = BUILD / "objects"


# The suites' tests of the package on the CPU, the quick and effective ones first. Those that need TensorFlow or
# torchvision come last, because they are skipped if it is missing.
_FIRST_TO_LAST = (
    "crop_and_resize/modules roi_align/modules shared/bad_input shared/transforms shared/gradients "
    "shared/thresholds shared/against_golden roi_align/multiscale shared/layouts shared/registration "
    "roi_align/sizes roi_align/identities shared/properties roi_align/against_torchvision shared/sizes "
    "crop_and_resize/against_tensorflow"
)
SELECTIONS = tuple("suites/correctness/{}/test_{}.py".format(*each.split("/")) for each in _FIRST_TO_LAST.split())


@dataclass(frozen=True)
class PackageFault:
    """A bug as changes of impl/: what is wrong, and the operator, directions and tests in which it shows.

    suites: pytest selections to run before all others, because they are known to find it.
    """

    name: str
    why: str
    operator: OperatorName
    changes: tuple[Change, ...]
    suites: tuple[str, ...]
    directions: tuple[Direction, ...]


def package_with(*changes: Change) -> dict[str, str]:
    """The sources after these changes, by path below impl/; ValueError for a change that does not apply."""
    return apply_changes({**texts_in(PACKAGE, "*.py"), **_sources()}, changes)


def build(*changes: Change) -> Path:
    """Builds the package roi_align after these changes, in a folder to put first on a process's path.

    Paths of changes are relative to impl/. ValueError for a change that does not apply, RuntimeError for sources that
    do not compile.
    """
    texts = package_with(*changes)
    folder = folder_of(texts, BUILD, version(), importlib.metadata.version("torch"), *_flags())
    library = folder / "roi_align" / "_C.abi3.so"
    if not library.exists():
        write(texts, folder)
        partial = library.with_suffix(f".{os.getpid()}")
        shutil.copyfile(_library(texts, folder), partial)
        partial.replace(library)
    return folder


def killer_of(fault: PackageFault) -> str | None:
    """The first of the suites' tests that fails on the faulty package, None if all pass.

    A crash gives "crash: signal NAME in TEST". RuntimeError if the tests could not run at all, ValueError and
    RuntimeError as in `build`: none of these counts as a kill.
    """
    folder = build(*fault.changes)
    rest = [each for each in SELECTIONS if each not in fault.suites]
    return (fault.suites and first_failure(folder, fault.suites)) or first_failure(folder, rest)


def control(faults: Iterable[PackageFault]) -> str | None:
    """The first failure, on the unchanged package, of the tests that these faults name; there must be none."""
    return first_failure(build(), list(dict.fromkeys(place for fault in faults for place in fault.suites)))


def first_failure(folder: Path, selections: Sequence[str]) -> str | None:
    """The first test that fails on the package in this folder; raises as `killer_of` does."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        options = (
            *("-x", "-q", "-p", "no:cacheprovider"),
            *("-p", "harness.faults.package.first_failure", f"--first-failure-log={log}"),
        )
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *selections], cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        events = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    begins = [event["begins"] for event in events if "begins" in event]
    failures = [event["fails"] for event in events if "fails" in event]
    origin = next((event["roi_align"] for event in events if "roi_align" in event), None)
    if begins and origin != str(folder / "roi_align" / "__init__.py"):
        raise RuntimeError(f"The package under test is {origin} instead of that in {folder}.")
    if process.returncode < 0 and begins:
        return f"crash: signal {signal.Signals(-process.returncode).name} in {begins[-1]}"
    if process.returncode == 1 and failures:
        return str(failures[0])
    if process.returncode == 0 and begins:
        return None
    raise RuntimeError(f"pytest {' '.join(selections)} ended with {process.returncode}:\n{process.stdout[-4000:]}")


# Replaces isa_avx2.cpp and isa_avx512.cpp.
_OTHER_SETS = """
#include "cpu/isa.h"

#if defined(__x86_64__)
namespace roi_align {
namespace {
Kernels under(const char* name) {
  Kernels kernels = portable::kKernels;
  kernels.name = name;
  return kernels;
}
}  // namespace
namespace avx2 {
extern const Kernels kKernels = under("avx2");
}
namespace avx512 {
extern const Kernels kKernels = under("avx512");
}
}  // namespace roi_align
#endif
"""


def _sources() -> dict[str, str]:
    """The C++ sources of the CPU library, by path below impl/."""
    texts = {f"csrc/{name}": text for name, text in texts_in(PACKAGE / "csrc").items() if "cuda" not in name}
    del texts["csrc/cpu/isa_avx2.cpp"], texts["csrc/cpu/isa_avx512.cpp"]
    return {**texts, "csrc/cpu/isa_others.cpp": _OTHER_SETS}


@functools.cache
def _torch() -> Path:
    """torch's folder; the harness itself does not import torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package is built against torch, which is not installed.")
    return Path(spec.origin).parent


@functools.cache
def _flags() -> tuple[str, ...]:
    """setup.py's own flags with less optimisation, and the include paths of torch."""
    include = _torch() / "include"
    own = ["-O1" if flag == "-O3" else flag for flag in build_setting("FLAGS")]
    return ("-fPIC", *own, f"-I{include}", f"-I{include}/torch/csrc/api/include")


def _library(texts: Mapping[str, str], root: Path) -> Path:
    """Compiles and links sources that are written below `root`."""
    sources = [root / name for name in texts if name.endswith(".cpp")]
    folder = OBJECTS / importlib.metadata.version("torch")  # its headers are not among the files that a digest reads
    parts = objects(sources, _flags(), [root / "csrc"], folder)
    target = folder / f"_C-{digest(*(part.name for part in parts))}.so"
    make(target, ["-shared", *map(short, parts), f"-L{_torch() / 'lib'}", "-lc10", "-ltorch", "-ltorch_cpu"])
    return target
