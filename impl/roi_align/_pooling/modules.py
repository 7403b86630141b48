"""torchvision's pooling classes under names of their own: the name `RoIAlign` belongs to RoIAlign.pytorch's class.

They add nothing to `roi_align` and `multiscale_roi_align` but the arguments that stay the same from call to call, and
take theirs in torchvision's order, so that a model that was built with one can be given the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, fx, nn

from roi_align._checks import check_image_shape, checking, refuse_script
from roi_align._pooling.functional import Boxes, Mode, multiscale_roi_align, roi_align

# torch.fx has no arguments yet for these to look at: a graph of it has a call of them.
fx.wrap("roi_align")
fx.wrap("multiscale_roi_align")


@fx.wrap
def named_maps(
    x: Mapping[str, Tensor],
    image_shapes: Sequence[tuple[int, int]],
    names: Sequence[str],
    scales: Sequence[float] | None,
) -> tuple[list[Tensor], Sequence[float]]:
    """The maps of these names, in their order in x, and the scale of each, inferred if none are given; ValueError if
    there are no maps, or if a map's height and width are of different scales."""
    maps = {name: x[name] for name in x if name in names}
    if not maps:
        raise ValueError(f"None of the maps {list(x)} has a name in {list(names)}.")
    if scales is not None:
        return list(maps.values()), scales
    if not image_shapes:
        raise ValueError("image_shapes must hold the (height, width) of each image, not none.")
    image = max(height for height, _ in image_shapes), max(width for _, width in image_shapes)
    with checking():
        return list(maps.values()), [_inferred(f"x[{name!r}]", each, image) for name, each in maps.items()]


def _inferred(name: str, of: Tensor, image: tuple[int, int]) -> float:
    check_image_shape(name, of)
    along_height, along_width = (2.0 ** round(math.log2(of.shape[2 + axis] / image[axis])) for axis in (0, 1))
    if along_height != along_width:
        raise ValueError(
            f"{name} of {of.shape[2]} x {of.shape[3]} pixels has the scale {along_height} along the height of "
            f"{image[0]} x {image[1]} pixels and {along_width} along their width; pass the scales of all maps, like "
            "scales=[1/4, 1/8, 1/16, 1/32]."
        )
    return along_height


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

    __prepare_scriptable__ = refuse_script

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}, mode={self.mode!r}"
        )


class TorchvisionMultiScaleRoIAlign(nn.Module):
    """`roi_align.multiscale_roi_align` as a module, in the place of `torchvision.ops.MultiScaleRoIAlign`.

    model.roi_heads.box_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)

    scales: those of the maps, in their order in x. Without, each call infers them from the sizes of maps and images.
    """

    def __init__(
        self,
        featmap_names: Sequence[str],
        output_size: int | Sequence[int],
        sampling_ratio: int,
        *,
        canonical_scale: float = 224,
        canonical_level: int = 4,
        scales: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.scales = None if scales is None else [float(scale) for scale in scales]

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Boxes (K_i, 4) of each image, in pixels of the images, pooled from the maps that have these names.

        Without scales a map's is the power of two nearest to how much lower it is than the highest image, as in
        torchvision; ValueError if to how much narrower than the widest it is another.
        """
        maps, scales = named_maps(x, image_shapes, self.featmap_names, self.scales)
        return multiscale_roi_align(
            maps, boxes, self.output_size, scales, self.sampling_ratio, canonical_scale=self.canonical_scale,
            canonical_level=self.canonical_level,
        )  # fmt: skip

    __prepare_scriptable__ = refuse_script

    def extra_repr(self) -> str:
        return (
            f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
            f"sampling_ratio={self.sampling_ratio}, canonical_scale={self.canonical_scale}, "
            f"canonical_level={self.canonical_level}, scales={self.scales}"
        )
