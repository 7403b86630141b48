"""The CPU kernels under the sanitizers: no race, no stray access, no undefined behaviour, on any number of threads.

harness/cpu_threads.cpp runs them under std::thread on random problems and compares the bits of 1, 2, 4 and 7 threads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [ROOT / "harness/cpu_threads.cpp", ROOT / "impl/csrc/boxes.cpp", *sorted(ROOT.glob("impl/csrc/cpu/*.cpp"))]
CASES = "30"

pytestmark = [
    pytest.mark.package,
    pytest.mark.cpu,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here to compile the kernels with"),
]


@pytest.fixture(scope="module", params=["thread", "address,undefined"])
def driver(request, tmp_path_factory) -> Path:
    """The driver and the kernels, compiled with a sanitizer."""
    folder, sanitize = tmp_path_factory.mktemp("driver"), f"-fsanitize={request.param}"
    flags = ["-std=c++17", "-O1", "-g", "-ffp-contract=off", "-Wall", sanitize, "-fno-sanitize-recover=all"]

    def compiled(source: Path) -> Path:
        object_file = folder / f"{source.stem}.o"
        command = ["g++", *flags, f"-I{ROOT / 'impl/csrc'}", "-c", str(source), "-o", str(object_file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return object_file

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compiled, SOURCES))
    linked = subprocess.run(
        ["g++", sanitize, *map(str, objects), "-o", str(folder / "driver"), "-pthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if linked.returncode != 0 and "cannot find" in linked.stderr:
        pytest.skip(f"this g++ comes without the sanitizer's library: {linked.stderr.splitlines()[0]}")
    assert linked.returncode == 0, linked.stderr
    return folder / "driver"


def _run(driver: Path, *arguments: str, kernels: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(driver), *arguments],
        env={**os.environ, "ROI_ALIGN_CPU": kernels, "TSAN_OPTIONS": "halt_on_error=1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kernels", ["portable", "avx2", "avx512"])
def test_the_kernels_are_clean(driver, kernels):
    done = _run(driver, CASES, "1", kernels=kernels)
    if "but this machine runs" in done.stderr:
        pytest.skip(f"this machine has no {kernels}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"270 calls on {kernels} kernels, every bit the same" in done.stdout


def test_a_planted_race_is_seen(driver, request):
    """Every unit is given to two threads at once."""
    if "thread" not in request.node.callspec.id:
        pytest.skip("only the thread sanitizer looks for races")
    done = _run(driver, "2", "0", "race")
    assert done.returncode != 0
    assert "data race" in done.stderr
