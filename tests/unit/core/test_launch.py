"""Which processes are one of several, and where these connect."""

from __future__ import annotations

import os

import pytest

from dance.core.errors import ConfigError
from dance.core.launch import Launch, first_host, launched, prepare

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "5000",
}  # fmt: skip
SRUN = {
    "SLURM_JOB_ID": "12", "SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1",
    "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_NODELIST": "gpu[05-08]",
}  # fmt: skip


@pytest.mark.parametrize("own", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_how_idle_threads_wait(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They spin for a moment, unless one of OpenMP's variables says what they do."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name in (*names, "MPLBACKEND", "THP_MEM_ALLOC_ENABLE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that what the function sets is taken back
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    prepare()
    found = {name: os.environ[name] for name in names if name in os.environ}
    assert found == (own or {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"})


def test_torchrun() -> None:
    assert launched(TORCHRUN) == Launch(3, 4, 1, "a", 5000)
    assert launched({**SRUN, **TORCHRUN}) == Launch(3, 4, 1, "a", 5000)


def test_srun() -> None:
    found = launched(SRUN)
    assert found is not None
    assert (found.rank, found.size, found.local_rank, found.address) == (3, 4, 1, "gpu07")
    assert 20_000 <= found.port < 32_000
    told = launched({**SRUN, "MASTER_ADDR": "b", "MASTER_PORT": "6000"})
    assert told == Launch(3, 4, 1, "b", 6000)


def test_two_jobs_or_steps_on_a_host_do_not_meet_at_one_port() -> None:
    ports = {
        launched({**SRUN, "SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}).port
        for job in (100, 101, 102)
        for step in (0, 1, 2)
    }
    assert len(ports) == 9


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {**TORCHRUN, "WORLD_SIZE": "1", "RANK": "0"},
        {"RANK": "2"},  # someone else's variable
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        # a batch script: SLURM says how many tasks there may be, but started none
        {"SLURM_JOB_ID": "12", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},
        # a shell on a login node, after salloc
        {"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "gpu[05-08]"},
        # a shell that SLURM starts as an interactive step
        {**SRUN, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
    ],
)
def test_alone(variables: dict[str, str]) -> None:
    assert launched(variables) is None


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({**TORCHRUN, "RANK": "4"}, "0..3"),
        ({**TORCHRUN, "RANK": "x"}, "RANK"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR"),
        ({**TORCHRUN, "MASTER_PORT": "70000"}, "70000"),
        ({**SRUN, "SLURM_STEP_NODELIST": "", "SLURM_JOB_NODELIST": ""}, "MASTER_ADDR"),
    ],
)
def test_refuses_what_cannot_be(variables: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        launched(variables)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[3,5-7],m1", "n3"),
        ("n[003-010].cluster,m1", "n003.cluster"),
        ("r[1-2]n[10-20]", "r1n10"),
    ],
)
def test_first_host(nodes: str, host: str) -> None:
    assert first_host(nodes) == host
