"""A model with the operators can be traced, saved and loaded, gradients included; torch.fx records a call of each."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn, package

import roi_align
from roi_align import CropAndResize, RoIAlign, TorchvisionMultiScaleRoIAlign, TorchvisionRoIAlign
from suites.programs import python

pytestmark = [
    pytest.mark.package,
    # Existing models are saved this way, though torch advises other ways for new ones.
    pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated"),
]

PIXELS, INDICES = torch.tensor([[1.0, 2, 6, 7], [0, 0, 8, 7]]), torch.tensor([1, 0])
ROWS = torch.cat([INDICES[:, None].float(), PIXELS], dim=1)
MODULES = {
    "RoIAlign": (RoIAlign(3, 4), (PIXELS, INDICES)),
    "CropAndResize": (CropAndResize(3, 4), (PIXELS / 9, INDICES)),
    "TorchvisionRoIAlign": (TorchvisionRoIAlign((3, 4), 1.0, 2), (ROWS,)),
    "TorchvisionRoIAlign of the maximum": (TorchvisionRoIAlign(3, 1.0, -1, mode="max"), (ROWS,)),
}
each_module = pytest.mark.parametrize(("module", "boxes"), MODULES.values(), ids=MODULES)


class Model(nn.Module):
    """A layer with weights before the operator."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 3, 1)
        self.module = module

    def forward(self, image: Tensor, *boxes: Tensor) -> Tensor:
        result: Tensor = self.module(self.convolution(image), *boxes)
        return result


def on(device, tensors):
    return [each.to(device) for each in tensors]


@each_module
def test_a_trace_is_saved_and_loaded_with_its_gradients(device, module, boxes):
    model = Model(module).to(device)
    image = torch.rand(2, 2, 8, 9, device=device, requires_grad=True)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, (image, *on(device, boxes))), file)
    file.seek(0)
    trace = torch.jit.load(file)
    other = torch.rand(2, 2, 6, 7, device=device, requires_grad=True)
    for tensor in (image, other):
        results = [each(tensor, *on(device, boxes)) for each in (trace, model)]
        assert torch.equal(*results)
        gradients = [
            torch.autograd.grad(result.square().sum(), (tensor, *each.parameters()))
            for result, each in zip(results, (trace, model), strict=True)
        ]
        assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))


@each_module
def test_an_fx_graph_has_one_call_for_a_module(device, module, boxes):
    graph = fx.symbolic_trace(module)
    calls = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert len(calls) == 1
    assert calls[0].__module__.startswith("roi_align.")
    image = torch.rand(2, 2, 8, 9, device=device)
    assert torch.equal(graph(image, *on(device, boxes)), module(image, *on(device, boxes)))


def test_an_fx_graph_calls_multiscale_roi_align_for_the_pooler(device):
    module = TorchvisionMultiScaleRoIAlign(["0", "1"], 3, 2)
    graph = fx.symbolic_trace(module)
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"][
        -1
    ] is roi_align.multiscale_roi_align
    levels = {str(k): torch.rand(2, 2, 32 >> k, 32 >> k, device=device) for k in range(2)}
    arguments = levels, on(device, [PIXELS, PIXELS[:1]]), [(128, 128)] * 2
    assert torch.equal(graph(*arguments), module(*arguments))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    "module", [*(module for module, _ in MODULES.values()), TorchvisionMultiScaleRoIAlign("0", 3, 2)]
)
def test_script_raises_an_error_that_names_trace_and_export(module):
    for model in (module, nn.Sequential(module)):
        with pytest.raises(
            TypeError, match=f"cannot compile {type(module).__name__}; use torch.jit.trace, or torch.exp"
        ):
            torch.jit.script(model)


@pytest.mark.cpu
def test_a_torch_package_with_interned_sources_raises_advice():
    module, boxes = MODULES["TorchvisionRoIAlign"]
    importers = {}
    for way in ("extern", "intern"):
        file = io.BytesIO()
        with package.PackageExporter(file) as exporter:
            getattr(exporter, way)("roi_align.**")
            exporter.extern(["torch.**", "numpy.**"])
            exporter.save_pickle("model", "model.pkl", module)
        file.seek(0)
        importers[way] = package.PackageImporter(file)
    image = torch.rand(2, 2, 8, 9)
    assert torch.equal(importers["extern"].load_pickle("model", "model.pkl")(image, *boxes), module(image, *boxes))
    with pytest.raises(ImportError, match=r"exporter\.extern\('roi_align\.\*\*'\) instead of intern"):
        importers["intern"].load_pickle("model", "model.pkl")


@pytest.mark.cpu
def test_a_saved_trace_loads_only_after_the_package(tmp_path):
    """In C++, loading the library is enough."""
    module, boxes = MODULES["TorchvisionRoIAlign"]
    torch.jit.trace(module, (torch.ones(2, 2, 8, 9), *boxes)).save(tmp_path / "model.pt")
    load = "torch.jit.load('model.pt')(torch.ones(2, 2, 8, 9), torch.zeros(1, 5)).mean().item()"
    without = python("-c", f"import torch; print({load})", cwd=tmp_path)
    assert "Unknown builtin op: roi_align::roi_align" in without.stderr
    library_file = next(Path(roi_align.__file__).parent.glob("_C.*so"))
    library = f"torch.ops.load_library({str(library_file)!r})"
    for first in ("import roi_align", library):
        assert python("-c", f"import torch; {first}; print({load})", cwd=tmp_path).stdout == "1.0\n"
