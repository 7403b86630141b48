"""Differentiation of the operators: the same formulas, registered with torch in two ways.

Compiled graphs, traces and calls without derivatives contain the operators themselves, with the derivatives that
`register_autograd` registers. An eager call that is differentiated goes through a torch.autograd.Function with the same
formulas: it costs less than register_autograd's own, and the transforms of torch.func can see into it.

Only that Function has forward mode. A graph of torch.compile treats an operator without forward mode as a constant, so
forward mode in such a graph raises an error here, where torch would silently return zero.
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
    """The arguments of a Function that are not tensors, in one object: torch's transforms would flatten a tuple."""

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
    """A differentiable function to call instead of an operator of torch.ops; also registers the operator's backward.

    tensors: the number of leading arguments that are tensors or lists of tensors.
    save: (ctx, inputs, output), register_autograd's setup_context. ctx.needs says for each of the tensors whether it
        needs a gradient, with a list for a list.
    derive: (ctx, grad) -> the gradient of each of the tensors, a list for a list; grad is a list if the output is one.
    push: (inputs, tangents) -> the tangent of the output, in forward mode; tangents are nested like the tensors, with
        None for a tensor without a tangent.
    operator: the public function's name, for messages.
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
            # A missing tangent stays None; torch would otherwise create zeros and compute with them.
            ctx.set_materialize_grads(False)
            ctx.save_for_forward(*inputs[1:])
            ctx.fixed = inputs[0]

    def backward(ctx: Any, *grads: Tensor | None) -> Any:
        dense = _materialized(ctx, grads)
        results = over_legacy_batches(lambda *each: _flat(derive(ctx, each if ctx.several else each[0])), *dense)
        return None, *results

    def jvp(ctx: Any, *tangents: Any) -> Any:
        if eager_transforms.JVP_NESTING > 1:
            raise _no_forward_mode(operator, "inside of another one", "Use reverse mode for one of the two")
        inputs = *_nested(ctx.fixed.lengths, ctx.saved_tensors), *ctx.fixed.others

        def push_flat(*flat: Tensor | None) -> list[Tensor | None]:
            return _flat([push(inputs, _nested(ctx.fixed.lengths, flat))])

        outputs = over_legacy_batches(push_flat, *tangents[1:])
        return tuple(outputs) if ctx.several else outputs[0]

    def eager_forward(ctx: Any, *inputs: Any) -> Any:
        # This Function records the derivative itself: register_autograd's own work in the call is skipped.
        with torch._C._AutoDispatchBelowAutograd():
            output = forward(*inputs)
        setup_context(ctx, inputs, output)
        return output

    def function(**members: Any) -> Any:
        methods = {each: staticmethod(method) for each, method in members.items()}
        return type(overload.__name__, (torch.autograd.Function,), {"generate_vmap_rule": True, **methods})

    transformed = function(forward=forward, setup_context=transformed_setup, backward=backward, jvp=jvp)
    # The same function with half the overhead, for reverse mode outside of torch.func's transforms.
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
            variant = transformed if torch._C._are_functorch_transforms_active() or _is_forward_mode() else eager
            output = variant.apply(_Fixed(_lengths(arguments[:tensors]), arguments[tensors:]), *flat)
            return list(output) if isinstance(output, tuple) else output
        except RuntimeError as error:
            raise_torchs_reason(error)
            raise

    def library_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        # Here needs_input_grad has one flag for every tensor of a list, in one flat sequence.
        ctx.needs, ctx.others = _nested(_lengths(inputs[:tensors]), ctx.needs_input_grad), len(inputs) - tensors
        save(ctx, inputs, output)

    def library_backward(ctx: Any, grad: Any) -> Any:
        return *derive(ctx, grad), *[None] * ctx.others

    torch.library.register_autograd(overload.name(), library_backward, setup_context=library_setup)
    return call


def _is_differentiated(tensors: Sequence[Tensor]) -> bool:
    """Whether an eager call on these tensors may be differentiated, in reverse or forward mode.

    Within torch.func.grad a tensor does not tell: one that vmap maps hides the one that is differentiated.
    """
    if _is_forward_mode():
        return True
    return torch.is_grad_enabled() and (_is_in_grad() or any(tensor.requires_grad for tensor in tensors))


def _is_in_grad() -> bool:
    """Whether torch.func.grad, vjp or jacrev is active, and not torch.func.functionalize, which takes no
    autograd.Function."""
    if not torch._C._are_functorch_transforms_active():
        return False
    transforms = torch._C._functorch.TransformType
    kinds = {each.key() for each in torch._C._functorch.get_interpreter_stack() or ()}
    return transforms.Grad in kinds and transforms.Functionalize not in kinds


def _is_forward_mode() -> bool:
    """Whether a forward-mode level is active, of torch.func or of torch.autograd.forward_ad."""
    return forward_ad._current_level >= 0


def _materialized(ctx: Any, grads: Sequence[Tensor | None]) -> Sequence[Tensor]:
    """The gradients of the outputs, with zeros for missing ones."""
    if all(grad is not None for grad in grads):
        return grads  # type: ignore[return-value]
    like = next(grad for grad in grads if grad is not None)
    return [like.new_zeros(shape) if grad is None else grad for grad, shape in zip(grads, ctx.shapes, strict=True)]


def _flat(arguments: Iterable[Any]) -> list[Any]:
    """The arguments with lists flattened: torch.autograd.Function does not look for tensors in a list."""
    flat: list[Any] = []
    for each in arguments:
        flat += each if isinstance(each, (list, tuple)) else [each]
    return flat


def _lengths(arguments: Iterable[Any]) -> Lengths:
    """The length of each argument that is a list; None for a tensor."""
    return tuple(len(each) if isinstance(each, (list, tuple)) else None for each in arguments)


def _nested(lengths: Lengths, flat: Sequence[Any]) -> list[Any]:
    """The inverse of _flat: lengths are those of the lists, None for a tensor."""
    nested: list[Any] = []
    at = 0
    for length in lengths:
        nested.append(flat[at] if length is None else list(flat[at : at + length]))
        at += 1 if length is None else length
    return nested


def sum_of(*terms: Tensor | None) -> Tensor | None:
    """The sum of a derivative's terms, without those that are None; None if all are."""
    present = [term for term in terms if term is not None]
    return sum(present[1:], present[0]) if present else None


def _no_forward_mode(operator: str, within: str, instead: str) -> NotImplementedError:
    """The error for forward mode where torch treats the operator as a constant and would silently return zero."""
    return NotImplementedError(
        f"{operator} has no forward-mode derivative (torch.func.jvp, jacfwd, torch.autograd.forward_ad) {within}. "
        f"{instead}: torch.autograd.grad, torch.func.vjp or jacrev."
    )
