"""The first pixels: which real image goes into which cell, and how."""

from __future__ import annotations

import pytest
import torch

from dance.condensed import initial_pixels
from dance.condensed.decoders import of_factor
from dance.core.errors import ConfigError
from dance.data.imageset import ImageSet
from dance.data.normalization import Normalization


def numbered(resolution: int, per_class: int, classes: int = 2, channels: int = 1) -> ImageSet:
    """Images of one value each, 255 - row; the classes alternate."""
    count = per_class * classes
    values = 255 - torch.arange(count).view(-1, 1, 1, 1)
    images = values.expand(count, channels, resolution, resolution).to(torch.uint8)
    names = tuple(f"class {k}" for k in range(classes))
    labels = torch.arange(count) % classes
    return ImageSet(
        images,
        labels,
        names,
        Normalization((0.5,) * channels, (0.5,) * channels),
        "x",
        "train",
        "f",
    )


def shown(stored_image: torch.Tensor) -> torch.Tensor:
    """The image number in every pixel of a stored image (1, S, S)."""
    return (255 - stored_image[0] * 255).round().long()


# (offset, length) of the cells of one axis: the table of the sheet, where its two columns agree ...
SHEET = {
    (28, 2): [(0, 14), (14, 14)],
    (32, 2): [(0, 16), (16, 16)],
    (64, 2): [(0, 32), (32, 32)],
    (128, 3): [(0, 43), (43, 43), (86, 42)],
    # ... and the decoder's cuts where they do not
    (64, 3): [(0, 22), (22, 22), (44, 20)],
    (28, 3): [(0, 10), (10, 10), (20, 8)],
}


@pytest.mark.parametrize(("resolution", "factor"), SHEET)
def test_cell_k_of_stored_image_j_shows_image_k_ipc_plus_j(resolution: int, factor: int) -> None:
    ipc, classes = 2, 2
    pixels = initial_pixels(
        numbered(resolution, ipc * factor**2), ipc, of_factor(factor), "first", seed=0
    )
    assert pixels.shape == (classes * ipc, 1, resolution, resolution)
    assert pixels.dtype == torch.float32
    for label in range(classes):
        for j in range(ipc):
            expected = torch.full((resolution, resolution), -1)
            for row, (top, height) in enumerate(SHEET[resolution, factor]):
                for column, (left, width) in enumerate(SHEET[resolution, factor]):
                    number = (row * factor + column) * ipc + j
                    dataset_row = number * classes + label  # the classes alternate
                    expected[top : top + height, left : left + width] = dataset_row
            assert torch.equal(shown(pixels[label * ipc + j]), expected)


@pytest.mark.parametrize(("resolution", "factor"), SHEET)
def test_decoding_mixes_no_two_images(resolution: int, factor: int) -> None:
    """Each decoded image holds one real image, and grey only where the stored one was padded."""
    pixels = initial_pixels(numbered(resolution, factor**2), 1, of_factor(factor), "first", seed=0)
    for k, picture in enumerate(of_factor(factor).decode(pixels[:1])):
        inside = picture[0, : resolution // 2, : resolution // 2]
        torch.testing.assert_close(inside, torch.full_like(inside, (255 - 2 * k) / 255))


def test_nearest_neighbour() -> None:
    resolution, factor = 7, 2
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (4, 3, resolution, resolution), generator=generator, dtype=torch.uint8
    )
    train = ImageSet(
        images,
        torch.zeros(4, dtype=torch.int64),
        ("a",),
        Normalization((0.5,) * 3, (0.5,) * 3),
        "x",
        "train",
        "f",
    )
    stored_image = initial_pixels(train, 1, of_factor(factor), "first", seed=0)[0]
    for k in range(4):
        top, left = 4 * (k // 2), 4 * (k % 2)
        height, width = min(4, resolution - top), min(4, resolution - left)
        for y in range(height):
            for x in range(width):
                real = images[k, :, y * resolution // height, x * resolution // width]
                assert torch.equal((stored_image[:, top + y, left + x] * 255).round(), real.float())


def test_factor_one_takes_the_images_themselves() -> None:
    train = numbered(6, 5)
    pixels = initial_pixels(train, 3, of_factor(1), "first", seed=0)
    assert [int(shown(stored_image)[0, 0]) for stored_image in pixels] == [0, 2, 4, 1, 3, 5]
    assert torch.equal((pixels * 255).round().to(torch.uint8), train.images[[0, 2, 4, 1, 3, 5]])


def test_random_takes_distinct_images_of_the_right_class() -> None:
    train = numbered(6, 40)
    generator = [initial_pixels(train, 3, of_factor(2), "random", seed) for seed in (1, 1, 2)]
    assert torch.equal(generator[0], generator[1])
    assert not torch.equal(generator[0], generator[2])
    used = [
        {
            int(number)
            for stored_image in generator[0][3 * k : 3 * k + 3]
            for number in shown(stored_image).unique()
        }
        for k in range(2)
    ]
    assert [len(numbers) for numbers in used] == [12, 12]
    assert all(number % 2 == k for k in range(2) for number in used[k])
    assert {n // 2 for n in used[0]} != {n // 2 for n in used[1]}, "the classes share their order"
    assert used[0] != {2 * i for i in range(12)}


def test_noise() -> None:
    pixels = initial_pixels(numbered(16, 3, channels=3), 8, of_factor(2), "noise", seed=3)
    assert pixels.shape == (16, 3, 16, 16)
    assert 0 <= pixels.min() < 0.01
    assert 0.99 < pixels.max() <= 1
    assert abs(float(pixels.mean()) - 0.5) < 0.02
    assert not torch.equal(pixels[:8], pixels[8:])
    assert torch.equal(
        pixels, initial_pixels(numbered(16, 3, channels=3), 8, of_factor(2), "noise", seed=3)
    )


def test_a_class_smaller_than_the_cells_is_used_again() -> None:
    pixels = initial_pixels(numbered(6, 3), 2, of_factor(2), "first", seed=0)  # 8 cells, 3 images
    firsts = [shown(stored_image)[::3, ::3].flatten().tolist() for stored_image in pixels[:2]]
    assert firsts == [[0, 4, 2, 0], [2, 0, 4, 2]]


@pytest.mark.parametrize("rule", ["first", "random"])
def test_ipc_larger_than_a_class(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"got 4, and class 'class 0' has 3 training images"):
        initial_pixels(numbered(6, 3), 4, of_factor(1), rule, seed=0)  # type: ignore[arg-type]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="use one of 1, 2, 3"):
        initial_pixels(numbered(6, 30), 1, of_factor(4), "first", seed=0)
    with pytest.raises(ConfigError, match="at least 1: got 0"):
        initial_pixels(numbered(6, 3), 0, of_factor(1), "first", seed=0)
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        initial_pixels(numbered(6, 3), 1, of_factor(1), "randm", seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["first", "random", "noise"])
@pytest.mark.parametrize("classes", [range(0, 2), range(1, 4), range(4, 4)])
def test_some_classes_start_as_they_do_among_all(rule: str, classes: range) -> None:
    train = numbered(8, per_class=9, classes=4)
    whole = initial_pixels(train, 2, of_factor(2), rule, seed=3)
    part = initial_pixels(train.only(classes), 2, of_factor(2), rule, 3, classes)
    assert torch.equal(part, whole[classes.start * 2 : classes.stop * 2])


def test_normal_noise_is_standard_in_standardised_space() -> None:
    train = numbered(16, 4, channels=3)
    stored_images = initial_pixels(train, 4, of_factor(1), "normal", 0)
    standardised = (stored_images - 0.5) / 0.5
    count = standardised.numel()
    assert abs(float(standardised.mean())) < 4 / count**0.5
    assert abs(float(standardised.var()) - 1) < 4 * (2 / count) ** 0.5
    assert float(standardised.min()) < -3  # not clamped to [0,1]
    other = initial_pixels(train, 4, of_factor(1), "normal", 0, range(1, 2))
    assert torch.equal(stored_images[4:], other)


def test_a_collage_averages_neighbouring_pixels_and_shows_what_random_shows() -> None:
    """Halving bilinearly without antialiasing is the mean of every 2x2 pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(12) % 2
    train = ImageSet(
        images, labels, ("a", "b"), Normalization((0.5,) * 3, (0.5,) * 3), "x", "train", "f"
    )
    collage = initial_pixels(train, 1, of_factor(2), "collage", seed=3)
    nearest = initial_pixels(train, 1, of_factor(2), "random", seed=3)
    halves = images.float().view(12, 3, 4, 2, 4, 2).mean((3, 5)) / 255
    corners = images[:, :, ::2, ::2].float() / 255
    for stored_image, other in zip(collage, nearest, strict=True):
        shown_in = set()
        for top in (0, 4):
            for left in (0, 4):
                cell = stored_image[:, top : top + 4, left : left + 4]
                found = [n for n in range(12) if torch.allclose(halves[n], cell, atol=1e-6)]
                assert len(found) == 1
                assert torch.equal(corners[found[0]], other[:, top : top + 4, left : left + 4])
                shown_in.update(found)
        assert len(shown_in) == 4
        assert len({int(labels[n]) for n in shown_in}) == 1
