"""What torch is told of roi_align's operators, and what it makes of them: opcheck, compilation, torch.func, autocast.

Each transform gives the bits of the plain calls, or refuses in a sentence; a silent zero is neither.
"""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.library import opcheck

from roi_align import TorchvisionRoIAlign, multiscale_roi_align, roi_align
from roi_align._checks import INTEGER_DTYPES

pytestmark = [pytest.mark.package, pytest.mark.cpu]

OPS = torch.ops.roi_align
SCALES = (0.25, 0.125, 0.0625)


def make_rows(count: int, images: int, side: float, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, 2, generator=generator, dtype=dtype).sort(dim=1).values * side
    index = torch.arange(count, dtype=dtype)[:, None] % max(images, 1)
    return torch.cat([index, corners.reshape(count, 4)], dim=1)


def make_levels(images: int, channels: int, dtype=torch.float32, last: bool = False) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    levels = [torch.randn(images, channels, 24 >> k, 16 >> k, generator=generator) for k in range(3)]
    return [level.to(dtype).to(memory_format=layout) for level in levels]


KINDS = {
    "contiguous": {"images": 2, "channels": 3},
    "channels_last": {"images": 2, "channels": 3, "last": True},
    "many channels, last": {"images": 1, "channels": 18, "last": True},
    "float64": {"images": 2, "channels": 3, "dtype": torch.float64},
    "bfloat16": {"images": 2, "channels": 3, "dtype": torch.bfloat16},
    "C=0": {"images": 2, "channels": 0},
    "N=0": {"images": 0, "channels": 3},
}


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_opcheck(kind, mode):
    levels = make_levels(**kind)
    rows = make_rows(6 if kind["images"] else 0, kind["images"], 90.0)
    rule = (2, True, mode, 2, 60.0, 4)
    wanting = [level.detach().requires_grad_() for level in levels]
    opcheck(OPS.roi_align.default, (wanting, rows, SCALES, 3, 4, *rule, False))
    grad = torch.randn(len(rows), kind["channels"], 3, 4).to(levels[0].dtype)
    sizes = [kind["images"], *(side for level in levels for side in level.shape[2:])]
    of_mode = levels if mode else []
    opcheck(
        OPS.roi_align_grad_features.default,
        (grad.requires_grad_(), of_mode, rows, sizes, kind.get("last", False), SCALES, *rule),
    )
    opcheck(OPS.roi_align_grad_boxes.default, (grad.detach(), levels, rows, SCALES, *rule))
    if mode:
        opcheck(OPS.roi_align_at_largest.default, (wanting, levels, rows, SCALES, 3, 4, *rule[:2], *rule[3:]))


@pytest.mark.parametrize("mode", ["avg", "max"])
def test_compiles_whole_with_dynamic_shapes(mode):
    torch._dynamo.reset()

    def pool(features, rows):
        return roi_align(features * 2, rows, ((features.shape[2] + 1) // 2, 3), 0.5, 2, True, mode=mode)

    compiled = torch.compile(pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for shape, count in (((2, 3, 9, 17), 4), ((1, 5, 5, 9), 2), ((3, 2, 17, 5), 9)):
        features = torch.randn(shape, requires_grad=True)
        rows = make_rows(count, shape[0], 30.0).requires_grad_()
        got, want = compiled(features, rows), pool(features, rows)
        assert torch.equal(got, want)
        gradients = [torch.autograd.grad(each.square().sum(), (features, rows)) for each in (got, want)]
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_a_pyramid_and_a_list_of_boxes_compile_whole():
    torch._dynamo.reset()

    def pool(levels, boxes):
        return multiscale_roi_align(levels, boxes, 3, SCALES, 2, canonical_scale=60)

    compiled = torch.compile(pool, fullgraph=True, dynamic=True)
    levels = [level.requires_grad_() for level in make_levels(2, 3)]
    boxes = [make_rows(4, 1, 90.0)[:, 1:], make_rows(5, 1, 90.0)[:, 1:]]
    assert torch.equal(compiled(levels, boxes), pool(levels, boxes))


def test_meta_tensors_have_the_shape_and_strides_of_the_result():
    features, rows = torch.rand(2, 3, 5, 7).to(memory_format=torch.channels_last), make_rows(6, 2, 7.0)
    real, meta = roi_align(features, rows, (4, 3)), roi_align(features.to("meta"), rows.to("meta"), (4, 3))
    assert (meta.shape, meta.stride(), meta.dtype) == (real.shape, real.stride(), real.dtype)


@pytest.mark.parametrize("last", [False, True])
def test_meta_gradients_have_the_shape_and_strides_of_the_result(last):
    """opcheck does not look at the strides of a list of results."""
    levels, rows, rule = make_levels(2, 3, last=last), make_rows(6, 2, 90.0), (2, True, 0, 2, 60.0, 4)
    grad, sizes = torch.rand(6, 3, 3, 4), [2, *(side for level in levels for side in level.shape[2:])]
    real = OPS.roi_align_grad_features(grad, [], rows, sizes, last, SCALES, *rule)
    meta = OPS.roi_align_grad_features(grad.to("meta"), [], rows.to("meta"), sizes, last, SCALES, *rule)
    for got, want in zip(meta, real, strict=True):
        assert (got.shape, got.stride(), got.dtype) == (want.shape, want.stride(), want.dtype)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [3, 18])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_results_and_gradients_keep_the_layout(last, channels, mode):
    layout = torch.channels_last if last else torch.contiguous_format
    features = torch.randn(2, channels, 5, 9).to(memory_format=layout).requires_grad_()
    pooled = roi_align(features, make_rows(3, 2, 9.0), (4, 3), mode=mode)
    assert pooled.is_contiguous(memory_format=layout)
    for upstream in (torch.randn(3, channels, 4, 3), torch.ones(()).expand(3, channels, 4, 3)):
        (gradient,) = torch.autograd.grad(pooled, features, upstream, retain_graph=True)
        assert gradient.is_contiguous(memory_format=layout)
        (same,) = torch.autograd.grad(pooled, features, upstream.contiguous(memory_format=layout), retain_graph=True)
        assert torch.equal(gradient, same)


def test_strided_boxes_are_read_where_they_are():
    features, wide = torch.rand(1, 2, 6, 5), make_rows(8, 1, 6.0).repeat(1, 2)
    rows = wide[::2, :5]
    assert not rows.is_contiguous()
    assert torch.equal(roi_align(features, rows, 3), roi_align(features, rows.contiguous(), 3))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("in_dims", [(0, 0), (0, None), (None, 0)])
def test_vmap_gives_the_bits_of_single_calls(in_dims, mode):
    features, rows = torch.randn(4, 2, 3, 8, 9), torch.stack([make_rows(5, 2, 8.0 + k) for k in range(4)])
    given = [each if dim == 0 else each[0] for each, dim in zip((features, rows), in_dims, strict=True)]

    def pool(features, rows):
        return roi_align(features, rows, (3, 2), mode=mode)

    def loss(features, rows):
        return pool(features, rows).square().sum()

    got = torch.func.vmap(pool, in_dims)(*given)
    gradients = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims)(*given)
    for b in range(4):
        single = [each[b] if dim == 0 else each for each, dim in zip(given, in_dims, strict=True)]
        assert torch.equal(got[b], pool(*single))
        for batch, alone in zip(gradients, torch.func.grad(loss, argnums=(0, 1))(*single), strict=True):
            assert torch.equal(batch[b], alone)


def test_a_bad_index_in_a_vmap_names_no_image_of_its_neighbour():
    features, rows = torch.randn(4, 2, 3, 8, 9), torch.stack([make_rows(5, 2, 8.0)] * 4)
    rows[1, 3, 0] = 2
    with pytest.raises(IndexError, match="an index must be a whole number"):
        torch.func.vmap(lambda f, r: roi_align(f, r, 3))(features, rows)


@pytest.mark.parametrize("of", ["features", "boxes"])
def test_forward_mode_is_refused_in_a_sentence(of):
    features, rows = torch.randn(2, 3, 8, 9), make_rows(5, 2, 8.0)
    calls = {
        "features": (lambda x: roi_align(x, rows, 3), features),
        "boxes": (lambda x: roi_align(features, x, 3), rows),
    }
    function, primal = calls[of]
    with pytest.raises(NotImplementedError, match=r"roi_align has no forward-mode derivative .* reverse mode"):
        torch.func.jvp(function, (primal,), (torch.ones_like(primal),))


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("of", ["features", "boxes"])
def test_double_backward_through_the_boxes_says_that_there_is_none(of, mode):
    features, rows = torch.randn(2, 3, 8, 9, requires_grad=True), make_rows(5, 2, 8.0).requires_grad_()
    pooled = roi_align(features, rows, 3, mode=mode)
    wanted = features if of == "features" else rows
    (first,) = torch.autograd.grad(pooled.square().sum(), wanted, create_graph=True)
    with pytest.raises(RuntimeError, match="roi_align has no second derivative through the boxes"):
        first.sum().backward()


def test_the_mean_does_not_keep_its_features_alive():
    """Boxes that need no gradient leave nothing to keep them for."""
    features = torch.rand(1, 2, 5, 7, requires_grad=True)
    pooled = roi_align(features, make_rows(3, 1, 5.0), 3)
    assert all(tensor.shape != features.shape for tensor in pooled.grad_fn.saved_tensors)
    pooled.sum().backward()
    assert features.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_maps_go_straight_in(dtype):
    """Under autocast and without; boxes of a half type are widened, never rounded further."""
    features, rows = torch.randn(2, 3, 8, 9).to(dtype), make_rows(5, 2, 8.0).to(dtype)
    plain = roi_align(features, rows.float(), 3)
    with torch.autocast("cpu", dtype=dtype):
        pooled = [roi_align(features, given, 3) for given in (rows, rows.float())]
    for each in (*pooled, roi_align(features, rows, 3)):
        assert each.dtype == dtype
        assert torch.equal(each, plain)


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
def test_integer_maps_enter_as_float32(dtype):
    features = (torch.rand(2, 3, 8, 9) * 100).to(dtype)
    rows = make_rows(4, 2, 8.0).requires_grad_()
    pooled, wanted = (roi_align(each, rows, 3) for each in (features, features.float()))
    assert pooled.dtype == torch.float32
    assert torch.equal(pooled, wanted)
    gradients = [torch.autograd.grad(each.sum(), rows)[0] for each in (pooled, wanted)]
    assert torch.equal(*gradients)


def test_threads_and_instruction_sets_give_the_same_bits(tmp_path):
    """The same digest from every set of kernels, each with one and with three threads."""
    import os
    import subprocess
    import sys

    program = """
import hashlib, torch
from roi_align import multiscale_roi_align
generator, digest = torch.Generator().manual_seed(0), hashlib.sha256()
for channels, last in ((3, False), (3, True), (35, False), (35, True)):
    for mode in ("avg", "max"):
        layout = torch.channels_last if last else torch.contiguous_format
        levels = [torch.randn(2, channels, 40 >> k, 56 >> k, generator=generator) for k in range(3)]
        corners = torch.rand(2, 60, 2, 2, generator=generator).sort(dim=2).values.reshape(2, 60, 4) * 200 - 8
        boxes = [each.clone().requires_grad_() for each in corners]
        for threads in (1, 3):
            torch.set_num_threads(threads)
            maps = [level.to(memory_format=layout).requires_grad_() for level in levels]
            pooled = multiscale_roi_align(maps, boxes, (5, 4), (0.25, 0.125, 0.0625), mode=mode, canonical_scale=80)
            found = [pooled, *torch.autograd.grad(pooled.square().sum(), [*maps, *boxes])]
            bits = b"".join(each.detach().contiguous().numpy().tobytes() for each in found)
            assert threads == 1 or bits == before, (channels, last, mode)
            before = bits
        digest.update(bits)
print(torch.ops.roi_align.cpu_kernels(), digest.hexdigest())
"""
    results = {}
    for name in ("portable", "avx2", "avx512", ""):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "ROI_ALIGN_CPU": name},
            capture_output=True,
            text=True,
            check=False,
        )
        if "but this machine runs" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        used, digest = done.stdout.split()
        results[used] = digest
    assert "portable" in results
    assert len(set(results.values())) == 1, results


@pytest.mark.parametrize(
    "module", [TorchvisionRoIAlign(3, 0.5, 2), TorchvisionRoIAlign((2, 3), 1.0, -1, True, mode="max")]
)
def test_modules_export_and_pickle(module):
    features, rows = torch.randn(2, 3, 8, 9), make_rows(5, 2, 8.0)
    exported = torch.export.export(module, (features, rows), dynamic_shapes=({}, {0: torch.export.Dim("k", min=2)}))
    copied = pickle.loads(pickle.dumps(module))
    assert "TorchvisionRoIAlign(output_size=" in repr(module)
    for count in (3, 5):
        assert torch.equal(exported.module()(features, rows[:count]), module(features, rows[:count]))
        assert torch.equal(copied(features, rows[:count]), module(features, rows[:count]))


@pytest.mark.parametrize("aligned", [False, True])
def test_a_module_is_its_function(aligned):
    features, rows = torch.rand(2, 3, 8, 9), make_rows(5, 2, 12.0)
    for mode in ("avg", "max"):
        module = TorchvisionRoIAlign(3, 0.5, 2, aligned, mode=mode)
        assert torch.equal(module(features, rows), roi_align(features, rows, 3, 0.5, 2, aligned, mode=mode))
