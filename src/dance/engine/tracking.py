"""Trackers of a run: they get the metrics that it has stored, and never end it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice

from dance.condensed import load_set
from dance.condensed.score import on_the_same_images
from dance.core.config import flat
from dance.core.errors import ConfigError
from dance.core.files import read_json, write_json
from dance.core.libraries import check_library
from dance.core.progress import log
from dance.engine.config import RunConfig, plain_settings
from dance.engine.rundir import RunDirectory
from dance.trackers import TRACKERS, Results, TrackedRun, Tracker


def check_trackers(requested: str | Sequence[str]) -> tuple[str, ...]:
    """The names of trackers, each once.

    Raises:
        ConfigError: one is unknown, or its package is not installed.
    """
    each = (requested,) if isinstance(requested, str) else requested
    if not isinstance(each, Iterable):
        raise ConfigError(f"track must be one of {', '.join(TRACKERS.names())}: got {requested!r}")
    trackers = {TRACKERS.get(name): name for name in each}
    for tracker, name in trackers.items():
        check_library(tracker.package, "track", f"--track {name}")
    return tuple(trackers.values())


class Tracking:
    """The trackers of one attempt at a run; with none, nothing is done.

    Args:
        names: of the trackers.
        directory: of the run, which this process writes.
        config: of the run.
    """

    def __init__(self, names: Sequence[str], directory: RunDirectory, config: RunConfig) -> None:
        self._directory = directory
        self._feeds = [_Feed(name, directory, config) for name in names]

    def settled(self, steps: int) -> None:
        """Tell that the metrics of the first ``steps`` steps are stored and will not change."""
        for feed in self._feeds:
            feed.send(steps)

    def end(self, *, finished: bool) -> None:
        """End the attempt; the trackers get the results of a finished run."""
        results = _results(self._directory) if finished and self._feeds else None
        for feed in self._feeds:
            feed.end(results)


@contextmanager
def tracked(names: Sequence[str], directory: RunDirectory, config: RunConfig) -> Iterator[Tracking]:
    """The trackers of the block, which makes the run."""
    tracking = Tracking(names, directory, config)
    try:
        yield tracking
    except BaseException:
        tracking.end(finished=False)
        raise
    tracking.end(finished=True)


class _Feed:
    """What one tracker gets, and what it has got in all attempts (``track/<name>.json``).

    That file says before a call what the tracker is about to get, so that a process that is killed
    meanwhile leaves a gap in the curve and never a step twice.
    """

    def __init__(self, name: str, directory: RunDirectory, config: RunConfig) -> None:
        self._name, self._directory, self._config = name, directory, config
        self._file = directory.track / f"{name}.json"
        self._tracker: Tracker | None = None
        self._failed = False
        self._known_as: str | None = None
        self._steps = 0
        self._numbers: Mapping[str, float] | None = None
        with self._guarded():
            if self._file.exists():
                known = read_json(self._file)
                self._known_as, self._steps = known["known_as"], int(known["steps"])
                self._numbers = known["results"]
            if not directory.done.exists():
                self._started()

    def send(self, steps: int | None) -> None:
        """Send what was not sent before of the first ``steps`` steps (None: of all)."""
        if self._failed or not self._directory.metrics.exists():
            return
        with self._guarded():
            with self._directory.metrics.open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in islice(file, self._steps, steps)]
            if not rows:
                return
            tracker, before = self._started(), self._steps
            self._store(before + len(rows))
            try:
                tracker.log([(row.pop("step"), row) for row in rows])
            except Exception:
                self._store(before)
                raise

    def end(self, results: Results | None) -> None:
        """Send the results, unless the tracker has them already, and end it."""
        if results is not None:
            self.send(None)
        if self._failed:
            return
        with self._guarded():
            if results is None:
                if self._tracker is not None:
                    self._tracker.finish(None)
            elif self._tracker is not None or results.numbers != self._numbers:
                self._started().finish(results)
                self._numbers = results.numbers
                self._store(self._steps)

    def _started(self) -> Tracker:
        """The tracker, which begins at the first call."""
        if self._tracker is None:
            tracker = TRACKERS.get(self._name)()
            folder = self._directory.track / self._name
            folder.mkdir(parents=True, exist_ok=True)
            run = TrackedRun(
                name=self._directory.path.resolve().name,
                folder=folder,
                settings=flat(plain_settings(self._config)),
                known_as=self._known_as,
            )
            self._known_as = tracker.start(run)
            self._tracker = tracker
            self._store(self._steps)
        return self._tracker

    def _store(self, steps: int) -> None:
        self._steps = steps
        content = {"known_as": self._known_as, "steps": steps, "results": self._numbers}
        write_json(self._file, content)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Go on without the tracker if the block fails, and say so once."""
        try:
            yield
        except Exception as error:  # a tracker can raise an exception of any type
            self._failed = True
            reason = " ".join(str(error).split()) or type(error).__name__
            log(
                f"{self._name} fails, and gets nothing more in this attempt: {reason}; the run "
                f"continues, and {self._directory.metrics} has all metrics"
            )


def _results(directory: RunDirectory) -> Results:
    """Scores, costs and the picture of a finished run."""
    numbers: dict[str, float] = {}
    for score in on_the_same_images(directory.scores_so_far()):
        place = f"{score.subject}/{score.network}/{score.protocol}/{score.labels}"
        numbers[f"accuracy/{place}"] = score.last.mean
        numbers[f"best epoch/{place}"] = score.best.mean
    for name, value in directory.costs_so_far().items():
        if isinstance(value, int | float):
            numbers[f"costs/{name}"] = float(value)
    return Results(numbers, load_set(directory.condensed).show())
