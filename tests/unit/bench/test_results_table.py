"""The tables of a comparison say what its record says, best first."""

from __future__ import annotations

from typing import Any

import pytest

from dance.bench import results_table

MACHINE: dict[str, Any] = {
    "device": "a processor, 1 threads",
    "cores": 2,
    "torch": "2.13",
    "kernels": "avx512",
}


def row(title: str, mean: float, **facts: Any) -> dict[str, Any]:
    score = {
        "protocol": "dance-v1, 100 epochs",
        "seeds": [0, 1],
        "network": "convnet",
        "train_images": 400,
        "storage_bytes": 307_200,
        "last": {"values": [mean - 0.01, mean + 0.01], "mean": mean, "std": 0.0141},
    }
    return {
        "made": "2026-01-01T00:00:00+00:00",
        "command": "dance bench methods cifar10 --ipc 10 --seconds 60",
        "machine": MACHINE,
        "title": title,
        "data": "cifar10",
        "ipc": 10,
        "factor": 1,
        "whitening": "none",
        "updates": 1234,
        "condense_seconds": 59.7,
        "before_seconds": 0.0,
        "networks_bytes": 0,
        "scores": [score],
        **facts,
    }


RECORD: dict[str, Any] = {
    "budget": {"seconds": 60.0, "updates": None},
    "rows": [
        row("Random", 0.29, updates=None, condense_seconds=0.1),
        row("MTT", 0.4, whitening="zca", before_seconds=300.4, networks_bytes=15_000_000),
        row("DANCE", 0.55, factor=2),
        row("DM", 0.75, data="fashion_mnist"),
    ],
    "skipped": [{"data": "cifar10", "ipc": 10, "method": "idm", "reason": "because"}],
}


def test_a_table_for_every_data_set_with_the_best_first() -> None:
    first, second = results_table.tables(RECORD)
    assert first.title == "cifar10, 10 images per class, convnet (dance-v1, 100 epochs, 2 networks)"
    assert [cells[0] for cells in first.rows] == ["DANCE (l = 2)", "MTT (ZCA)", "Random"]
    assert first.rows[0] == (
        "DANCE (l = 2)", "55.0 ± 1.4", "54.0, 56.0", "400", "1,234", "60 s", "", "307 kB", "",
    )  # fmt: skip
    assert first.rows[1][6:] == ("300 s", "307 kB", "15.0 MB")
    assert first.rows[2][4] == ""
    assert second.title.startswith("fashion_mnist")


def test_few_columns_for_a_terminal() -> None:
    table, _ = results_table.tables(RECORD, brief=True)
    assert table.columns == (
        "method", ">test accuracy (%)", ">updates", ">condensing", ">network training",
    )  # fmt: skip
    assert table.rows[0] == ("DANCE (l = 2)", "55.0 ± 1.4", "1,234", "60 s", "")


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"seconds": 60.0, "updates": None}, "60 seconds of condensing"),
        ({"seconds": None, "updates": 20}, "20 updates of the images"),
    ],
)
def test_the_page_names_budget_commands_machines_and_what_is_missing(
    budget: dict[str, Any], says: str
) -> None:
    other = row("Herding", 0.3, command="dance bench methods other", made="2026-02-02T00:00:00")
    other["machine"] = MACHINE | {"kernels": "none: not built"}
    page = results_table.markdown(RECORD | {"budget": budget, "rows": [*RECORD["rows"], other]})
    assert page.startswith(f"# Methods: {says}\n")
    for words in (
        "`dance bench methods cifar10 --ipc 10 --seconds 60`",
        "`dance bench methods other`",
        "2026-01-01; a processor, 1 threads, 2 cores, torch 2.13, kernels avx512.",
        "2026-02-02; a processor, 1 threads, 2 cores, torch 2.13, kernels none: not built.",
        "| MTT (ZCA) | 40.0 ± 1.4 | 39.0, 41.0 |",
        "Not measured: idm on cifar10 at 10 images per class: because",
    ):
        assert page.count(words) == 1
