"""Settings of this process that PyTorch reads once, when it is loaded."""

from __future__ import annotations

import os


def prepare() -> None:
    """Set what makes CPU work fast where the user has set nothing; call before importing torch.

    * Idle OpenMP threads sleep instead of spinning, which takes time from whatever else runs on the
      cores, the program's own threads included.
    * Large tensors lie in huge pages, so that fresh memory costs fewer page faults.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
