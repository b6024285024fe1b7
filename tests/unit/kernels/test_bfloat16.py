"""Blocks of networks in bfloat16: near the float64 definition, and the same bytes however run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from dance.kernels import (
    conv_block,
    library,
    plain_operations,
    selected,
    selected_for_bfloat16,
)
from unit.kernels.conftest import lacking

EPS = 1e-5
# images, inputs, outputs, height, width, padding: an odd number of taps in a row, of columns, of
# tiles; channels that leave half a block of the norm
SHAPES = [
    (3, 3, 128, 32, 32, 1),
    (3, 1, 32, 28, 27, 3),
    (2, 4, 64, 21, 9, 1),
    (9, 128, 128, 16, 16, 1),
    (1, 64, 96, 15, 6, 1),
    (2, 32, 64, 33, 30, 1),
]


@pytest.fixture(params=library.BFLOAT16, autouse=True)
def kernels(
    request: pytest.FixtureRequest, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Each library for bfloat16 that this processor can run; a matrix unit can be left unused."""
    has = library._has
    if request.param == "avx512_bf16":
        monkeypatch.setattr(
            library, "_has", lambda question: "amx" not in question and has(question)
        )
    if selected_for_bfloat16().name != request.param:
        reason = f"kernels for bfloat16: {selected_for_bfloat16().name}"
        lacking(reason) if "can be used" in reason else pytest.skip(reason)
    yield request.param
    selected_for_bfloat16.cache_clear()


def given(shape: tuple[int, ...], *, shift: float) -> list[torch.Tensor]:
    n, inner, outer, height, width, _ = shape
    generator = torch.Generator().manual_seed(5)
    random = lambda *size: torch.randn(size, generator=generator)  # noqa: E731
    return [
        random(n, inner, height, width).clamp(min=0)
        if inner > 4
        else random(n, inner, height, width),
        random(outer, inner, 3, 3) / (9 * inner) ** 0.5,
        random(outer),
        random(outer) * 0.2 + 1,
        random(outer) * 0.1 + shift,
    ]


def block(tensors: list[torch.Tensor], padding: int) -> torch.Tensor:
    x, weight, bias, gamma, beta = tensors
    with torch.autocast("cpu", torch.bfloat16):
        return conv_block(x, weight, bias, gamma, beta, eps=EPS, padding=padding)


def definition(tensors: list[torch.Tensor], padding: int) -> torch.Tensor:
    x, weight, bias, gamma, beta = tensors
    maps = functional.conv2d(x, weight, bias, padding=padding)
    normed = functional.instance_norm(maps, weight=gamma, bias=beta, eps=EPS)
    return functional.avg_pool2d(functional.relu(normed), 2)


def error(mine: torch.Tensor, exact: torch.Tensor) -> float:
    """Root mean square of the difference, relative to that of the exact numbers."""
    return float((mine.detach() - exact.detach()).norm() / exact.detach().norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients(shape: tuple[int, ...], kernels: str) -> None:
    """With a large shift every ReLU is open, so that a rounding error moves no gradient by a step.

    A factor is rounded by up to 2^-9 of itself. Winograd's transforms turn that into about 1 % of
    a map's deviation; a direct convolution, as in a first block and on the matrix unit, into 0.3 %.
    """
    tensors = given(shape, shift=8.0)
    exact = [t.double().requires_grad_() for t in tensors]
    mine = [t.requires_grad_() for t in tensors]
    y, wanted = block(mine, shape[-1]), definition(exact, shape[-1])
    assert y.dtype == torch.float32
    centred = [t - t.mean((2, 3), keepdim=True) for t in (y, wanted)]
    direct = shape[1] <= 4 or kernels == "amx"
    bound = 0.005 if direct else 0.025
    assert 0 < error(*centred) < bound
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    found = torch.autograd.grad(y, mine, upstream)
    right = torch.autograd.grad(wanted, exact, upstream.double())
    for place in (0, 1, 3):
        assert error(found[place], right[place]) < bound
    assert error(found[4], right[4]) < 1e-5


def test_the_kernel_for_bfloat16_is_what_runs() -> None:
    tensors = given(SHAPES[3], shift=0.0)
    found = block(tensors, 1)
    x, weight, bias, gamma, beta = tensors
    assert not torch.equal(found, conv_block(x, weight, bias, gamma, beta, eps=EPS, padding=1))
    with plain_operations():
        assert block(tensors, 1).dtype == torch.bfloat16  # PyTorch's autocast


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[3]])
def test_bytes_depend_on_neither_batch_nor_threads(shape: tuple[int, ...]) -> None:
    tensors = [t.requires_grad_() for t in given(shape, shift=0.0)]
    threads, outcomes = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            y = block(tensors, shape[-1])
            outcomes.append([y, *torch.autograd.grad(y.square().sum(), tensors)])
    finally:
        torch.set_num_threads(threads)
    for other in outcomes[1:]:
        assert all(map(torch.equal, outcomes[0], other))
    x, *weights = tensors
    one = block([x[1:2].detach().contiguous(), *weights], shape[-1])
    assert torch.equal(one, outcomes[0][0][1:2])


def test_the_backward_pass_is_that_of_the_forward_pass() -> None:
    """Autocast has ended when gradients are computed; they come from the same kernels."""
    tensors = [t.requires_grad_() for t in given(SHAPES[3], shift=0.0)]
    outside = torch.autograd.grad(block(tensors, 1).square().sum(), tensors)
    with torch.autocast("cpu", torch.bfloat16):
        x, weight, bias, gamma, beta = tensors
        y = conv_block(x, weight, bias, gamma, beta, eps=EPS, padding=1)
        inside = torch.autograd.grad(y.square().sum(), tensors)
    assert all(map(torch.equal, outside, inside))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4]])
@pytest.mark.parametrize("which", [0, 1, 3])
def test_what_is_no_number_is_not_hidden(shape: tuple[int, ...], which: int) -> None:
    tensors = given(shape, shift=0.0)
    tensors[which].view(-1)[7] = math.nan
    bad = block(tensors, shape[-1]).isnan()
    assert bad[0].all() if which == 0 else bad[:, 7 // tensors[which][0].numel()].all()


BY_AVX512 = "(norm, ReLU and pooling by avx512)"


@pytest.fixture
def matrix_unit(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that says it has one; the test says what its library is."""
    monkeypatch.setattr(library, "_has", lambda question: True)
    selected_for_bfloat16.cache_clear()


@pytest.mark.usefixtures("matrix_unit")
def test_a_matrix_unit_that_the_system_withholds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Vectors of bfloat16 are multiplied instead."""
    load = library._load
    withheld = SimpleNamespace(permitted=lambda: 0)
    monkeypatch.setattr(library, "_load", lambda name: withheld if name == "amx" else load(name))
    assert selected_for_bfloat16().name == "avx512_bf16"
    said = "the system withholds the matrix unit (AMX) from this process"
    assert said in capsys.readouterr().err
    assert block(given(SHAPES[0], shift=0.0), 1).dtype == torch.float32


@pytest.mark.usefixtures("matrix_unit")
def test_a_library_for_the_matrix_unit_that_was_not_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in Path(library.__file__).parent.glob("*"):
        if path.is_file() and path.stem != "libkernels-amx":
            shutil.copy(path, tmp_path)
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    assert selected_for_bfloat16().name == "avx512_bf16"
    assert "the amx kernels must have been built" in capsys.readouterr().err


def test_a_library_that_was_not_built(
    kernels: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A compiler may know AVX-512 and not these instructions; float32 keeps its kernels."""
    assert selected().loaded is not None
    monkeypatch.setattr(library, "_FOLDER", tmp_path)
    selected_for_bfloat16.cache_clear()
    none = f"none: no library for bfloat16 can be used {BY_AVX512}"
    assert selected_for_bfloat16() == (none, None)
    message = capsys.readouterr().err
    assert f"the {kernels} kernels must have been built" in message
    assert message.endswith("can be used: ConvNets in bfloat16 run in PyTorch's operations\n")
    assert block(given(SHAPES[0], shift=0.0), 1).dtype == torch.bfloat16  # PyTorch's autocast


NAMES = {
    "avx2": "none: no bfloat16 kernels for these instructions (norm, ReLU and pooling by avx2)",
    "baseline": "none: no bfloat16 kernels for these instructions "
    "(norm, ReLU and pooling by baseline)",
    "0": "none: switched off by DANCE_KERNELS=0",
}


@pytest.mark.parametrize("variant", NAMES)
def test_another_selection_leaves_it_to_pytorch(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is recorded of a run names all that its numbers depend on."""
    monkeypatch.setenv("DANCE_KERNELS", variant)
    selected.cache_clear()
    selected_for_bfloat16.cache_clear()
    assert selected_for_bfloat16() == (NAMES[variant], None)
    assert block(given(SHAPES[0], shift=0.0), 1).dtype == torch.bfloat16
