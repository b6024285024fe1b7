"""Free memory, also in containers with a limit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance.core import memory


def group(root: Path, path: str, **files: str) -> None:
    """Write the files of a control group, in whose names ``_`` stands for a dot."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(f"{text}\n")


def listing(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("\n".join(lines) + "\n")


def test_no_more_is_free_than_the_machine_has() -> None:
    pages, size = Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[:2]
    assert size == "kB"
    assert 0 < memory.free(torch.device("cpu")) <= int(pages) * 1024


def test_the_smallest_of_all_limits_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "container_memory", lambda: [5_000, 4_096])
    assert memory.free(torch.device("cpu")) == 4_096


def test_version_2_with_the_groups_around(tmp_path: Path) -> None:
    listing(tmp_path, "0::/user/job")
    group(tmp_path, "user/job", memory_max="max", memory_current="700", memory_stat="anon 1")
    stat = "anon 500\ninactive_file 200\nactive_file 9"
    group(tmp_path, "user", memory_max="1000", memory_current="900", memory_stat=stat)
    assert memory.container_memory(tmp_path) == [300]


def test_version_1(tmp_path: Path) -> None:
    listing(tmp_path, "5:cpu:/x", "4:memory:/job")
    group(
        tmp_path,
        "memory/job",
        memory_limit_in_bytes="5000",
        memory_usage_in_bytes="6000",
        memory_stat="total_inactive_file 500",
    )
    assert memory.container_memory(tmp_path) == [0]


def test_without_a_limit(tmp_path: Path) -> None:
    assert memory.container_memory(tmp_path) == []
    listing(tmp_path, "0::/")
    assert memory.container_memory(tmp_path) == []
