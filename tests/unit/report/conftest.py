"""Synthetic run directories for the tests of the report."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def synthetic() -> dict[str, Any]:
    """The functions of ``synthetic_run.py`` by name."""
    return runpy.run_path(str(Path(__file__).with_name("synthetic_run.py")))


@pytest.fixture
def write_run(synthetic: dict[str, Any]) -> Callable[..., Path]:
    return synthetic["write_run"]


@pytest.fixture
def score(synthetic: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    return synthetic["score"]
