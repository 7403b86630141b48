"""A real client: torchvision's detectors on photographs, with torchvision's operator or with this project's.

Weights are random from a seed, so nothing is downloaded. Detections jump with the last bit of a score, in non-maximum
suppression; everything before it does not, and is recorded here while the model runs: the inputs of each branch of the
heads, pooled features, class logits, box deltas and mask logits, and in a training step their gradients.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torchvision.models.detection as models  # type: ignore[import-untyped, unused-ignore]
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection.backbone_utils import BackboneWithFPN  # type: ignore[import-untyped, unused-ignore]
from torchvision.ops import FrozenBatchNorm2d  # type: ignore[import-untyped, unused-ignore]

from harness.measuring.workloads import photograph, segments
from roi_align import TorchvisionMultiScaleRoIAlign

Target = dict[str, Tensor]
# The branches of the heads, each with its pooler, head and predictor.
BRANCHES = {
    "box": ("box_roi_pool", "box_head", "box_predictor"),
    "mask": ("mask_roi_pool", "mask_head", "mask_predictor"),
    "keypoint": ("keypoint_roi_pool", "keypoint_head", "keypoint_predictor"),
}
# All detectors of torchvision that pool boxes.
OF_TORCHVISION = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
)
_CLASSES, _SEED = 5, 0


def _small(model: Any) -> Callable[[], nn.Module]:
    """A small model for tests: ResNet-18, maps of 64 channels, small photographs and few proposals."""

    def make() -> nn.Module:
        trunk = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
        levels = {f"layer{1 + level}": str(level) for level in range(4)}
        backbone = BackboneWithFPN(trunk, levels, [64, 128, 256, 512], 64)
        module: nn.Module = model(
            backbone, num_classes=_CLASSES, min_size=192, max_size=288, rpn_post_nms_top_n_train=100,
            rpn_post_nms_top_n_test=100, box_batch_size_per_image=24, box_score_thresh=0.0, box_detections_per_img=8,
        )  # fmt: skip
        return module

    return make


def _of_torchvision(name: str, **changes: Any) -> Callable[[], nn.Module]:
    """The model as torchvision builds it, except for these arguments."""
    return lambda: getattr(models, name)(weights=None, weights_backbone=None, **changes)


# Arguments for one quick inference on small photographs.
_BRIEF: dict[str, Any] = {
    "min_size": 160, "max_size": 224, "rpn_post_nms_top_n_test": 24, "rpn_score_thresh": 0.0, "box_score_thresh": 0.0,
    "box_detections_per_img": 3,
}  # fmt: skip
# The two of the benchmarks as torchvision builds them, smaller ones, and all of torchvision's for a quick call.
DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "maskrcnn_resnet50_fpn": _of_torchvision("maskrcnn_resnet50_fpn"),
    "fasterrcnn_resnet50_fpn": _of_torchvision("fasterrcnn_resnet50_fpn"),
    "small Mask R-CNN": _small(models.MaskRCNN),
    "small Faster R-CNN": _small(models.FasterRCNN),
    **{f"brief {name}": _of_torchvision(name, **_BRIEF) for name in OF_TORCHVISION},
    # Without padding the last two maps have 5 and 3 rows, and both get the scale 1/16.
    "brief, of 65 pixels": _of_torchvision(
        "fasterrcnn_resnet50_fpn", **{**_BRIEF, "min_size": 65, "max_size": 65, "size_divisible": 1}
    ),
}


def detector(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """One of DETECTORS with torchvision's operator and reproducible weights, ready for inference."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return DETECTORS[name]().to(dtype).eval()


def with_roi_align(model: Any) -> Any:
    """A copy with this project's operator, as a user would write it: one line per pooler."""
    model = copy.deepcopy(model)
    model.roi_heads.box_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    if model.roi_heads.has_mask():
        model.roi_heads.mask_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    if model.roi_heads.has_keypoint():
        model.roi_heads.keypoint_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    return model


def images(names: Sequence[str], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Photographs (3, H, W) in 0...1, each of its own size."""
    return [torch.from_numpy(photograph(name).transpose(2, 0, 1) / 255).to(dtype) for name in names]


def targets(names: Sequence[str], dtype: torch.dtype = torch.float32) -> list[Target]:
    """The targets of each photograph: the whole image and its 15 largest segments, with classes in rotation.

    Boxes of all sizes make a training step pool from several levels of the pyramid.
    """
    all_targets = []
    for name in names:
        labels = segments(name)
        numbers, areas = np.unique(labels, return_counts=True)
        largest = numbers[np.argsort(-areas, kind="stable")][:15]
        masks = np.stack([labels >= 0, *(labels == number for number in largest)])
        ends = [(np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))) for mask in masks]
        boxes = [(x[0], y[0], x[-1] + 1, y[-1] + 1) for x, y in ends]
        all_targets.append(
            {
                "boxes": torch.tensor(np.array(boxes), dtype=dtype),
                "labels": 1 + torch.arange(len(boxes)) % (_CLASSES - 1),
                "masks": torch.from_numpy(masks.astype(np.uint8)),
            }
        )
    return all_targets


@dataclass(frozen=True)
class Branch:
    """The inputs and outputs of one branch; after a training step they are still connected in autograd's graph.

    maps     the levels by name, (N, C, H_k, W_k): views of this branch's own, so their gradients come from it alone.
    boxes    (K_i, 4) for each image, in pixels of the images as they were resized; shapes, (height, width) of those.
    pooled   (K, C, h, w).
    outputs  class logits (K, classes) and box deltas (K, 4 * classes); or mask logits (K, classes, 2h, 2w).
    """

    maps: dict[str, Tensor]
    boxes: list[Tensor]
    shapes: list[tuple[int, int]]
    pooled: Tensor
    outputs: tuple[Tensor, ...]

    def detached(self) -> Branch:
        """The same without the graph, whose memory is that of a whole step."""
        maps = {level: each.detach() for level, each in self.maps.items()}
        return replace(
            self, maps=maps, pooled=self.pooled.detach(), outputs=tuple(each.detach() for each in self.outputs)
        )


def run(model: Any, photographs: list[Tensor], targets: list[Target] | None = None) -> tuple[Any, dict[str, Branch]]:
    """A call of a model, and its branches by name.

    With targets it is a training step up to the losses, which are the result, by name; otherwise inference without a
    graph. The model's random draws are the same every time.
    """
    with _recording(model) as branches, torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if targets is None:
            with torch.no_grad():
                result = model.eval()(photographs)
        else:
            result = model.train()(photographs, copy.deepcopy(targets))
            model.eval()
    return result, {name: Branch(**parts) for name, parts in branches.items()}


def again(model: Any, name: str, branch: Branch) -> Branch:
    """Runs a branch of a model on the inputs of another model's branch."""
    pool, head, predictor = (getattr(model.roi_heads, part) for part in BRANCHES[name])
    with torch.no_grad():
        pooled = pool(branch.maps, branch.boxes, branch.shapes)
        outputs = predictor(head(pooled))
    return Branch(branch.maps, branch.boxes, branch.shapes, pooled, outputs if name == "box" else (outputs,))


@contextmanager
def _recording(model: Any) -> Iterator[dict[str, dict[str, Any]]]:
    """Records the branches of every call inside, through hooks that change no value."""
    branches: dict[str, dict[str, Any]] = {}

    def watch(name: str, pool: nn.Module, predictor: nn.Module) -> list[Any]:
        def on_input(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            maps, boxes, shapes = arguments
            maps = {level: each.view_as(each) for level, each in maps.items()}
            branches[name] = {"maps": maps, "boxes": list(boxes), "shapes": list(shapes)}
            return maps, boxes, shapes

        def on_pooled(_: nn.Module, __: Any, output: Tensor) -> None:
            branches[name]["pooled"] = output

        def on_output(_: nn.Module, __: Any, output: Any) -> None:
            branches[name]["outputs"] = output if name == "box" else (output,)

        return [
            pool.register_forward_pre_hook(on_input),
            pool.register_forward_hook(on_pooled),
            predictor.register_forward_hook(on_output),
        ]

    hooks: list[Any] = []
    for name, (pool, _, predictor) in BRANCHES.items():
        if getattr(model.roi_heads, pool, None) is not None:
            hooks += watch(name, getattr(model.roi_heads, pool), getattr(model.roi_heads, predictor))
    try:
        yield branches
    finally:
        for hook in hooks:
            hook.remove()
