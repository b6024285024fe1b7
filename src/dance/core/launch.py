"""The environment of this process: what PyTorch reads once, and how the process was started.

torch is not imported, so that a mistake can be reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dance.core.errors import ConfigError

_SPINS = "10000"
"""How often an idle thread looks for work: about 0.4 ms on an Intel Xeon."""
_FIRST_PORT, _PORTS = 20_000, 12_000
"""Ports on which SLURM's processes connect: below those that systems assign automatically."""
_NO_STEP = ("", "batch", "4294967291")
"""SLURM's step names of the batch script itself, which is not started by ``srun``."""


def prepare() -> None:
    """Set what libraries read from the environment; call before importing torch.

    * Idle OpenMP threads spin for a moment before they sleep, unless a variable of OpenMP says how
      they wait: long enough for the gaps between operations, and far shorter than PyTorch's
      default, which slows down other threads on the cores.
    * Large tensors are allocated in huge pages, so that new memory causes fewer page faults.

    A notebook names a backend for figures that only its own process has, so it is replaced.
    """
    os.environ["MPLBACKEND"] = "agg"
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(OMP_WAIT_POLICY="PASSIVE", GOMP_SPINCOUNT=_SPINS)
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def usable_cores() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Launch:
    """The place of this process in its run.

    Attributes:
        rank: number of the process, from 0.
        size: number of processes.
        local_rank: number of the process on this machine.
        address: host to which all processes connect, that of rank 0.
        port: on that host.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """The place that torchrun's or SLURM's variables describe; None for a single process.

    A shell or batch script in a SLURM allocation that was not started by ``srun`` is a single
    process, as is a single task. ``MASTER_ADDR`` and ``MASTER_PORT`` override the values that
    follow from SLURM's variables.

    Args:
        environment: variables to read (none: those of this process).

    Raises:
        ConfigError: the variables contradict each other or are incomplete.
    """
    variables = os.environ if environment is None else environment
    if "WORLD_SIZE" in variables and "RANK" in variables:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, size, local = (_number(variables, name, "0") for name in names)
        address, port = variables.get("MASTER_ADDR", ""), _number(variables, "MASTER_PORT", "0")
    else:
        size = _slurm_size(variables)
        rank, local = (_number(variables, name, "0") for name in ("SLURM_PROCID", "SLURM_LOCALID"))
        nodes = variables.get("SLURM_STEP_NODELIST") or variables.get("SLURM_JOB_NODELIST", "")
        address = variables.get("MASTER_ADDR") or first_host(nodes)
        step = _number(variables, "SLURM_STEP_ID", "0")
        implied = _FIRST_PORT + (7 * _number(variables, "SLURM_JOB_ID", "0") + step) % _PORTS
        port = _number(variables, "MASTER_PORT", str(implied))
    if size <= 1:
        return None
    if not 0 <= rank < size:
        raise ConfigError(
            f"a process's rank must lie in 0..{size - 1}: got {rank}; start with torchrun or srun, "
            "or unset RANK and WORLD_SIZE"
        )
    if not address or not 0 < port < 2**16:
        raise ConfigError(
            f"{size} processes must know where to connect: got MASTER_ADDR {address!r} and "
            f"MASTER_PORT {port}; start with torchrun or srun, or set both"
        )
    return Launch(rank, size, local, address, port)


def first_host(nodes: str) -> str:
    """First name of a SLURM list of hosts.

    >>> first_host("gpu[07-09,12],login"), first_host("rack[2-3]n[10,20]"), first_host("one")
    ('gpu07', 'rack2n10', 'one')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0] if first else "")


def _slurm_size(variables: Mapping[str, str]) -> int:
    """Tasks of the step that ``srun`` started; 1 outside of one."""
    step = variables.get("SLURM_STEP_ID", variables.get("SLURM_STEPID", ""))
    if step in _NO_STEP or "SLURM_PROCID" not in variables:
        return 1
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in variables else "SLURM_NTASKS"
    return _number(variables, name, "1")


def _number(variables: Mapping[str, str], name: str, default: str) -> int:
    text = variables.get(name) or default
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be a whole number: got {text!r}; unset it") from error
