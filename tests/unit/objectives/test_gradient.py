"""Distances of gradients against automatic differentiation, and the gradients of images."""

from __future__ import annotations

import pytest
import torch
from torch.func import jvp
from torch.nn import functional

from dance.kernels import plain_operations
from dance.networks import NetworkConfig, build
from dance.objectives import gradient as g

METRICS = {
    "rows": g.row_cosine,
    "cosine": g.cosine,
    "squared": g.squared_error,
    "absolute": g.absolute_error,
}
SHAPES = [(4, 3, 3, 3), (5, 7), (3, 2, 2)]


def written_out(name: str, real: list[torch.Tensor], synthetic: list[torch.Tensor]) -> torch.Tensor:
    """The distances as the sheets write them, row by row and tensor by tensor."""
    total = torch.zeros((), dtype=torch.float64)
    if name == "rows":
        for a, b in zip(real, synthetic, strict=True):
            for one, other in zip(a, b, strict=True):
                norms = one.norm() * other.norm()
                total = total + 1 - (one * other).sum() / (norms + 0.000001)
        return total
    a, b = (torch.cat([t.reshape(-1) for t in gradients]) for gradients in (real, synthetic))
    if name == "cosine":
        return 1 - (a * b).sum() / (a.norm() * b.norm() + 0.000001)
    return ((a - b) ** 2).sum() if name == "squared" else (a - b).abs().sum()


def pair(scale: float = 1.0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    real, synthetic = (
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
        for _ in range(2)
    )
    return [t * scale for t in real], [t * scale for t in synthetic]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-5])  # at the last, 1e-6 is most of the divisor
def test_values_and_gradients(name: str, scale: float) -> None:
    real, synthetic = pair(scale)
    found = METRICS[name](real, synthetic)
    leaves = [t.requires_grad_() for t in synthetic]
    expected = written_out(name, real, leaves)
    torch.testing.assert_close(found.value, expected.detach(), rtol=1e-12, atol=0)
    for slope, wanted in zip(found.gradient, torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(slope, wanted, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["rows", "cosine"])
def test_a_gradient_of_zeros_is_pulled_but_not_infinitely(name: str) -> None:
    real, synthetic = pair()
    synthetic = [torch.zeros_like(t) for t in synthetic]
    found = METRICS[name](real, synthetic)
    assert float(found.value) == (12 if name == "rows" else 1)
    for a, slope in zip(real, found.gradient, strict=True):
        torch.testing.assert_close(slope, -a / 1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch.func's own
@pytest.mark.parametrize("norm", ["instance", "batch", "layer"])
def test_images_are_pulled_as_by_forward_mode_and_by_the_whole_graph(norm: str) -> None:
    network = build(NetworkConfig(width=6, depth=2, norm=norm), 3, 8, 5).eval()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    state = {n: t.double() for n, t in network.initial(generator).items()}
    images = torch.randn(7, 3, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.arange(7) % 5
    weights = {n: t for n, t in state.items() if t.ndim > 1}
    real = [
        torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in weights.values()
    ]

    def loss(own: g.Weights, x: torch.Tensor) -> torch.Tensor:
        logits = network.logits({**state, **own}, x)
        shifted = logits - logits.detach().amax(1, keepdim=True)
        chosen = shifted.gather(1, labels[:, None])[:, 0]
        return (shifted.exp().sum(1).log() - chosen).mean()

    with plain_operations():
        found = g.input_gradient(
            loss, weights, images, lambda own: g.row_cosine(real, own).gradient
        )
        v = g.row_cosine(real, g.weight_gradients(loss, weights, images)).gradient

        x = images.clone().requires_grad_()
        tangents = dict(zip(weights, v, strict=True))
        _, tangent = jvp(lambda own: loss(own, x), (weights,), (tangents,))
        (forward,) = torch.autograd.grad(tangent, x)

        x = images.clone().requires_grad_()
        leaves = {n: t.clone().requires_grad_() for n, t in weights.items()}
        value = functional.cross_entropy(network.logits({**state, **leaves}, x), labels)
        graph = torch.autograd.grad(value, list(leaves.values()), create_graph=True)
        (whole,) = torch.autograd.grad(written_out("rows", real, list(graph)), x)
    assert float(found.abs().max()) > 1e-3
    # Torch 2.13 has a wrong tangent for layer norm: numerical differences are on our side.
    others = (whole,) if norm == "layer" else (forward, whole)
    for other in others:
        torch.testing.assert_close(found, other, rtol=1e-12, atol=1e-12 * float(found.abs().max()))
