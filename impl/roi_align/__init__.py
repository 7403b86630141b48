"""RoIAlign for PyTorch: TensorFlow's `crop_and_resize`, equal to it in every bit, and torchvision's `roi_align`."""

from roi_align._cropping.functional import crop_and_resize
from roi_align._cropping.modules import CropAndResize, CropAndResizeFunction, RoIAlign
from roi_align._pooling.functional import multiscale_roi_align, roi_align
from roi_align._pooling.modules import TorchvisionMultiScaleRoIAlign, TorchvisionRoIAlign

__all__ = [
    "CropAndResize", "CropAndResizeFunction", "RoIAlign", "TorchvisionMultiScaleRoIAlign", "TorchvisionRoIAlign",
    "crop_and_resize", "multiscale_roi_align", "roi_align",
]  # fmt: skip
