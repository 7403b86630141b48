"""A real client: torchvision's Mask R-CNN and Faster R-CNN on photographs, with one operator or the other in them.

Weights are random, from a seed: nothing is downloaded. What such a detector finds jumps with the last bit of a score,
in non-maximum suppression; all that is before it does not, and is caught here as the model runs: what each branch of
the heads was given, pooled features, class logits, box deltas and mask logits, in a training step their gradients too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
# The branches of the heads, and what each is made of: its pooler, its head and what predicts from that.
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
    """On ResNet-18, with maps of 64 channels, small photographs and few proposals: for a test."""

    def make() -> nn.Module:
        trunk = resnet18(weights=None, norm_layer=FrozenBatchNorm2d)
        levels = {f"layer{1 + level}": str(level) for level in range(4)}
        backbone = BackboneWithFPN(trunk, levels, [64, 128, 256, 512], 64)
        made: nn.Module = model(
            backbone, num_classes=_CLASSES, min_size=192, max_size=288, rpn_post_nms_top_n_train=100,
            rpn_post_nms_top_n_test=100, box_batch_size_per_image=24, box_score_thresh=0.0, box_detections_per_img=8,
        )  # fmt: skip
        return made

    return make


def _of_torchvision(name: str, **changes: Any) -> Callable[[], nn.Module]:
    """As torchvision builds it, but for these arguments."""
    return lambda: getattr(models, name)(weights=None, weights_backbone=None, **changes)


# For one inference on small photographs.
_BRIEF: dict[str, Any] = {
    "min_size": 160, "max_size": 224, "rpn_post_nms_top_n_test": 24, "rpn_score_thresh": 0.0, "box_score_thresh": 0.0,
    "box_detections_per_img": 3,
}  # fmt: skip
# The two of the benchmarks as torchvision builds them; smaller ones; and all of torchvision's for a brief call.
DETECTORS: dict[str, Callable[[], nn.Module]] = {
    "maskrcnn_resnet50_fpn": _of_torchvision("maskrcnn_resnet50_fpn"),
    "fasterrcnn_resnet50_fpn": _of_torchvision("fasterrcnn_resnet50_fpn"),
    "small Mask R-CNN": _small(models.MaskRCNN),
    "small Faster R-CNN": _small(models.FasterRCNN),
    **{f"brief {name}": _of_torchvision(name, **_BRIEF) for name in OF_TORCHVISION},
    # Not padded: the last two of its maps have 5 and 3 rows, which are both told to be 1/16.
    "brief, of 65 pixels": _of_torchvision(
        "fasterrcnn_resnet50_fpn", **{**_BRIEF, "min_size": 65, "max_size": 65, "size_divisible": 1}
    ),
}


def detector(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """One of DETECTORS as torchvision has it, the same weights every time; ready for inference."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return DETECTORS[name]().to(dtype).eval()


def with_roi_align(model: Any) -> Any:
    """A copy with this project's operator in it: what a user writes, one line for each pooler."""
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
    """What is to be found in each: the whole of it and its 15 largest segments, in classes by turns.

    Of all sizes, so that a training step pools from several levels of the pyramid.
    """
    found = []
    for name in names:
        labels = segments(name)
        numbers, areas = np.unique(labels, return_counts=True)
        largest = numbers[np.argsort(-areas, kind="stable")][:15]
        masks = np.stack([labels >= 0, *(labels == number for number in largest)])
        ends = [(np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))) for mask in masks]
        boxes = [(x[0], y[0], x[-1] + 1, y[-1] + 1) for x, y in ends]
        found.append(
            {
                "boxes": torch.tensor(np.array(boxes), dtype=dtype),
                "labels": 1 + torch.arange(len(boxes)) % (_CLASSES - 1),
                "masks": torch.from_numpy(masks.astype(np.uint8)),
            }
        )
    return found


@dataclass(frozen=True)
class Branch:
    """What one branch was given and what it made of it; in a training step all of it still hangs together for autograd.

    maps     the levels by name, (N, C, H_k, W_k): by names of this branch, so that a gradient is what it alone sends.
    boxes    (K_i, 4) for each image, in pixels of the images as they were resized; shapes, (height, width) of those.
    pooled   (K, C, h, w).
    outputs  class logits (K, classes) and box deltas (K, 4 * classes); or mask logits (K, classes, 2h, 2w).
    """

    maps: dict[str, Tensor]
    boxes: list[Tensor]
    shapes: list[tuple[int, int]]
    pooled: Tensor
    outputs: tuple[Tensor, ...]


def run(model: Any, photographs: list[Tensor], wanted: list[Target] | None = None) -> tuple[Any, dict[str, Branch]]:
    """A call of a model, and its branches by name.

    With targets it is a training step up to its losses, which are the result, by name; else inference, without a graph.
    What the model draws by chance is the same every time.
    """
    with _watched(model) as seen, torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        if wanted is None:
            with torch.no_grad():
                result = model.eval()(photographs)
        else:
            result = model.train()(photographs, copy.deepcopy(wanted))
            model.eval()
    return result, {name: Branch(**parts) for name, parts in seen.items()}


def again(model: Any, name: str, given: Branch) -> Branch:
    """A branch of a model, run on what another was given."""
    pool, head, predictor = (getattr(model.roi_heads, part) for part in BRANCHES[name])
    with torch.no_grad():
        pooled = pool(given.maps, given.boxes, given.shapes)
        outputs = predictor(head(pooled))
    return Branch(given.maps, given.boxes, given.shapes, pooled, outputs if name == "box" else (outputs,))


@contextmanager
def _watched(model: Any) -> Iterator[dict[str, dict[str, Any]]]:
    """Catches the branches of every call within, through hooks; nothing of what is computed changes."""
    seen: dict[str, dict[str, Any]] = {}

    def watch(name: str, pool: nn.Module, predictor: nn.Module) -> list[Any]:
        def given(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            maps, boxes, shapes = arguments
            maps = {level: each.view_as(each) for level, each in maps.items()}
            seen[name] = {"maps": maps, "boxes": list(boxes), "shapes": list(shapes)}
            return maps, boxes, shapes

        def pooled(_: nn.Module, __: Any, output: Tensor) -> None:
            seen[name]["pooled"] = output

        def predicted(_: nn.Module, __: Any, output: Any) -> None:
            seen[name]["outputs"] = output if name == "box" else (output,)

        return [
            pool.register_forward_pre_hook(given),
            pool.register_forward_hook(pooled),
            predictor.register_forward_hook(predicted),
        ]

    hooks: list[Any] = []
    for name, (pool, _, predictor) in BRANCHES.items():
        if getattr(model.roi_heads, pool, None) is not None:
            hooks += watch(name, getattr(model.roi_heads, pool), getattr(model.roi_heads, predictor))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
