"""torchvision's pooling classes under names of their own: the name `RoIAlign` belongs to RoIAlign.pytorch's class.

They add nothing to `roi_align` and `multiscale_roi_align` but the arguments that stay the same from call to call, and
take theirs in torchvision's order, so that a model that was built with one can be given the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, fx, nn

from roi_align import _checks
from roi_align._pooling.functional import Boxes, Mode, multiscale_roi_align, roi_align

# torch.fx has no arguments yet for these to look at: a graph of it has a call of them.
fx.wrap("roi_align")
fx.wrap("multiscale_roi_align")


@fx.wrap
def named_maps(
    x: Mapping[str, Tensor], image_shapes: Sequence[tuple[int, int]], names: Sequence[str]
) -> tuple[list[Tensor], list[float]]:
    """The maps of these names, in their order in x, and the scale of each; ValueError if there are none."""
    maps = [x[name] for name in x if name in names]
    if not maps:
        raise ValueError(f"None of the maps {list(x)} has a name in {list(names)}.")
    if not image_shapes:
        raise ValueError("image_shapes must hold the (height, width) of each image, not none.")
    highest = max(height for height, _ in image_shapes)
    return maps, [2.0 ** round(math.log2(each.shape[2] / highest)) for each in maps]


class TorchvisionRoIAlign(nn.Module):
    """`roi_align.roi_align` as a module, in the place of `torchvision.ops.RoIAlign`."""

    def __init__(
        self,
        output_size: int | Sequence[int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = False,
        *,
        mode: Mode = "avg",
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.mode: Mode = mode

    def forward(self, input: Tensor, rois: Boxes) -> Tensor:
        """Boxes (K, 5) or one (K_i, 4) for each image, pooled from input (N, C, H, W); errors as `roi_align`."""
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned, mode=self.mode
        )

    __prepare_scriptable__ = _checks.refuse_script

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}, mode={self.mode!r}"
        )


class TorchvisionMultiScaleRoIAlign(nn.Module):
    """`roi_align.multiscale_roi_align` as a module, in the place of `torchvision.ops.MultiScaleRoIAlign`.

    model.roi_heads.box_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: float = 224,
        canonical_level: int = 4,
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Boxes (K_i, 4) of each image, in pixels of the images, pooled from the maps that have these names.

        A map's scale is the power of two nearest to how much lower it is than the highest image, as in torchvision.
        """
        maps, scales = named_maps(x, image_shapes, self.featmap_names)
        return multiscale_roi_align(
            maps, boxes, self.output_size, scales, self.sampling_ratio, canonical_scale=self.canonical_scale,
            canonical_level=self.canonical_level,
        )  # fmt: skip

    __prepare_scriptable__ = _checks.refuse_script

    def extra_repr(self) -> str:
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, sampling_ratio={self.sampling_ratio}"
        )
