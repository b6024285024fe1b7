"""The names of the files in the directory of a run, for all who make, read or show them."""

from __future__ import annotations

from pathlib import Path

from dance.condensed.locations import RUN_FILE


class RunFiles:
    """Paths of the files of a run, whether they exist or not.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.initial = path / "initial.safetensors"
        self.random = path / "random.safetensors"
        self.condensed = path / RUN_FILE
        self.scores = path / "scores.json"
        self.costs = path / "costs.json"
        self.insight = path / "insight.safetensors"
        self.snapshots = path / "snapshots"
        self.track = path / "track"
        self.done = path / "done"
        self.report = path / "report.html"
        self.preview = path / "preview.png"

    def snapshot(self, step: int) -> Path:
        """File of the set as it was after ``step`` steps."""
        return self.snapshots / f"{step:06}.safetensors"

    def all_snapshots(self) -> dict[int, Path]:
        """The snapshots that there are, by their step in ascending order."""
        found = (path for path in self.snapshots.glob("*.safetensors") if path.stem.isdecimal())
        return {int(path.stem): path for path in sorted(found)}
