"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from dance.core import device as devices
from dance.core.errors import ConfigError


def test_auto_is_what_is_there() -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert devices.select("auto").type == expected
    assert devices.select("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "mps", "cpu cuda"])
def test_unknown_names_are_refused(name) -> None:
    with pytest.raises(ConfigError, match=r"device must be auto, cpu, cuda or cuda:N"):
        devices.select(name)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="not on this machine"):
        devices.select("cuda:99")


def test_memory_and_words() -> None:
    cpu = torch.device("cpu")
    before = devices.peak_memory(cpu)
    tensor = torch.ones(16 << 20)  # 64 MiB that are really touched
    assert devices.peak_memory(cpu) >= before
    assert devices.peak_memory(cpu) > tensor.numel() * 4
    threads = torch.get_num_threads()
    assert devices.description(cpu).endswith(f", {threads} thread{'s' if threads > 1 else ''}")
