"""This project's operator on the CPU."""

from __future__ import annotations

from importlib.metadata import version

from harness.backends.package import make

backend = make(
    name="roi_align",
    title=f"roi_align {version('roi-align')} (CPU)",
    device="cpu",
    tensorflow_bits=("forward", "grad_image"),
)
