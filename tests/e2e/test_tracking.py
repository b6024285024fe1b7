"""Trackers get what a run writes, each step once; they neither change a run nor end it."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dance.core.files import read_json
from dance.trackers import TRACKERS, Results, TrackedRun, Tracker
from distributed import processes
from e2e.command import TINY, command, done, process
from e2e.outside import install

WORDS = ("condense", "digits", *TINY, "--device=cpu")
REAL = ("mlflow", "tensorboard", "wandb")
LOSSES = ("alignment", "calibration")
Curve = list[tuple[int, float]]


class Recorder(Tracker):
    """Remembers what it gets, and fails in the call that ``breaks`` names."""

    package = "json"
    calls: ClassVar[list[tuple[str, Any]]] = []
    breaks = ""

    def start(self, run: TrackedRun) -> str:
        self._note("start", run)
        assert run.folder.is_dir()
        return "the same"

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self._note("log", rows)

    def finish(self, results: Results | None) -> None:
        self._note("finish", results)

    def _note(self, call: str, given: Any) -> None:
        if call == self.breaks:
            raise RuntimeError("no\nspace")
        self.calls.append((call, given))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """A tracker that is called ``recorder`` in this process."""
    TRACKERS.names()  # all are found
    monkeypatch.setitem(TRACKERS._members, "recorder", Recorder)
    monkeypatch.setattr(Recorder, "calls", [])
    return Recorder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without trackers."""
    place = tmp_path_factory.mktemp("plain") / "run"
    done(*WORDS, "--output", place)
    return place


def metrics(place: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]


def logged(calls: Sequence[tuple[str, Any]]) -> list[dict[str, float]]:
    """The rows that a recorder has got, as lines of the metrics."""
    return [{"step": s, **row} for call, rows in calls if call == "log" for s, row in rows]


def test_a_tracker_gets_what_is_written_and_changes_nothing(recorder, plain, tmp_path) -> None:
    place = tmp_path / "run"
    done(*WORDS, "--output", place, "--track", "recorder", "recorder")
    for name in ("condensed.safetensors", "initial.safetensors", "config.yaml"):
        assert (place / name).read_bytes() == (plain / name).read_bytes(), name
    (first, run), *_, (last, results) = recorder.calls
    assert (first, last) == ("start", "finish")
    assert (run.name, run.known_as) == ("run", None)
    assert run.settings["method"] == "dance" and run.settings["options.iterations"] == 3
    assert logged(recorder.calls) == metrics(place) and len(metrics(place)) == 3
    scores = read_json(place / "scores.json")
    name = "accuracy/condensed/convnet/quick-v1, 1 epoch/hard"
    assert results.numbers[name] == scores[0]["last"]["mean"]
    seconds = read_json(place / "costs.json")["condense_seconds"]
    assert results.numbers["costs/condense_seconds"] == seconds
    assert results.picture.size[0] > 0


def test_a_finished_run_is_sent_once(recorder, tmp_path) -> None:
    place = tmp_path / "run"
    done(*WORDS, "--output", place)
    for _ in range(2):
        done(*WORDS, "--output", place, "--track", "recorder")
    assert [call for call, _ in recorder.calls] == ["start", "log", "finish"]
    assert logged(recorder.calls) == metrics(place)
    done(*WORDS, "--output", place, "--track", "recorder", "--networks", "convnet", "mlp")
    (_, run), (_, results) = recorder.calls[3:]
    assert run.known_as == "the same"
    assert any("/mlp/" in name for name in results.numbers)


@pytest.mark.parametrize("breaks", ["start", "log", "finish"])
def test_a_tracker_that_fails_is_one_line(
    breaks: str, recorder, plain, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DANCE_SAVE_SECONDS", "0")  # it is called after every step
    place = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "breaks", breaks)
        outcome = done(*WORDS, "--output", place, "--track", "recorder")
    (line,) = [line for line in outcome.err.splitlines() if "recorder" in line]
    assert "no space; the run continues" in line and "metrics.jsonl" in line
    name = "condensed.safetensors"
    assert (place / name).read_bytes() == (plain / name).read_bytes()
    done(*WORDS, "--output", place, "--track", "recorder")
    assert logged(recorder.calls) == metrics(place), "the next attempt sends what is missing"
    assert recorder.calls[-1][0] == "finish"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "needs the package no-such-package, which is not installed: pip install"),
        ("recordr", "unknown tracker 'recordr'; did you mean 'recorder'?"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    name: str, message: str, recorder, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = type("Absent", (Recorder,), {"package": "no_such_package"})
    monkeypatch.setitem(TRACKERS._members, "absent", absent)
    outcome = command(*WORDS, "--output", tmp_path / "run", "--track", name)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err and len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "run").exists() and recorder.calls == []


LINES = """
from dance.trackers import TRACKERS, Tracker


@TRACKERS.register("lines")
class Lines(Tracker):
    package = "json"

    def start(self, run):
        self.file = (run.folder / "lines").open("a")
        return run.name

    def log(self, rows):
        for step, values in rows:
            print(step, values["alignment"], file=self.file, flush=True)

    def finish(self, results):
        print(results is not None, file=self.file)
"""


@pytest.mark.slow
def test_only_rank_zero_tracks(tmp_path) -> None:
    place = tmp_path / "run"
    install(tmp_path, "dance-lines", "lines", LINES, {"dance.trackers": {"lines": "lines"}})
    path = ":".join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ("-m", "dance", *WORDS, "--output", place, "--track", "lines")
    ended = processes.finish(processes.start(2, *words, PYTHONPATH=path))
    assert [code for code, _, _ in ended] == [0, 0], ended
    found = (place / "track" / "lines" / "lines").read_text().splitlines()
    assert found == [f"{row['step']} {row['alignment']}" for row in metrics(place)] + ["True"]


def of_tensorboard(folder: Path) -> dict[str, Curve]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()
    assert tags["images"] == ["condensed"] and tags["tensors"] == ["settings/text_summary"]
    assert "costs/condense_seconds" in tags["scalars"]
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in LOSSES}


def of_mlflow(folder: Path) -> dict[str, Curve]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=folder.resolve().as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("dance").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["method"] == "dance"
    assert "costs/condense_seconds" in run.data.metrics
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["condensed.png"]
    found = {name: client.get_metric_history(run.info.run_id, name) for name in LOSSES}
    return {name: [(m.step, m.value) for m in history] for name, history in found.items()}


def records(path: Path) -> Iterator[bytes]:
    """The records of an offline file of wandb, in the format of LevelDB's log after 7 bytes."""
    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield whole
            whole = b""


def of_wandb(folder: Path) -> dict[str, Curve]:
    from wandb.proto.wandb_internal_pb2 import Record

    found: dict[str, Curve] = {name: [] for name in LOSSES}
    names, summary = set(), set()
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for content in records(path):
            record = Record.FromString(content)
            if record.run.run_id:
                names.add(record.run.run_id)
            summary |= {item.key or item.nested_key[0] for item in record.summary.update}
            for item in record.history.item:
                name = item.key or item.nested_key[0]
                if name in found:
                    found[name].append((record.history.step.num, json.loads(item.value_json)))
    assert len(names) == 1, "all attempts are one run"
    assert {"costs/condense_seconds", "condensed"} <= summary
    return found


READ = {"tensorboard": of_tensorboard, "mlflow": of_mlflow, "wandb": of_wandb}


def stopped(place: Path, how: signal.Signals, steps: int) -> None:
    """Stop an attempt at a run of 60 steps with all trackers after some more steps."""
    words = [word for word in WORDS if "iterations" not in word]
    attempt = process(*words, "--options.iterations=60", "--output", place, "--track", *REAL)
    limit = time.monotonic() + 240
    while attempt.poll() is None and time.monotonic() < limit:
        path = place / "metrics.jsonl"
        if path.exists() and path.read_bytes().count(b"\n") >= steps:
            attempt.send_signal(how)
            break
        time.sleep(0.01)
    attempt.communicate(timeout=240)
    assert attempt.returncode == (130 if how == signal.SIGINT else -how)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_their_own_readers_find_the_curve_of_a_resumed_run(
    how: signal.Signals, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for each step; only an attempt that was killed may leave a gap."""
    for name in REAL:
        pytest.importorskip(TRACKERS.get(name).package)
    monkeypatch.setenv("DANCE_SAVE_SECONDS", "0")
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # for the reader here
    place = tmp_path / "run"
    stopped(place, how, 10)
    words = [word for word in WORDS if "iterations" not in word]
    last = process(*words, "--options.iterations=60", "--output", place, "--track", *REAL, "--json")
    out, err = last.communicate(timeout=240)
    assert last.returncode == 0, err
    assert json.loads(out)["scores"] and "Traceback" not in err and "fails" not in err
    rows = {row["step"]: row for row in metrics(place)}
    assert list(rows) == list(range(60))
    for name, read in READ.items():
        for loss, curve in read(place / "track" / name).items():
            steps = [step for step, _ in curve]
            assert steps == sorted(set(steps)), (name, "no step twice")
            missing = set(rows) - set(steps)
            if how == signal.SIGINT:
                assert not missing, (name, missing)
            elif name != "wandb":  # it writes to its file every 15 seconds
                assert len(missing) <= 1, (name, missing)
            assert max(steps) == 59
            for step, value in curve:
                assert value == pytest.approx(rows[step][loss], rel=1e-6), (name, loss, step)
