"""TensorFlow's `crop_and_resize`, and the classes of RoIAlign.pytorch over it."""

from roi_align._cropping import batching  # noqa: F401  imported because it registers with torch
