"""Which of the built libraries a test uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dance.core.errors import ConfigError
from dance.kernels import library
from dance.kernels.library import VARIANTS, selected, selected_for_bfloat16


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test that selects kernels by itself, as a new process would."""
    monkeypatch.delenv("DANCE_KERNELS", raising=False)
    for choice in (selected, selected_for_bfloat16):
        choice.cache_clear()
    yield
    for choice in (selected, selected_for_bfloat16):
        choice.cache_clear()


@pytest.fixture(params=VARIANTS)
def each_variant(
    request: pytest.FixtureRequest, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Every library that was built for this processor, one after the other."""
    name: str = request.param
    if not (Path(library.__file__).parent / f"libkernels-{name}.so").exists():
        pytest.skip(f"the {name} kernels are not built here")
    monkeypatch.setenv("DANCE_KERNELS", name)
    try:
        selected()
    except ConfigError as error:
        pytest.skip(str(error))
    return name


@pytest.fixture
def built() -> str:
    """The library that this processor gets."""
    name, loaded = selected()
    if loaded is None:
        pytest.skip(f"kernels: {name}")
    return name
