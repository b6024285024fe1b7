"""The compiled operation against the formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import vmap

from dance.kernels.norm_relu_pool import norm_relu_pool, plain

EPS = 1e-5
SHAPES = [(3, 128, 32, 32), (2, 16, 7, 9), (1, 600, 4, 4), (2, 5, 2, 2)]


pytestmark = pytest.mark.usefixtures("built")


def formula(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The definition, written out: normalise each map, keep what is positive, average 2x2."""
    mean = x.mean((2, 3), keepdim=True)
    deviation = ((x - mean) ** 2).mean((2, 3), keepdim=True).add(EPS).sqrt()
    z = weight.view(-1, 1, 1) * (x - mean) / deviation + bias.view(-1, 1, 1)
    z = z.clamp(min=0)[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return (z[:, :, ::2, ::2] + z[:, :, 1::2, ::2] + z[:, :, ::2, 1::2] + z[:, :, 1::2, 1::2]) / 4


def given(shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = (torch.randn(shape, generator=generator) * 2 + 0.3).to(dtype)
    weight = torch.randn(shape[1], generator=generator) * 0.5 + 1
    bias = torch.randn(shape[1], generator=generator)
    return [x, weight, bias]


def gradients(
    tensors: list[torch.Tensor], outcome: torch.Tensor, upstream: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(outcome, tensors, upstream)


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3)])
def test_values_and_gradients(
    shape: tuple[int, ...], dtype: torch.dtype, bound: float, layout: torch.memory_format
) -> None:
    tensors = given(shape, dtype)
    tensors[0] = tensors[0].contiguous(memory_format=layout)
    exact = [t.double().requires_grad_() for t in tensors]
    tensors = [t.requires_grad_() for t in tensors]
    y, wanted = norm_relu_pool(*tensors, EPS), formula(*exact)
    assert y.dtype == dtype
    assert float((y - wanted).detach().abs().max() / wanted.detach().abs().max()) < bound
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(4)).to(dtype)
    found = gradients(tensors, y, upstream)
    for mine, theirs in zip(found, gradients(exact, wanted, upstream.double()), strict=True):
        assert float((mine - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3)) < bound


def test_plain_form_is_the_formula_too() -> None:
    tensors = [t.double() for t in given((2, 6, 5, 8), torch.float32)]
    torch.testing.assert_close(plain(*tensors, EPS), formula(*tensors))


@pytest.mark.usefixtures("each_variant")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    tensors = [t.requires_grad_() for t in given((7, 32, 8, 8), torch.float32)]
    threads = torch.get_num_threads()
    outcomes = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            y = norm_relu_pool(*tensors, EPS)
            outcomes.append([y, *gradients(tensors, y, torch.ones_like(y))])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*outcomes, strict=True):
        assert torch.equal(one, two)


def test_members_at_once_are_members_alone() -> None:
    stacks = [
        torch.stack(pair) for pair in zip(*[given((2, 8, 6, 6), torch.float32)] * 2, strict=True)
    ]
    stacks[1] = stacks[1] * torch.tensor([[1.0], [-2.0]])
    stacks = [t.requires_grad_() for t in stacks]
    together = vmap(lambda x, w, b: norm_relu_pool(x, w, b, EPS))(*stacks)
    alone = torch.stack([norm_relu_pool(*(t[i] for t in stacks), EPS) for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)
    upstream = torch.ones_like(alone)
    for one, two in zip(
        gradients(stacks, together, upstream), gradients(stacks, alone, upstream), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_a_second_derivative_is_refused() -> None:
    """Also where a part of it could be had through what follows."""
    tensors = [t.requires_grad_() for t in given((2, 8, 6, 6), torch.float32)]
    follows = torch.ones(8 * 9, 3).requires_grad_()
    logits = norm_relu_pool(*tensors, EPS).flatten(1) @ follows
    slopes = torch.autograd.grad(
        logits.logsumexp(1).sum(), [*tensors[1:], follows], create_graph=True
    )
    with pytest.raises(RuntimeError, match=r"within dance.kernels.plain_operations\(\)"):
        torch.autograd.grad(sum(t.square().sum() for t in slopes), tensors[0])


def test_what_does_not_fit_together_is_refused_by_pytorch() -> None:
    x, weight, bias = given((2, 8, 6, 6), torch.float32)
    for wrong in (
        (x[:, :4], weight, bias),
        (x, weight[:4], bias),
        (x, weight, bias[:4]),
        (x, weight.to("meta"), bias),
    ):
        with pytest.raises(RuntimeError):
            norm_relu_pool(*wrong, EPS)


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1e25])
def test_numbers_that_are_none_are_not_hidden(value: float, dtype: torch.dtype) -> None:
    """Nor that the square of one is too large for a float."""
    x, weight, bias = given((1, 3, 4, 4), dtype)
    x[0, 1, 2, 2] = value
    y = norm_relu_pool(x, weight, bias, EPS)
    assert y[0, 1].isnan().all()
    assert y[0, [0, 2]].isfinite().all()


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_that_fills_no_pool_has_no_output_and_no_gradient(dtype: torch.dtype) -> None:
    tensors = [t.requires_grad_() for t in given((2, 4, 1, 3), dtype)]
    y = norm_relu_pool(*tensors, EPS)
    assert y.shape == (2, 4, 0, 1)
    assert not any(t.any() for t in gradients(tensors, y, torch.ones_like(y)))
