"""The backends: each loads or names the missing library, and gets the inputs unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness import backends
from harness.backends import BACKENDS, load, load_module, operators_of, register
from harness.backends.package import make_crop_and_resize
from harness.backends.torch_arrays import device_tensor
from harness.operators.arrays import LAYOUTS, Layout
from harness.operators.crop_and_resize.case import Case
from harness.operators.sheet import OperatorName
from harness.repository import MissingLibrary

CASE = Case(
    shape=(2, 3, 5, 6), boxes=((0.1, 0.2, 0.8, 0.9), (0.0, 0.0, 1.0, 1.0)), box_indices=(1, 0), crop_size=(2, 3)
)


@pytest.mark.parametrize(
    ("operator", "name"), [(operator, name) for operator in BACKENDS for name in BACKENDS[operator]]
)
def test_each_backend_loads_or_names_the_missing_library(operator: OperatorName, name: str) -> None:
    try:
        backend = load(name, operator)
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    assert backend.name == name
    assert backend.sheet.operator == operator


# Separate processes import the files of PEERS: see test_matrix_libraries.py.
@pytest.mark.parametrize("file", sorted({file for table in BACKENDS.values() for file in table.values()}))
def test_each_file_makes_the_backends_of_its_table_entries(file: str) -> None:
    try:
        makers = load_module(file, f"harness.backends.{file}").BACKENDS
    except MissingLibrary as missing:
        pytest.skip(str(missing))
    assert set(makers) == {
        (operator, name) for operator in BACKENDS for name, of in BACKENDS[operator].items() if of == file
    }


def test_a_backend_is_made_once() -> None:
    assert load("reference") is load("reference")
    assert load("reference") is not load("reference", "roi_align")


def test_registering_adds_or_replaces_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a new name, or in place of an existing one."""
    monkeypatch.setattr(backends, "_registry", {})
    for name in ("made", "roi_align_cuda"):
        register("crop_and_resize", name, lambda name: replace(load("reference"), name=name))
        assert load(name).name == name
        assert "crop_and_resize" in operators_of(name)
    assert operators_of("made") == ("crop_and_resize",)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_device_tensor_has_the_hosts_values_strides_and_misalignment(layout: Layout, dtype: str) -> None:
    """ "cpu:0" replaces a device here: every device except "cpu" gets copies."""
    inputs = Case(**{**vars(CASE), "layout": layout, "image_dtype": dtype}).inputs()
    image = inputs.image[:, :, :, 1:]  # one element past its start
    host, copy = device_tensor(image, "cpu"), device_tensor(image, "cpu:0")
    assert torch.equal(copy, host)
    assert copy.stride() == host.stride()
    assert copy.data_ptr() % 16 == host.data_ptr() % 16
    copy.fill_(7)
    assert not (host == 7).any(), "it is the host's own memory"
    # The memory before and after it, and between the elements of a view, is NaN.
    memory = torch.empty(0, dtype=copy.dtype).set_(copy.untyped_storage())
    assert memory[0].isnan()
    assert memory[-1].isnan()
    if layout == "offset":
        first_column = 2 * 3 * 5 - 1  # which the slice above omits; for the first row it lies before the copy
        assert int((memory == 7).sum()) + int(memory.isnan().sum()) == memory.numel() - first_column


def test_empty_inputs_are_copied_to_a_device() -> None:
    empty = np.zeros((2, 0, 3, 4), np.float32)
    assert device_tensor(empty, "cpu:0").shape == empty.shape


@pytest.mark.parametrize("fills", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_the_deterministic_backend_restores_torchs_switches(
    monkeypatch: pytest.MonkeyPatch, before: bool, fills: bool
) -> None:
    """And torch does not fill the result with NaN first, which would count as the operator's time."""
    backend = make_crop_and_resize("made", "cpu", deterministic=True)
    calls = []
    ordinary = torch.autograd.grad

    def switches() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory

    def spy(*arguments, **options):  # type: ignore[no-untyped-def]
        calls.append(switches())
        return ordinary(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", spy)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", fills)
    torch.use_deterministic_algorithms(before)
    try:
        backend.run(CASE.inputs(), "grad_image")
        assert switches() == (before, fills)
    finally:
        torch.use_deterministic_algorithms(False)
    assert calls == [(True, False)]
