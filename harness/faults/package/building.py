"""The package with a planted fault, built and judged as users have it: imported, in a process of its own.

Faults in the reference (harness/faults/reference) show that the checks see a wrong rule; these show that they see a
wrong package: its C++, its threads, its memory, what it tells torch. The folder that is built comes first on a
process's path, so that `import roi_align` finds the faulty package there, and the suites' own tests are run on it.

Of the kernels' sources, which are compiled once for every instruction set, the portable one alone is compiled, and
stands in for the others under their names: a fault then costs a second or four, and no test can tell instruction sets
apart by it.
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
    digest,
    folder_of,
    make,
    objects,
    short,
    texts_in,
    version,
    write,
)
from harness.kernels.resources import build_setting
from harness.operators.arrays import Direction
from harness.operators.sheet import OperatorName
from harness.repository import ROOT

PACKAGE = ROOT / "impl"
BUILD = ROOT / "build" / "mutants"
OBJECTS = BUILD / "objects"


# The suites' tests of the package on the CPU, those that are quick and see much first. Those that need TensorFlow or
# torchvision beside it come last: where one is missing they are skipped.
_FIRST_TO_LAST = (
    "crop_and_resize/modules roi_align/modules shared/bad_input shared/transforms shared/gradients "
    "shared/thresholds shared/against_golden roi_align/multiscale shared/layouts shared/registration "
    "roi_align/sizes roi_align/identities shared/properties roi_align/against_torchvision shared/sizes "
    "crop_and_resize/against_tensorflow"
)
SELECTIONS = tuple("suites/correctness/{}/test_{}.py".format(*each.split("/")) for each in _FIRST_TO_LAST.split())


@dataclass(frozen=True)
class PackageFault:
    """Changes of impl/ that make a bug: what it is, in which operator and directions it shows, and what is to see it.

    suites: the tests that are run before all others, as pytest takes them: what kills it first is known.
    """

    name: str
    why: str
    operator: OperatorName
    changes: tuple[Change, ...]
    suites: tuple[str, ...]
    directions: tuple[Direction, ...]


def package_with(*changes: Change) -> dict[str, str]:
    """The sources after these changes, by their path from impl/; ValueError for a change that does not apply."""
    return apply_changes({**texts_in(PACKAGE, "*.py"), **_sources()}, changes)


def build(*changes: Change) -> Path:
    """A folder with the package roi_align after these changes, to stand first on a process's path.

    Paths of the changes are as seen from impl/. ValueError for a change that does not apply, RuntimeError for sources
    that do not compile.
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

    A process that dies is "crash: signal NAME in TEST". RuntimeError if tests could not be run at all, ValueError and
    RuntimeError as in `build`: none of them is a kill.
    """
    folder = build(*fault.changes)
    rest = [each for each in SELECTIONS if each not in fault.suites]
    return (fault.suites and first_failure(folder, fault.suites)) or first_failure(folder, rest)


def control(faults: Iterable[PackageFault]) -> str | None:
    """The first of the tests that these faults name that fails on the package as it is: there must be none."""
    return first_failure(build(), list(dict.fromkeys(place for fault in faults for place in fault.suites)))


def first_failure(folder: Path, selections: Sequence[str]) -> str | None:
    """The first test that fails when the package in that folder is under test; what raises stands at `killed_by`."""
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


# In the place of isa_avx2.cpp and isa_avx512.cpp.
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
    """The C++ of the CPU library, by its path from impl/."""
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
    """setup.py's own flags, but for how much is optimised, and where torch's headers are."""
    include = _torch() / "include"
    own = ["-O1" if flag == "-O3" else flag for flag in build_setting("FLAGS")]
    return ("-fPIC", *own, f"-I{include}", f"-I{include}/torch/csrc/api/include")


def _library(texts: Mapping[str, str], root: Path) -> Path:
    """The compiled operators of sources that are written below `root`."""
    sources = [root / name for name in texts if name.endswith(".cpp")]
    parts = objects(sources, _flags(), [root / "csrc"], OBJECTS)
    target = OBJECTS / f"_C-{digest(*(part.name for part in parts))}.so"
    make(target, ["-shared", *map(short, parts), f"-L{_torch() / 'lib'}", "-lc10", "-ltorch", "-ltorch_cpu"])
    return target
