"""Decoding against a float64 reference written from the sheet with explicit loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dance.condensed.decoders import DECODERS, Decoder, of_factor, unpack
from dance.condensed.decoders.bound import Bound
from dance.condensed.decoders.grid import Grid
from dance.condensed.decoders.identity import Identity
from dance.condensed.decoders.multi import Multi
from dance.core.errors import ConfigError


def line_weights(source: int, target: int) -> list[list[float]]:
    """Row t: weights of the source pixels in target pixel t; bilinear, half-pixel centres."""
    weights = [[0.0] * source for _ in range(target)]
    for t in range(target):
        position = max((t + 0.5) * source / target - 0.5, 0.0)
        low = min(math.floor(position), source - 1)
        high = min(low + 1, source - 1)
        share = position - low
        weights[t][low] += 1 - share
        weights[t][high] += share
    return weights


def reference(pixels: torch.Tensor, factor: int) -> torch.Tensor:
    """Pad with 0.5 right and below, cut cells row by row, enlarge each; float64."""
    count, channels, resolution, _ = pixels.shape
    missing = (factor - resolution % factor) % factor
    cell = math.ceil(resolution / factor)
    padded = torch.full(
        (count, channels, resolution + missing, resolution + missing), 0.5, dtype=torch.float64
    )
    padded[:, :, :resolution, :resolution] = pixels.double()
    weights = torch.tensor(line_weights(cell, resolution), dtype=torch.float64)
    decoded = []
    for stored_image in padded:
        for row in range(factor):
            for column in range(factor):
                top, left = row * cell, column * cell
                crop = stored_image[:, top : top + cell, left : left + cell]
                decoded.append(torch.einsum("yi,cij,xj->cyx", weights, crop, weights))
    return torch.stack(decoded)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("resolution", "factor"),
    [(28, 2), (32, 2), (64, 2), (128, 3), (64, 3), (28, 3), (32, 3), (32, 4), (7, 3), (5, 2)],
)
def test_decode_is_the_sheets(resolution: int, factor: int) -> None:
    pixels = numbers(2, 3, resolution, resolution)
    expected = reference(pixels, factor)
    torch.testing.assert_close(Grid(factor).decode(pixels), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        Grid(factor).decode(pixels.float()), expected.float(), rtol=0, atol=1e-5
    )


def test_every_pixel_of_a_small_case_by_hand() -> None:
    """S=3, f=2: padded to 4, cells of 2; a line (a, b) becomes a, (a+b)/2, b."""
    a, b, c = 0.1, 0.4, 0.9
    stored_image = torch.tensor([a, b, c]).repeat(3, 1).view(1, 1, 3, 3)
    decoded = Grid(1).decode(stored_image)[0, 0]
    assert torch.equal(decoded, stored_image[0, 0])
    with pytest.raises(ConfigError):
        Grid(2).decode(stored_image)  # cells of 2 pixels need a side of 4
    stored_image = torch.tensor([a, b, c, a, b]).repeat(5, 1).view(1, 1, 5, 5)
    left, right, lower_left, _ = Grid(2).decode(stored_image)[:, 0]
    # cells of 3 to 5 pixels: sources at -0.2 (clamped), 0.4, 1, 1.6, 2.2 (clamped)
    torch.testing.assert_close(
        left[0], torch.tensor([a, 0.6 * a + 0.4 * b, b, 0.4 * b + 0.6 * c, c])
    )
    torch.testing.assert_close(
        right[0], torch.tensor([a, 0.6 * a + 0.4 * b, b, 0.4 * b + 0.6 * 0.5, 0.5])
    )
    torch.testing.assert_close(lower_left[0], left[0])
    torch.testing.assert_close(lower_left[4], torch.full((5,), 0.5))


@pytest.mark.parametrize(("resolution", "factor"), [(4, 2), (5, 2), (7, 3)])
def test_gradient(resolution: int, factor: int) -> None:
    pixels = numbers(2, 1, resolution, resolution).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Grid(factor).decode(x), (pixels,))


def test_cells_of_a_stored_image_stay_together_row_by_row() -> None:
    stored_images = torch.zeros(2, 1, 4, 4)
    for i in range(2):
        for row in range(2):
            for column in range(2):
                area = stored_images[i, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                area.fill_(100 * i + 10 * row + column)
    assert Grid(2).decode(stored_images)[:, 0, 0, 0].tolist() == [0, 1, 10, 11, 100, 101, 110, 111]
    assert Grid(2).labels(torch.tensor([3, 5])).tolist() == [3] * 4 + [5] * 4


@pytest.mark.parametrize(("resolution", "factor"), [(8, 2), (7, 3)])
def test_channels_last_stays_channels_last(resolution: int, factor: int) -> None:
    pixels = numbers(2, 3, resolution, resolution)
    last = pixels.to(memory_format=torch.channels_last)
    decoded = Grid(factor).decode(last)
    assert decoded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(decoded, reference(pixels, factor), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        Grid(factor).decode(last.transpose(2, 3)),  # neither layout
        reference(pixels.transpose(2, 3), factor),
        rtol=0,
        atol=1e-12,
    )


def test_factor_one_copies_nothing() -> None:
    pixels = numbers(2, 3, 8, 8)
    assert Grid(1).decode(pixels) is pixels
    assert of_factor(1).decode(pixels, [1, 1]) is pixels


@pytest.mark.parametrize(("factor", "resolution"), [(5, 8), (13, 28), (9, 8), (17, 32), (2, 3)])
def test_factor_that_does_not_fit(factor: int, resolution: int) -> None:
    with pytest.raises(ConfigError, match=rf"got factor {factor} .* use one of 1"):
        Grid(factor).check(resolution)
    with pytest.raises(ConfigError):
        Grid(factor).decode(numbers(1, 1, resolution, resolution))


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_factor_that_fits_leaves_no_cell_without_pixels(resolution: int, factor: int) -> None:
    try:
        Grid(factor).check(resolution)
    except ConfigError:
        return
    pixels = torch.ones(1, 1, resolution, resolution)
    decoded = Grid(factor).decode(pixels)
    assert decoded.shape == (factor**2, 1, resolution, resolution)
    # 0.5 is padding: the first pixel of every cell must come from the stored image
    assert (decoded[:, 0, 0, 0] == 1).all()


class TestSeveralFactors:
    def test_multi_reads_every_stored_image_at_every_factor(self) -> None:
        generator = torch.Generator().manual_seed(0)
        stored_images = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=generator)
        found = Multi(3).decode(stored_images)
        expected = [reference(stored_images, each) for each in (2, 3)]
        torch.testing.assert_close(found, torch.cat([stored_images, *expected]))
        assert torch.equal(Multi(1).decode(stored_images), stored_images)

    @pytest.mark.parametrize(
        ("count", "factor", "bound", "each"),
        [
            (20, 3, 128, [12, 3, 5]),  # 108 + 12 + 5
            (20, 3, 132, [12, 4, 4]),
            (4, 3, 128, [4, 0, 0]),
            (50, 2, 128, [0, 19, 31]),
            (10, 2, 10, [0, 0, 10]),
            (10, 3, 4, [0, 0, 10]),  # never fewer than the stored images
        ],
    )
    def test_bound_takes_the_largest_factors_that_fit(
        self, count: int, factor: int, bound: int, each: list[int]
    ) -> None:
        stored_images = (
            torch.arange(count, dtype=torch.float64).view(-1, 1, 1, 1).expand(-1, 1, 6, 6)
        )
        found = Bound(factor, bound).decode(stored_images)
        owners = []
        for size, taken in zip((3, 2, 1), each, strict=True):
            owners += [
                row for row in range(len(set(owners)), count)[:taken] for _ in range(size**2)
            ]
        assert found[:, 0, 0, 0].round().int().tolist() == owners
        assert len(found) <= max(bound, count)

    def test_gradients_flow(self) -> None:
        stored_images = torch.full((3, 1, 6, 6), 0.3, requires_grad=True)
        for decoded in (Multi(2).decode(stored_images), Bound(2, 8).decode(stored_images)):
            (found,) = torch.autograd.grad(decoded.sum(), stored_images)
            assert bool((found > 0).all())


ALL = [Identity(), Grid(2), Grid(3), Multi(2), Bound(2, 9)]


class TestEveryDecoder:
    """What holds for each; a new one is listed in ALL."""

    def test_all_are_listed(self) -> None:
        assert {type(one).name for one in ALL} == set(DECODERS.names())

    @pytest.mark.parametrize("decoder", ALL, ids=str)
    def test_goes_through_a_file(self, decoder: Decoder) -> None:
        assert unpack(decoder.pack()) == decoder
        assert decoder.source

    @pytest.mark.parametrize("decoder", ALL, ids=str)
    @pytest.mark.parametrize("counts", [[3, 3], [1, 5, 2]])
    def test_classes_are_decoded_each_by_itself(self, decoder: Decoder, counts: list[int]) -> None:
        pixels = numbers(sum(counts), 3, 8, 8)
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        decoded, found = decoder.decode(pixels, counts), decoder.labels(labels)
        assert decoded.shape == (len(found), 3, 8, 8)
        for label, (own, count) in enumerate(zip(pixels.split(counts), counts, strict=True)):
            assert int((found == label).sum()) == decoder.images(count)
            assert torch.equal(decoded[found == label], decoder.decode(own))

    @pytest.mark.parametrize("decoder", ALL, ids=str)
    def test_initial_stored_images_hold_a_real_one_in_every_cell(self, decoder: Decoder) -> None:
        images = torch.arange(9, dtype=torch.uint8).view(9, 1, 1, 1).expand(9, 1, 6, 6)
        index = torch.arange(decoder.factor**2)[None]
        cells = Grid(decoder.factor).decode(decoder.encode_initial(images, index))
        assert [int(cell.mean() * 255 + 0.5) for cell in cells] == index[0].tolist()

    @pytest.mark.parametrize("kind", [Identity, Grid, Multi, Bound])
    @pytest.mark.parametrize("factor", [0, -1, 1.5, True, "2"])
    def test_a_factor_that_is_no_number_of_cells(self, kind: type[Decoder], factor: object) -> None:
        with pytest.raises(ConfigError, match="factor must be a whole number of at least 1"):
            kind(factor)  # type: ignore[arg-type]
