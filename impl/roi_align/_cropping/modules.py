"""The classes of RoIAlign.pytorch, with its arguments, so that code written for it runs unchanged.

They add to `crop_and_resize` only their names and, in RoIAlign, boxes in pixels.
"""

from __future__ import annotations

from torch import Tensor, fx, nn

from roi_align import _checks
from roi_align._cropping.functional import crop, crop_and_resize

# torch.fx traces without values for the checks to read, so its graphs contain a call of these functions as a whole.
fx.wrap("crop")
fx.wrap("crop_and_resize")


class CropAndResizeFunction:
    """`crop_and_resize` under the name and with the arguments of RoIAlign.pytorch's autograd function.

    Call `CropAndResizeFunction.apply(image, boxes, box_ind, crop_height, crop_width, extrapolation_value=0)`; the class
    has no instances. The rule is that of `roi_align.crop_and_resize` with method "bilinear".
    """

    @staticmethod
    def apply(
        image: Tensor, boxes: Tensor, box_ind: Tensor, crop_height: int, crop_width: int, extrapolation_value: float = 0
    ) -> Tensor:
        """Crop boxes and resize them bilinearly, by `roi_align.crop_and_resize`.

        Args:
            image: (N, C, H, W), of any dtype that `roi_align.crop_and_resize` accepts.
            boxes: (M, 4), float32 or float64: (y1, x1, y2, x2) in units of H-1 and W-1.
            box_ind: (M,), int32 or int64, in [0, N): the image of each box.
            crop_height: Height of the crops in pixels, positive.
            crop_width: Width of the crops in pixels, positive.
            extrapolation_value: The value of a sample outside of the image.

        Returns:
            Crops (M, C, crop_height, crop_width); dtype, layout and errors as in `roi_align.crop_and_resize`.
        """
        return crop_and_resize(image, boxes, box_ind, (crop_height, crop_width), "bilinear", extrapolation_value)


class CropAndResize(nn.Module):
    """`roi_align.crop_and_resize` to a fixed size, as a module: bilinear, with normalised boxes (y1, x1, y2, x2).

    The arguments are those of RoIAlign.pytorch's class; the rule is TensorFlow's (docs/operators.md,
    "crop_and_resize"). torch.jit.script raises a TypeError; torch.jit.trace and torch.export.export work.

    Args:
        crop_height: Height of the crops in pixels, positive.
        crop_width: Width of the crops in pixels, positive.
        extrapolation_value: The value of a sample outside of the image.
    """

    def __init__(self, crop_height: int, crop_width: int, extrapolation_value: float = 0) -> None:
        super().__init__()
        self.crop_height = crop_height
        self.crop_width = crop_width
        self.extrapolation_value = extrapolation_value

    def forward(self, image: Tensor, boxes: Tensor, box_ind: Tensor) -> Tensor:
        """Crop boxes from the images.

        Args:
            image: (N, C, H, W), of any dtype that `roi_align.crop_and_resize` accepts.
            boxes: (M, 4), float32 or float64: (y1, x1, y2, x2) in units of H-1 and W-1.
            box_ind: (M,), int32 or int64, in [0, N): the image of each box.

        Returns:
            Crops (M, C, crop_height, crop_width); dtype, layout and errors as in `roi_align.crop_and_resize`.
        """
        return crop_and_resize(
            image, boxes, box_ind, (self.crop_height, self.crop_width), "bilinear", self.extrapolation_value
        )

    __prepare_scriptable__ = _checks.refuse_script

    def extra_repr(self) -> str:
        return f"{self.crop_height}, {self.crop_width}, extrapolation_value={self.extrapolation_value}"


class RoIAlign(nn.Module):
    """Crops of boxes in pixels, (x1, y1, x2, y2), with one sample per bin: RoIAlign as RoIAlign.pytorch computes it.

    With transform_fpcoor, sample i of n is at the centre of its bin, `a1 + (i + 0.5) * (a2 - a1) / n - 0.5`: pixel k
    covers [k, k+1) and its value is at its centre. Without it, the first sample is at a1 and the last at a2. A sample
    in [0, L-1] is interpolated bilinearly; one outside has the extrapolation value.

    The rule is that of RoIAlign.pytorch (docs/operators.md, "RoIAlign.pytorch's classes"). torch.jit.script raises a
    TypeError; torch.jit.trace and torch.export.export work.

    Args:
        crop_height: Height of the crops in pixels, positive.
        crop_width: Width of the crops in pixels, positive.
        extrapolation_value: The value of a sample outside of the image.
        transform_fpcoor: Whether samples are at the centres of the bins; otherwise the outer samples are on the edges.
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
        """Crop boxes from the feature maps.

        Args:
            featuremap: (N, C, H, W), of any dtype that `roi_align.crop_and_resize` accepts for its image.
            boxes: (M, 4), float32 or float64: (x1, y1, x2, y2) in pixels.
            box_ind: (M,), int32 or int64, in [0, N): the image of each box.

        Returns:
            Crops (M, C, crop_height, crop_width); dtype, layout and errors as in `roi_align.crop_and_resize`.
        """
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
