"""crop_and_resize as a matrix: crops = W image + constant, and therefore image gradient = W^T upstream.

A second formulation, which shares no line with the oracle: it weights every pixel by a hat function of its distance to
the sample instead of looking up neighbours, and its gradient is a transpose instead of a scatter. An error would have
to be made in both, independently.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from harness.operators.arrays import Array
from harness.operators.crop_and_resize.case import Inputs


def positions(first: Array, last: Array, count: int, length: int, rule: str) -> Array:
    """Order A for all boxes at once, (M, count), elementwise in the dtype of the boxes."""
    to = first.dtype.type
    step, extent, i = to(count), to(length - 1), np.arange(count, dtype=first.dtype)
    if rule == "bin_centres":
        size = (last - first) / step
        start = first + size / to(2) - to(0.5)
        if length == 1:
            return np.asarray(start[:, None] + i * size[:, None])
        first = start / extent
        last = first + size * to(count - 1) / extent
    elif rule == "corners" and length > 1:
        first, last = first / extent, last / extent
    elif rule == "corners":
        extent = to(1)
    if count == 1:
        return np.asarray((0.5 * (first + last).astype(np.float64) * np.float64(extent)).astype(first.dtype)[:, None])
    return np.asarray((first * extent)[:, None] + i * ((last - first) * extent / to(count - 1))[:, None])


def hats(p: Array, length: int, method: str) -> tuple[Array, Array]:
    """The weight of every pixel in every sample, (M, count, length) in float64, and which samples are inside."""
    inside = (p >= 0) & (p <= p.dtype.type(length - 1))
    wide = np.where(inside, p, 0).astype(np.float64)[..., None]
    pixels = np.arange(length)
    if method == "nearest":
        return (pixels == np.floor(wide) + (wide % 1 >= 0.5)).astype(np.float64), inside
    # The flanks of the hat are computed separately: 1 - |p - pixel| would lose the weight of a pixel almost 1 away.
    return np.maximum(0.0, np.where(pixels > wide, wide - (pixels - 1), 1 - (wide - pixels))), inside


def weights(inputs: Inputs) -> tuple[Any, Array]:
    """W, sparse, from the pixels (N*H*W) to the samples (M*h*w), and which samples are inside, flat."""
    n, _, h, w = inputs.image.shape
    normalized = inputs.box_rule == "normalized"
    y1, x1, y2, x2 = (inputs.boxes[:, k] for k in ((0, 1, 2, 3) if normalized else (1, 0, 3, 2)))
    with np.errstate(all="ignore"):
        py = positions(y1, y2, inputs.crop_size[0], h, inputs.box_rule)
        px = positions(x1, x2, inputs.crop_size[1], w, inputs.box_rule)
    (wy, in_y), (wx, in_x) = hats(py, h, inputs.method), hats(px, w, inputs.method)
    blocks = []
    for m, index in enumerate(inputs.box_indices):
        here = scipy.sparse.kron(wy[m] * in_y[m][:, None], wx[m] * in_x[m][:, None])
        place = scipy.sparse.csr_array(([1.0], ([0], [int(index)])), shape=(1, n))
        blocks.append(scipy.sparse.kron(place, here))
    inside = (in_y[:, :, None] & in_x[:, None, :]).reshape(-1)
    empty = scipy.sparse.csr_array((0, n * h * w))
    return (scipy.sparse.vstack(blocks, format="csr") if blocks else empty), inside


def forward(inputs: Inputs) -> Array:
    """Crops (M,C,h,w) in float64. All pixels must be finite: a matrix product reads them all."""
    n, c, h, w = inputs.image.shape
    matrix, inside = weights(inputs)
    pixels = inputs.image.astype(np.float64).transpose(0, 2, 3, 1).reshape(n * h * w, c)
    crops = matrix @ pixels + inputs.extrapolation_value * ~inside[:, None]
    return np.asarray(crops.reshape(len(inputs.boxes), *inputs.crop_size, c).transpose(0, 3, 1, 2))


def grad_image(inputs: Inputs) -> Array:
    """The image's gradient (N,C,H,W) in float64."""
    n, c, h, w = inputs.image.shape
    matrix, inside = weights(inputs)
    upstream = inputs.upstream.astype(np.float64).transpose(0, 2, 3, 1).reshape(inside.size, c)
    return np.asarray((matrix.T @ upstream).reshape(n, h, w, c).transpose(0, 3, 1, 2))
