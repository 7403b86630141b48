"""What is installed: a small library, a version, the documented names, a source archive that builds."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import roi_align

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("*.h", "*.inl", "*.cpp", "*.cu")


def sections(library: bytes) -> list[str]:
    """The names of a 64-bit little-endian ELF file's sections, after the ELF specification's section header table."""
    assert library[:6] == b"\x7fELF\x02\x01"
    (table,) = struct.unpack_from("<Q", library, 0x28)
    size, count, of_names = struct.unpack_from("<HHH", library, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", library, table + size * k) for k in range(count)]
    names = headers[of_names][4]
    return [library[names + head[0] : library.index(b"\0", names + head[0])].decode() for head in headers]


def missing(archived: set[str], patterns: tuple[str, ...] = SOURCES) -> list[str]:
    """What a build needs of impl/ and a source archive lacks."""
    paths = [path for pattern in patterns for path in (ROOT / "impl" / "csrc").rglob(pattern)]
    paths += (ROOT / "impl" / "roi_align").rglob("*.py")
    return sorted(name for path in paths if (name := str(path.relative_to(ROOT))) not in archived)


def test_the_built_library_has_no_debug_sections():
    if os.environ.get("ROI_ALIGN_DEBUG") == "1":
        pytest.skip("ROI_ALIGN_DEBUG=1 asks for debug sections.")
    (library,) = (ROOT / "impl" / "roi_align").glob("_C.abi3.so")
    names = sections(library.read_bytes())
    assert ".text" in names
    assert [name for name in names if name.startswith(".debug")] == []


@pytest.mark.parametrize("flag", ["-g", "-g0"])
def test_debug_sections_are_detected(flag, tmp_path):
    target = tmp_path / "library.so"
    command = ["g++", "-shared", "-fPIC", flag, "-x", "c++", "-", "-o", str(target)]
    try:
        subprocess.run(command, input=b"int one() { return 1; }", check=True)
    except FileNotFoundError:
        pytest.skip("There is no g++ in PATH.")
    assert any(name.startswith(".debug") for name in sections(target.read_bytes())) == (flag == "-g")


def test_the_version_is_a_release():
    assert re.fullmatch(r"\d+\.\d+\.\d+", roi_align.__version__)
    assert f"\n## {roi_align.__version__}\n" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_documentation_lists_the_public_names():
    text = (ROOT / "docs" / "operators.md").read_text("utf-8")
    listed = re.search(r"The package's public names, and no others: ([^.]+)\.", text)
    assert listed
    assert re.findall(r"`(\w+)`", listed.group(1)) == sorted(roi_align.__all__)
    assert all(hasattr(roi_align, name) for name in roi_align.__all__)


def source_archive(folder, **environment):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(folder), "sdist", "-d", str(folder)]
    variables = {**os.environ, "ROI_ALIGN_CUDA": "0", **environment}
    process = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (archive,) = folder.glob("*.tar.gz")
    return archive


def test_a_label_is_a_part_of_the_version(tmp_path):
    archive = source_archive(tmp_path, ROI_ALIGN_LABEL="cu13")
    assert archive.name == f"roi_align-{roi_align.__version__}+cu13.tar.gz"


def test_the_source_archive_has_all_that_a_build_needs(tmp_path):
    archive = source_archive(tmp_path)
    assert archive.name == f"roi_align-{roi_align.__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        archived = {name.partition("/")[2] for name in opened.getnames()}
    assert missing(archived) == []
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE"} <= archived


def test_a_missing_source_is_named():
    assert "impl/csrc/common/view.h" in missing(set())
