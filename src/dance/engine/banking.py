"""Making a bank, and the file in which it travels with its experts."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from dance.core.world import join
from dance.engine.config import RunConfig
from dance.engine.portable import made_with, need_images
from dance.engine.stage import stage
from dance.experts.portable import check_output, write_portable


def bank(config: RunConfig, output: Path) -> dict[str, Any]:
    """Train the experts, compute the bank, and write both into one file without any image.

    What is there of either is not made again.

    Args:
        config: of a run that would use them; images per class, factor and start do not matter.
        output: the file, ending in .safetensors.

    Returns:
        ``path``, ``bytes``, ``entries``, ``experts``, ``classes``, ``features`` (D) and
        ``seconds``, which this call took.

    Raises:
        DanceError: the data cannot be used, a setting does not fit, or the file cannot be written.
    """
    started = time.monotonic()
    check_output(output)
    need_images(config.data, "making a bank")
    made = made_with(config)
    world = join()
    setting = stage(replace(config, ipc=1, factor=1, init="noise"), world)
    found = setting.pool().ensure(config.experts.count)
    problem = setting.with_bank(setting.problem(setting.initial(), found))
    assert problem.bank is not None
    entries, _, features = problem.bank.shape
    means = world.collect(problem.bank.transpose(0, 1))
    if means is not None:
        write_portable(
            output,
            setting.train,
            found,
            means.transpose(0, 1).contiguous(),
            made,
            setting.bank_seconds(),
        )
    return {
        "path": str(output),
        "bytes": output.stat().st_size if world.leader else 0,
        "entries": entries,
        "experts": len(found),
        "classes": setting.train.num_classes,
        "features": features,
        "seconds": time.monotonic() - started,
    }
