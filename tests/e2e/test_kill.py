"""SIGKILL at any moment, also inside a write and on a full disk: the same bytes in the end.

A host process imports everything once and forks a process for each command, so that an attempt
costs no import. Every step is checkpointed here, where thirty seconds pass between two otherwise.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dance.core.files import is_temporary, read_json, read_tensors
from e2e.command import process

pytestmark = pytest.mark.slow

WORDS = (
    "--ipc=1", "--network.width=8", "--experts.count=2", "--experts.epochs=1", "--repeats=2",
    "--options.iterations=25", "--protocol=quick-v1", "--epochs=12",
    "--evaluation.baselines=random,whole",
)  # fmt: skip
FILE = "condensed.safetensors"
KINDS = {
    **dict.fromkeys(("partial-", "condense-", "score-"), "checkpoint"),
    "expert-": "expert", "insight": "insight",
}  # fmt: skip
"""What a file is, by the beginning of its name."""

HOST = """
import json, os, resource, sys
from dance.core.launch import prepare
prepare()
from dance import report
from dance.cli import condense
from dance.cli.main import main
from dance.core.code import code_digest
code_digest()

for line in sys.stdin:
    order = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(writing, 2)
        os.close(reading)
        os.environ.update(order["environment"])
        if order["limit"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], resource.RLIM_INFINITY))
        code = main(order["words"])
        sys.stderr.flush()
        os._exit(code)
    os.close(writing)
    print(child, flush=True)
    with os.fdopen(reading) as pipe:
        err = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"code": code, "err": err}), flush=True)
"""


@dataclass
class Host:
    """Runs one command at a time, each in a process of its own."""

    process: subprocess.Popen[str]

    def start(self, place: Place, limit: int = 0, *more: str) -> int:
        """Start the command; returns its process."""
        assert self.process.stdin and self.process.stdout
        order = {"words": [*place.words, *more], "environment": place.environment, "limit": limit}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ended(self) -> bool:
        """Whether the command is over."""
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def wait(self) -> tuple[int, str]:
        """Exit code (-9 after SIGKILL) and what the command said."""
        assert self.process.stdout
        outcome = json.loads(self.process.stdout.readline())
        return outcome["code"], outcome["err"]

    def run(self, place: Place, limit: int = 0, *more: str) -> tuple[int, str]:
        """The command from start to end."""
        self.start(place, limit, *more)
        return self.wait()


@dataclass
class Place:
    """A run and a cache of its own."""

    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def words(self) -> list[str]:
        return ["condense", "digits", "--output", str(self.run), *WORDS]

    @property
    def environment(self) -> dict[str, str]:
        return {"DANCE_CACHE": str(self.cache), "DANCE_SAVE_SECONDS": "0"}

    def begin(self, like: Place) -> None:
        """Nothing but decoded images, which are not made in this test."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if (like.cache / "images").exists():
            shutil.copytree(like.cache / "images", self.cache / "images")

    def temporaries(self) -> list[Path]:
        """Files in the middle of a write."""
        found = []
        folders = (self.run, self.run / "checkpoints", *self.cache.glob("experts/*"))
        for folder in folders:
            with suppress(FileNotFoundError):
                found += [path for path in folder.iterdir() if is_temporary(path)]
        return found

    def check_whole(self) -> None:
        """Every file that bears its final name is sound."""
        for path in self.folder.rglob("*.safetensors"):
            kinds = (kind for start, kind in KINDS.items() if path.name.startswith(start))
            read_tensors(path, next(kinds, "condensed set"))
        for path in self.run.glob("*.json"):
            read_json(path)

    def check_same(self, other: Place) -> None:
        """The same result as in another place, and nothing left of the way there."""
        self.check_whole()
        assert (self.run / FILE).read_bytes() == (other.run / FILE).read_bytes()
        for read in (scores, losses, experts):
            assert read(self) == read(other), read.__name__
        files = [path.relative_to(self.folder) for path in (self.run, self.cache / "experts")]
        mine, theirs = (
            sorted(
                str(path.relative_to(place.folder))
                for folder in files
                for path in (place.folder / folder).rglob("*")
            )
            for place in (self, other)
        )
        assert mine == theirs


def scores(place: Place) -> list[dict[str, Any]]:
    """All that is no measurement of the machine, nor a checksum of one."""
    measured = ("seconds", "peak_memory_bytes", "sha256")
    found = read_json(place.run / "scores.json")
    return [{k: v for k, v in score.items() if k not in measured} for score in found]


def losses(place: Place) -> list[dict[str, Any]]:
    lines = (place.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def experts(place: Place) -> list[Any]:
    found = []
    for path in sorted(place.cache.glob("experts/*/expert-*.safetensors")):
        tensors, header = read_tensors(path, "expert")
        del header["seconds"]
        found.append([header, {name: tensor.tolist() for name, tensor in tensors.items()}])
    return found


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with subprocess.Popen(
        [sys.executable, "-c", HOST],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as running:
        yield Host(running)
        assert running.stdin
        running.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(host: Host, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, float]:
    """A run in one go, and the seconds of its steps."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    code, err = host.run(place)
    assert code == 0, err
    assert len(losses(place)) == 25 and len(experts(place)) == 2 and len(scores(place)) == 3
    costs = read_json(place.run / "costs.json")
    phases = ("experts_seconds", "condense_seconds", "evaluate_seconds")
    return place, sum(costs[name] for name in phases)


def kill(host: Host, place: Place, delay: float, ready: Callable[[], bool]) -> bool:
    """Run the command and kill it.

    Args:
        host: of the command.
        place: of the run.
        delay: seconds until then at least.
        ready: waited for from then on.

    Returns:
        Whether it had not ended before.
    """
    running = host.start(place)
    time.sleep(delay)
    while not ready() and not host.ended():
        time.sleep(0.0005)  # the command needs the core too
    with suppress(ProcessLookupError):
        os.kill(running, signal.SIGKILL)
    code, err = host.wait()
    assert code in (0, -signal.SIGKILL), err
    assert "damaged" not in err and "dance: " not in err
    place.check_whole()
    return code != 0


def killed_often(host: Host, place: Place, like: Place, seconds: float, kills: int) -> int:
    """Kill a run at random moments, every other time in a write; returns how often in one.

    A run that comes to its end before is compared, and another begun.
    """
    generator = random.Random(0)
    inside_write = 0
    place.begin(like)
    while kills:
        inside = kills % 2 == 0
        delay = generator.uniform(0, seconds)
        if kill(host, place, delay, lambda inside=inside: not inside or bool(place.temporaries())):
            kills -= 1
            inside_write += bool(place.temporaries())
        else:
            place.check_same(like)
            place.begin(like)
    return inside_write


def test_killed_in_every_phase(host, undisturbed, tmp_path) -> None:
    """In a write of the second expert, of the images, and of the second network of a score."""
    like, _ = undisturbed
    place = Place(tmp_path / "killed")
    place.begin(like)
    phases = (
        "cache/experts/*/partial-001-1?",
        "run/checkpoints/condense-1?",
        "run/checkpoints/score-random-*-1[4-9]",
    )
    inside_write = 0
    for files in phases:
        begun = f"{files}.safetensors"

        def ready(begun: str = begun) -> bool:
            return bool(list(place.folder.glob(begun)) and place.temporaries())

        assert kill(host, place, 0, ready), files
        assert list(place.folder.glob(begun))
        inside_write += bool(place.temporaries())
    assert inside_write
    # The end is made by the command itself, which saves as seldom as a user's.
    environment = {**os.environ, "DANCE_CACHE": str(place.cache), "OMP_NUM_THREADS": "1"}
    with process(*place.words, "--resume", env=environment) as running:
        _, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    assert "resuming scoring" in err
    place.check_same(like)


def test_killed_again_and_again(host, undisturbed, tmp_path) -> None:
    like, seconds = undisturbed
    place = Place(tmp_path / "killed")
    assert killed_often(host, place, like, seconds / 4, kills=40) >= 12
    code, err = host.run(place)
    assert code == 0, err
    place.check_same(like)


@pytest.mark.parametrize("limit", [600, 3_000, 7_000, 13_500, 34_000])
def test_a_full_disk(host, undisturbed, tmp_path, limit) -> None:
    """A limit on the size of files: what is larger is not stored, at any place of the run."""
    like, _ = undisturbed
    place = Place(tmp_path / "full")
    place.begin(like)
    code, err = host.run(place, limit)
    assert code == 2, err
    assert err.count("dance: ") == 1 and "cannot write" in err.splitlines()[-1]
    assert "Traceback" not in err and "fault" not in err
    assert not place.temporaries(), "half-written files stay"
    place.check_whole()
    code, err = host.run(place)
    assert code == 0, err
    place.check_same(like)


def test_a_full_disk_and_a_kill(host, undisturbed, tmp_path) -> None:
    """Checkpoints fail, experts do not: what was saved before the disk was full is gone on from."""
    like, _ = undisturbed
    place = Place(tmp_path / "full")
    place.begin(like)
    assert kill(
        host, place, 0, lambda: bool(list(place.cache.glob("experts/*/partial-000-1?.safe*")))
    )
    code, err = host.run(place, limit=13_500)
    assert code in (0, 2)
    assert "resuming expert 1 after step 1" in err
    assert "continuing without this checkpoint" in err
    assert host.run(place)[0] == 0
    place.check_same(like)


def test_nothing_to_resume(host, tmp_path) -> None:
    place = Place(tmp_path)
    code, err = host.run(place, 0, "--resume")
    assert code == 2
    (line,) = err.splitlines()
    assert "--resume" in line and str(place.run) in line
    assert not place.run.exists()


def test_the_limits_stand_for_something(undisturbed) -> None:
    """Each limit of the full disk cuts through other files."""
    like, _ = undisturbed
    size = {path.name: path.stat().st_size for path in like.folder.rglob("*") if path.is_file()}
    assert 600 < size["config.yaml"] < 3_000 < size["initial.safetensors"] < 7_000
    assert 7_000 < size["expert-000.safetensors"] < 13_500 < 34_000 < size["report.html"]
