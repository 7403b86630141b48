"""The CPU kernels under the sanitizers: no race, no stray access, no undefined behaviour, on any number of threads.

harness/cpu_threads.h runs them under std::thread on random problems and compares the bits of 1, 2, 4 and 7 threads;
there is a driver for each operator.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KERNELS = [ROOT / "impl/csrc/boxes.cpp", *sorted(ROOT.glob("impl/csrc/cpu/*.cpp"))]
# By operator: its driver, and how many calls that makes of CASES problems.
DRIVERS = {"crop_and_resize": ("cpu_threads", 270), "roi_align": ("roi_cpu_threads", 540)}
CASES = "30"

pytestmark = [
    pytest.mark.package,
    pytest.mark.cpu,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here to compile the kernels with"),
]


@pytest.fixture(scope="module", params=["thread", "address,undefined"])
def drivers(request, tmp_path_factory) -> Path:
    """The folder of the drivers, with the kernels, compiled with a sanitizer."""
    folder, sanitize = tmp_path_factory.mktemp("driver"), f"-fsanitize={request.param}"
    flags = ["-std=c++17", "-O1", "-g", "-ffp-contract=off", "-Wall", sanitize, "-fno-sanitize-recover=all"]

    def compiled(source: Path) -> Path:
        object_file = folder / f"{source.stem}.o"
        command = ["g++", *flags, f"-I{ROOT / 'impl/csrc'}", "-c", str(source), "-o", str(object_file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return object_file

    mains = [ROOT / f"harness/{name}.cpp" for name, _ in DRIVERS.values()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compiled, [*mains, *KERNELS]))
    for main, kernels in ((each, objects[len(mains) :]) for each in objects[: len(mains)]):
        linked = subprocess.run(
            ["g++", sanitize, str(main), *map(str, kernels), "-o", str(folder / main.stem), "-pthread"],
            capture_output=True,
            text=True,
            check=False,
        )
        if linked.returncode != 0 and "cannot find" in linked.stderr:
            pytest.skip(f"this g++ comes without the sanitizer's library: {linked.stderr.splitlines()[0]}")
        assert linked.returncode == 0, linked.stderr
    return folder


def _run(driver: Path, *arguments: str, kernels: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(driver), *arguments],
        env={**os.environ, "ROI_ALIGN_CPU": kernels, "TSAN_OPTIONS": "halt_on_error=1"},
        capture_output=True,
        text=True,
        check=False,
    )


each_operator = pytest.mark.parametrize(("name", "calls"), DRIVERS.values(), ids=DRIVERS)


@each_operator
@pytest.mark.parametrize("kernels", ["portable", "avx2", "avx512"])
def test_the_kernels_are_clean(drivers, name, calls, kernels):
    done = _run(drivers / name, CASES, "1", kernels=kernels)
    if "but this machine runs" in done.stderr:
        pytest.skip(f"this machine has no {kernels}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{calls} calls on {kernels} kernels, every bit the same" in done.stdout


@each_operator
def test_a_planted_race_is_seen(drivers, name, calls, request):
    """Every unit is given to two threads at once."""
    if "thread" not in request.node.callspec.id:
        pytest.skip("only the thread sanitizer looks for races")
    done = _run(drivers / name, "2", "0", "race")
    assert done.returncode != 0
    assert "data race" in done.stderr
