"""RoIAlign for PyTorch: TensorFlow's `crop_and_resize` in NCHW, equal to it in every bit, forward and backward."""

import roi_align.batching  # noqa: F401  tells torch when it is imported
from roi_align.functional import crop_and_resize
from roi_align.modules import CropAndResize, CropAndResizeFunction, RoIAlign

__all__ = ["CropAndResize", "CropAndResizeFunction", "RoIAlign", "crop_and_resize"]
