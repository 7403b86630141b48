"""The classes of RoIAlign.pytorch, with its arguments, so that code written for it runs unchanged.

They add nothing to `crop_and_resize` but the names and, for RoIAlign, boxes in pixels.
"""

from __future__ import annotations

from torch import Tensor, fx, nn

from roi_align import _checks
from roi_align._cropping.functional import crop, crop_and_resize

# torch.fx has no arguments yet for these to look at: a graph of it has a call of them.
fx.wrap("crop")
fx.wrap("crop_and_resize")


class CropAndResizeFunction:
    """`CropAndResizeFunction.apply(image, boxes, box_ind, crop_height, crop_width, extrapolation_value=0)`."""

    @staticmethod
    def apply(
        image: Tensor, boxes: Tensor, box_ind: Tensor, crop_height: int, crop_width: int, extrapolation_value: float = 0
    ) -> Tensor:
        """`roi_align.crop_and_resize` under its older name; see there for shapes, dtypes and errors."""
        return crop_and_resize(image, boxes, box_ind, (crop_height, crop_width), "bilinear", extrapolation_value)


class CropAndResize(nn.Module):
    """`roi_align.crop_and_resize` to a fixed size, as a module: normalised boxes (y1, x1, y2, x2)."""

    def __init__(self, crop_height: int, crop_width: int, extrapolation_value: float = 0) -> None:
        super().__init__()
        self.crop_height = crop_height
        self.crop_width = crop_width
        self.extrapolation_value = extrapolation_value

    def forward(self, image: Tensor, boxes: Tensor, box_ind: Tensor) -> Tensor:
        """Crops (M, C, crop_height, crop_width) of image (N, C, H, W); errors as `roi_align.crop_and_resize`."""
        return crop_and_resize(
            image, boxes, box_ind, (self.crop_height, self.crop_width), "bilinear", self.extrapolation_value
        )

    __prepare_scriptable__ = _checks.refuse_script

    def extra_repr(self) -> str:
        return f"{self.crop_height}, {self.crop_width}, extrapolation_value={self.extrapolation_value}"


class RoIAlign(nn.Module):
    """Crops of boxes in pixels, (x1, y1, x2, y2), sampled at the centres of the bins.

    With transform_fpcoor, sample i of n sits at `a1 + (i + 0.5) * (a2 - a1) / n - 0.5`: pixel k covers [k, k+1) and its
    value stands at its centre. Without, samples run from a1 to a2 themselves. A sample inside [0, L-1] is interpolated
    bilinearly, one outside gives the extrapolation value. This is RoIAlign as RoIAlign.pytorch computes it, one sample
    a bin.
    """

    def __init__(
        self, crop_height: int, crop_width: int, extrapolation_value: float = 0, transform_fpcoor: bool = True
    ) -> None:
        super().__init__()
        self.crop_height = crop_height
        self.crop_width = crop_width
        self.extrapolation_value = extrapolation_value
        self.transform_fpcoor = transform_fpcoor

    def forward(self, featuremap: Tensor, boxes: Tensor, box_ind: Tensor) -> Tensor:
        """Crops (M, C, crop_height, crop_width) of featuremap (N, C, H, W); errors as `roi_align.crop_and_resize`."""
        return crop(
            featuremap, boxes, box_ind, (self.crop_height, self.crop_width), "bilinear", self.extrapolation_value,
            "bin_centres" if self.transform_fpcoor else "corners", False,
        )  # fmt: skip

    __prepare_scriptable__ = _checks.refuse_script

    def extra_repr(self) -> str:
        return (
            f"{self.crop_height}, {self.crop_width}, extrapolation_value={self.extrapolation_value}, "
            f"transform_fpcoor={self.transform_fpcoor}"
        )
