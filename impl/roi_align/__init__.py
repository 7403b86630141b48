"""RoIAlign for PyTorch: TensorFlow's `crop_and_resize`, equal to it in every bit, and torchvision's `roi_align`."""

# Loading a submodule makes it an attribute of its package. These two are loaded before the functions of their names, so
# that the functions are what the package has, and RoIAlign.pytorch's import paths work too.
from roi_align import crop_and_resize as _crops, roi_align as _pools  # noqa: F401, I001

from roi_align._cropping.functional import crop_and_resize
from roi_align._cropping.modules import CropAndResize, CropAndResizeFunction, RoIAlign
from roi_align._pooling.functional import multiscale_roi_align, roi_align
from roi_align._pooling.modules import TorchvisionMultiScaleRoIAlign, TorchvisionRoIAlign

__version__ = "0.1.0"

__all__ = [
    "CropAndResize", "CropAndResizeFunction", "RoIAlign", "TorchvisionMultiScaleRoIAlign", "TorchvisionRoIAlign",
    "crop_and_resize", "multiscale_roi_align", "roi_align",
]  # fmt: skip
