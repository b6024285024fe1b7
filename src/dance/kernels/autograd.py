"""What the kernels have in common as differentiable functions: several members, and one refusal."""

from __future__ import annotations

from typing import Any

import torch


class Compiled(torch.autograd.Function):
    """A kernel as a function of tensors and plain values, for one network or for several."""

    @classmethod
    def vmap(
        cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[torch.Tensor | None, ...], tuple[int | None, ...]]:
        """Call the kernel once for each network, since every network has its own weights."""
        results = []
        for member in range(info.batch_size):
            arguments = [
                value if dim is None else value.select(dim, member)
                for value, dim in zip(inputs, in_dims, strict=True)
            ]
            results.append(cls.apply(*arguments))  # type: ignore[no-untyped-call]
        columns = list(zip(*results, strict=True))
        stacked = tuple(None if column[0] is None else torch.stack(column) for column in columns)
        return stacked, tuple(None if part is None else 0 for part in stacked)

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        """Refuse derivatives in forward mode."""
        raise RuntimeError(_refusal("differentiated in forward mode"))


class FirstDerivatives(Compiled):
    """The backward pass of a kernel; it is connected to all its inputs, and has no derivatives.

    A subclass computes it in ``forward``, from the gradients of the outputs, what was saved, and
    plain values.
    """

    @classmethod
    def of(cls, *inputs: Any) -> tuple[torch.Tensor | None, ...]:
        """The first derivatives; with ``create_graph`` they are part of the graph.

        Thus second derivatives are refused, whichever input they are taken of: without a connection
        to it, its part of them would silently be missing.
        """
        compute = cls.apply if torch.is_grad_enabled() else cls.forward
        found: tuple[torch.Tensor | None, ...] = compute(*inputs)  # type: ignore[no-untyped-call]
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        """Nothing is saved."""

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Refuse second derivatives."""
        raise RuntimeError(_refusal("differentiated twice"))


def _refusal(wish: str) -> str:
    return (
        f"what is {wish} must be computed within dance.kernels.plain_operations(): this network "
        "ran in the compiled kernels, which have first derivatives in backward mode only; call it "
        "within that context"
    )
