"""Parameters and embeddings of every network against the counts of the published code."""

from __future__ import annotations

import pytest
import torch

from dance.core.errors import ConfigError
from dance.data.known import KNOWN
from dance.networks import NETWORKS, Network, NetworkConfig, build


def on_meta(network: Network, channels: int, resolution: int) -> list[torch.Tensor]:
    """Maps of the skeleton, which costs no arithmetic."""
    return network.stages(torch.empty(2, channels, resolution, resolution, device="meta"))


@pytest.mark.parametrize(
    ("channels", "resolution", "classes", "depth", "maps", "total", "encoder"),
    [
        (1, 28, 10, None, (128, 4, 4), 317_706, 297_216),
        (3, 32, 10, None, (128, 4, 4), 320_010, 299_520),
        (3, 32, 100, None, (128, 4, 4), 504_420, 299_520),
        (3, 64, 200, None, (128, 4, 4), 857_160, 447_360),
        (3, 64, 200, 3, (128, 8, 8), 1_938_120, 299_520),
        (3, 128, 10, None, (128, 4, 4), 615_690, 595_200),
    ],
)
def test_convnet(channels, resolution, classes, depth, maps, total, encoder) -> None:
    for norm in ("instance", "batch"):
        network = build(NetworkConfig(depth=depth, norm=norm), channels, resolution, classes)
        assert network.parameter_count() == total
        features = maps[0] * maps[1] * maps[2]
        assert network.embedding_size == network.classifier.in_features == features
        assert total - sum(p.numel() for p in network.classifier.parameters()) == encoder
        assert tuple(on_meta(network, channels, resolution)[-1].shape[1:]) == maps


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(
    ("name", "dataset", "channels", "resolution", "classes", "maps", "total"),
    [
        ("resnet10", "cifar10", 3, 32, 10, (256, 4, 4), 1_228_970),
        ("resnet_ap10", "cifar10", 3, 32, 10, (256, 4, 4), 1_228_970),
        ("resnet10", "cifar100", 3, 32, 100, (256, 4, 4), 1_252_100),
        ("resnet_ap10", "cifar100", 3, 32, 100, (256, 4, 4), 1_252_100),
        ("resnet18", "cifar10", 3, 32, 10, (256, 4, 4), 2_797_610),
        ("resnet10", "fashion_mnist", 1, 28, 10, (512, 4, 4), 4_902_090),
        ("resnet_ap10", "fashion_mnist", 1, 28, 10, (512, 3, 3), 4_902_090),
        ("resnet10", "svhn", 3, 32, 10, (512, 4, 4), 4_903_242),
        ("resnet10", "tiny_imagenet", 3, 64, 200, (512, 8, 8), 5_000_712),
        ("resnet18", "tiny_imagenet", 3, 64, 200, (512, 8, 8), 11_271_432),
        ("resnet10", "imagenette", 3, 128, 10, (512, 8, 8), 4_903_242),
        ("resnet18", "imagenette", 3, 128, 10, (512, 8, 8), 11_173_962),
        ("resnet10", "imagenette", 3, 224, 10, (512, 7, 7), 4_910_922),
        ("resnet_ap10", "imagenette", 3, 224, 10, (512, 7, 7), 4_910_922),
        ("resnet18", "imagenette", 3, 224, 10, (512, 7, 7), 11_181_642),
    ],
)
def test_resnets(name, dataset, channels, resolution, classes, maps, total, norm) -> None:
    config = NetworkConfig(name=name, norm=norm, layout=KNOWN.get(dataset).resnet_layout)
    network = build(config, channels, resolution, classes)
    assert network.parameter_count() == total
    assert network.embedding_size == network.classifier.in_features == maps[0]
    assert tuple(on_meta(network, channels, resolution)[-1].shape[1:]) == maps


@pytest.mark.parametrize(("classes", "total"), [(10, 1_000_618), (100, 1_035_268)])
def test_densenet(classes, total) -> None:
    network = build(NetworkConfig(name="densenet121", norm="batch"), 3, 32, classes)
    assert network.parameter_count() == total
    assert network.embedding_size == network.classifier.in_features == 384
    assert tuple(on_meta(network, 3, 32)[-1].shape[1:]) == (384, 4, 4)


@pytest.mark.parametrize(
    ("name", "channels", "resolution", "maps", "features", "total"),
    [
        ("mlp", 3, 32, (128,), 128, 411_146),
        ("mlp", 1, 28, (128,), 128, 118_282),
        ("lenet", 3, 32, (16, 5, 5), 84, 62_006),
        ("lenet", 1, 28, (16, 5, 5), 84, 61_706),
        ("alexnet", 3, 32, (192, 4, 4), 3072, 1_872_202),
        ("alexnet", 1, 28, (192, 4, 4), 3072, 1_865_802),
        ("alexnet_norm", 3, 32, (192, 4, 4), 3072, 1_872_202 + 2 * 960),
        ("vgg11", 3, 32, (512, 1, 1), 512, 9_231_114),
        ("vgg11", 1, 28, (512, 1, 1), 512, 9_231_114 - 18 * 64),
    ],
)
def test_the_other_networks_of_dc_s_tables(
    name, channels, resolution, maps, features, total
) -> None:
    """Counts by the formula: weights and biases of every layer, scale and shift of every norm."""
    for norm in ("instance", "batch"):
        network = build(NetworkConfig(name=name, norm=norm), channels, resolution, 10)
        assert network.parameter_count() == total
        assert network.embedding_size == network.classifier.in_features == features
        assert tuple(on_meta(network, channels, resolution)[-1].shape[1:]) == maps


@pytest.mark.parametrize(
    ("config", "maps", "norms"),
    [
        (NetworkConfig(norm="none"), (128, 4, 4), 0),
        (NetworkConfig(norm="group"), (128, 4, 4), 2 * 3 * 128),
        (NetworkConfig(norm="layer"), (128, 4, 4), 2 * 128 * (32**2 + 16**2 + 8**2)),
        (NetworkConfig(pooling="max"), (128, 4, 4), 2 * 3 * 128),
        (NetworkConfig(pooling="none"), (128, 32, 32), 2 * 3 * 128),
        (NetworkConfig(activation="sigmoid", depth=2), (128, 8, 8), 2 * 2 * 128),
    ],
)
def test_convnet_s_options(config, maps, norms) -> None:
    network = build(config, 3, 32, 10)
    depth, features = config.depth or 3, maps[0] * maps[1] * maps[2]
    convolutions = 9 * 3 * 128 + (depth - 1) * 9 * 128**2 + depth * 128
    assert network.parameter_count() == convolutions + norms + 10 * (features + 1)
    assert network.embedding_size == features
    assert tuple(on_meta(network, 3, 32)[-1].shape[1:]) == maps


@pytest.mark.parametrize(
    ("name", "resolution", "first"),
    [
        ("resnet10", 64, 64),  # 3x3 alone
        ("resnet_ap10", 64, 64),
        ("resnet10", 65, 33),  # 3x3 and max pooling 3/2/1
        ("resnet_ap10", 65, 32),  # 3x3 and average pooling 2
        ("resnet10", 128, 64),
        ("resnet_ap10", 128, 64),
        ("resnet10", 129, 33),  # 7x7 with stride 2 (65), then max pooling 3/2/1
        ("resnet_ap10", 131, 32),  # 7x7 with stride 1, then average pooling 4
    ],
)
def test_the_stem_follows_the_side(name, resolution, first) -> None:
    network = build(NetworkConfig(name=name), 3, resolution, 10)
    resolutions = [maps.shape[-1] for maps in on_meta(network, 3, resolution)]
    assert resolutions[0] == first
    kernels = [m.kernel_size for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels[0] == ((7, 7) if resolution > 128 else (3, 3))


def test_a_cifar_layout_has_the_small_stem_at_every_side() -> None:
    network = build(NetworkConfig(name="resnet10", layout="cifar"), 3, 96, 10)
    assert [maps.shape[1:] for maps in on_meta(network, 3, 96)] == [
        (32, 96, 96), (64, 48, 48), (128, 24, 24), (256, 12, 12),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "channels", "resolution"),
    [
        (NetworkConfig(depth=3), 3, 7),
        (NetworkConfig(depth=6), 3, 32),
        (NetworkConfig(depth=6), 1, 28),
        (NetworkConfig(depth=10), 1, 28),
        (NetworkConfig(name="densenet121"), 3, 7),
        (NetworkConfig(name="resnet_ap10"), 3, 7),
        (NetworkConfig(name="lenet"), 3, 15),
        (NetworkConfig(name="lenet"), 1, 11),
        (NetworkConfig(name="alexnet"), 3, 7),
        (NetworkConfig(name="vgg11"), 3, 31),
        (NetworkConfig(name="vgg11"), 1, 27),
    ],
)
def test_images_too_small_for_the_network_are_refused(config, channels, resolution) -> None:
    with pytest.raises(ConfigError, match="at least"):
        build(config, channels, resolution, 10)


NORMS = ("instance", "batch", "group", "layer", "none")


@pytest.mark.parametrize("name", NETWORKS.names())
@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (13, 3), (28, 1)])
def test_what_is_not_refused_works(name, resolution, channels) -> None:
    built = []
    for norm in NORMS if name != "densenet121" else ("instance", "layer"):
        try:
            network = build(NetworkConfig(name=name, norm=norm), channels, resolution, 7)
        except ConfigError as error:
            assert str(resolution) in str(error) or norm in str(error)
            continue
        built.append(norm)
        network.eval()
        images = torch.empty(1, channels, resolution, resolution, device="meta")
        assert network(images).shape == (1, 7)
        assert network(images, "embedding").shape == (1, network.embedding_size)
    if resolution >= 28:
        assert built[0] == "instance"


@pytest.mark.parametrize(
    ("name", "resolutions"),
    [
        ("resnet10", (*range(8, 20), 64, 65, 129)),
        ("resnet_ap10", (*range(8, 20), 65, 129, 131)),
        ("densenet121", (15, 16)),
        ("vgg11", (32, 33, 48)),
        ("alexnet_norm", (8, 13)),
    ],
)
@pytest.mark.parametrize("layout", ["cifar", "imagenet"])
def test_instance_norm_of_single_values_is_refused_and_nothing_else_is(
    name, resolutions, layout
) -> None:
    """What a norm sees is found by calling the network, not by its own arithmetic."""
    for resolution in resolutions:
        network = build(
            NetworkConfig(name=name, norm="batch", layout=layout), 3, resolution, 4
        ).eval()
        seen: list[int] = []
        look = lambda _, given, seen=seen: seen.append(given[0].shape[-1])  # noqa: E731
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_pre_hook(look)
        on_meta(network, 3, resolution)
        config = NetworkConfig(name=name, layout=layout)
        if min(seen) > 1:
            build(config, 3, resolution, 4)
            continue
        with pytest.raises(
            ConfigError, match=f"{name} with instance norm .* {resolution} pixels .*batch"
        ):
            build(config, 3, resolution, 4)
        build(NetworkConfig(name=name, layout=layout, norm="group"), 3, resolution, 4)


def test_a_deep_convnet_with_the_paper_s_pooling_may_not_normalise_single_values() -> None:
    build(NetworkConfig(pooling=3, depth=5), 3, 32, 10)
    with pytest.raises(ConfigError, match="1x1"):
        build(NetworkConfig(pooling=3, depth=6), 3, 32, 10)


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="resnet10"):
        build(NetworkConfig(name="resnet11"), 3, 32, 10)
    with pytest.raises(ConfigError, match="'group' or 'layer' or 'none': got 'spectral'"):
        NetworkConfig(norm="spectral")  # type: ignore[arg-type]
    for norm in ("layer", "none"):
        for name in ("resnet10", "densenet121"):
            with pytest.raises(ConfigError, match=f"instance, batch, group: got '{norm}'"):
                build(NetworkConfig(name=name, norm=norm), 3, 32, 10)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="width that 4 divides: got 6"):
        build(NetworkConfig(norm="group", width=6), 3, 32, 10)
