"""Measured memory peaks, one JSON list on stdout; a process of its own, for nobody else's peaks.

``python peak.py``: of image forwards beside what the library expects of them, and of steps of DANCE
with ever more classes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from dance.core import device as devices
from dance.core import memory
from dance.core.rng import keyed_generator
from dance.engine.memory import image_cost
from dance.methods.dance import DANCE, DANCEConfig
from dance.networks import NetworkConfig, build
from unit.methods.tasks import image_set, task

CPU = torch.device("cpu")
NETWORKS = [
    ("convnet", 3, 32, 128), ("convnet", 4, 64, 48), ("convnet", 5, 128, 12),
    ("resnet10", None, 32, 48),
]  # fmt: skip


def peak(work: Callable[[], object]) -> int:
    """Bytes that ``work`` holds at its worst beside what was held before it."""
    memory.in_use(CPU)  # gives back to the system what is not in use
    Path("/proc/self/clear_refs").write_text("5")
    before = _high()
    work()
    return _high() - before


def _high() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def images() -> list[dict[str, object]]:
    """Forwards with and without gradients: measured and expected bytes of an image."""
    found = []
    for name, depth, resolution, count in NETWORKS:
        norm = "instance" if name == "convnet" else "batch"
        network = build(NetworkConfig(name=name, depth=depth, norm=norm), 3, resolution, 10).eval()
        cost = image_cost(network, 3, resolution, CPU)
        state = network.initial(keyed_generator(0, "test"))

        def backward(count: int, network=network, state=state, resolution=resolution) -> None:
            x = torch.zeros(count, 3, resolution, resolution, requires_grad=True)
            y = network.embed(state, x.contiguous(memory_format=torch.channels_last))
            torch.autograd.grad(y.square().sum(), x)

        def forward(count: int, network=network, state=state, resolution=resolution) -> None:
            with torch.no_grad():
                x = torch.zeros(count, 3, resolution, resolution)
                network.embed(state, x.contiguous(memory_format=torch.channels_last))

        for kind, work in (("gradient", backward), ("forward", forward)):
            work(2)
            measured = peak(lambda work=work, count=count: work(count)) / count
            expected = getattr(cost, kind)
            found.append(
                {"network": [name, depth, resolution], "kind": kind, "measured": measured,
                 "expected": expected}
            )  # fmt: skip
    return found


def steps() -> list[dict[str, object]]:
    """Steps of DANCE: measured bytes by number of classes, the chunk being the same."""
    found = []
    for classes in (10, 100):
        case = task(
            ipc=8, train=image_set((20,) * classes, resolution=16),
            network=NetworkConfig(width=128, depth=2), chunk=5, dtype=torch.float32, experts=1,
        )  # fmt: skip
        method = DANCE(DANCEConfig(real_batch=16))
        made = method.start(case)
        made.step(0)
        measured = min(peak(lambda made=made, i=i: made.step(i)) for i in range(1, 4))
        found.append({"classes": classes, "measured": measured, "state": case.initial.nbytes})
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    devices.select("cpu")
    sys.stdout.write(json.dumps({"images": images(), "steps": steps()}))
