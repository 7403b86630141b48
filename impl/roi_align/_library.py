"""What both operators share: the compiled libraries, loaded once, and the layout that results have.

CUDA's library is one of its own, so that the package works without; HAS_CUDA says whether it is there.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor


def _find(name: str) -> Path | None:
    """The compiled library of that name beside this file; its suffix depends on how it was built."""
    return next(iter(sorted(Path(__file__).parent.glob(f"{name}.*so"))), None)


def _load(library: Path) -> None:
    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]


def _load_cpu() -> None:
    library = _find("_C")
    if library is None:
        if not Path(__file__).exists():  # within an archive of torch.package
            raise ImportError(
                "roi_align cannot be a part of a torch.package: its operators are compiled. Where the package is "
                "written, say exporter.extern('roi_align.**') in the place of intern, and install roi_align where it "
                "is loaded."
            )
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


# What impl/csrc/common/torch_tensors.h says of a result that torch could not allocate on a device.
_NOT_ALLOCATED = re.compile(r"^roi_align: torch gave no memory on (?P<device>\S+) for .* it needs (?P<bytes>\d+) bytes")


def raise_torchs_reason(error: RuntimeError) -> None:
    """Raise torch's own error in the place of one that says that torch has allocated nothing on a device.

    Only torch knows why: out of memory (torch.OutOfMemoryError, which callers catch to go on with less), or a device
    that an earlier kernel has ruined. The stable ABI takes no exception out of it, so the same memory is asked for here
    once more. Nothing is raised for any other error, or if there is enough memory by now.
    """
    refused = _NOT_ALLOCATED.match(str(error))
    if refused is None:
        return
    try:
        torch.empty(int(refused["bytes"]), dtype=torch.uint8, device=refused["device"])
    except RuntimeError as reason:
        raise reason from error


def channels_innermost(image: Tensor) -> bool:
    """Whether channels lie next to each other, the rule by which crops and gradients keep the image's layout.

    The same rule as `channels_innermost` in impl/csrc/common/view.h.
    """
    return image.shape[1] > 1 and image.stride(1) == 1 and (image.shape[2] > 1 or image.shape[3] > 1)


def dense(like: Tensor, shape: tuple[int, int, int, int], channels_last: bool) -> Tensor:
    """An empty result of a fake kernel, in the dtype that the operators give."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.empty(shape, dtype=dtype, device=like.device, memory_format=layout)
