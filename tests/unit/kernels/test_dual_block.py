"""The block with its derivative along a direction, against its definition in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from dance.core.rng import keyed_generator
from dance.kernels import (
    BlockWeights,
    dual_block,
    dual_block_supports,
    plain_operations,
    selected_for_bfloat16,
)
from dance.networks import Network, NetworkConfig, build
from dance.objectives.gradient import input_gradient, loss_jvp
from unit.kernels.test_conv_block import BOUND, EPS, SHAPES, close, definition, given

TWICE = 2 * BOUND
"""Two convolutions, one after the other, and a norm's second derivative."""


pytestmark = pytest.mark.usefixtures("built")


def parts(shape: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Input and weights (x, convolution, gamma, beta), and their tangents."""
    x, weight, _, gamma, beta = given(shape)
    generator = torch.Generator().manual_seed(6)
    move = [torch.randn(t.shape, generator=generator) * t.std() for t in (x, weight, gamma, beta)]
    if shape[1] <= 4:
        move[0].zero_()
    return [x, weight, gamma, beta], move


def block(value: list[torch.Tensor], move: list[torch.Tensor], padding: int):  # type: ignore[no-untyped-def]
    x, *weights = value
    moved, *way = move
    still = x.shape[1] <= 4
    return dual_block(
        x,
        None if still else moved,
        BlockWeights(*weights),
        BlockWeights(*way),
        eps=EPS,
        padding=padding,
    )


def exactly(value: list[torch.Tensor], move: list[torch.Tensor], padding: int):  # type: ignore[no-untyped-def]
    """The derivative along ``move`` as that of a backward pass with respect to what it is given."""
    x, weight, gamma, beta = value
    out = definition(x, weight, gamma.new_zeros(len(gamma)), gamma, beta, padding)
    upstream = torch.zeros_like(out).requires_grad_()
    slopes = torch.autograd.grad(out, value, upstream, create_graph=True)
    return out, torch.autograd.grad(slopes, upstream, move, create_graph=True)[0]


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape: tuple[int, ...]) -> None:
    """Of both outputs, with respect to input, its move, and the weights."""
    value, move = parts(shape)
    exact = [[t.double().requires_grad_() for t in tensors] for tensors in (value, move)]
    mine = [[t.requires_grad_() for t in tensors] for tensors in (value, move)]
    found, wanted = block(*mine, shape[-1]), exactly(*exact, shape[-1])
    for one, other in zip(found, wanted, strict=True):
        close(one, other, TWICE)
    generator = torch.Generator().manual_seed(4)
    upstream = [torch.randn(t.shape, generator=generator) for t in found]
    moved = slice(0, 0 if shape[1] <= 4 else 1)
    ours = torch.autograd.grad(found, [*mine[0], *mine[1][moved]], upstream)
    theirs = torch.autograd.grad(
        wanted, [*exact[0], *exact[1][moved]], [t.double() for t in upstream]
    )
    for one, other in zip(ours, theirs, strict=True):
        close(one, other, TWICE)


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4]])
def test_the_bytes_of_an_image_do_not_depend_on_the_others_or_on_threads(shape) -> None:  # type: ignore[no-untyped-def]
    def run(rows: slice, threads: int) -> list[torch.Tensor]:
        value, move = parts(shape)
        value[0], move[0] = value[0][rows].requires_grad_(), move[0][rows]
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            found = block(value, move, shape[-1])
            gradient = torch.autograd.grad([t.sum() for t in found], value[0])
        finally:
            torch.set_num_threads(before)
        return [t.detach() for t in (*found, *gradient)]

    whole = run(slice(None), 1)
    for rows, threads in ((slice(None), 2), (slice(1, 2), 1), (slice(0, 2), 2)):
        for one, other in zip(run(rows, threads), whole, strict=True):
            assert torch.equal(one, other[rows])


def network(channels: int, resolution: int, **settings: object) -> Network:
    return build(NetworkConfig(width=32, **settings), channels, resolution, 10).eval()  # type: ignore[arg-type]


def case(net: Network, channels: int, resolution: int):  # type: ignore[no-untyped-def]
    state = net.initial(keyed_generator(3, "state"))
    images = torch.randn(
        6, channels, resolution, resolution, generator=keyed_generator(3, "images")
    )
    way = {n: torch.randn(t.shape, generator=keyed_generator(3, n)) for n, t in state.items()}
    return state, images, way, torch.arange(6) % 10


@pytest.mark.parametrize(("channels", "resolution"), [(3, 32), (1, 28), (1, 8)])
@pytest.mark.parametrize("lacks", [(), ("classifier.weight", "blocks.0.1.weight")])
def test_a_network_carries_the_product_with_the_gradient(channels, resolution, lacks) -> None:  # type: ignore[no-untyped-def]
    """<grad_w L, v> and its gradients, as double backward in float64 has them."""
    net = network(channels, resolution)
    state, images, way, labels = case(net, channels, resolution)
    way = {name: move for name, move in way.items() if name not in lacks}
    names = list(way)

    def loss(weights, x):  # type: ignore[no-untyped-def]
        exact = {name: tensor.double() for name, tensor in state.items()} | dict(weights)
        return functional.cross_entropy(functional_call(net, exact, (x,)), labels)

    weights = {name: state[name].double() for name in names}
    v = [way[name].double() for name in names]
    wanted = input_gradient(loss, weights, images.double(), lambda _: v)
    slopes = grad(loss)(weights, images.double())
    product = sum((slopes[name] * way[name]).sum() for name in names)

    x = images.clone().requires_grad_()
    found = net.jvp(state, way, x)
    assert found is not None
    close(found[0], net.logits(state, x))
    q = loss_jvp(*found, labels)
    assert q.item() == pytest.approx(product.item(), rel=1e-4)
    close(torch.autograd.grad(q, x)[0], wanted, 1e-4)


def test_gradients_of_the_weights_are_those_of_the_product() -> None:
    """What the adjoint of a training step needs: the Hessian's product with a vector."""
    net = network(3, 16)
    state, images, way, labels = case(net, 3, 16)

    def loss(weights, x):  # type: ignore[no-untyped-def]
        return functional.cross_entropy(functional_call(net, weights, (x,)), labels)

    exact = {name: tensor.double().requires_grad_() for name, tensor in state.items()}
    slopes = torch.autograd.grad(
        loss(exact, images.double()), list(exact.values()), create_graph=True
    )
    product = sum((g * way[name]).sum() for g, name in zip(slopes, exact, strict=True))
    wanted = torch.autograd.grad(product, list(exact.values()), materialize_grads=True)

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in state.items()}
    found = net.jvp(leaves, way, images)
    assert found is not None
    q = loss_jvp(*found, labels)
    ours = torch.autograd.grad(q, list(leaves.values()), materialize_grads=True)
    for name, one, other in zip(leaves, ours, wanted, strict=True):
        if name.endswith("0.bias"):
            assert not one.any() and float(other.abs().max()) < 1e-9, name
        else:
            close(one, other, 1e-4)


@pytest.mark.parametrize(
    "settings", [{"norm": "batch"}, {"norm": "group"}, {"pooling": "max"}, {"activation": "leaky"}]
)
def test_networks_without_the_kernel_carry_nothing(settings: dict[str, object]) -> None:
    net = network(3, 16, **settings)
    state, images, way, _ = case(net, 3, 16)
    assert net.jvp(state, way, images) is None


def test_other_numbers_and_a_switch_leave_it_to_second_derivatives() -> None:
    net = network(3, 16)
    state, images, way, _ = case(net, 3, 16)
    assert net.jvp(state, way, images) is not None
    exact = {name: tensor.double() for name, tensor in state.items()}
    assert net.jvp(exact, way, images.double()) is None
    with plain_operations():
        assert net.jvp(state, way, images) is None
    with torch.autocast("cpu", torch.bfloat16):
        has_kernels = selected_for_bfloat16().loaded is not None
        assert (net.jvp(state, way, images) is not None) == has_kernels


def supported(shape: tuple[int, ...], *, moved: bool) -> bool:
    value, move = parts(shape)
    tangent = move[0] if moved else None
    weights, way = BlockWeights(*value[1:]), BlockWeights(*move[1:])
    return dual_block_supports(value[0], tangent, weights, way, padding=1)


def test_only_images_stand_still() -> None:
    assert supported((1, 32, 32, 8, 8, 1), moved=True)
    assert not supported((1, 32, 32, 8, 8, 1), moved=False)
    assert supported((1, 3, 32, 8, 8, 1), moved=False)
    assert not supported((1, 3, 32, 8, 8, 1), moved=True)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("spoil", [lambda t: t[:1], lambda t: t.double(), lambda t: t.to("meta")])
def test_tangents_are_like_what_they_are_of(part: int, spoil) -> None:  # type: ignore[no-untyped-def]
    for which in (0, 1):
        both = parts((2, 32, 32, 8, 8, 1))
        both[which][part] = spoil(both[which][part])
        (x, *weights), (tangent, *way) = both
        assert not dual_block_supports(
            x, tangent, BlockWeights(*weights), BlockWeights(*way), padding=1
        )


@pytest.mark.usefixtures("each_variant")
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[5]])
def test_what_is_no_number_is_not_hidden(shape: tuple[int, ...]) -> None:
    for which, part in ((0, 0), (0, 1), (0, 3), (1, 1)):
        both = parts(shape)
        both[which][part].view(-1)[0] = 1e25 if part == 0 else math.nan
        out, tangent = block(*both, shape[-1])
        assert out[0, 0].isnan().all() == (which == 0)
        assert tangent[0, 0].isnan().any() == (part < 3)  # no tangent depends on the shift


def test_it_has_no_derivatives_beyond_the_first() -> None:
    for shape in (SHAPES[2], SHAPES[5]):
        value, move = parts(shape)
        value = [t.requires_grad_() for t in value]
        found = block(value, move, shape[-1])
        follows = torch.ones(()).requires_grad_()
        total = (found[0] * found[1] * follows).sum()
        slopes = torch.autograd.grad(total, [value[1], follows], create_graph=True)
        with pytest.raises(RuntimeError, match=r"within dance.kernels.plain_operations\(\)"):
            torch.autograd.grad(sum(t.square().sum() for t in slopes), value[0])
    with pytest.raises(RuntimeError, match="vmap"):
        vmap(lambda x: block([x, *value[1:]], move, 1)[0])(value[0][None])
