"""Weights & Biases, offline unless WANDB_MODE says otherwise."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from dance.trackers.base import TRACKERS, Results, TrackedRun, Tracker


@TRACKERS.register("wandb")
class WeightsAndBiases(Tracker):
    """A run of wandb; offline, each attempt adds a folder of the same run, for ``wandb sync``."""

    package = "wandb"

    def start(self, run: TrackedRun) -> str:
        """See :class:`Tracker`."""
        mode: Any = os.environ.get("WANDB_MODE") or "offline"  # wandb checks it
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would use the network
        import wandb

        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "dance",
            dir=str(run.folder),
            name=run.name,
            id=run.known_as,
            config=dict(run.settings),
            mode=mode,
            resume=None if run.known_as is None or mode == "offline" else "allow",
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )
        for handler in logging.getLogger("wandb").handlers:  # of its debug.log; they would print
            handler.handleError = lambda record: None  # type: ignore[method-assign]
        return str(self._run.id)

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """See :class:`Tracker`."""
        for step, values in rows:
            self._run.log(dict(values), step=step)

    def finish(self, results: Results | None) -> None:
        """See :class:`Tracker`."""
        if results is not None:
            self._run.summary.update(dict(results.numbers))
            self._run.summary["condensed"] = self._image(results.picture)
        self._run.finish(exit_code=int(results is None))
