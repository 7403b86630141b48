"""The C++ program of docs/deploying.md is built as the page says, and pools from saved models in its own process."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

import roi_align
from roi_align import TorchvisionRoIAlign
from suites.programs import python

pytestmark = [
    pytest.mark.package,
    pytest.mark.cpu,
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated"),
]
PAGE = Path(__file__).parents[3] / "docs" / "deploying.md"
LIBRARY = next(Path(roi_align.__file__).parent.glob("_C.*so"))
MODEL = TorchvisionRoIAlign((3, 2), 1.0, 2, aligned=True)
INPUTS = torch.arange(288.0).reshape(2, 2, 8, 9), torch.tensor([[0.0, 1, 2, 6, 7]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The program and its models: a trace, and an AOTInductor package, which compiles C++ too."""
    if not shutil.which("g++"):
        pytest.skip("there is no g++ here to build the C++ program of docs/deploying.md with")
    folder = tmp_path_factory.mktemp("deployed")
    page = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```cpp\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (folder / "pool.cpp").write_text(program)
    (command,) = re.findall(r"^    (g\+\+ .*?-ldl)$", page, re.DOTALL | re.MULTILINE)
    command = command.replace("$TORCH", torch.__path__[0])
    compilation = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False)
    assert compilation.returncode == 0, compilation.stderr
    torch.jit.trace(MODEL, INPUTS).save(folder / "model.pt")
    make = (
        "import torch, roi_align; model = roi_align.TorchvisionRoIAlign((3, 2), 1.0, 2, aligned=True)\n"
        "inputs = torch.arange(288.0).reshape(2, 2, 8, 9), torch.tensor([[0.0, 1, 2, 6, 7]])\n"
        "program = torch.export.export(model, inputs); torch.export.save(program, 'program.pt2')\n"
        "torch._inductor.aoti_compile_and_package(program, package_path='model.pt2')"
    )
    export = python("-c", make, cwd=folder)
    assert (folder / "model.pt2").exists(), export.stderr
    return folder


def run(folder, library, model):
    return subprocess.run(
        [folder / "pool", library, folder / model], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("model", ["model.pt", "model.pt2"])
def test_a_saved_model_pools_in_a_process_without_python(folder, model):
    process = run(folder, LIBRARY, model)
    assert process.returncode == 0, process.stderr
    values = np.array(process.stdout.split(), np.float32)
    assert np.array_equal(values, MODEL(*INPUTS).flatten().numpy())


@pytest.mark.parametrize(
    ("model", "words"),
    [("model.pt", "Unknown builtin op: roi_align::roi_align"), ("model.pt2", "Could not find schema for roi_align")],
)
def test_running_without_the_library_fails_with_the_documented_error(folder, model, words):
    assert words in run(folder, "libm.so.6", model).stderr


LOADERS = {
    "export": ("torch.export.load('program.pt2').module()", "We ran into an error when deserializing the saved file"),
    "package": ("torch._inductor.aoti_load_package('model.pt2')", "Could not find schema for roi_align"),
}


@pytest.mark.parametrize(("load", "words"), LOADERS.values(), ids=LOADERS)
def test_python_loads_a_model_only_after_the_package(folder, load, words):
    call = f"print({load}(torch.ones(2, 2, 8, 9), torch.tensor([[0.0, 1, 2, 6, 7]])).mean().item())"
    # torch 2.10's loader of packages uses a module that it does not import itself.
    torch_alone = "import torch, torch._inductor.codecache"
    assert words in python("-c", f"{torch_alone}; {call}", cwd=folder).stderr
    assert python("-c", f"{torch_alone}, roi_align; {call}", cwd=folder).stdout == "1.0\n"


def test_the_library_does_not_link_python():
    libraries = subprocess.run(["ldd", LIBRARY], capture_output=True, text=True, check=False).stdout
    assert "libtorch_cpu" in libraries
    assert not re.search(r"libpython|libtorch_python", libraries)


# The newest versions of symbols in manylinux_2_28, glibc 2.28 and the libstdc++ of GCC 8.
OLDEST = {"GLIBC": (2, 28), "GLIBCXX": (3, 4, 25), "CXXABI": (1, 3, 11)}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="symbols have versions in glibc")
@pytest.mark.parametrize("library", sorted(LIBRARY.parent.glob("_C*.so")), ids=lambda path: path.name)
def test_the_libraries_need_no_newer_system_than_their_wheel_names(library):
    if not shutil.which("objdump"):
        pytest.skip("there is no objdump here, which lists the symbols that a library needs")
    symbols = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout
    versions = set(re.findall(rf"\*UND\*.*\(({'|'.join(OLDEST)})_([0-9.]+)\) (\S+)", symbols))
    assert len(versions) > 10
    newer = {each for each in versions if tuple(map(int, each[1].split("."))) > OLDEST[each[0]]}
    assert not newer


@pytest.mark.parametrize("library", sorted(LIBRARY.parent.glob("_C*.so")), ids=lambda path: path.name)
def test_the_libraries_define_no_symbol_of_another_one(library):
    """A program that links a library would call the library's log2 in place of its own. Weak symbols are templates."""
    if not shutil.which("objdump"):
        pytest.skip("there is no objdump here, which lists the symbols that a library defines")
    symbols = subprocess.run(["objdump", "-T", library], capture_output=True, text=True, check=True).stdout
    assert "*UND*" in symbols
    assert re.findall(r"^[0-9a-f]+ g .* (\S+)$", symbols, re.MULTILINE) == []
