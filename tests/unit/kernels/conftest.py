"""Which of the built libraries a test uses."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from dance.core.errors import ConfigError
from dance.kernels import library
from dance.kernels.library import _BUILD, VARIANTS, selected, selected_for_bfloat16


def lacking(reason: str) -> NoReturn:
    """Skip a test for want of kernels, or fail it where the installation should have built them."""
    compiler = (os.environ.get("CC") or "cc").split()[0]
    asked = os.environ.get("DANCE_KERNELS") != "0"
    if sys.platform == "linux" and shutil.which(compiler) and asked:
        pytest.fail(f"{reason}, although there is a C compiler: {_BUILD}", pytrace=False)
    pytest.skip(reason)


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
        built_there = name == "baseline" or platform.machine() in ("x86_64", "AMD64")
        reason = f"the {name} kernels are not built here"
        lacking(reason) if built_there else pytest.skip(reason)
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
        lacking(f"kernels: {name}")
    return name
