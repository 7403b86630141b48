"""The rules step by step in NumPy (operators/*/reference.py): slow, and sharing no code with the oracles."""

from __future__ import annotations

from harness.backends import Makers
from harness.operators.crop_and_resize import reference as cropping
from harness.operators.roi_align import reference as pooling

BACKENDS: Makers = {
    ("crop_and_resize", "reference"): lambda name: cropping.build(cropping.STEPS, name=name),
    ("roi_align", "reference"): lambda name: pooling.build(pooling.STEPS, name=name),
}
