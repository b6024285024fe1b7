"""Trajectories that several processes train: each is trained once, and every disk gets it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dance.core.files import read_tensors
from distributed.processes import finish, start

SCRIPT = """
import os, sys
own = os.environ.get("RANK", "alone") if sys.argv[2] == "apart" else "shared"
os.environ["DANCE_CACHE"] = os.path.join(sys.argv[1], own)
from dance.core.world import join
from dance.data import load
from dance.experts import NetworkTraining, TrajectoryConfig, TrajectoryPool, store
from dance.networks import NetworkConfig, build

shape = NetworkConfig(width=4)
config = TrajectoryConfig(count=3, epochs=1)
train, network = load("digits", "train"), build(shape, 1, 8, 10)
pool = TrajectoryPool(NetworkTraining(train, network, shape, config, 0), world=join())
written, write = [], store.write_tensors
store.write_tensors = lambda path, *rest: (written.append(path), write(path, *rest))
found = pool.ensure(3, everywhere=sys.argv[3] == "everywhere")
if sys.argv[3] == "everywhere" or join().is_rank_zero:
    assert all(len(found.weights(number, 1)) for number in range(3))
print(len(found), len(written))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["everywhere", "rank 0"])
def test_those_that_read_them_get_those_of_others(where: str, tmp_path: Path) -> None:
    for size in (1, 2):
        ended = finish(start(size, "-c", SCRIPT, str(tmp_path / str(size)), "apart", where))
        assert all(code == 0 for code, _, _ in ended), ended
        assert ended[0][1].split() == ["3", "3"], "rank 0 writes those of others too"
    stored = {
        place.parent.parent.parent.relative_to(tmp_path).as_posix(): sorted(
            place.parent.glob("trajectory-*")
        )
        for place in tmp_path.rglob("trajectory-*.safetensors")
    }
    is_rank_zero, other = stored.pop("2/0"), stored.pop("2/1")
    (alone,) = stored.values()
    rest = 3 if where == "everywhere" else 1
    assert (len(alone), len(is_rank_zero), len(other)) == (3, 3, rest)
    copies = other if where == "everywhere" else []
    for one, two in zip(alone * 2, is_rank_zero + copies, strict=False):
        found, expected = read_tensors(two, "trajectory")[0], read_tensors(one, "trajectory")[0]
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.slow
def test_on_a_shared_disk_each_is_written_once(tmp_path: Path) -> None:
    ended = finish(start(2, "-c", SCRIPT, str(tmp_path), "shared", "everywhere"))
    assert all(code == 0 for code, _, _ in ended), ended
    assert [out.split() for _, out, _ in ended] == [["3", "2"], ["3", "1"]]
