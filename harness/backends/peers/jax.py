"""Both operators as they are written in JAX, which has neither: by jax.scipy.ndimage.map_coordinates, on the CPU.

With mode="nearest" a sample beside the image gets the edge pixel and no slope; samples that count as outside are masked
afterwards. Gradients, also of the boxes, come from jax.vjp. An adaptive grid has no static shape and so cannot be
compiled; other shapes are compiled anew. All is float32, JAX's default.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from harness.backends import Makers
from harness.backends.peers.snippets import literal, place, program
from harness.operators.arrays import DIRECTIONS, LAYOUTS, Direction
from harness.operators.crop_and_resize.case import Inputs
from harness.operators.implementation import Backend
from harness.operators.roi_align.case import RoiInputs
from harness.operators.sheet import Sheet

_VERSION = version("jax")
_TITLE = f"JAX {_VERSION} map_coordinates (CPU)"


def make_roi_align(name: str) -> Backend[RoiInputs]:
    sheet = Sheet(
        "roi_align",
        DIRECTIONS,
        version=_VERSION,
        compiles=True,
        scale_dtype="float32",
        layouts=LAYOUTS,
        empty=("boxes",),
    )

    def prepare(inputs: RoiInputs, direction: Direction) -> Callable[[], Any]:
        rule = (inputs.output_size, float(inputs.spatial_scale), inputs.sampling_ratio, inputs.aligned)
        return _prepare(partial(_pool, *rule), rule, inputs, direction)

    return Backend(name, _TITLE, sheet, prepare, np.array, snippet=pool_snippet)


def make_crop_and_resize(name: str) -> Backend[Inputs]:
    sheet = Sheet(
        "crop_and_resize",
        DIRECTIONS,
        version=_VERSION,
        compiles=True,
        index_dtypes=("int32", "int64"),
        layouts=LAYOUTS,
        empty=("boxes",),
    )

    def prepare(inputs: Inputs, direction: Direction) -> Callable[[], Any]:
        rule = (inputs.crop_size, float(inputs.extrapolation_value))
        return _prepare(partial(_crop, *rule), rule, inputs, direction, jnp.array(inputs.box_indices, jnp.int32))

    return Backend(name, _TITLE, sheet, prepare, np.array, snippet=crop_snippet)


BACKENDS: Makers = {("roi_align", "jax"): make_roi_align, ("crop_and_resize", "jax"): make_crop_and_resize}
# Compiled functions by the operator's arguments: a new function object would be compiled again.
_cache: dict[tuple[Any, ...], Callable[..., Any]] = {}


def _prepare(operator: Any, rule: tuple[Any, ...], inputs: Any, direction: Direction, *more: Any) -> Callable[[], Any]:
    """The compiled call of operator(image, boxes, *more), or of its vector-Jacobian product."""
    which = DIRECTIONS.index(direction) - 1

    def gradient(upstream: Any, image: Any, boxes: Any, *more: Any) -> Any:
        return jax.vjp(lambda *of: operator(*of, *more), image, boxes)[1](upstream)[which]

    forward = direction == "forward"
    call = _cache.setdefault((len(more), rule, direction), jax.jit(operator if forward else gradient))
    image, boxes, upstream = (jnp.array(each) for each in (inputs.image, inputs.boxes, inputs.upstream))
    arguments = (image, boxes, *more) if forward else (upstream, image, boxes, *more)
    return lambda: call(*arguments).block_until_ready()


def _pool(size: tuple[int, int], scale: float, ratio: int, aligned: bool, image: Any, boxes: Any) -> Any:
    offset = 0.5 if aligned else 0.0

    def axis(first: Any, last: Any, bins: int) -> Any:
        first, last = first * scale - offset, last * scale - offset
        extent = last - first if aligned else jnp.maximum(last - first, 1.0)
        return first + (jnp.arange(bins * ratio) + 0.5) * (extent / (bins * ratio))

    def pool(box: Any) -> Any:
        y, x = axis(box[2], box[4], size[0]), axis(box[1], box[3], size[1])
        samples = _samples(image, jax.lax.stop_gradient(box[0]), y, x, 1.0, 0.0)
        return samples.reshape(-1, size[0], ratio, size[1], ratio).mean((2, 4))

    return jax.vmap(pool)(boxes)


def _crop(size: tuple[int, int], value: float, image: Any, boxes: Any, indices: Any) -> Any:
    def axis(first: Any, last: Any, count: int, length: int) -> Any:
        if count == 1:
            return jnp.stack([0.5 * (first + last) * (length - 1)])
        return first * (length - 1) + jnp.arange(count) * ((last - first) * (length - 1) / (count - 1))

    def crop(box: Any, n: Any) -> Any:
        y, x = (axis(box[k], box[k + 2], size[k], image.shape[2 + k]) for k in range(2))
        return _samples(image, n, y, x, 0.0, value)

    return jax.vmap(crop)(boxes, indices)


def _samples(image: Any, n: Any, y: Any, x: Any, beside: float, value: float) -> Any:
    """Image n of (N,C,H,W) at the positions y times x; `value` further than so many pixels beside [0, L-1].

    The image index is an axis of the positions: slicing the batch would copy an image for every box.
    """
    inside_y, inside_x = ((p >= -beside) & (p <= n - 1 + beside) for p, n in zip((y, x), image.shape[2:], strict=True))
    grid = jnp.meshgrid(y, x, indexing="ij")
    at = [jnp.full_like(grid[0], n), *grid]
    samples = jax.vmap(lambda planes: map_coordinates(planes, at, order=1, mode="nearest"), in_axes=1)(image)
    return jnp.where(inside_y[:, None] & inside_x, samples, value)


_START = ("import jax, numpy as np, jax.numpy as jnp", "from jax.scipy.ndimage import map_coordinates as sample")


def pool_snippet(inputs: RoiInputs, direction: Direction, index: tuple[int, ...]) -> str:
    (height, width), r, offset = inputs.output_size, inputs.sampling_ratio, 0.5 if inputs.aligned else 0.0
    extent = "(b - a) * S" if inputs.aligned else "jnp.maximum((b - a) * S, 1)"
    inside = "(y >= -1) & (y <= image.shape[2]) & (x >= -1) & (x <= image.shape[3])"
    return program(
        *_START,
        f"S, image = {float(inputs.spatial_scale)}, {literal(inputs.image)}",
        f"boxes = {literal(inputs.boxes)}",
        f"axis = lambda a, b, n: a * S - {offset} + (jnp.arange(n * {r}) + 0.5) * ({extent} / (n * {r}))",
        f"grid = lambda b: jnp.meshgrid(axis(b[2], b[4], {height}), axis(b[1], b[3], {width}), indexing='ij')",
        f"one = lambda p, y, x: jnp.where({inside}, sample(p, [y, x], 1, 'nearest'), 0)",
        "crop = lambda image, b: jnp.stack([one(p, *grid(b)) for p in image[b[0].astype(int)]])",
        "pool = lambda image, boxes: jax.vmap(crop, (None, 0))(image, boxes)"
        f".reshape(len(boxes), -1, {height}, {r}, {width}, {r}).mean((3, 5))",
        _print_line("pool", inputs, direction, index),
    )


def crop_snippet(inputs: Inputs, direction: Direction, index: tuple[int, ...]) -> str:
    (height, width), indices = inputs.crop_size, literal(inputs.box_indices.astype(np.int32))
    inside = "(y >= 0) & (y <= image.shape[2] - 1) & (x >= 0) & (x <= image.shape[3] - 1)"
    outside = float(inputs.extrapolation_value)
    return program(
        *_START,
        f"image = {literal(inputs.image)}",
        f"boxes, indices = {literal(inputs.boxes)}, {indices}",
        "axis = lambda a, b, n, l: (a + (b - a) * (jnp.arange(n) / (n - 1) if n > 1 else jnp.full(1, 0.5))) * (l - 1)",
        f"grid = lambda b: jnp.meshgrid(axis(b[0], b[2], {height}, image.shape[2]), "
        f"axis(b[1], b[3], {width}, image.shape[3]), indexing='ij')",
        f"one = lambda p, y, x: jnp.where({inside}, sample(p, [y, x], 1, 'nearest'), {outside})",
        "crop = lambda image, boxes: jax.vmap(lambda b, n: jnp.stack([one(p, *grid(b)) for p in image[n]]))"
        "(boxes, jnp.array(indices))",
        _print_line("crop", inputs, direction, index),
    )


def _print_line(name: str, inputs: Any, direction: Direction, index: tuple[int, ...]) -> str:
    """The line that prints an element of a direction's result."""
    arguments = "jnp.array(image), jnp.array(boxes)"
    if direction == "forward":
        return f"print({name}({arguments})[{place(index)}])"
    which = DIRECTIONS.index(direction) - 1
    return f"print(jax.vjp({name}, {arguments})[1](jnp.array({literal(inputs.upstream)}))[{which}][{place(index)}])"
