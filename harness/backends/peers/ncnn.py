"""ncnn's layer ROIAlign on the CPU: a network of one layer, which takes one image and one box a call.

It has no batch and no list of boxes: this backend calls it for every box with that box's image, and stacks the results.
Its parameter `version` chooses the rule: 0, the default, is ncnn's own and older one, which cuts a box off at the
image; 1 is detectron2's, which is this operator's, and what pnnx writes for torchvision's. A sampling ratio of 0 is an
adaptive grid. Half types are switched off: they are storage of ncnn's own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ncnn
import numpy as np

from harness.backends import Makers
from harness.backends.peers.snippets import literal, place, program
from harness.operators.arrays import LAYOUTS, Array, Direction
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("ncnn")
# An adaptive grid has as many samples as a box has pixels.
_LARGEST = 1e4


def make_roi_align(name: str) -> Backend[RoiInputs]:
    # ncnn's operators.md has no entry for the layer; of `version` its source says: "1: the version in detectron2". A
    # list, and so an empty one, it does not have.
    sheet = Sheet(
        operator="roi_align",
        version=_VERSION,
        scale_dtype="float32",
        layouts=LAYOUTS,
        largest=_LARGEST,
        one_box=True,
        grids=("fixed", "adaptive"),
    )
    return Backend(name, f"ncnn {_VERSION}", sheet, prepare, np.asarray, snippet=snippet)


BACKENDS: Makers = {("roi_align", "ncnn"): make_roi_align}


def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Array]:
    net = _net(_layer(inputs))
    images = [_mat(np.ascontiguousarray(image)) for image in inputs.image]
    boxes = [(images[int(n)], _mat(np.array(box))) for n, *box in inputs.boxes]

    def call() -> Array:
        return np.stack([_crop(net, image, box) for image, box in boxes])

    return call


def _mat(array: Array) -> Any:
    """Copies an array into a Mat. A Mat of an array is a view that does not keep the array alive, so it is cloned
    here."""
    return ncnn.Mat(array).clone()


def _crop(net: Any, image: Any, box: Any) -> Array:
    """The crop (C,height,width) of one box."""
    extractor = net.create_extractor()
    extractor.input("image", image)
    extractor.input("box", box)
    code, crop = extractor.extract("crop")
    if code:
        raise RuntimeError(f"ncnn returns the error code {code}.")
    return np.array(crop)


def _layer(inputs: RoiInputs) -> str:
    """The layer's parameters: 0 width, 1 height, 2 scale, 3 sampling ratio, 4 aligned, 5 version."""
    height, width = inputs.output_size
    ratio, scale = max(inputs.sampling_ratio, 0), float(inputs.spatial_scale)
    return f"0={width} 1={height} 2={scale} 3={ratio} 4={int(inputs.aligned)} 5=1"


@functools.lru_cache(maxsize=64)
def _net(layer: str) -> Any:
    net = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, option, False)
    net.opt.use_vulkan_compute = False
    code = net.load_param_mem(_network(layer))
    if code:
        raise RuntimeError(f"ncnn does not read its network of the layer {layer!r}: {code}.")
    return net


def _network(layer: str) -> str:
    """A network in ncnn's text: a magic number, the numbers of layers and blobs, and a line for each layer."""
    return f"7767517\n3 3\nInput image 0 1 image\nInput box 0 1 box\nROIAlign roi_align 2 1 image box crop {layer}\n"


def snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    n, *box = inputs.boxes[index[0]]
    return program(
        "import ncnn, numpy as np",
        "net = ncnn.Net()",
        "net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False",
        f"net.load_param_mem({_network(_layer(inputs))!r})",
        f"image = {literal(inputs.image[int(n)])}",
        "extractor = net.create_extractor()",
        "extractor.input('image', ncnn.Mat(image).clone())",
        f"box = {literal(np.array(box))}",
        "extractor.input('box', ncnn.Mat(box).clone())",
        f"print(np.array(extractor.extract('crop')[1])[{place(index[1:])}])",
    )
