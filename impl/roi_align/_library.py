"""The compiled libraries, loaded once for both operators, and the memory layout of results.

The CUDA kernels are a separate library, so that the package works without them; HAS_CUDA is True if it is loaded.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor


def _find(name: str) -> Path | None:
    """The compiled library of this name beside this file; its suffix depends on the build."""
    return next(iter(sorted(Path(__file__).parent.glob(f"{name}.*so"))), None)


def _load(library: Path) -> None:
    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]


def _load_cpu() -> None:
    library = _find("_C")
    if library is None:
        if not Path(__file__).exists():  # inside a torch.package archive
            raise ImportError(
                "roi_align cannot be part of a torch.package: its operators are compiled. Call "
                "exporter.extern('roi_align.**') instead of intern when the package is written, and install roi_align "
                "on the machine that loads it."
            )
        raise ImportError(
            f"roi_align has no compiled library in {Path(__file__).parent}; build it with `make build` in a checkout, "
            "or install the package with pip."
        )
    _load(library)


def _load_cuda() -> str:
    """Load the CUDA kernels. Returns "", or the reason why they cannot be loaded: they need a torch with CUDA."""
    library = _find("_C_cuda")
    if torch.version.cuda is None:
        return f"this torch ({torch.__version__}) is built without CUDA"
    if library is None:
        return "roi_align was built without its CUDA kernels"
    try:
        _load(library)
    except OSError as error:  # for example, built for another major version of CUDA
        return f"roi_align's CUDA kernels could not be loaded ({error})"
    return ""


_load_cpu()
CUDA_MISSING = _load_cuda()
HAS_CUDA = not CUDA_MISSING


# The message of impl/csrc/common/torch_tensors.h for a result that torch could not allocate on a device.
_NOT_ALLOCATED = re.compile(r"^roi_align: torch gave no memory on (?P<device>\S+) for .* it needs (?P<bytes>\d+) bytes")


def raise_torchs_reason(error: RuntimeError) -> None:
    """Raise torch's own error in place of the binding's message that torch allocated nothing on a device.

    Only torch knows the reason: out of memory (torch.OutOfMemoryError, which callers catch in order to retry with
    less), or a device in an error state after an earlier kernel. The stable ABI passes no exception through, so this
    function allocates the same number of bytes once more. It raises nothing for any other error, or if the allocation
    now succeeds.
    """
    match = _NOT_ALLOCATED.match(str(error))
    if match is None:
        return
    try:
        torch.empty(int(match["bytes"]), dtype=torch.uint8, device=match["device"])
    except RuntimeError as reason:
        raise reason from error


def channels_innermost(image: Tensor) -> bool:
    """Whether channels are adjacent in memory; crops and gradients then get the image's channels_last layout.

    The rule is that of `channels_innermost` in impl/csrc/common/view.h.
    """
    return image.shape[1] > 1 and image.stride(1) == 1 and (image.shape[2] > 1 or image.shape[3] > 1)


def dense(like: Tensor, shape: tuple[int, int, int, int], channels_last: bool) -> Tensor:
    """An empty result of a fake kernel, with the dtype and strides of the operators' results."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=layout)
