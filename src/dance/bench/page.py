"""The measurements as tables, for a terminal and as a page of Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dance.core.format import Table, measured_seconds, megabytes, plural, times, whole

Record = Mapping[str, Any]
Cell = Callable[[Record, Callable[[float], str]], str]

TABLE_4: Mapping[str, Mapping[int, tuple[float | None, int | None]]] = {
    "dc": {1: (0.16, 3515), 10: (3.31, 3621), 50: (15.74, 4527)},
    "dsa": {1: (0.22, 3513), 10: (4.47, 3639), 50: (20.13, 4539)},
    "dm": {1: (0.08, 3323), 10: (0.08, 3455), 50: (0.08, 3605)},
    "mtt": {1: (0.36, 2711), 10: (0.40, 8049), 50: (None, None)},
    "idm": {1: (0.50, 3223), 10: (0.48, 3179), 50: (0.58, 4027)},
    "dance": {1: (0.11, 2906), 10: (0.12, 3045), 50: (0.12, 3549)},
}
"""By method and images per class: seconds of an iteration and MB of GPU memory on CIFAR-10, one
NVIDIA A100 (Zhang et al. 2024, Table 4); none where it ran out of memory."""
_PAPERS_DATA = "cifar10"
_METHOD = """The entries are timed in turn in one process, after one warm-up round; a cell is the
median over the rounds with the quartiles in brackets, and a ratio is the median of the ratios of
the rounds. Data is cached and decoded, no file is read in a timed loop, and experts are untrained
(they cost the same). `reference` is the literal loop over classes of `dance.bench.reference` in
float32: plain PyTorch modules whose parameters require gradients, weights loaded in each iteration,
an optimiser step for every class and loss. `exact` is the library with real images in every step,
`bank` with real features that were computed before. `*`: only some classes were timed
(`speed.json` has their number), and the time was scaled up to all."""


def tables(record: Record, cell: Cell) -> list[Table]:
    """The tables of a record, without empty ones.

    Args:
        record: content of ``speed.json``.
        cell: formats a measured quantity: :func:`with_quartiles` or :func:`median`.
    """
    every = (
        _steps(record, cell),
        _phases(record, cell),
        _memory(record),
        _training(record, cell),
        _paper(record, cell),
    )
    return [table for table in every if table.rows]


def ceilings(record: Record) -> str:
    """The machine's peak rates in one sentence."""
    parts = [
        f"{name} {found['flops'] / 1e9:,.0f} GFLOP/s in products of square matrices with "
        f"{found['side']:,} rows, {found['copy_bytes'] / 1e9:.1f} GB/s in copies"
        for name, found in record["machine"]["ceilings"].items()
    ]
    return "; ".join(parts)


def markdown(record: Record) -> str:
    """A page for ``docs/results``."""
    machine = record["machine"]
    lines = [
        "# Speed",
        "",
        f"`{record['command']}`",
        "",
        f"{record['created']}; {machine['device']}, {machine['cores']} cores, "
        f"load before {machine['load_average']:.1f}; "
        f"torch {machine['torch']}, kernels {machine['kernels']}; "
        f"precision {record['precision']}, seed {record['seed']}, {record['rounds']} rounds.",
        "",
        f"Peak rates of the machine: {ceilings(record)} (read and written).",
        "",
        _METHOD,
    ]
    for table in tables(record, with_quartiles):
        lines += table.markdown()
    lines += left_out(record)
    return "\n".join(lines) + "\n"


def left_out(record: Record) -> list[str]:
    """Lines of Markdown about what could not be measured."""
    lines = []
    for skip in record["skipped"]:
        lines += ["", f"Not measured: {skip['method']} on {skip['data']} at "]
        lines[-1] += f"{plural(skip['ipc'], 'image')} per class: {skip['reason']}"
    return lines


def _cases(record: Record) -> Iterator[tuple[Record, Record]]:
    for case in record["steps"]:
        for row in case["entries"]:
            yield case, row


def _steps(record: Record, cell: Cell) -> Table:
    columns = ("data", ">ipc", "entry", ">one step", ">faster", ">GFLOP/s", ">of ceiling")
    rows = [
        (
            case["name"],
            str(case["ipc"]),
            row["name"],
            cell(row["seconds"], measured_seconds) + _mark(case, row),
            cell(row["times_reference"], times),
            f"{row['operations_per_second'] / 1e9:,.1f}" if "operations" in row else "",
            f"{100 * row['share_of_matmul']:.0f} %" if "operations" in row else "",
        )
        for case, row in _cases(record)
    ]
    note = (
        f"Operations that the step needs: {record['counted']}; they are the same for every way to "
        "compute it. The ceiling is the fastest matrix product; Winograd's convolution needs fewer "
        "operations and may exceed it."
    )
    return Table("Condensation: one step", columns, rows, note)


def _phases(record: Record, cell: Cell) -> Table:
    rows = []
    for case in record["steps"]:
        total = math.fsum(phase["median"] for phase in case["phases"].values())
        for name, phase in case["phases"].items():
            percent = f"{100 * phase['median'] / total:.0f} %"
            rows.append(
                (case["name"], str(case["ipc"]), name, cell(phase, measured_seconds), percent)
            )
    slower = ", ".join(cell(case["watched"], times) for case in record["steps"])
    note = (
        "By a stopwatch on the functions that a step calls, in separate steps; `rest` is the time "
        "outside these functions. A step with the stopwatch took, relative to one without it: "
        f"{slower}."
    )
    columns = ("data", ">ipc", "phase of an exact step", ">time", ">of the step")
    return Table("Where the time goes", columns, rows, note)


def _memory(record: Record) -> Table:
    rows = [
        (
            case["name"],
            str(case["ipc"]),
            row["name"],
            megabytes(row["step_bytes"]),
            megabytes(row["peak_bytes"]),
            _published(case, row["method"], 1) if row["name"] != "reference" else "",
            "" if row["ready_seconds"] is None else f"{row['ready_seconds']:.1f} s",
        )
        for case, row in _cases(record)
    ]
    note = (
        "Each in a separate process. One step: memory in addition to that in use before it "
        "(activations, gradients, buffers). Total: resident size of the process on a CPU, with "
        "program and data; the allocator's peak on CUDA. Start: from the start of the process "
        "until its first step."
    )
    columns = ("data", ">ipc", "entry", ">one step", ">total", ">paper, A100", ">start")
    return Table("Memory at the peak", columns, rows, note)


def _training(record: Record, cell: Cell) -> Table:
    rows = [
        (
            row["what"],
            row["name"],
            str(row["ipc"] or ""),
            str(row["members"]),
            cell(row["images_per_second"]["reference"], whole),
            cell(row["images_per_second"]["exact"], whole),
            cell(row["times_reference"], times),
        )
        for row in record["training"]
    ]
    columns = ("what", "data", ">ipc", ">networks", ">reference", ">ours", ">faster")
    note = "Networks: as many as the library trains at once; the reference trains one."
    return Table("Training and testing: images per second", columns, rows, note)


def _paper(record: Record, cell: Cell) -> Table:
    rows = [
        (
            case["name"],
            str(case["ipc"]),
            row["title"],
            cell(row["seconds"], measured_seconds) + _mark(case, row),
            _published(case, row["method"], 0),
            megabytes(row["peak_bytes"]),
            _published(case, row["method"], 1),
        )
        for case, row in _cases(record)
        if row["name"] not in ("reference", "bank")
    ]
    columns = ("data", ">ipc", "method", ">one step", ">paper", ">memory", ">paper's memory")
    note = "The paper's columns are its Table 4: CIFAR-10 on one NVIDIA A100, not this machine."
    return Table("The methods, as in Table 4 of the paper", columns, rows, note)


def _published(case: Record, method: str, place: int) -> str:
    """A cell of the paper's Table 4; empty if it has none."""
    found = TABLE_4.get(method, {}).get(case["ipc"])
    if case["name"] != _PAPERS_DATA or found is None:
        return ""
    value = found[place]
    return "out of memory" if value is None else f"{value:.2f} s" if place == 0 else f"{value:,} MB"


def _mark(case: Record, row: Record) -> str:
    return "" if row["classes_timed"] == case["classes"] else " *"


def median(found: Record, shown: Callable[[float], str]) -> str:
    """The median alone, for narrow tables."""
    return shown(found["median"])


def with_quartiles(found: Record, shown: Callable[[float], str]) -> str:
    """Median and quartiles, or the median alone if all are equal.

    >>> with_quartiles({"median": 2.0, "quartiles": [1.5, 2.5]}, times)
    '2.0x (1.5x to 2.5x)'
    >>> with_quartiles({"median": 2.0, "quartiles": [2.0, 2.0]}, times)
    '2.0x'
    """
    low, high = found["quartiles"]
    if low == high:
        return shown(found["median"])
    return f"{shown(found['median'])} ({shown(low)} to {shown(high)})"
