"""TensorBoard: event files, which ``tensorboard --logdir`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dance.core.yaml_file import to_yaml
from dance.trackers.base import TRACKERS, Results, TrackedRun, Tracker


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files; each attempt adds one, and TensorBoard shows them as one run."""

    package = "tensorboard"

    def start(self, run: TrackedRun) -> str:
        """See :class:`Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder))
        if run.known_as is None:
            settings = to_yaml(dict(run.settings)).replace("\n", "\n    ")
            self._writer.add_text("settings", f"    {settings}")  # indented: Markdown shows code
        return run.name

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """See :class:`Tracker`."""
        for step, values in rows:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self, results: Results | None) -> None:
        """See :class:`Tracker`."""
        if results is not None:
            for name, value in results.numbers.items():
                self._writer.add_scalar(name, value)
            picture = np.asarray(results.picture.convert("RGB"))
            self._writer.add_image("condensed", picture, dataformats="HWC")
        self._writer.close()
