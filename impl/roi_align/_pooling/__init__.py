"""torchvision's `roi_align`, over one map or the levels of a pyramid, and its classes."""

from roi_align._pooling import batching  # noqa: F401  imported because it registers with torch
