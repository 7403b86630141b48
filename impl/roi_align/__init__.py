"""RoIAlign for PyTorch: TensorFlow's `crop_and_resize`, equal to it in every bit, and torchvision's `roi_align`."""

from roi_align import batching, roi_batching  # noqa: F401  both tell torch when they are imported
from roi_align.functional import crop_and_resize
from roi_align.modules import CropAndResize, CropAndResizeFunction, RoIAlign
from roi_align.pooling import multiscale_roi_align, roi_align
from roi_align.pooling_modules import TorchvisionMultiScaleRoIAlign, TorchvisionRoIAlign

__all__ = [
    "CropAndResize",
    "CropAndResizeFunction",
    "RoIAlign",
    "TorchvisionMultiScaleRoIAlign",
    "TorchvisionRoIAlign",
    "crop_and_resize",
    "multiscale_roi_align",
    "roi_align",
]
