"""What the derivatives of both operators have in common: whether a call is part of one, and which there are not.

Through the boxes there is no second derivative, and there is no forward mode: whoever asks for one is told so, in a
sentence, instead of getting a silent zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_differentiated(tensors: tuple[Tensor, ...]) -> bool:
    """Whether an eager call on these is part of a derivative, in reverse or forward mode."""
    if torch.compiler.is_compiling():
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]


def no_second_derivative(operator: str, image: str) -> RuntimeError:
    """What is raised where a double backward goes through the boxes."""
    return RuntimeError(
        f"{operator} has no second derivative through the boxes. Detach the boxes before a double backward: that "
        f"of the {image} alone is supported."
    )


def refuse_second_derivative(operator: str, image: str) -> Callable[..., Any]:
    """The backward of a gradient of the boxes, which has none."""

    def backward(ctx: Any, grad_grad: Tensor) -> Any:
        raise no_second_derivative(operator, image)

    return backward


def differentiable(
    name: str, operator: str, call: Callable[..., Any], save: Callable[..., None], derive: Callable[..., Any]
) -> Any:
    """A torch.autograd.Function of that name, without forward mode; the transforms of torch.func see into it.

    call: of a short signature, because torch looks at it every time, and of no lists, in which torch sees no tensor.
    """
    methods = {"forward": call, "setup_context": save, "backward": derive, "jvp": no_forward_mode(operator)}
    members = {each: staticmethod(method) for each, method in methods.items()}
    return type(name, (torch.autograd.Function,), {"generate_vmap_rule": True, **members})


def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """There is nothing to derive further."""


def no_forward_mode(operator: str) -> Callable[..., Tensor]:
    """The jvp of an operator that has none, which is to say so."""

    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise NotImplementedError(
            f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, torch.autograd.forward_ad). Use "
            "reverse mode: torch.autograd.grad, torch.func.vjp or jacrev."
        )

    return jvp
