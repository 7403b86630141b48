"""torchvision's pooling classes under names of their own: the name `RoIAlign` belongs to RoIAlign.pytorch's class.

They hold the arguments of `roi_align` and `multiscale_roi_align` that stay the same from call to call, and their
`forward` takes its arguments in torchvision's order, so that they can replace torchvision's modules in a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, fx, nn

from roi_align._checks import check_image_shape, check_size, checking, refuse_script
from roi_align._pooling.functional import Boxes, Mode, multiscale_roi_align, roi_align

# torch.fx traces without values for the checks to read, so its graphs contain a call of these functions as a whole.
fx.wrap("roi_align")
fx.wrap("multiscale_roi_align")


@fx.wrap
def named_maps(
    x: Mapping[str, Tensor],
    image_shapes: Sequence[tuple[int, int]],
    names: Sequence[str],
    scales: Sequence[float] | None,
) -> tuple[list[Tensor], Sequence[float]]:
    """The maps of these names, in their order in x, and the scale of each, inferred if `scales` is None.

    Raises ValueError if there are no such maps, or if the height and the width of a map give different scales.
    """
    maps = {name: x[name] for name in x if name in names}
    if not maps:
        raise ValueError(f"None of the maps {list(x)} has a name in {list(names)}.")
    if scales is not None:
        return list(maps.values()), scales
    if not image_shapes:
        raise ValueError("image_shapes must hold the (height, width) of each image, not none.")
    image = max(height for height, _ in image_shapes), max(width for _, width in image_shapes)
    if image[0] < 1 or image[1] < 1:
        raise ValueError(f"image_shapes must hold the (height, width) of each image in pixels, not {image_shapes}.")
    with checking():
        return list(maps.values()), [_inferred(f"x[{name!r}]", each, image) for name, each in maps.items()]


def _inferred(name: str, of: Tensor, image: tuple[int, int]) -> float:
    check_image_shape(name, of)
    along_height, along_width = (_nearest(of.shape[2 + axis], image[axis]) for axis in (0, 1))
    if along_height != along_width:
        raise ValueError(
            f"{name} of {of.shape[2]} x {of.shape[3]} pixels has the scale {along_height} along the height of "
            f"{image[0]} x {image[1]} pixels and {along_width} along their width; pass the scales of all maps, like "
            "scales=[1/4, 1/8, 1/16, 1/32]."
        )
    return along_height


def _nearest(side: int, whole: int) -> float:
    """2 to the rounded binary logarithm of side / whole, both positive.

    It takes comparisons of integers, in which torch.export keeps a size symbolic; a logarithm would fix the size.
    """
    scale = 1.0
    while side < whole:
        side, scale = 2 * side, scale / 2
    while side * side > 2 * whole * whole:
        whole, scale = 2 * whole, scale * 2
    return scale


class TorchvisionRoIAlign(nn.Module):
    """`roi_align.roi_align` as a module, to replace `torchvision.ops.RoIAlign`.

    The rule is torchvision's (docs/operators.md, "roi_align"). torch.jit.script raises a TypeError; torch.jit.trace and
    torch.export.export work.

    Args:
        output_size: (height, width) of the output in bins, both positive, or one number for both.
        spatial_scale: Pixels of the map per unit of a box.
        sampling_ratio: Samples of a bin on each axis; 0 or less for an adaptive grid.
        aligned: Whether the centre of pixel k is at k + 0.5 in the boxes' coordinates, as in `roi_align.roi_align`.
        mode: "avg" for the mean, or "max" for the largest sample; torchvision has the mean alone.
    """

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
        """Pool boxes from the input.

        Args:
            input: (N, C, H, W), of any dtype that `roi_align.roi_align` accepts.
            rois: (K, 5) with rows (index, x1, y1, x2, y2), or one tensor (K_i, 4) for each image.

        Returns:
            (K, C, height, width); dtype, layout and errors as in `roi_align.roi_align`.
        """
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
    """`roi_align.multiscale_roi_align` as a module, to replace `torchvision.ops.MultiScaleRoIAlign`.

        model.roi_heads.box_roi_pool = TorchvisionMultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)

    The rule is torchvision's (docs/operators.md, "Levels"). torch.jit.script raises a TypeError; torch.jit.trace and
    torch.export.export work.

    Args:
        featmap_names: The names of the maps to pool from; other maps of a call are ignored.
        output_size: (height, width) of the output in bins, both positive, or one number for both.
        sampling_ratio: Samples of a bin on each axis; 0 or less for an adaptive grid.
        canonical_scale: The side, in pixels of the images, of a square box that belongs to canonical_level; positive.
        canonical_level: The level of such a box.
        scales: The scales of the maps, in their order in x. By default each call infers them from the sizes of maps and
            images.
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
        self.output_size = check_size("output_size", output_size, or_one=True)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale
        self.canonical_level = canonical_level
        self.scales = None if scales is None else [float(scale) for scale in scales]

    def forward(
        self, x: Mapping[str, Tensor], boxes: Sequence[Tensor], image_shapes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pool boxes from the maps named in featmap_names.

        Without `scales`, the scale of a map is the power of two nearest to its height divided by the largest image
        height, as in torchvision. Widths must give the same scale.

        Args:
            x: The maps by name, (N, C, H_k, W_k) each, the largest first.
            boxes: For each image (K_i, 4), (x1, y1, x2, y2) in pixels of the images.
            image_shapes: (height, width) of each image in pixels; not read if `scales` was given.

        Returns:
            (K, C, height, width), in the order of the boxes; dtype, layout and errors as in
                `roi_align.multiscale_roi_align`.

        Raises:
            ValueError: x has none of the names; or, without `scales`, image_shapes is empty or a map's height and width
                give different scales.
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
