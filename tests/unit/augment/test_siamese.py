"""Differentiable augmentation against pixel-by-pixel loops, and the distribution of its draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.augment.operation import parse
from dance.augment.siamese import Draw, apply, draw
from dance.core.errors import ConfigError
from unit.augment import by_hand

EVERYTHING = "color_crop_cutout_flip_scale_rotate"
MANY = 20_000


def keyed_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 3, channels: int = 3, resolution: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        count,
        channels,
        resolution,
        resolution,
        generator=keyed_generator(seed),
        dtype=torch.float64,
    )


def matrix(*rows: tuple[float, float]) -> torch.Tensor:
    return torch.tensor([rows])


def only(name: str, parameters: torch.Tensor) -> Draw:
    """One operation with the parameters written down in a test."""
    return Draw({name: parameters})


def literal(image: np.ndarray, drawn: Draw, number: int) -> np.ndarray:
    """The sheet's order: flip, brightness, saturation, contrast, one of the pool, cutout."""
    own = {name: parameters[number] for name, parameters in drawn.parameters.items()}
    if own.get("flip"):
        image = by_hand.flip(image)
    if "color" in own:
        amount, saturation, contrast = own["color"].double().tolist()
        image = by_hand.brightness(image, amount)
        image = by_hand.saturation(image, saturation)
        image = by_hand.contrast(image, contrast)
    if "crop" in own:
        image = by_hand.crop(image, *own["crop"].tolist())
    for name in ("scale", "rotate"):
        if name in own:
            image = by_hand.warp(image, own[name].double().tolist())
    if "cutout" in own:
        image = by_hand.cutout(image, *own["cutout"].tolist())
    return image


def same(found: torch.Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [7, 8])
@pytest.mark.parametrize(
    "strategy",
    ["flip", "color", "crop", "cutout", "scale", "rotate", "color_crop_cutout", EVERYTHING],
)
def test_is_the_sheets(strategy: str, resolution: int, channels: int) -> None:
    for seed in range(4):
        images = pictures(3, channels, resolution, seed)
        before = images.clone()
        drawn = draw(strategy, 3, resolution, keyed_generator(seed))
        found = apply(images, drawn)
        for number in range(3):
            same(found[number], literal(images[number].numpy(), drawn, number))
        assert torch.equal(images, before)


def test_the_empty_strategy_does_nothing() -> None:
    images = pictures()
    assert torch.equal(apply(images, draw("", 3, 8, keyed_generator())), images)


def test_each_number_of_a_draw_means_what_it_says() -> None:
    """One operation at a time, with parameters written down here."""
    image = pictures(1)
    numpy = image[0].numpy()
    color = torch.tensor([[0.25, 1.0, 1.0]])
    same(apply(image, only("color", color))[0], by_hand.brightness(numpy, 0.25))
    color = torch.tensor([[0.0, 1.75, 1.0]])
    same(apply(image, only("color", color))[0], by_hand.saturation(numpy, 1.75))
    color = torch.tensor([[0.0, 1.0, 0.625]])
    same(apply(image, only("color", color))[0], by_hand.contrast(numpy, 0.625))
    same(apply(image, only("crop", torch.tensor([[1, -2]])))[0], by_hand.crop(numpy, 1, -2))
    same(apply(image, only("cutout", torch.tensor([[-2, 6]])))[0], by_hand.cutout(numpy, -2, 6))
    grid = matrix((1.125, 0.0), (0.0, 0.875))
    same(apply(image, only("scale", grid))[0], by_hand.scale(numpy, 1.125, 0.875))
    assert torch.equal(apply(image, only("flip", torch.tensor([True]))), image.flip(-1))
    assert torch.equal(apply(image, only("flip", torch.tensor([False]))), image)


def test_saturation_of_one_channel_is_the_identity() -> None:
    image = pictures(1, channels=1)
    for factor in (0.0, 0.3, 2.0):
        found = apply(image, only("color", torch.tensor([[0.0, factor, 1.0]])))
        torch.testing.assert_close(found, image, rtol=1e-14, atol=1e-14)


def test_saturation_and_contrast_take_the_means_of_each_image() -> None:
    """Images of a class share parameters, not their levels."""
    color = torch.tensor([[0.1, 0.5, 1.4]])
    images = pictures(3) + torch.tensor([0.0, 5.0, -5.0], dtype=torch.float64).view(-1, 1, 1, 1)
    together = apply(images, only("color", color.expand(3, -1)))
    for number in range(3):
        alone = apply(images[number : number + 1], only("color", color))
        torch.testing.assert_close(together[number], alone[0], rtol=1e-12, atol=1e-12)
        level = images[number].mean() + 0.1  # contrast keeps the level, brightness moves it
        torch.testing.assert_close(together[number].mean(), level)


def test_scaling_by_more_than_one_shrinks_the_picture() -> None:
    """The sheet: 1.2 on 32 pixels leaves 26-27 columns, with zeros around; axes are separate."""
    ones = torch.ones(1, 1, 32, 32)
    shown = apply(ones, only("scale", matrix((1.2, 0.0), (0.0, 1.0))))[0, 0]
    visible = shown > 0.5
    assert int(visible.any(0).sum()) in (26, 27)
    assert int(visible.any(1).sum()) == 32
    assert shown[:, 0].abs().max() == shown[:, -1].abs().max() == 0
    assert float(shown[:, 8:24].min()) == 1
    enlarged = apply(ones, only("scale", matrix((0.9, 0.0), (0.0, 0.9))))
    torch.testing.assert_close(enlarged, ones)


def test_a_positive_angle_turns_the_picture_counter_clockwise() -> None:
    """A dot on the right goes up, as on a screen whose rows run downwards."""
    image = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    image[0, 0, 16, 28] = 1
    angle = math.radians(15)
    grid = matrix((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
    turned = apply(image, only("rotate", grid))
    same(turned[0], by_hand.warp(image[0].numpy(), grid[0].double().tolist()))
    row, column = divmod(int(turned[0, 0].argmax()), 33)
    assert abs(row - (16 - 12 * math.sin(angle))) <= 1
    assert row < 16
    assert abs(column - (16 + 12 * math.cos(angle))) <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strategy", ["flip", "color", "crop", "cutout", "scale", "rotate"])
def test_gradients(strategy: str, channels: int) -> None:
    images = pictures(2, channels, 5).requires_grad_()
    for seed in range(2):
        drawn = draw(strategy, 2, 5, keyed_generator(seed))
        assert torch.autograd.gradcheck(lambda x, drawn=drawn: apply(x, drawn), (images,))


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (0, -2), (-1, 2), (4, -4), (5, 0), (0, -9)])
def test_the_shift_and_its_own_gradient(shift: tuple[int, int]) -> None:
    """Also of second order, which methods that match gradients need, and beyond the border."""
    image = pictures(1, 2, 5).requires_grad_()
    drawn = only("crop", torch.tensor([shift]))
    same(apply(image, drawn).detach()[0], by_hand.crop(image.detach()[0].numpy(), *shift))
    assert torch.autograd.gradcheck(lambda x: apply(x, drawn), (image,))
    direction = pictures(1, 2, 5, seed=1).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: apply(x, drawn) ** 2, (image,), (direction,))


@given(st.integers(4, 12), st.integers(-12, 12), st.integers(-12, 12), st.integers(0, 99))
def test_the_gradient_of_a_shift_is_its_adjoint(
    resolution: int, down: int, right: int, seed: int
) -> None:
    """<y, shift(x)> = <shift*(y), x>."""
    x, y = pictures(1, 1, resolution, seed).requires_grad_(), pictures(1, 1, resolution, seed + 100)
    shifted = apply(x, only("crop", torch.tensor([[down, right]])))
    (back,) = torch.autograd.grad(shifted, x, y)
    torch.testing.assert_close((y * shifted).sum(), (back * x).sum(), rtol=1e-10, atol=1e-10)


def test_memory_layout_does_not_matter() -> None:
    images = pictures(4)
    for seed in range(6):
        drawn = draw(EVERYTHING, 4, 8, keyed_generator(seed))
        found = apply(images.contiguous(memory_format=torch.channels_last), drawn)
        torch.testing.assert_close(found, apply(images, drawn), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    images = pictures().to(dtype)
    for seed in range(6):
        assert apply(images, draw(EVERYTHING, 3, 8, keyed_generator(seed))).dtype == dtype


def test_siamese_images_of_a_class_get_one_transformation() -> None:
    """Real and synthetic rows of a class, wherever they stand, as if transformed together."""
    owners = torch.tensor([2, 0, 2, 1, 0, 0])
    images = pictures(1).expand(6, -1, -1, -1)
    found = set()
    for seed in range(8):
        drawn = draw(EVERYTHING, 3, 8, keyed_generator(seed))
        together = apply(images, drawn.take(owners))
        for number, owner in enumerate(owners.tolist()):
            alone = apply(images[:1], drawn.take(torch.tensor([owner])))
            torch.testing.assert_close(together[number], alone[0], rtol=1e-12, atol=1e-12)
        found.add(bool((together[0] != together[1]).any() and (together[3] != together[1]).any()))
    assert found == {True}  # and classes differ


def test_a_draw_does_not_depend_on_what_is_taken_of_it() -> None:
    full = draw(EVERYTHING, 5, 8, keyed_generator())
    part = full.take(torch.arange(2, 4))
    assert list(part.parameters) == list(full.parameters)
    for whole, some in zip(full.tensors(), part.tensors(), strict=True):
        assert torch.equal(whole[2:4], some)


# The draws.


def uniform(values: torch.Tensor, low: float, high: float) -> None:
    """All within the range, and evenly (chi-squared of 20 bins, p = 0.001)."""
    values = values.double()
    assert low - 1e-6 <= float(values.min())
    assert float(values.max()) <= high + 1e-6
    counts = torch.histc(values, 20, low, high)
    expected = len(values) / 20
    assert float(((counts - expected) ** 2 / expected).sum()) < 43.8


def uniform_integers(values: torch.Tensor, low: int, high: int) -> None:
    """Every whole number from low to high, both included, evenly."""
    found, counts = values.unique(return_counts=True)
    assert found.tolist() == list(range(low, high + 1))
    expected = len(values) / (high - low + 1)
    degrees = high - low
    limit = degrees + 3.1 * (2 * degrees) ** 0.5 + 6  # above the 0.999 quantile
    assert float(((counts - expected) ** 2 / expected).sum()) < limit


def independent(values: torch.Tensor) -> None:
    """The columns of (n,d) are uncorrelated, and so are neighbours in each."""
    correlation = torch.corrcoef(values.double().T)
    off = correlation - torch.eye(len(correlation))
    assert float(off.abs().max()) < 4 / len(values) ** 0.5
    centred = values.double() - values.double().mean(0)
    lagged = (centred[1:] * centred[:-1]).mean(0) / centred.square().mean(0)
    assert float(lagged.abs().max()) < 4 / len(values) ** 0.5


def test_color_draws() -> None:
    color = draw("color", MANY, 32, keyed_generator()).parameters["color"]
    uniform(color[:, 0], -0.5, 0.5)
    uniform(color[:, 1], 0, 2)
    uniform(color[:, 2], 0.5, 1.5)
    independent(color)


def test_flips_are_one_half() -> None:
    flip = draw("flip", MANY, 32, keyed_generator()).parameters["flip"]
    assert abs(float(flip.double().mean()) - 0.5) < 4 * 0.5 / MANY**0.5


@pytest.mark.parametrize(("resolution", "reach"), [(8, 1), (28, 4), (32, 4), (64, 8), (128, 16)])
def test_shifts(resolution: int, reach: int) -> None:
    shift = draw("crop", MANY, resolution, keyed_generator()).parameters["crop"]
    uniform_integers(shift[:, 0], -reach, reach)
    uniform_integers(shift[:, 1], -reach, reach)
    independent(shift)


@pytest.mark.parametrize(
    ("resolution", "hole"), [(8, 4), (9, 5), (28, 14), (30, 15), (32, 16), (64, 32), (128, 64)]
)
def test_holes(resolution: int, hole: int) -> None:
    """Top left is o - k//2, o in {0..side} for even k and {0..side-1} for odd k."""
    corner = draw("cutout", MANY, resolution, keyed_generator()).parameters["cutout"]
    last = resolution if hole % 2 == 0 else resolution - 1
    for axis in range(2):
        uniform_integers(corner[:, axis], -(hole // 2), last - hole // 2)
    independent(corner)


def test_holes_of_32_pixels_cover_64_to_256_and_190_on_average() -> None:
    drawn = draw("cutout", 4000, 32, keyed_generator())
    kept = apply(torch.ones(4000, 1, 32, 32), drawn)
    area = (kept == 0).sum((1, 2, 3)).double()
    assert bool(((kept == 0) | (kept == 1)).all())
    assert (int(area.min()), int(area.max())) == (64, 256)
    assert float(area.mean()) == pytest.approx(
        (456 / 33) ** 2, abs=4 * float(area.std()) / 4000**0.5
    )


def test_scales() -> None:
    grid = draw("scale", MANY, 32, keyed_generator()).parameters["scale"]
    uniform(grid[:, 0, 0], 1 / 1.2, 1.2)
    uniform(grid[:, 1, 1], 1 / 1.2, 1.2)
    independent(torch.stack([grid[:, 0, 0], grid[:, 1, 1]], 1))
    assert float(grid[:, 0, 1].abs().max()) == float(grid[:, 1, 0].abs().max()) == 0


def test_rotations() -> None:
    grid = draw("rotate", MANY, 32, keyed_generator()).parameters["rotate"]
    angle = torch.atan2(grid[:, 1, 0].double(), grid[:, 0, 0].double())
    uniform(angle, -math.pi / 12, math.pi / 12)
    expected = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
    torch.testing.assert_close(grid.double().flatten(1), expected, rtol=0, atol=1e-6)


POOL = {"crop", "scale", "rotate"}


def test_one_of_the_pool_is_drawn_for_a_call_and_the_rest_is_always_on() -> None:
    counts = dict.fromkeys(POOL, 0)
    for seed in range(600):
        names = list(draw(EVERYTHING, 4, 32, keyed_generator(seed)).parameters)
        (chosen,) = POOL.intersection(names)
        counts[chosen] += 1
        assert names == ["flip", "color", chosen, "cutout"]
    assert all(abs(n - 200) < 4 * (600 * 2 / 9) ** 0.5 for n in counts.values()), counts


def test_an_absent_operation_is_not_drawn() -> None:
    assert list(draw("color_crop", 4, 32, keyed_generator()).parameters) == ["color", "crop"]
    assert list(draw("color_cutout", 4, 32, keyed_generator()).parameters) == ["color", "cutout"]
    for seed in range(20):
        (chosen,) = draw("scale_rotate", 4, 32, keyed_generator(seed)).parameters
        assert chosen in ("scale", "rotate")


def test_the_order_of_the_names_does_not_matter() -> None:
    first, other = (
        draw(s, 4, 32, keyed_generator()) for s in ("color_crop_flip", "flip_crop_color")
    )
    assert list(first.parameters) == list(other.parameters)
    for one, another in zip(first.tensors(), other.tensors(), strict=True):
        assert torch.equal(one, another)


def test_operations_take_their_numbers_in_a_fixed_order() -> None:
    """First the choice from the pool, then the parameters in the order of application."""
    drawn = draw(EVERYTHING, 3, 8, keyed_generator(5)).parameters
    generator = keyed_generator(5)
    chosen = ("crop", "scale", "rotate")[int(torch.randint(3, (), generator=generator))]
    assert chosen in drawn
    assert torch.equal(drawn["flip"], torch.rand(3, generator=generator) < 0.5)
    u = torch.rand(3, 3, generator=generator)
    assert torch.equal(drawn["color"][:, 1], u[:, 1] * 2)


def test_an_unknown_operation_names_its_neighbours() -> None:
    with pytest.raises(ConfigError, match="did you mean 'cutout'"):
        parse("color_cutuot")
    with pytest.raises(ConfigError, match="unknown augmentation 'zoom'"):
        draw("zoom", 1, 8, keyed_generator())
    with pytest.raises(ConfigError):
        parse("color__crop")
