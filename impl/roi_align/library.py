"""Loads the compiled operators and tells torch what it cannot see in them: shapes, strides and derivatives.

Three operators stand behind everything public. The forward and the gradient of the image are each other's transpose,
so the double backward of the image is the forward again; through the boxes there is no second derivative here, and
whoever asks for one is told so instead of getting a silent zero.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# The codes that the compiled operators take (impl/csrc/sampling.h).
METHODS = {"bilinear": 0, "nearest": 1}
BOX_RULES = {"normalized": 0, "bin_centres": 1, "corners": 2}


def _find(name: str) -> Path | None:
    """The compiled library of that name beside this file; its suffix depends on how it was built."""
    return next(iter(sorted(Path(__file__).parent.glob(f"{name}.*so"))), None)


def _load(library: Path) -> None:
    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]


def _load_cpu() -> None:
    library = _find("_C")
    if library is None:
        raise ImportError(
            f"roi_align has no compiled library in {Path(__file__).parent}; build it with `make build` in a checkout, "
            "or install the package with pip."
        )
    _load(library)


def _load_cuda() -> str:
    """Why there are no CUDA kernels in this process, or "" if there are: they need a torch with CUDA."""
    library = _find("_C_cuda")
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if library is None:
        return "roi_align was built without its CUDA kernels"
    try:
        _load(library)
    except OSError as error:  # built for another major version of CUDA, say
        return f"roi_align's CUDA kernels could not be loaded ({error})"
    return ""


_load_cpu()
CUDA_MISSING = _load_cuda()
HAS_CUDA = not CUDA_MISSING

crop_and_resize = torch.ops.roi_align.crop_and_resize.default
crop_and_resize_grad_image = torch.ops.roi_align.crop_and_resize_grad_image.default
crop_and_resize_grad_boxes = torch.ops.roi_align.crop_and_resize_grad_boxes.default


def channels_innermost(image: Tensor) -> bool:
    """Whether channels lie next to each other, the rule by which crops and gradients keep the image's layout.

    The same rule as `channels_innermost` in impl/csrc/kernels.h.
    """
    return image.shape[1] > 1 and image.stride(1) == 1 and (image.shape[2] > 1 or image.shape[3] > 1)


def _dense(like: Tensor, shape: tuple[int, int, int, int], channels_last: bool) -> Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _fake_forward(
    image: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    crop_height: int,
    crop_width: int,
    method: int,
    extrapolation_value: float,
    box_rule: int,
    validate: bool,
) -> Tensor:
    return _dense(image, (boxes.shape[0], image.shape[1], crop_height, crop_width), channels_innermost(image))


def _fake_grad_image(
    grad: Tensor,
    boxes: Tensor,
    box_indices: Tensor,
    images: int,
    height: int,
    width: int,
    channels_last: bool,
    method: int,
    box_rule: int,
    deterministic: bool,
) -> Tensor:
    return _dense(grad, (images, grad.shape[1], height, width), channels_last)


def _fake_grad_boxes(grad: Tensor, image: Tensor, boxes: Tensor, box_indices: Tensor, box_rule: int) -> Tensor:
    return boxes.new_empty(boxes.shape)


def _save_forward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    image, boxes, box_indices, _, _, ctx.method, _, ctx.box_rule, _ = inputs
    ctx.image_size = image.shape[0], image.shape[2], image.shape[3]
    ctx.channels_last = channels_innermost(image)
    # The gradient of the image does not depend on the image: do not keep it alive for that.
    ctx.save_for_backward(boxes, box_indices, image if ctx.needs_input_grad[1] else None)


def _backward_forward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    boxes, box_indices, image = ctx.saved_tensors
    grad_image = grad_boxes = None
    if ctx.needs_input_grad[0]:
        # On CUDA a sum by atomics is in no fixed order: who wants one gets other kernels.
        deterministic = torch.are_deterministic_algorithms_enabled()
        grad_image = crop_and_resize_grad_image(
            grad, boxes, box_indices, *ctx.image_size, ctx.channels_last, ctx.method, ctx.box_rule, deterministic
        )
    if ctx.needs_input_grad[1]:
        grad_boxes = crop_and_resize_grad_boxes(grad, image, boxes, box_indices, ctx.box_rule)
    return grad_image, grad_boxes, None, None, None, None, None, None, None


def _no_second_derivative() -> RuntimeError:
    return RuntimeError(
        "crop_and_resize has no second derivative through the boxes. Detach the boxes before a double backward: that "
        "of the image alone is supported."
    )


def _save_grad_image(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, boxes, box_indices, _, _, _, _, ctx.method, ctx.box_rule, _ = inputs
    ctx.crop_size = grad.shape[2], grad.shape[3]
    ctx.save_for_backward(boxes, box_indices)


def _backward_grad_image(ctx: Any, grad_grad: Tensor) -> tuple[Tensor | None, ...]:
    if ctx.needs_input_grad[1]:
        raise _no_second_derivative()
    boxes, box_indices = ctx.saved_tensors
    # Linear in the upstream gradient, and the transpose of the forward without its extrapolation.
    again = crop_and_resize(grad_grad, boxes, box_indices, *ctx.crop_size, ctx.method, 0.0, ctx.box_rule, False)
    return again, None, None, None, None, None, None, None, None, None


def _backward_grad_boxes(ctx: Any, grad_grad: Tensor) -> tuple[None, ...]:
    raise _no_second_derivative()


torch.library.register_fake("roi_align::crop_and_resize", _fake_forward)
torch.library.register_fake("roi_align::crop_and_resize_grad_image", _fake_grad_image)
torch.library.register_fake("roi_align::crop_and_resize_grad_boxes", _fake_grad_boxes)
torch.library.register_autograd("roi_align::crop_and_resize", _backward_forward, setup_context=_save_forward)
torch.library.register_autograd(
    "roi_align::crop_and_resize_grad_image", _backward_grad_image, setup_context=_save_grad_image
)
torch.library.register_autograd("roi_align::crop_and_resize_grad_boxes", _backward_grad_boxes)
