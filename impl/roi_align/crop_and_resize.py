"""RoIAlign.pytorch's import path of these two classes: `from roi_align.crop_and_resize import CropAndResize`.

`roi_align.crop_and_resize` itself is the function.
"""

from roi_align._cropping.modules import CropAndResize, CropAndResizeFunction

__all__ = ["CropAndResize", "CropAndResizeFunction"]
