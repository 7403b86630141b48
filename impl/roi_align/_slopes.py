"""The derivatives through boxes that no kernel computes: forward mode, and the second ones.

The kernels compute the forward F, linear in the image, and both of its gradients. Along a direction of the boxes three
more terms are needed: the slope of F, its transpose in the image, and its gradient in the boxes. They are rare, so they
are written once, as compositions of torch's own operators on any device, which torch differentiates further.

A result is the sum of `weights of y * weights of x * pixel` over what its samples read. The weights of an axis are
piecewise linear in the two edges of that axis, so the second derivative is that across the axes alone. The taps of
each operator's samples are in the samples.py beside its derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Pixels that are gathered at once, all channels counted; boxes are taken a few at a time to stay below it.
_AT_ONCE = 2**24


def sum_dtype(image: Tensor) -> torch.dtype:
    """The dtype of the kernels' weights and sums."""
    return torch.float64 if image.dtype == torch.float64 else torch.float32


@dataclass(frozen=True)
class Taps:
    """The taps of M boxes on one axis: n results of a box, S samples of each result, two pixels of each sample.

    pixels   (M, n, S, 2), the pixels' indices.
    weights  (M, n, S, 2), differentiable in the boxes; 0 where nothing is read.
    slopes   (M, 2, n, S, 2), the derivative of the weights in the first edge and the second.
    read     (M, n, S), whether the sample is inside, by the operator's rule.
    exists   (M, n, S), False for the padding of a grid with fewer than S samples.
    """

    pixels: Tensor
    weights: Tensor
    slopes: Tensor
    read: Tensor
    exists: Tensor

    def part(self, boxes: slice) -> Taps:
        return Taps(*(each[boxes] for each in (self.pixels, self.weights, self.slopes, self.read, self.exists)))

    def weights_along(self, velocity: Tensor) -> Tensor:
        """The derivative of the weights where the edges move by velocity (M, 2)."""
        return (self.slopes * velocity[:, :, None, None, None]).sum(1)

    def pixels_read(self) -> Tensor:
        return self.read[..., None].expand(self.pixels.shape)


def taps_at(
    positions: Tensor, read: Tensor, exists: Tensor, length: int, edge_slopes: Tensor, share: Tensor, dtype: torch.dtype
) -> Taps:
    """The taps of samples at these positions (M, n, S), in the boxes' dtype, on an axis of that length.

    A sample beyond the first or last pixel reads that pixel. At a pixel's centre a sample reads this pixel alone and
    does not move, as in the kernels. edge_slopes (2, n, S) or (M, 2, n, S): the movement of a sample per unit of either
    edge; share: the weight of a sample; dtype: that of the weights.
    """
    inside = torch.where(read, positions, 0.0).clamp(0, length - 1)
    low = inside.detach().floor()
    weight = (inside - low).to(dtype)
    pixel = low.long() + (weight == 1)
    between = (weight > 0) & (weight < 1)
    weight, share = torch.where(between, weight, 0.0), torch.where(read, share, 0.0)
    derivative = edge_slopes.to(dtype) * torch.where(between, share, 0.0)[:, None]
    return Taps(
        torch.stack([pixel, pixel + between], dim=-1),
        torch.stack([1 - weight, weight], dim=-1) * share[..., None],
        torch.stack([-derivative, derivative], dim=-1),
        read,
        exists,
    )


@dataclass(frozen=True)
class Samples:
    """The samples of M boxes in images (N, C, H, W): indices (M,) within [0, N), and the taps of both axes.

    largest_of: for a maximum, the images (N, C, H, W) in which each bin's first largest sample counts, with share 1.
    """

    indices: Tensor
    y: Taps
    x: Taps
    largest_of: Tensor | None = None

    def parts(self, channels: int) -> Iterator[tuple[slice, Samples]]:
        """The samples of a few boxes at a time, with the slice of those boxes."""
        count = self.indices.shape[0]
        each = max(1, channels * self.y.pixels[:1].numel() * self.x.pixels[:1].numel())
        step = max(1, _AT_ONCE // each)
        for first in range(0, count, step):
            boxes = slice(first, min(count, first + step))
            yield boxes, Samples(self.indices[boxes], self.y.part(boxes), self.x.part(boxes), self.largest_of)

    def where(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, row and column of each pair of pixels: (M, n, S, 2, n', S', 2) when broadcast."""
        rows, columns = self.y.pixels[..., None, None, None], self.x.pixels[:, None, None, None]
        return self.indices.reshape(-1, *[1] * 6), rows, columns

    def read(self) -> Tensor:
        """Whether a pair of pixels counts: (M, n, S, 2, n', S', 2, 1 or C)."""
        read = _across(self.y.pixels_read(), self.x.pixels_read())[..., None]
        return read if self.largest_of is None else read & self._is_largest(read, self.largest_of)

    def _is_largest(self, read: Tensor, image: Tensor) -> Tensor:
        """Whether a sample is its bin's first largest one, with NaN as the largest."""
        weights = _across(self.y.weights, self.x.weights)[..., None]
        values = (weights * torch.where(read, _gathered(image, self), 0.0)).detach().sum((3, 6))
        exists = _across(self.y.exists, self.x.exists)[..., None]
        values = torch.where(exists, values, -torch.inf).permute(0, 1, 3, 5, 2, 4)  # (M, n, n', C, S, S')
        largest = values.flatten(-2).argmax(-1, keepdim=True)
        order = torch.arange(values.shape[-2] * values.shape[-1], device=values.device)
        is_first = (order == largest).reshape(values.shape)
        return is_first.permute(0, 1, 4, 2, 5, 3)[:, :, :, None, :, :, None]


def slope(image: Tensor, samples: Samples, velocity: Tensor) -> Tensor:
    """The derivative of the result (M, C, n, n') along a velocity (M, 2, 2): axis y or x, then its two edges."""
    parts = []
    for boxes, part in samples.parts(image.shape[1]):
        pixels = torch.where(part.read(), _gathered(image, part), 0.0)
        parts.append(_einsum("mikajlb,mikajlbc->mcij", _moved_weights(part, velocity[boxes]), pixels))
    if not parts:
        return image.new_zeros(0, image.shape[1], samples.y.pixels.shape[1], samples.x.pixels.shape[1])
    return torch.cat(parts)


def slope_transposed(grad: Tensor, samples: Samples, velocity: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The gradient in the image, of that shape, of the sum of `slope` times grad (M, C, n, n')."""
    images, channels, height, width = shape
    total = grad.new_zeros(images, height, width, channels)
    for boxes, part in samples.parts(channels):
        upstream = grad[boxes].permute(0, 2, 3, 1)[:, :, None, None, :, None, None]
        summands = _moved_weights(part, velocity[boxes])[..., None] * upstream
        total = total.index_put(part.where(), torch.where(part.read(), summands, 0.0), accumulate=True)
    return total.permute(0, 3, 1, 2)


def gradient_of_boxes(grad: Tensor, image: Tensor, samples: Samples, velocity: Tensor | None = None) -> Tensor:
    """The gradient in the edges (M, 2, 2) of the sum of grad times the result, or times `slope` along a velocity."""
    parts = []
    for boxes, part in samples.parts(image.shape[1]):
        pixels = torch.where(part.read(), _gathered(image, part), 0.0)
        products = _einsum("mcij,mikajlbc->mikajlb", grad[boxes], pixels)
        y, x = part.y.weights, part.x.weights
        if velocity is not None:
            y, x = part.y.weights_along(velocity[boxes][:, 0]), part.x.weights_along(velocity[boxes][:, 1])
        of_y = _einsum("mikajlb,meika,mjlb->me", products, part.y.slopes, x)
        of_x = _einsum("mikajlb,mika,mejlb->me", products, y, part.x.slopes)
        parts.append(torch.stack([of_y, of_x], dim=1))
    return torch.cat(parts) if parts else image.new_zeros(0, 2, 2)


def _einsum(equation: str, *tensors: Tensor) -> Tensor:
    """torch.einsum in the tensors' own dtype: autocast would compute it in a half type, and the kernels never do."""
    with torch.autocast(tensors[0].device.type, enabled=False):
        return torch.einsum(equation, *tensors)


def _across(y: Tensor, x: Tensor) -> Tensor:
    """The outer product, box by box, of y (M, ...) and x (M, ...)."""
    boxes = y.shape[0]
    both = y.reshape(boxes, -1, 1) * x.reshape(boxes, 1, -1)
    return both.reshape(boxes, *y.shape[1:], *x.shape[1:])


def _moved_weights(samples: Samples, velocity: Tensor) -> Tensor:
    """The derivative of `weight of y * weight of x` along velocity."""
    y, x = samples.y, samples.x
    return _across(y.weights_along(velocity[:, 0]), x.weights) + _across(y.weights, x.weights_along(velocity[:, 1]))


def _gathered(image: Tensor, samples: Samples) -> Tensor:
    """The pixels (M, n, S, 2, n', S', 2, C) that samples read."""
    return image.permute(0, 2, 3, 1)[samples.where()]
