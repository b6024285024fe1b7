"""TensorBoard: event files, which ``tensorboard --logdir`` shows."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dance.core.yaml_file import to_yaml
from dance.trackers.base import TRACKERS, Results, TrackedRun, Tracker


@TRACKERS.register("tensorboard")
class TensorBoard(Tracker):
    """Event files; each attempt adds one, and TensorBoard shows them as one run.

    They are written here and not by PyTorch's ``SummaryWriter``, whose errors end a thread.
    """

    package = "tensorboard"

    def start(self, run: TrackedRun) -> str:
        """See :class:`Tracker`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event, self._record_writer = Event, RecordWriter
        self._summary: Any = summary
        self._file = run.folder / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        self._write([Event(wall_time=time.time(), file_version="brain.Event:2")])
        if run.known_as is None:
            settings = to_yaml(dict(run.settings)).replace("\n", "\n    ")  # Markdown shows code
            self._write([self._made(self._summary.text("settings", f"    {settings}"))])
        return run.name

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """See :class:`Tracker`."""
        scalar = self._summary.scalar
        self._write(
            [
                self._made(scalar(name, value), step)
                for step, values in rows
                for name, value in values.items()
            ]
        )

    def finish(self, results: Results | None) -> None:
        """See :class:`Tracker`."""
        if results is not None:
            self.log([(0, results.numbers)])
            picture = np.asarray(results.picture.convert("RGB"))
            self._write([self._made(self._summary.image("condensed", picture, dataformats="HWC"))])

    def _made(self, summary: Any, step: int = 0) -> Any:
        return self._event(wall_time=time.time(), step=step, summary=summary)

    def _write(self, events: Sequence[Any]) -> None:
        """Append events to the file of this attempt."""
        buffer = io.BytesIO()
        writer = self._record_writer(buffer)
        for event in events:
            writer.write(event.SerializeToString())
        with self._file.open("ab") as file:
            file.write(buffer.getbuffer())
