"""How the operators of both rules are differentiated, told to torch twice over the same functions.

Compiled graphs, traces, and calls of which no derivative is wanted, hold the operators themselves, with the derivatives
that `register_autograd` gave them. An eager call that is differentiated goes through a torch.autograd.Function over the
same formulas: it costs less than register_autograd's own, and the transforms of torch.func can see into it.

Through the boxes there is no second derivative, and there is no forward mode: whoever asks for one is told so, in a
sentence, instead of getting a silent zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from roi_align._checks import is_tracing
from roi_align._library import raise_torchs_reason

Lengths = tuple[int | None, ...]


def differentiable(
    overload: Any, tensors: int, save: Callable[..., None], derive: Callable[..., Sequence[Any]], operator: str
) -> Callable[..., Any]:
    """What to call in the place of an operator of torch.ops, which is told of its derivative too.

    tensors: how many of its arguments, the first ones, are tensors or lists of tensors.
    save: (ctx, inputs, output) as register_autograd's setup_context, with ctx.needs to say of which of the tensors a
        gradient is wanted, a list for a list.
    derive: (ctx, grad) -> the gradient of each of the tensors, a list for a list; grad is a list where the output is.
    operator: what users know it as.
    """

    def forward(lengths: Lengths, others: tuple[Any, ...], *flat: Tensor) -> Any:
        output = overload(*_nested(lengths, flat), *others)
        return tuple(output) if isinstance(output, list) else output

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        lengths, others, *flat = inputs
        ctx.several, ctx.needs = isinstance(output, tuple), _nested(lengths, ctx.needs_input_grad[2:])
        save(ctx, (*_nested(lengths, flat), *others), output)

    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, None, *_flat(derive(ctx, grads if ctx.several else grads[0]))

    def eager_forward(ctx: Any, *inputs: Any) -> Any:
        # Here a derivative is taken care of: what register_autograd would do in the call is left out.
        with torch._C._AutoDispatchBelowAutograd():
            output = forward(*inputs)
        setup_context(ctx, inputs, output)
        return output

    def function(**members: Any) -> Any:
        members |= {"backward": backward, "jvp": _no_forward_mode(operator)}
        methods = {each: staticmethod(method) for each, method in members.items()}
        return type(overload.__name__, (torch.autograd.Function,), {"generate_vmap_rule": True, **methods})

    transformed = function(forward=forward, setup_context=setup_context)
    # The same, of half the overhead, for calls that no transform of torch.func looks into.
    eager = function(forward=eager_forward)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling() or is_tracing():
            return overload(*arguments)
        try:
            flat = _flat(arguments[:tensors])
            if not _is_differentiated(flat):
                return overload(*arguments)
            chosen = transformed if torch._C._are_functorch_transforms_active() else eager
            output = chosen.apply(_lengths(arguments[:tensors]), arguments[tensors:], *flat)
            return list(output) if isinstance(output, tuple) else output
        except RuntimeError as error:
            raise_torchs_reason(error)
            raise

    def library_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        # Here torch says so of every tensor of a list, one after the other.
        ctx.needs, ctx.others = _nested(_lengths(inputs[:tensors]), ctx.needs_input_grad), len(inputs) - tensors
        save(ctx, inputs, output)

    def library_backward(ctx: Any, grad: Any) -> Any:
        return *derive(ctx, grad), *[None] * ctx.others

    torch.library.register_autograd(overload.name(), library_backward, setup_context=library_setup)
    return call


def _is_differentiated(tensors: Sequence[Tensor]) -> bool:
    """Whether an eager call on these is part of a derivative, in reverse or forward mode."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)  # type: ignore[no-untyped-call]


def _flat(arguments: Iterable[Any]) -> list[Any]:
    """The arguments with those that are lists taken apart: torch.autograd.Function sees no tensor in a list."""
    flat: list[Any] = []
    for each in arguments:
        flat += each if isinstance(each, (list, tuple)) else [each]
    return flat


def _lengths(arguments: Iterable[Any]) -> Lengths:
    """Of those that are lists; None for a tensor."""
    return tuple(len(each) if isinstance(each, (list, tuple)) else None for each in arguments)


def _nested(lengths: Lengths, flat: Sequence[Any]) -> list[Any]:
    """The opposite of _flat: lengths are those of the lists, None for what is none."""
    nested: list[Any] = []
    at = 0
    for length in lengths:
        nested.append(flat[at] if length is None else list(flat[at : at + length]))
        at += 1 if length is None else length
    return nested


def no_second_derivative(operator: str, image: str) -> RuntimeError:
    """What is raised where a double backward goes through the boxes."""
    return RuntimeError(
        f"{operator} has no second derivative through the boxes. Detach the boxes before a double backward: that "
        f"of the {image} alone is supported."
    )


def refuse_second_derivative(operator: str, image: str) -> Callable[..., Any]:
    """The derivative of a gradient of the boxes, which has none."""

    def derive(ctx: Any, grad_grad: Tensor) -> Any:
        raise no_second_derivative(operator, image)

    return derive


def save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    """There is nothing to derive further."""


def _no_forward_mode(operator: str) -> Callable[..., Tensor]:
    """The jvp of an operator that has none, which is to say so."""

    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        raise NotImplementedError(
            f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, torch.autograd.forward_ad). Use "
            "reverse mode: torch.autograd.grad, torch.func.vjp or jacrev."
        )

    return jvp
