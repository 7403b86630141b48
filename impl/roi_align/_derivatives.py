"""How the operators of both rules are differentiated, told to torch twice over the same functions.

Compiled graphs, traces, and calls of which no derivative is wanted, hold the operators themselves, with the derivatives
that `register_autograd` gave them. An eager call that is differentiated goes through a torch.autograd.Function over the
same formulas: it costs less than register_autograd's own, and the transforms of torch.func can see into it.

Forward mode is told to that Function alone. To a graph of torch.compile an operator without it looks like a constant,
so asking for it there raises a sentence, where torch would give a silent zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._functorch import eager_transforms
from torch.autograd import forward_ad

from roi_align._batching import over_legacy_batches
from roi_align._checks import is_tracing
from roi_align._library import raise_torchs_reason

Lengths = tuple[int | None, ...]


@dataclass(slots=True)
class _Fixed:
    """What a Function is given beside tensors, as one thing: torch's transforms take a tuple apart, and miscount."""

    lengths: Lengths
    others: tuple[Any, ...]


def differentiable(
    overload: Any,
    tensors: int,
    save: Callable[..., None],
    derive: Callable[..., Sequence[Any]],
    push: Callable[..., Any],
    operator: str,
) -> Callable[..., Any]:
    """What to call in the place of an operator of torch.ops, which is told of its derivative too.

    tensors: how many of its arguments, the first ones, are tensors or lists of tensors.
    save: (ctx, inputs, output) as register_autograd's setup_context, with ctx.needs to say of which of the tensors a
        gradient is wanted, a list for a list.
    derive: (ctx, grad) -> the gradient of each of the tensors, a list for a list; grad is a list where the output is.
    push: (inputs, tangents) -> the tangent of the output, in forward mode; tangents are of the tensors, nested as these
        are, None for one that has none.
    operator: what users know it as.
    """

    def forward(fixed: _Fixed, *flat: Tensor) -> Any:
        output = overload(*_nested(fixed.lengths, flat), *fixed.others)
        return tuple(output) if isinstance(output, list) else output

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        fixed, *flat = inputs
        ctx.several, ctx.needs = isinstance(output, tuple), _nested(fixed.lengths, ctx.needs_input_grad[1:])
        save(ctx, (*_nested(fixed.lengths, flat), *fixed.others), output)

    def transformed_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setup_context(ctx, inputs, output)
        if _is_forward_mode():
            ctx.shapes = [each.shape for each in output] if ctx.several else [output.shape]
            # A tangent that is not there is None, and not a zero to be computed with.
            ctx.set_materialize_grads(False)
            ctx.save_for_forward(*inputs[1:])
            ctx.fixed = inputs[0]

    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        given = _materialized(ctx, grads)
        derived = over_legacy_batches(lambda *each: _flat(derive(ctx, each if ctx.several else each[0])), *given)
        return None, *derived

    def jvp(ctx: Any, *tangents: Any) -> Any:
        if eager_transforms.JVP_NESTING > 1:
            raise _no_forward_mode(operator, "inside of another one", "Use reverse mode for one of the two")
        inputs = *_nested(ctx.fixed.lengths, ctx.saved_tensors), *ctx.fixed.others

        def pushed(*given: Tensor | None) -> list[Tensor | None]:
            return _flat([push(inputs, _nested(ctx.fixed.lengths, given))])

        outputs = over_legacy_batches(pushed, *tangents[1:])
        return tuple(outputs) if ctx.several else outputs[0]

    def eager_forward(ctx: Any, *inputs: Any) -> Any:
        # Here a derivative is taken care of: what register_autograd would do in the call is left out.
        with torch._C._AutoDispatchBelowAutograd():
            output = forward(*inputs)
        setup_context(ctx, inputs, output)
        return output

    def function(**members: Any) -> Any:
        methods = {each: staticmethod(method) for each, method in members.items()}
        return type(overload.__name__, (torch.autograd.Function,), {"generate_vmap_rule": True, **methods})

    transformed = function(forward=forward, setup_context=transformed_setup, backward=backward, jvp=jvp)
    # The same, of half the overhead, for calls that no transform of torch.func looks into, in reverse mode.
    eager = function(forward=eager_forward, backward=backward)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling() or is_tracing():
            if _is_forward_mode():
                within = "in a graph of torch.compile or torch.jit.trace"
                raise _no_forward_mode(operator, within, "Differentiate outside of the graph, or in reverse mode")
            return overload(*arguments)
        try:
            flat = _flat(arguments[:tensors])
            if not _is_differentiated(flat):
                return overload(*arguments)
            chosen = transformed if torch._C._are_functorch_transforms_active() or _is_forward_mode() else eager
            output = chosen.apply(_Fixed(_lengths(arguments[:tensors]), arguments[tensors:]), *flat)
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
    """Whether an eager call on these may be part of a derivative, in reverse or forward mode."""
    return _is_forward_mode() or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))


def _is_forward_mode() -> bool:
    """Whether tangents are about, of torch.func or of torch.autograd.forward_ad."""
    return forward_ad._current_level >= 0


def _materialized(ctx: Any, grads: Sequence[Tensor | None]) -> Sequence[Tensor]:
    """The gradients of the outputs, zeros for those that are missing."""
    if all(grad is not None for grad in grads):
        return grads  # type: ignore[return-value]
    like = next(grad for grad in grads if grad is not None)
    return [like.new_zeros(shape) if grad is None else grad for grad, shape in zip(grads, ctx.shapes, strict=True)]


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


def added(*terms: Tensor | None) -> Tensor | None:
    """Of a derivative, the sum of the terms that there are; None if there is none."""
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _no_forward_mode(operator: str, within: str, instead: str) -> NotImplementedError:
    """To torch both look like a constant: a silent zero otherwise."""
    return NotImplementedError(
        f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, torch.autograd.forward_ad) {within}. "
        f"{instead}: torch.autograd.grad, torch.func.vjp or jacrev."
    )
