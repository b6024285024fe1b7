"""The environment of this process: what PyTorch reads once, and how the process was started.

torch is not imported, so that a mistake can be reported at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dance.core.errors import ConfigError

_FIRST_PORT, _PORTS = 20_000, 12_000
"""Where SLURM's processes meet: below the ports that systems hand out by themselves."""
_NO_STEP = ("", "batch", "4294967291")
"""What SLURM calls the batch script itself, which no ``srun`` started."""


def prepare() -> None:
    """Set what makes CPU work fast where the user has set nothing; call before importing torch.

    * Idle OpenMP threads sleep instead of spinning, which takes time from whatever else runs on the
      cores, the program's own threads included.
    * Large tensors lie in huge pages, so that fresh memory costs fewer page faults.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@dataclass(frozen=True)
class Launch:
    """The place of this process in its run.

    Attributes:
        rank: its number, from 0.
        size: processes in all.
        local_rank: its number on this machine.
        address: host where all meet, that of rank 0.
        port: on that host.
    """

    rank: int
    size: int
    local_rank: int
    address: str
    port: int


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """The place that torchrun's or SLURM's variables describe; none for a process that is alone.

    A shell or batch script in a SLURM allocation was not started by ``srun`` and is alone, as is a
    single task. ``MASTER_ADDR`` and ``MASTER_PORT`` win over what SLURM's variables imply.

    Args:
        environment: variables to read (none: those of this process).

    Raises:
        ConfigError: the variables contradict each other or are incomplete.
    """
    said = os.environ if environment is None else environment
    if "WORLD_SIZE" in said and "RANK" in said:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        rank, size, local = (_number(said, name, "0") for name in names)
        address, port = said.get("MASTER_ADDR", ""), _number(said, "MASTER_PORT", "0")
    else:
        size = _slurm_size(said)
        rank, local = (_number(said, name, "0") for name in ("SLURM_PROCID", "SLURM_LOCALID"))
        nodes = said.get("SLURM_STEP_NODELIST") or said.get("SLURM_JOB_NODELIST", "")
        address = said.get("MASTER_ADDR") or first_host(nodes)
        step = _number(said, "SLURM_STEP_ID", "0")
        implied = _FIRST_PORT + (7 * _number(said, "SLURM_JOB_ID", "0") + step) % _PORTS
        port = _number(said, "MASTER_PORT", str(implied))
    if size <= 1:
        return None
    if not 0 <= rank < size:
        raise ConfigError(
            f"a process's rank must lie in 0..{size - 1}: got {rank}; start with torchrun or srun, "
            "or unset RANK and WORLD_SIZE"
        )
    if not address or not 0 < port < 2**16:
        raise ConfigError(
            f"{size} processes must know where to meet: got MASTER_ADDR {address!r} and "
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


def _slurm_size(said: Mapping[str, str]) -> int:
    """Tasks of the step that ``srun`` started; 1 outside of one."""
    step = said.get("SLURM_STEP_ID", said.get("SLURM_STEPID", ""))
    if step in _NO_STEP or "SLURM_PROCID" not in said:
        return 1
    name = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in said else "SLURM_NTASKS"
    return _number(said, name, "1")


def _number(said: Mapping[str, str], name: str, default: str) -> int:
    text = said.get(name) or default
    try:
        return int(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be a whole number: got {text!r}; unset it") from error
