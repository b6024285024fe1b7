"""One operation an image: which, how often, with whose parameters, and gradients."""

from __future__ import annotations

import pytest
import torch

from dance.augment import siamese, single
from dance.core.errors import ConfigError
from dance.core.rng import keyed_generator

ALL = "color_crop_cutout_flip_scale_rotate"
ORDER = ("color", "crop", "cutout", "flip", "scale", "rotate")


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_every_image_gets_its_one_operation_with_its_own_parameters() -> None:
    drawn = single.draw(ALL, 40, 8, keyed_generator(0, "x"))
    assert set(drawn.operation.tolist()) == set(range(6))
    x = images(40)
    found = single.apply(x, drawn)
    for row in range(40):
        own = drawn.parameters[int(drawn.operation[row])]
        alone = siamese.apply(x[row : row + 1], own.take(torch.tensor([row])))
        torch.testing.assert_close(found[row : row + 1], alone)
    for place, name in enumerate(ORDER):
        assert list(drawn.parameters[place].parameters) == [name]


def test_operations_are_as_likely_as_each_other() -> None:
    drawn = single.draw(ALL, 6000, 8, keyed_generator(3, "x"))
    counts = torch.bincount(drawn.operation, minlength=6)
    assert int((counts - 1000).abs().max()) < 120  # four standard deviations


def test_all_images_of_a_class_are_transformed_in_the_same_way() -> None:
    drawn = single.draw(ALL, 7, 8, keyed_generator(1, "x"))
    x = images(1).expand(14, -1, -1, -1)
    owner = torch.arange(7).repeat(2)
    found = single.apply(x, drawn.take(owner))
    assert torch.equal(found[:7], found[7:])
    assert len({tuple(image.flatten()[:9].tolist()) for image in found[:7]}) > 4


def test_a_batch_shares_the_operation_and_not_the_parameters() -> None:
    for seed in range(12):
        drawn = single.draw("color_crop", 9, 8, keyed_generator(seed, "x"), shared=True)
        assert len(set(drawn.operation.tolist())) == 1
        found = single.apply(images(1).expand(9, -1, -1, -1), drawn)
        assert len({tuple(image.flatten().tolist()) for image in found}) > 2


def test_gradient_is_the_adjoint() -> None:
    """Every operation is affine in the pixels: <A x - A 0, y> = <x, gradient of <A x, y>>."""
    drawn = single.draw(ALL, 12, 8, keyed_generator(2, "x"))
    x = images(12).double().requires_grad_()
    y = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    forward = single.apply(x, drawn) - single.apply(torch.zeros_like(x), drawn)
    (gradient,) = torch.autograd.grad((single.apply(x, drawn) * y).sum(), x)
    torch.testing.assert_close((forward * y).sum(), (x * gradient).sum())


def test_no_image_and_no_operation() -> None:
    assert single.apply(images(0), single.draw(ALL, 0, 8, keyed_generator(0, "x"))).shape[0] == 0
    with pytest.raises(ConfigError, match="must name an operation"):
        single.draw("", 3, 8, keyed_generator(0, "x"))
    with pytest.raises(ConfigError, match="unknown augmentation"):
        single.draw("crop_flop", 3, 8, keyed_generator(0, "x"))
