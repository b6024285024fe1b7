"""Forward passes against the formulas, written out in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator
from dance.networks import NETWORKS, Network, NetworkConfig, State, build


def weights(network: Network, seed: int = 0) -> State:
    """A float64 state in which also norms and biases are no trivial numbers."""
    generator = keyed_generator(seed, "weights")
    state = network.initial(generator)
    return {
        name: tensor.double() + 0.1 * torch.rand(tensor.shape, generator=generator).double()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in state.items()
    }


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=keyed_generator(seed, "images"), dtype=torch.float64)


def normalise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Instance normalisation: each map of each image to mean 0 and variance 1, then affine."""
    mean = x.mean((2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


def halve(x: Tensor) -> Tensor:
    """Mean of each 2x2 square; a last odd row or column is left out."""
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    x = x[:, :, :h, :w]
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def convnet(state: State, x: Tensor, depth: int, pad: int = 0) -> Tensor:
    """ConvNet-D up to the flattened maps, from the weights in the order of a module."""
    tensors = iter(state.values())
    x = functional.pad(x, (pad, pad, pad, pad))
    for _ in range(depth):
        x = functional.conv2d(x, next(tensors), next(tensors), padding=1)
        x = halve(normalise(x, next(tensors), next(tensors)).clamp(min=0))
    return x.reshape(len(x), -1)


@pytest.mark.parametrize(
    ("channels", "resolution", "depth", "pad"),
    [(3, 32, 3, 0), (1, 28, 3, 2), (3, 10, 2, 0), (1, 8, 1, 0)],
)
def test_convnet(channels, resolution, depth, pad) -> None:
    network = build(NetworkConfig(width=6, depth=depth), channels, resolution, 5)
    state, x = weights(network), noise(3, channels, resolution, resolution)
    features = convnet(state, x, depth, pad)
    torch.testing.assert_close(network.embed(state, x), features)
    *_, weight, bias = state.values()
    torch.testing.assert_close(network.logits(state, x), features @ weight.T + bias)


@pytest.mark.parametrize(("channels", "resolution", "depth", "pad"), [(3, 10, 2, 0), (1, 28, 3, 2)])
@pytest.mark.parametrize("dense", [torch.contiguous_format, torch.channels_last])
def test_convnet_in_float32_with_gradients(channels, resolution, depth, pad, dense) -> None:
    """What training runs: values and gradients of pixels and weights against the formula."""
    network = build(NetworkConfig(width=6, depth=depth), channels, resolution, 5)
    exact = {name: t.requires_grad_() for name, t in weights(network).items()}
    x = noise(3, channels, resolution, resolution).requires_grad_()
    rough = {name: t.detach().float().requires_grad_() for name, t in exact.items()}
    y = x.detach().float().contiguous(memory_format=dense).requires_grad_()
    features = convnet(exact, x, depth, pad)
    found = network.embed(rough, y)
    torch.testing.assert_close(found.double(), features, rtol=1e-4, atol=1e-4)
    direction = noise(*features.shape, seed=2)
    names = [name for name in exact if not name.startswith("classifier")]
    theirs = torch.autograd.grad((features * direction).sum(), [x, *map(exact.get, names)])
    mine = torch.autograd.grad((found * direction.float()).sum(), [y, *map(rough.get, names)])
    for name, one, two in zip(["x", *names], mine, theirs, strict=True):
        bound = 1e-4 * max(1.0, float(two.abs().max()))
        torch.testing.assert_close(one.double(), two, rtol=1e-3, atol=bound, msg=name)


def test_grey_28_acts_as_32() -> None:
    """The field pads 28x28 to 32x32 in the first convolution."""
    small, large = (build(NetworkConfig(width=4), 1, resolution, 10) for resolution in (28, 32))
    state, x = weights(small), noise(2, 1, 28, 28)
    torch.testing.assert_close(
        small.logits(state, x), large.logits(state, functional.pad(x, (2, 2, 2, 2)))
    )


def test_pooling_of_the_paper() -> None:
    """3x3 windows, stride 2: every second pixel is the centre of a window, the border counts 0."""
    network = build(NetworkConfig(width=4, depth=1, pooling=3), 3, 8, 2)
    state, x = weights(network), noise(2, 3, 8, 8)
    tensors = list(state.values())
    maps = functional.conv2d(x, tensors[0], tensors[1], padding=1)
    maps = functional.pad(normalise(maps, tensors[2], tensors[3]).clamp(min=0), (1, 1, 1, 1))
    expected = torch.stack(
        [
            torch.stack([maps[:, :, i : i + 3, j : j + 3].mean((2, 3)) for j in (0, 2, 4, 6)], -1)
            for i in (0, 2, 4, 6)
        ],
        -2,
    )
    torch.testing.assert_close(network.embed(state, x), expected.flatten(1))


def resnet(state: State, x: Tensor, counts: tuple[int, ...], average: bool) -> Tensor:
    """IDC's ResNet with the small stem up to the pooled features, instance norm."""
    tensors = iter(state.values())

    def conv_norm(x: Tensor, padding: int, stride: int) -> Tensor:
        x = functional.conv2d(x, next(tensors), padding=padding, stride=stride)
        return normalise(x, next(tensors), next(tensors))

    x = conv_norm(x, 1, 1).clamp(min=0)
    for stage, count in enumerate(counts):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            step = 1 if average else stride
            out = conv_norm(x, 1, step).clamp(min=0)
            if average and stride == 2:
                out = halve(out)
            out = conv_norm(out, 1, 1)
            if stride == 2:
                x = functional.conv2d(x, next(tensors), stride=step)
                x = normalise(halve(x) if average else x, next(tensors), next(tensors))
            x = (out + x).clamp(min=0)
    return x.mean((2, 3))


@pytest.mark.parametrize(
    ("name", "average", "counts"),
    [
        ("resnet10", False, (1, 1, 1, 1)),
        ("resnet_ap10", True, (1, 1, 1, 1)),
        ("resnet18", False, (2, 2, 2, 2)),
    ],
)
def test_resnet(name, average, counts) -> None:
    network = build(NetworkConfig(name=name, layout="cifar"), 3, 16, 5)
    state, x = weights(network), noise(2, 3, 16, 16)
    torch.testing.assert_close(network.embed(state, x), resnet(state, x, counts, average))


def densenet(state: State, x: Tensor) -> Tensor:
    """DenseNet-121 in the CIFAR form up to the pooled features, instance norm."""
    tensors: Iterator[Tensor] = iter(state.values())

    def norm_conv(x: Tensor, padding: int) -> Tensor:
        x = normalise(x, next(tensors), next(tensors)).clamp(min=0)
        return functional.conv2d(x, next(tensors), padding=padding)

    x = functional.conv2d(x, next(tensors), padding=1)
    for block, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            x = torch.cat([norm_conv(norm_conv(x, 0), 1), x], 1)
        if block < 3:
            x = halve(norm_conv(x, 0))
    return normalise(x, next(tensors), next(tensors)).clamp(min=0).mean((2, 3))


def test_densenet() -> None:
    network = build(NetworkConfig(name="densenet121"), 3, 16, 5)
    state, x = weights(network), noise(2, 3, 16, 16)
    torch.testing.assert_close(network.embed(state, x), densenet(state, x))


def most(x: Tensor) -> Tensor:
    """Largest of each 2x2 square; a last odd row or column is left out."""
    h, w = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
    return x[:, :, :h, :w].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(4)


def grouped(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Each of some groups of an image's maps to mean 0 and variance 1, then affine."""
    flat = x.reshape(len(x), groups, -1)
    flat = flat - flat.mean(2, keepdim=True)
    flat = flat / (flat.square().mean(2, keepdim=True) + 1e-5).sqrt()
    scale, shift = (t[:, None, None] if t.ndim == 1 else t for t in (weight, bias))
    return flat.view(x.shape) * scale + shift


NORM = {
    "group": lambda x, t: grouped(x, next(t), next(t), 4),
    "layer": lambda x, t: grouped(x, next(t), next(t), 1),
    "instance": lambda x, t: normalise(x, next(t), next(t)),
    "none": lambda x, t: x,
}
ACTIVATION = {
    "relu": lambda x: x.clamp(min=0),
    "leaky": lambda x: torch.where(x > 0, x, 0.01 * x),
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
}
POOL = {2: halve, "max": most, "none": lambda x: x}


@pytest.mark.parametrize("norm", NORM)
@pytest.mark.parametrize("activation", ACTIVATION)
@pytest.mark.parametrize("pooling", POOL)
def test_convnet_s_options(norm, activation, pooling) -> None:
    config = NetworkConfig(width=8, depth=2, norm=norm, activation=activation, pooling=pooling)
    network = build(config, 3, 10, 5)
    state, x = weights(network), noise(2, 3, 10, 10)
    tensors, maps = iter(state.values()), x
    for _ in range(2):
        maps = functional.conv2d(maps, next(tensors), next(tensors), padding=1)
        maps = POOL[pooling](ACTIVATION[activation](NORM[norm](maps, tensors)))
    torch.testing.assert_close(network.embed(state, x), maps.reshape(2, -1))


def plain(state: State, x: Tensor, layers: list[tuple[int, bool]], norm: bool) -> Tensor:
    """Convolutions, each with its padding, norm where there is one, ReLU and, if so, a pool."""
    tensors = iter(state.values())
    for padding, pool in layers:
        x = functional.conv2d(x, next(tensors), next(tensors), padding=padding)
        x = (normalise(x, next(tensors), next(tensors)) if norm else x).clamp(min=0)
        x = most(x) if pool else x
    return x


@pytest.mark.parametrize(
    ("channels", "resolution", "extra"), [(3, 16, 0), (1, 28, 2), (1, 31, 1), (1, 9, 0)]
)
@pytest.mark.parametrize("name", ["alexnet", "alexnet_norm"])
def test_alexnet(name, channels, resolution, extra) -> None:
    network = build(NetworkConfig(name=name), channels, resolution, 5)
    state, x = weights(network), noise(2, channels, resolution, resolution)
    layers = [(2 + extra, True), (2, True), (1, False), (1, False), (1, True)]
    maps = plain(state, x, layers, norm=name == "alexnet_norm")
    torch.testing.assert_close(network.embed(state, x), maps.flatten(1))


@pytest.mark.parametrize(("channels", "resolution", "extra"), [(3, 32, 0), (1, 28, 2), (1, 29, 2)])
def test_vgg11(channels, resolution, extra) -> None:
    network = build(NetworkConfig(name="vgg11"), channels, resolution, 5)
    state, x = weights(network), noise(2, channels, resolution, resolution)
    pools = (True, True, False, True, False, True, False, True)
    layers = [(1 + extra if i == 0 else 1, pool) for i, pool in enumerate(pools)]
    maps = plain(state, x, layers, norm=True)
    torch.testing.assert_close(network.embed(state, x), maps.flatten(1))


@pytest.mark.parametrize(("channels", "resolution", "extra"), [(3, 32, 0), (1, 28, 2), (1, 12, 2)])
def test_lenet(channels, resolution, extra) -> None:
    network = build(NetworkConfig(name="lenet"), channels, resolution, 5)
    state, x = weights(network), noise(3, channels, resolution, resolution)
    features = plain(state, x, [(extra, True), (0, True)], norm=False).flatten(1)
    tensors = list(state.values())[4:8]
    for weight, bias in (tensors[:2], tensors[2:]):
        features = (features @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(network.embed(state, x), features)


def test_mlp() -> None:
    network = build(NetworkConfig(name="mlp", width=7), 3, 9, 5)
    state, x = weights(network), noise(3, 3, 9, 9)
    one, two = list(state.values())[:2], list(state.values())[2:4]
    features = x.flatten(1)
    for weight, bias in (one, two):
        features = (features @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(network.embed(state, x), features)


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_logits_embedding_and_stages_are_of_one_network(name, norm) -> None:
    resolution = 32 if name == "vgg11" else 16
    config = NetworkConfig(name=name, norm=norm, width=8, layout="cifar")
    network = build(config, 3, resolution, 5).eval()
    state, x = weights(network), noise(3, 3, resolution, resolution)
    features = network.embed(state, x)
    weight, bias = state["classifier.weight"], state["classifier.bias"]
    torch.testing.assert_close(network.logits(state, x), features @ weight.T + bias)
    stages = torch.func.functional_call(network, state, (x, "stages"))
    again = torch.func.functional_call(network, state, (x, "embedding"))
    assert torch.equal(again, features)
    assert len(stages) == len(network.blocks)
    assert stages[-1].shape[0] == 3 and features.shape == (3, network.embedding_size)
    # images do not meet in evaluation mode
    torch.testing.assert_close(network.logits(state, x[1:2]), network.logits(state, x)[1:2])


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("width", [6, 32])  # 32 channels: the last block runs as one operation
def test_activations_are_those_before_pooling_and_then_the_embedding(norm, width) -> None:
    network = build(NetworkConfig(norm=norm, width=width, depth=3), 3, 16, 5).eval()
    state, x = weights(network), noise(2, 3, 16, 16)
    *maps, embedding = network.maps(state, x)
    torch.testing.assert_close(embedding, network.embed(state, x))
    stages = torch.func.functional_call(network, state, (x, "stages"))
    assert [tuple(m.shape) for m in maps] == [(2, width, 16, 16), (2, width, 8, 8)]
    for before, after in zip(maps, stages, strict=False):
        assert bool((before >= 0).all())
        torch.testing.assert_close(halve(before), after)


def test_a_network_that_does_not_give_its_activations_says_so() -> None:
    network = build(NetworkConfig(name="mlp", width=7), 3, 9, 5)
    with pytest.raises(
        ConfigError, match=r"maps before pooling: got .*use --network\.name convnet"
    ):
        network.maps(weights(network), noise(3, 3, 9, 9))


class TestBatchNorm:
    def test_training_normalises_over_the_batch_and_moves_the_buffers(self) -> None:
        network = build(NetworkConfig(width=4, depth=1, norm="batch"), 3, 8, 2).train()
        state, x = weights(network), noise(5, 3, 8, 8)
        mean, var = state["blocks.0.1.running_mean"], state["blocks.0.1.running_var"]
        before = {name: tensor.clone() for name, tensor in state.items()}
        tensors = list(state.values())
        maps = functional.conv2d(x, tensors[0], tensors[1], padding=1)
        flat = maps.transpose(0, 1).flatten(1)
        scaled = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, correction=0) + 1e-5).sqrt()[
            :, None
        ]
        scaled = scaled * tensors[2][:, None] + tensors[3][:, None]
        expected = halve(scaled.view(4, 5, 8, 8).transpose(0, 1).clamp(min=0)).flatten(1)
        torch.testing.assert_close(network.embed(state, x), expected)
        torch.testing.assert_close(
            mean, 0.9 * before["blocks.0.1.running_mean"] + 0.1 * flat.mean(1)
        )
        torch.testing.assert_close(var, 0.9 * before["blocks.0.1.running_var"] + 0.1 * flat.var(1))

    def test_evaluation_uses_the_buffers_and_leaves_them(self) -> None:
        network = build(NetworkConfig(width=4, depth=1, norm="batch"), 3, 8, 2).eval()
        state, x = weights(network), noise(5, 3, 8, 8)
        held = {name: tensor.clone() for name, tensor in state.items()}
        conv, conv_bias, scale, shift = list(state.values())[:4]
        maps = functional.conv2d(x, conv, conv_bias, padding=1)
        mean = state["blocks.0.1.running_mean"][:, None, None]
        var = state["blocks.0.1.running_var"][:, None, None]
        maps = (maps - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        torch.testing.assert_close(network.embed(state, x), halve(maps.clamp(min=0)).flatten(1))
        assert all(torch.equal(held[name], state[name]) for name in held)
